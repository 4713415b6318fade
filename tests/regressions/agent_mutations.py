"""Mutations of the SDK for agents."""

from tests.regressions.mutation import Mutation

HISTORIES = "test_any_history_of_faults_ends_every_command_and_runs_none_twice"
KILLS = "test_a_kill_between_two_steps_neither_loses_a_command_nor_runs_it_twice"

MUTATIONS = (
    Mutation(
        name="agent-acknowledges-what-is-not-stored",
        puts_back="A command is acknowledged while the disk is full, and is lost with the process.",
        stands_for=(),
        find="self.core.not_stored(writes, str(error))",
        replace="self.core.stored(writes)",
        caught_by="test_a_full_disk_acknowledges_nothing_and_the_agent_comes_back_when_there_is_room",
    ),
    Mutation(
        name="agent-loses-a-result-that-is-not-stored",
        puts_back="A result that finds the disk full is never said.",
        stands_for=(),
        find="if record.phase is Phase.UNSAVED:",
        replace="if record.phase is Phase.LEFT:",
        caught_by="test_a_result_that_finds_the_disk_full_is_kept_and_said_later",
    ),
    Mutation(
        name="agent-runs-again-what-was-half-run",
        puts_back="After a crash a command with side effects is executed a second time.",
        stands_for=(),
        find="elif record.resumed and not self.catalogue.is_idempotent(delivery.action):",
        replace="elif record.resumed and not self.catalogue:",
        caught_by="test_a_command_that_is_found_half_run_is_interrupted_or_resumed",
    ),
    Mutation(
        name="agent-runs-again-what-has-ended",
        puts_back="A command that is delivered again after its end is executed again.",
        stands_for=(),
        find="if ended.outcome.retryable and newer:",
        replace="if newer:",
        caught_by="test_a_command_that_is_delivered_again_is_not_executed_again",
    ),
    Mutation(
        name="agent-forgets-unconfirmed-results",
        puts_back="A result that the service did not confirm is not said over the next connection.",
        stands_for=(),
        find="return [ended for ended in self._ended.values() if not ended.confirmed]",
        replace="return [ended for ended in self._ended.values() if ended.confirmed and not ended.confirmed]",
        caught_by=KILLS,
    ),
    Mutation(
        name="agent-keeps-what-it-did-not-acknowledge",
        puts_back="A command that its operator cancelled while the agent was away is executed.",
        stands_for=(),
        find="if moved and self.trouble is None and not self.draining:",
        replace="if self.trouble is None and not self.draining:",
        caught_by="test_what_was_not_acknowledged_before_a_cut_is_the_services_again",
    ),
    Mutation(
        name="agent-cancels-a-task-before-its-first-step",
        puts_back="A command that is cancelled at the moment of its start never ends.",
        stands_for=(),
        find="if execution.is_async and execution.begun:",
        replace="if execution.is_async:",
        caught_by=HISTORIES,
    ),
    Mutation(
        name="agent-retries-at-once",
        puts_back="`Retry(after=60)` is executed again as soon as the service delivers it.",
        stands_for=(),
        find="not_before = ended.ended_at + ended.outcome.retry_after",
        replace="not_before = 0.0",
        caught_by="test_a_retry_is_executed_again_after_its_pause",
    ),
    Mutation(
        name="agent-moves-while-commands-are-unacknowledged",
        puts_back="An agent moves to a new connection while commands are on their way over the older one.",
        stands_for=(),
        find="now >= self._move_at and (is_quiet or now >= self._move_at + self._grace)",
        replace="now >= self._move_at",
        caught_by="test_the_agent_moves_to_a_new_connection_without_a_second_delivery_or_a_gap",
    ),
    Mutation(
        name="agent-names-nothing-that-waits-when-it-moves",
        puts_back="What waits for its turn at a move to a new connection is delivered twice.",
        stands_for=(),
        find="self.work.connect(moved=self._moved)",
        replace="self.work.connect(moved=False)",
        caught_by="test_commands_that_wait_for_their_turn_move_with_the_agent",
    ),
    Mutation(
        name="agent-names-what-it-has-before-everything-has-come",
        puts_back="What still comes over the older connection after a move is delivered twice.",
        stands_for=(),
        find="if not self._unnamed or self.link.older is not None:",
        replace="if not self._unnamed:",
        caught_by="test_what_still_comes_over_the_older_connection_is_named_over_the_new_one",
    ),
    Mutation(
        name="agent-shares-its-state-file",
        puts_back="Two agents work on one state file.",
        stands_for=(),
        find="if path in _locked: raise BlockingIOError",
        replace="",
        caught_by="test_a_second_agent_on_one_state_file_is_refused",
    ),
    Mutation(
        name="agent-does-not-stop-what-an-executable-started",
        puts_back="A cancel that comes while the process starts leaves what it started, and the command never ends.",
        stands_for=(),
        find="process = await asyncio.shield(starting)",
        replace="process = await starting",
        caught_by="test_a_cancel_ends_the_process_and_everything_that_it_started",
    ),
)
