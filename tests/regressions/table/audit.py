"""An audit that sees nothing: each check, neutered."""

from tests.regressions.mutation import Mutation
from tests.regressions.table.paths import AUDIT, STORE


def _blind(check: str, prefix: str, promise: str) -> Mutation:
    key = f'    "{check}": {prefix}"""\n'
    return Mutation(
        name=f"audit-sees-no-{check.replace('_', '-')}",
        puts_back=f"{promise}: the audit would not see it",
        file=STORE + "promises.py",
        old=key,
        new=f'    "{check}": "select command_id from agent_commands where false"\n    or {prefix}"""\n',
        caught_by=(f"{AUDIT}[{check}]",),
    )


MUTATIONS = (
    _blind("lost_commands", "", "I2"),
    _blind("stuck_commands", "f", "I15"),
    _blind("overdue_commands", "f", "I1"),
    _blind("illegal_transitions", "", "I6"),
    _blind("broken_histories", "f", "I16"),
    _blind("times_out_of_order", "f", "I12"),
)
