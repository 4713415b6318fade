"""Mutations of the change feed and of the programs that pass its events on."""

from tests.regressions.mutation import Mutation

PARALLEL = "test_a_reader_sees_each_event_of_parallel_writers_once_and_in_order"

MUTATIONS = (
    Mutation(
        name="feed-without-a-horizon",
        puts_back="A reader goes past events of a transaction that has not committed yet, and never sees them.",
        stands_for=("I20",),
        find="and (h.position, h.history_id) {beyond} (%(position)s, %(number)s) and h.position < feed_horizon() order by",
        replace="and (h.position, h.history_id) {beyond} (%(position)s, %(number)s)\n            order by",
        caught_by=PARALLEL,
    ),
    Mutation(
        name="latest-events-from-the-start",
        puts_back="The operators' page shows as the latest changes those that are the oldest.",
        stands_for=("I20",),
        find='beyond, direction, back = ("<=", "desc", "asc") if backwards else (">", "asc", "desc")',
        replace='beyond, direction, back = ("<=", "asc", "desc") if backwards else (">", "asc", "desc")',
        caught_by="test_the_latest_events_and_from_there_on",
    ),
    Mutation(
        name="feed-in-the-order-of-transactions-alone",
        puts_back="A transaction that waited for a later one puts its event before that one's: a command goes back.",
        stands_for=("I20",),
        find="when overtaken then feed_position_after(of_command, feed_position(pg_current_xact_id()))",
        replace="when false then feed_position_after(of_command, feed_position(pg_current_xact_id()))",
        caught_by=PARALLEL,
    ),
    Mutation(
        name="own-history-believes-its-old-snapshot",
        puts_back="A report that waited for a later transaction puts its event before that one's: a command goes back.",
        stands_for=("I20",),
        find="begin return feed_overtaken();",
        replace="begin\n    return false;",
        caught_by="test_a_report_that_waited_for_a_later_transaction_comes_after_it",
    ),
    Mutation(
        name="presence-in-the-order-of-transactions-alone",
        puts_back="Who follows the feed takes an agent that has disconnected for connected.",
        stands_for=("I20",),
        find="greatest(feed_position(pg_current_xact_id()), ( select e.position",
        replace="coalesce(feed_position(pg_current_xact_id()), (\n            select e.position",
        caught_by="test_an_agent_never_goes_back_in_the_feed",
    ),
    Mutation(
        name="deleted-events-are-skipped-in-silence",
        puts_back="A reader that was away for longer than the retention time is not told that events are missing.",
        stands_for=("I20",),
        find="(f.pruned_position, f.pruned_number) > (%(position)s, %(number)s) as events_gone",
        replace="false as events_gone",
        caught_by="test_a_cursor_that_is_older_than_what_is_kept_is_refused",
    ),
    Mutation(
        name="cursor-of-a-lost-time-is-accepted",
        puts_back="After a restore a reader waits at a place that comes again, and misses what is written until then.",
        stands_for=("I20",),
        find="feed_horizon() <= %(position)s as ahead",
        replace="false as ahead",
        caught_by="test_a_cursor_from_a_time_that_was_undone_is_refused",
    ),
    Mutation(
        name="bus-gets-two-events-of-an-agent-at-a-time",
        puts_back="EventBridge refuses the first of two events of an agent, and takes the second one.",
        stands_for=("I20",),
        find="firsts.setdefault(events[place].agent_id, place)",
        replace="firsts.setdefault(events[place].id, place)",
        caught_by="test_a_refused_event_keeps_the_later_ones_of_its_agent",
    ),
    Mutation(
        name="sink-goes-past-what-was-refused",
        puts_back="Events that the bus has refused are lost.",
        stands_for=("I20",),
        find="page.after if sent.complete else (holds.after, *page.places)[sent.prefix]",
        replace="page.after",
        caught_by="test_a_bus_that_takes_nothing_is_asked_again_by_the_next_run",
    ),
    Mutation(
        name="sink-without-a-lease",
        puts_back="Two publishers work at a time, and the events of an agent are out of order.",
        stands_for=("I20",),
        find="and (lease_expires_at is null or lease_expires_at < clock_timestamp()) returning lease_token",
        replace="returning lease_token",
        caught_by="test_one_publisher_works_at_a_time",
    ),
)
