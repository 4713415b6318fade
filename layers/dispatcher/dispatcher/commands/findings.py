"""New findings of the loss check: a finding stays for hours, and an alarm must ring for the next one too."""

from collections.abc import Mapping
from dataclasses import dataclass

from dispatcher.commands.loss_check import LossReport
from dispatcher.platform.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """A metric: how many findings of some checks are new."""

    checks: tuple[str, ...]
    confirmed: bool = False
    """Whether a finding counts only when the next check finds it too: it may pass by itself."""


METRICS: Mapping[str, Fresh] = {
    "newly_lost_commands": Fresh(checks=("lost_commands",)),
    "newly_stuck_commands": Fresh(checks=("stuck_commands",), confirmed=True),
    "newly_overdue_commands": Fresh(checks=("overdue_commands",), confirmed=True),
    "newly_broken_invariants": Fresh(checks=("illegal_transitions", "broken_histories", "times_out_of_order")),
}
"""Each is above 0 for one check or two after a new finding, and then 0 again, whether or not the finding has gone."""


def record(conn: Connection, report: LossReport) -> dict[str, float]:
    """Store what a loss check found, and return METRICS.  Only the scheduled check calls it."""
    found = sorted((each.check, command_id) for each in report.findings for command_id in each.ids)
    rows = conn.execute(
        """
        with forgotten as (
            delete from findings where seen_at < now() - interval '1 hour'
        ), seen as (
            insert into findings as f (check_name, command_id)
            select check_name, command_id
            from unnest(%s::text[], %s::text[]) as found (check_name, command_id)
            on conflict (check_name, command_id) do update
            set seen_at = now(),
                found_at = case when f.seen_at < now() - interval '1 hour' then now() else f.found_at end
            returning check_name, found_at
        )
        select
            check_name,
            count(*) filter (where found_at > now() - interval '6 minutes') as first_time,
            count(*) filter (where found_at between now() - interval '11 minutes' and now() - interval '4 minutes') as again
        from seen
        group by check_name
        """,
        ([check for check, _ in found], [command_id for _, command_id in found]),
    ).fetchall()
    first_time = {check: number for check, number, _ in rows}
    again = {check: number for check, _, number in rows}
    return {
        name: float(sum((again if fresh.confirmed else first_time).get(check, 0) for check in fresh.checks))
        for name, fresh in METRICS.items()
    }
