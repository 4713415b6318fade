"""The operators: made, limited, disabled; their tokens for scripts."""

from dataclasses import dataclass

from dispatcher.access import identity
from dispatcher.access.identity import Operator, Role
from dispatcher.errors import Conflict, NotAllowed, NotFound
from dispatcher.platform.database import Connection
from dispatcher.store import journal, operators
from dispatcher.store.operators import Account, ApiToken
from dispatcher.store.scopes import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOperator:
    """An operator to make, or to change."""

    username: str
    password: str
    role: Role
    scope: Scope


def put(conn: Connection, new: NewOperator, by: Operator) -> Account:
    """Make an operator, or give an existing one this password, role and limit."""
    username, scope = new.username, new.scope
    with conn.transaction():
        identity.set_password(conn, username, new.password, new.role, scope)
        detail = {"operator": username, "role": new.role, "labels": None if scope is None else dict(scope)}
        journal.record(conn, by.actor, "put operator", detail=detail)
        account = operators.get(conn, username)
    if account is None:
        raise NotFound(f"There is no operator {username!r}.")
    return account


def disable(conn: Connection, username: str, by: Operator) -> None:
    """Disable an operator.  Raises NotFound, and Conflict for one who would disable himself."""
    if username == by.username:
        raise Conflict("You cannot disable yourself.")
    with conn.transaction():
        if not operators.disable(conn, username):
            raise NotFound(f"There is no operator {username!r}.")
        journal.record(conn, by.actor, "disable operator", detail={"operator": username})


def make_token(conn: Connection, name: str, role: Role, ttl_seconds: int, by: Operator) -> tuple[ApiToken, str]:
    """Make a token for scripts; return it with its secret.

    Raises NotAllowed for a role above the operator's own, and Conflict for one who does not log in here.
    """
    if not by.role.allows(role):
        raise NotAllowed(f"Your role is {by.role}; a token of yours can have no higher one.")
    if operators.get(conn, by.username) is None:
        raise Conflict("Only operators that log in here have tokens for scripts; yours come from your issuer.")
    secret, token_hash = identity.new_api_token()
    with conn.transaction():
        token = operators.add_token(
            conn, username=by.username, name=name, token_hash=token_hash, role=role, ttl_seconds=ttl_seconds
        )
        detail = {"tokenId": str(token.token_id), "name": name, "role": role}
        journal.record(conn, by.actor, "make token", detail=detail)
    return token, secret


def revoke_token(conn: Connection, token_id: str, by: Operator) -> None:
    """Revoke one of the operator's own tokens; raises NotFound."""
    with conn.transaction():
        if not operators.revoke_token(conn, by.username, token_id):
            raise NotFound("You have no such token.")
        journal.record(conn, by.actor, "revoke token", detail={"tokenId": token_id})
