"""Mutations of what operators ask of a fleet and change in it: lists, label limits, bulk changes."""

from tests.regressions.mutation import Mutation

PAGES_OF_COMMANDS = "test_the_pages_of_a_list_of_commands_are_what_its_filter_means"
OWN_SIDE = "test_a_limited_admin_keeps_an_agent_on_their_side"

MUTATIONS = (
    Mutation(
        name="list-forgets-the-label-limit",
        puts_back="An operator of one region lists the commands of all.",
        stands_for=("S11",),
        find='if scope is not None: labels.append("a.labels @> %(scope)s::jsonb")',
        replace="",
        caught_by=PAGES_OF_COMMANDS,
    ),
    Mutation(
        name="overview-forgets-the-label-limit",
        puts_back="The overview shows agents beyond a label limit.",
        stands_for=("S11",),
        find='from agents a where a.deleted_at is null and {AGENT_IN_SCOPE} """.encode(), parameters',
        replace='from agents a where a.deleted_at is null """.encode(),\n        parameters',
        caught_by="test_an_operator_of_one_region_sees_its_figures",
    ),
    Mutation(
        name="agent-leaves-a-foreign-limit",
        puts_back="A limited admin takes an agent from other operators.",
        stands_for=("S11",),
        find="where (%(after)s::jsonb @> o.labels) <> (%(before)s::jsonb @> o.labels)",
        replace="where (%(after)s::jsonb @> o.labels) > (%(before)s::jsonb @> o.labels)",
        caught_by=OWN_SIDE,
    ),
    Mutation(
        name="agent-enters-a-foreign-limit",
        puts_back="A limited admin gives an agent to other operators.",
        stands_for=("S11",),
        find="_require_own_side(conn, before.labels, labels, by)",
        replace="",
        caught_by=OWN_SIDE,
    ),
    Mutation(
        name="why-forgets-the-label-limit",
        puts_back="An operator learns about an agent beyond a label limit.",
        stands_for=("S11",),
        find="agent = registry.find(conn, agent_id, scope)\n next_id =",
        replace="agent = registry.find(conn, agent_id, None)\nnext_id =",
        caught_by="test_an_agent_outside_the_label_limit_is_unknown",
    ),
    Mutation(
        name="expected-count-is-ignored",
        puts_back="Another number of commands is cancelled than the operator expected.",
        stands_for=("R38",),
        find="if deed.expected is not None and deed.expected != matched:",
        replace="if False:",
        caught_by="test_nothing_is_done_where_another_number_was_expected",
    ),
    Mutation(
        name="redrives-at-once",
        puts_back="Two bulk redrives at the same time submit a command twice.",
        stands_for=("R38",),
        find="conn.execute(\"select pg_advisory_xact_lock(hashtextextended('redrive commands', 0))\")",
        replace="pass",
        caught_by="test_two_redrives_at_once_submit_each_command_once",
    ),
    Mutation(
        name="statuses-share-what-is-counted",
        puts_back="A dry run answers with a third of the commands that match.",
        stands_for=("R38",),
        find="shared=False",
        replace="shared=True",
        caught_by="test_a_dry_run_counts_all_or_says_that_it_cannot",
    ),
    Mutation(
        name="bulk-cancel-changes-an-end",
        puts_back="A bulk cancel changes a command that ended meanwhile.",
        stands_for=("R38",),
        find="stop_epoch = null where status in ('pending', 'sent', 'acknowledged', 'timed_out')",
        replace="stop_epoch = null\nwhere true",
        caught_by="test_an_ended_command_gets_no_cancel_request",
    ),
    Mutation(
        name="cursor-without-the-number",
        puts_back="A page leaves out commands that were accepted at the same moment as the last one of the page before.",
        stands_for=("R39",),
        find="and (r.created_at, r.seq) < (%(before_at)s::timestamptz, %(before_seq)s::bigint)",
        replace="and r.created_at < %(before_at)s::timestamptz",
        caught_by=PAGES_OF_COMMANDS,
    ),
    Mutation(
        name="page-goes-beyond-what-is-known",
        puts_back="A page of several statuses leaves out commands where one index was not read far enough.",
        stands_for=("R39",),
        find="where not exists (select from cut where (f.created_at, f.seq) < (cut.created_at, cut.seq))",
        replace="where true",
        caught_by=PAGES_OF_COMMANDS,
    ),
    Mutation(
        name="list-reads-everything",
        puts_back="A list reads an index to its end where few commands fit.",
        stands_for=("R39",),
        find="from ({entries} limit {share}) as w",
        replace="from ({entries} limit 1000000) as w",
        caught_by="test_a_filter_that_no_index_fits_reads_a_bounded_number_of_rows",
    ),
)
