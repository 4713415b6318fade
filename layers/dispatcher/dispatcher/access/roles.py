"""Roles, and authenticated operators."""

from dataclasses import dataclass
from enum import StrEnum

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
class Operator:
    """An authenticated operator."""

    username: str
    role: Role
    scope: Scope = None
    source_ip: str | None = None

    @property
    def actor(self) -> Actor:
        """The operator as the audit log names them."""
        return Actor(name=self.username, source_ip=self.source_ip)

    def require(self, needed: Role) -> None:
        """Raise NotAllowed for an operator of a lower role."""
        if not self.role.allows(needed):
            raise NotAllowed(f"This needs the role {needed}; yours is {self.role}.")
