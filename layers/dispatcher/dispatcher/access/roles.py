"""Roles, and authenticated operators."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from dispatcher.access.audit_log import Actor
from dispatcher.access.scopes import Scope
from dispatcher.errors import NotAllowed


class Role(StrEnum):
    """What an operator may do; each role includes the roles before it."""

    READER = "reader"
    SENDER = "sender"
    ADMIN = "admin"

    def allows(self, needed: "Role") -> bool:
        """Tell whether this role includes `needed`."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(needed)

    def lower_of(self, other: "Role") -> "Role":
        """Return the lower of two roles."""
        return other if self.allows(other) else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """The token that an operator showed."""

    issued_at: float
    """In seconds since 1970, by the database's clock, to the microsecond."""
    expires_at: datetime | None = None
    """When everything ends that is made with it; None: what a log-in makes may last longer than the log-in."""
    token_ids: tuple[UUID, ...] = ()
    """The API token, after those that it was made with; empty for another kind of token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """An authenticated operator."""

    username: str
    role: Role
    scope: Scope = None
    source_ip: str | None = None
    credential: Credential | None = None
    reason: str | None = None
    """Why the operator does this, for the audit log."""

    @property
    def token_id(self) -> UUID | None:
        """The API token that the operator showed."""
        return self.credential.token_ids[-1] if self.credential and self.credential.token_ids else None

    @property
    def actor(self) -> Actor:
        """The operator as the audit log names them."""
        return Actor(name=self.username, source_ip=self.source_ip, token_id=self.token_id, reason=self.reason)

    def require(self, needed: Role) -> None:
        """Raise NotAllowed for an operator of a lower role."""
        if not self.role.allows(needed):
            raise NotAllowed(f"This needs the role {needed}; yours is {self.role}.")
