"""Mutations of sessions and their templates."""

from tests.regressions.mutation import Mutation

ENDS = "test_every_end_of_a_command_moves_its_session_to_a_state_that_is_true"

MUTATIONS = (
    Mutation(
        name="status-of-anyones-session",
        puts_back="A status message updates the session of another agent.",
        stands_for=("S4",),
        find="where s.name = of_session and s.agent_id = at_agent",
        replace="where s.name = of_session",
        caught_by="test_an_agents_status_changes_only_its_own_sessions",
    ),
    Mutation(
        name="only-reports-move-sessions",
        puts_back="A command that expires, dies or is cancelled leaves its session as it is.",
        stands_for=("R36",),
        find="and (new.status in ('completed', 'failed', 'expired', 'cancelled', 'dead', 'timed_out') or old.status",
        replace="and (new.status in ('completed', 'failed') or old.status",
        caught_by=ENDS,
    ),
    Mutation(
        name="a-time-out-changes-nothing",
        puts_back="A session is shown as it was although a command may have been executed.",
        stands_for=("R36",),
        find="when in_doubt then 'unknown'",
        replace="",
        caught_by=ENDS,
    ),
    Mutation(
        name="a-guess-is-kept",
        puts_back="A status does not end a doubt.",
        stands_for=("R36",),
        find="session.known_state := said; session.doubts := '{}'; session.details := session.details - 'reason'; update",
        replace="session.known_state := said; session.details := session.details - 'reason'; update",
        caught_by="test_a_status_ends_every_doubt",
    ),
    Mutation(
        name="details-are-replaced",
        puts_back="`vnc_ready` throws away what `status` said.",
        stands_for=("R36",),
        find="when 'object' then old_details else '{}' end || e.added",
        replace="when 'object' then '{}'::jsonb else '{}' end || e.added",
        caught_by="test_details_are_merged_and_a_reason_goes_with_its_state",
    ),
    Mutation(
        name="sessions-outlive-their-agent",
        puts_back="The sessions of a deleted agent stay as they are, and its next incarnation has them.",
        stands_for=("R36",),
        find="when (old.deleted_at is null and new.deleted_at is not null)",
        replace="when (false)",
        caught_by="test_a_deleted_agent_holds_no_session",
    ),
    Mutation(
        name="the-end-reads-an-old-snapshot",
        puts_back="A session is shown as running although a stop is under way.",
        stands_for=("R36",),
        find="and a.deleted_at is null for update of s;",
        replace="and a.deleted_at is null;",
        caught_by="test_a_session_follows_although_a_new_command_is_being_submitted",
    ),
    Mutation(
        name="payload-session-is-not-read",
        puts_back="A row of psql that names its session in the payload has no session.",
        stands_for=("R3", "R36"),
        find="new.session_id := new.payload ->> 'sessionId';",
        replace="",
        caught_by="test_a_start_by_psql_makes_a_session",
    ),
    Mutation(
        name="start-without-a-manifest",
        puts_back="A start carries no manifest: the docker-agent refuses it, the k8s-agent reads each port as 0.",
        stands_for=("R37",),
        find='{**payload, "templateManifest": session.template_manifest}',
        replace="payload",
        caught_by="test_a_start_carries_the_manifest_of_its_template",
    ),
    Mutation(
        name="long-names-of-sessions",
        puts_back="The name of a session is longer than Kubernetes allows.",
        stands_for=("R37",),
        find="words[: LABEL_MOST - len(suffix) - 1]",
        replace="words",
        caught_by="test_the_name_of_a_session_is_a_name_for_kubernetes_and_docker",
    ),
)
