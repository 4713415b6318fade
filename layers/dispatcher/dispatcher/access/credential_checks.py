"""Whether what an operator showed is still valid, checked again in the transaction that makes something lasting of it."""

from dispatcher.access.roles import Operator
from dispatcher.errors import NotAuthenticated
from dispatcher.platform.database import Connection

# For rows under the alias `t` with the column `made_with`: each API token in it still stands (in `callers.function.sql`, too).
MAKERS_STAND = """(cardinality(t.made_with) = (
    select count(*) from api_tokens p where p.token_id = any (t.made_with) and p.revoked_at is null))"""


def require_unchanged(conn: Connection, by: Operator) -> None:
    """Raise NotAuthenticated if the operator's rights ended after they were read.

    The rows stay locked until the end of the transaction, so that a change that takes rights away waits, and then sees what
    this transaction made.
    """
    if by.credential is None:
        return
    if not by.credential.token_ids and by.credential.expires_at is not None:
        return  # a token of an OpenID Connect issuer: it has no account here, and ends by itself
    account = conn.execute(
        "select from operators where username = %s and disabled_at is null and valid_after <= to_timestamp(%s) for share",
        (by.username, by.credential.issued_at),
    ).fetchone()
    tokens = conn.execute(
        "select from api_tokens where token_id = any (%s) and revoked_at is null order by token_id for share",
        (list(by.credential.token_ids),),
    ).fetchall()
    if account is None or len(tokens) != len(by.credential.token_ids):
        raise NotAuthenticated("Your rights have just changed; log in again.")
