"""Accepting, cancelling and redriving commands."""

from tests.regressions.mutation import Mutation
from tests.regressions.table.paths import EDGES, GUARDS, INTAKE, LAYER, PROMISES, STATES, STORE

MUTATIONS = (
    Mutation(
        name="delivery-fails-the-202",
        puts_back="R14, I1: a 500 for a command that is committed",
        file=LAYER + "commands/delivery.py",
        old="    except psycopg.Error as error:",
        new="    except ZeroDivisionError as error:",
        caught_by=(PROMISES + "test_a_database_that_goes_away_after_the_commit_changes_nothing_about_the_202",),
    ),
    Mutation(
        name="no-delivery-after-the-commit",
        puts_back="R11: a command for a connected agent waits for the sweep",
        file="functions/commands/app.py",
        old="    deliver_at_once(conn, ApiGateway.from_environment(), submitted, deadline_of(api.lambda_context))\n",
        new="",
        caught_by=(INTAKE + "test_a_command_for_a_connected_agent_is_sent_at_once",),
    ),
    Mutation(
        name="session-command-is-not-sent",
        puts_back="R30: DELETE answers success and sends nothing",
        file="functions/sessions/app.py",
        old="""        deliver_at_once(conn, ApiGateway.from_environment(), [command], deadline_of(api.lambda_context))
    return accepted(""",
        new="    return accepted(",
        caught_by=(PROMISES + "test_what_is_done_to_a_session_is_sent_to_its_agent",),
    ),
    Mutation(
        name="batch-is-not-dispatched",
        puts_back="R31: of a list only the first command is dispatched",
        file="functions/commands/app.py",
        old="from_environment(), submitted, deadline_of",
        new="from_environment(), submitted[:1], deadline_of",
        caught_by=(PROMISES + "test_every_command_of_a_list_is_delivered_to_its_own_agent",),
    ),
    Mutation(
        name="list-is-accepted-in-part",
        puts_back="I1: a refused list leaves commands behind",
        file=LAYER + "commands/submission.py",
        old="    if len(asked) == 1:\n",
        new="    if len(asked) != 1:\n        return [_submit(conn, each, limits, by) for each in asked]\n"
        "    if len(asked) == 1:\n",
        caught_by=(INTAKE + "test_a_list_is_accepted_as_a_whole_or_not_at_all",),
    ),
    Mutation(
        name="queue-without-a-cap",
        puts_back="R14: nothing says no before the queue is full",
        file=STORE + "commands.py",
        old="and %(queue)s > (select",
        new="and 1000000 > (select",
        caught_by=(PROMISES + "test_a_full_queue_is_said_before_and_nothing_is_kept_of_the_command",),
    ),
    Mutation(
        name="too-large-is-accepted",
        puts_back="32 and 128 KB: a command that no frame can carry gets a 202",
        file=STORE + "commands.py",
        old="and {_BYTES} <= %(command_bytes)s",
        new="and {_BYTES} <= %(command_bytes)s + 1000000",
        caught_by=(INTAKE + "test_a_command_larger_than_a_frame_by_one_byte_is_refused_and_one_that_fits_is_taken",),
    ),
    Mutation(
        name="idempotency-without-comparing",
        puts_back="I10: another body under the same key gets the first one's 202",
        file=LAYER + "commands/submission.py",
        old="    if request_hash != new.request_hash:",
        new="    if False:",
        caught_by=(INTAKE + "test_one_idempotency_key_is_one_command",),
    ),
    Mutation(
        name="idempotency-key-is-not-kept",
        puts_back="I10: a request that is sent again is another command",
        file="functions/commands/app.py",
        old="agent_id: Name, request: Annotated[SubmitRequest, Body()], idempotency_key: IdempotencyKey = None\n"
        ") -> Response[CommandDocument]:\n"
        '    """Accept a command for one agent."""\n',
        new="agent_id: Name, request: Annotated[SubmitRequest, Body()], idempotency_key: IdempotencyKey = None\n"
        ") -> Response[CommandDocument]:\n"
        '    """Accept a command for one agent."""\n'
        "    idempotency_key = None\n",
        caught_by=(INTAKE + "test_one_idempotency_key_is_one_command",),
    ),
    Mutation(
        name="answer-before-the-commit",
        puts_back="I1: a transaction that is left open: 202, and then nothing",
        file=LAYER + "platform/database.py",
        old="psycopg.connect(url, autocommit=True,",
        new="psycopg.connect(url, autocommit=False,",
        caught_by=(INTAKE + "test_a_list_is_accepted_as_a_whole_or_not_at_all",),
    ),
    Mutation(
        name="failed-commit-is-a-server-error",
        puts_back="commit outcome unknown: the caller is not told that it may try again",
        file=LAYER + "api/resolver.py",
        old="        case _ if isinstance(error, INTERRUPTIONS):",
        new="        case psycopg.errors.ReadOnlySqlTransaction():",
        caught_by=(PROMISES + "test_a_commit_that_fails_is_never_answered_with_a_202",),
    ),
    Mutation(
        name="key-of-any-session",
        puts_back="I10: another request under an old key is answered with the old session",
        file=LAYER + "sessions/sessions.py",
        old="return _same(find(conn, name, by.scope), new), False",
        new="return find(conn, name, by.scope), False",
        caught_by=("tests/functions/test_sessions.py::test_a_key_of_another_request_starts_nothing",),
    ),
    Mutation(
        name="misspelt-filter-is-ignored",
        puts_back="a list of what was not asked for, which a script then redrives",
        file=LAYER + "api/resolver.py",
        old="        if unknown:\n            raise _malformed(unknown)\n",
        new="",
        caught_by=(EDGES + "test_a_misspelt_filter_is_refused_and_not_answered_with_everything",),
    ),
    Mutation(
        name="nan-is-json",
        puts_back="data: NaN is accepted, and PostgreSQL refuses it",
        file=LAYER + "platform/json_text.py",
        old='    raise InvalidRequest(f"The body holds {name}, which is not JSON.")',
        new="    return None",
        caught_by=(INTAKE + "test_bad_input_gets_a_problem_and_changes_nothing",),
    ),
    Mutation(
        name="nesting-without-a-bound",
        puts_back="data: a deeply nested body is an error of the service",
        file=LAYER + "platform/json_text.py",
        old="    except RecursionError:\n        raise InvalidRequest(",
        new="    except ZeroDivisionError:\n        raise InvalidRequest(",
        caught_by=(INTAKE + "test_bad_input_gets_a_problem_and_changes_nothing",),
    ),
    Mutation(
        name="cancel-without-a-guard",
        puts_back="R16, I6: a completed command is cancelled",
        file=STORE + "commands.py",
        old="(status || '') = any(%(cancellable)s || array['sent', 'acknowledged'])",
        new="true",
        caught_by=(GUARDS + "test_an_ended_command_is_not_marked_as_to_be_cancelled[completed]",),
    ),
    Mutation(
        name="cancel-ends-what-is-under-way",
        puts_back="I6: cancelled, while its agent executes it",
        file=STORE + "commands.py",
        old="status = case when status = any(%(cancellable)s) then 'cancelled' else status end",
        new="status = 'cancelled'",
        caught_by=(STATES + "[cancel-acknowledged]",),
    ),
    Mutation(
        name="cancel-asks-nobody",
        puts_back="I14: who could stop is not told",
        file=LAYER + "commands/submission.py",
        old="        gateway.post(asked.connection_id, frames.cancel(command_id, asked.attempt))",
        new="        del asked",
        caught_by=(PROMISES + "test_a_command_that_is_under_way_is_asked_to_stop_and_one_that_has_ended_is_not",),
    ),
    Mutation(
        name="redrive-of-what-was-completed",
        puts_back="I6: what was done is done again",
        file=LAYER + "commands/submission.py",
        old="not in ENDED - {Status.COMPLETED}:",
        new="not in ENDED:",
        caught_by=(PROMISES + "test_only_what_ended_without_success_is_redriven_as_a_new_command",),
    ),
)
