"""A constraint of a table left out."""

from tests.regressions.mutation import Mutation
from tests.regressions.table.paths import GUARDS, INTAKE, SCHEMA

REFUSED = GUARDS + "test_the_table_itself_refuses_what_must_never_be"


def _without(name: str, what: str, constraint: str, case: str) -> Mutation:
    """Take one constraint away from the table of commands."""
    return Mutation(
        name=f"no-constraint-{name}",
        puts_back=what,
        file=SCHEMA,
        old=constraint,
        new="",
        caught_by=(f"{REFUSED}[{case}]",),
    )


MUTATIONS = (
    _without(
        "status",
        "I11: a status that is none, which no reader knows",
        " check (status in\n"
        "        ('pending', 'sent', 'acknowledged', 'completed', 'failed', 'expired', 'cancelled', 'dead', 'timed_out'))",
        "status = 'zzz'",
    ),
    _without(
        "attempts-left",
        "I1, I3: pending, and no attempt is left to be made",
        "    check (status <> 'pending' or attempt < max_attempts),\n",
        "status = 'pending', attempt = max_attempts",
    ),
    _without(
        "attempts",
        "I3: more attempts than there may be",
        " check (attempt between 0 and max_attempts)",
        "status = 'dead', attempt = max_attempts + 1",
    ),
    _without(
        "sent",
        "I1: sent, without a time after which it is sent again",
        "    check (status <> 'sent' or (ack_deadline is not null and sent_at is not null)),\n",
        "status = 'sent', sent_at = now()",
    ),
    _without(
        "acknowledged",
        "I1: executing, without an end of the waiting",
        "    check (status <> 'acknowledged' or execution_deadline is not null),\n",
        "status = 'acknowledged'",
    ),
    _without(
        "idempotency",
        "I10: a key of nobody's, of nothing",
        "    check (idempotency_key is null or (submitted_by is not null and request_hash is not null)),\n",
        "idempotency_key = 'k'",
    ),
    Mutation(
        name="no-constraint-lease",
        puts_back="I5: a lease without an end",
        file=SCHEMA,
        old=",\n\n    check ((lease_token is null) = (lease_expires_at is null))",
        new="",
        caught_by=(GUARDS + "test_a_lease_without_an_end_is_refused",),
    ),
    Mutation(
        name="no-constraint-idempotency-key",
        puts_back="I10: two commands under one key",
        file=SCHEMA,
        old=",\n    unique (submitted_by, idempotency_key)\n",
        new="\n",
        caught_by=(INTAKE + "test_one_idempotency_key_is_one_command",),
    ),
)
