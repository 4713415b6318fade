"""Callers: what a token that was made here shows, and what its owner may do."""

from dataclasses import dataclass, replace

from dispatcher.access.roles import Credential, Operator, Role
from dispatcher.errors import NotAuthenticated
from dispatcher.platform.database import Connection
from dispatcher.platform.functions import call
from dispatcher.platform.hot_statements import HotStatement

_BY_LOG_IN = HotStatement(
    call(
        "select username, role, labels, is_disabled, is_changed, is_ended from {f}.by_log_in(%(username)s, %(issued_at)s)"
    )
)
_BY_API_TOKEN = HotStatement(
    call(
        "select username, at_most, role, labels, token_ids, created_at, expires_at from {f}.by_api_token(%(token_hash)s)"
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever shows a valid token of a log-in, or an API token; the database knows whether it still counts, and for what."""

    source_ip: str
    username: str | None = None
    issued_at: float | None = None
    """When the log-in was, in seconds since 1970, by the database's clock."""
    api_token_hash: bytes | None = None
    """None: it is a log-in."""
    reason: str | None = None
    """Why the caller does this, for the audit log."""

    def operator(self, conn: Connection) -> Operator:
        """Read the operator's rights; raises NotAuthenticated with what is wrong with the token."""
        operator = self._by_log_in(conn) if self.api_token_hash is None else self._by_api_token(conn)
        return replace(operator, reason=self.reason) if self.reason else operator

    def _by_log_in(self, conn: Connection) -> Operator:
        rows = _BY_LOG_IN.fetch(conn, {"username": self.username, "issued_at": self.issued_at})
        if not rows or rows[0][3]:
            raise NotAuthenticated("This operator was disabled.")
        username, role, labels, _, changed, ended = rows[0]
        if ended:
            raise NotAuthenticated("You have logged out; log in again.")
        if changed:
            raise NotAuthenticated("Your password or your rights were changed; log in again.")
        credential = Credential(issued_at=self.issued_at or 0)
        return Operator(
            username=username, role=Role(role), scope=labels, source_ip=self.source_ip, credential=credential
        )

    def _by_api_token(self, conn: Connection) -> Operator:
        rows = _BY_API_TOKEN.fetch(conn, {"token_hash": self.api_token_hash})
        if not rows:
            raise NotAuthenticated("The token is not valid, has expired or was revoked.")
        username, at_most, role, labels, token_ids, created_at, expires_at = rows[0]
        return Operator(
            username=username,
            role=Role(role).lower_of(Role(at_most)),
            scope=labels,
            source_ip=self.source_ip,
            credential=Credential(issued_at=created_at, expires_at=expires_at, token_ids=tuple(token_ids)),
        )
