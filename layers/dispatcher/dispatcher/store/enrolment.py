"""Enrolment tokens: short-lived, counted, good for one id or for a prefix of ids."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import kwargs_row
from psycopg.types.json import Jsonb

from dispatcher.platform.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEnrolmentToken:
    """A token to make: for one agent's id, or for every id with a prefix."""

    agent_id: str | None
    prefix: str | None
    labels: dict[str, str]
    approved: bool
    uses: int
    ttl_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentToken:
    """A token, without itself."""

    token_id: UUID
    agent_id: str | None
    prefix: str | None
    labels: dict[str, str]
    approved: bool
    uses_left: int
    created_by: str
    expires_at: datetime


_COLUMNS = "token_id, agent_id, prefix, labels, approved, uses_left, created_by, expires_at"


def insert(conn: Connection, new: NewEnrolmentToken, token_hash: bytes, operator: str) -> EnrolmentToken:
    """Store a token's hash."""
    with conn.cursor(row_factory=kwargs_row(EnrolmentToken)) as cursor:
        token = cursor.execute(
            f"""insert into enrolment_tokens
                    (token_hash, agent_id, prefix, labels, approved, uses_left, created_by, expires_at)
                values (%s, %s, %s, %s, %s, %s, %s, now() + %s * interval '1 second') returning {_COLUMNS}""",
            (
                token_hash,
                new.agent_id,
                new.prefix,
                Jsonb(new.labels),
                new.approved,
                new.uses,
                operator,
                new.ttl_seconds,
            ),
        ).fetchone()
    assert token is not None  # noqa: S101 - an insert without a conflict clause returns its row
    return token


def use(conn: Connection, token_hash: bytes, agent_id: str) -> EnrolmentToken | None:
    """Use a token once for an agent's id; None where it is not good for that, not any more, or not at all."""
    with conn.cursor(row_factory=kwargs_row(EnrolmentToken)) as cursor:
        return cursor.execute(
            f"""update enrolment_tokens set uses_left = uses_left - 1
                where token_hash = %s and uses_left > 0 and expires_at > now()
                  and (agent_id = %s or starts_with(%s, prefix)) returning {_COLUMNS}""",
            (token_hash, agent_id, agent_id),
        ).fetchone()
