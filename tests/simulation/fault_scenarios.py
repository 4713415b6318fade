"""Short histories that are written by hand: each one reveals one of the planted faults."""

from collections.abc import Callable
from typing import Any, TypeVar

from dispatcher.commands.submission import NewCommand
from tests.simulation.history import History
from tests.simulation.injected_faults import (
    AWAY,
    CONNECTION_FAULTS,
    DELIVERY_FAULTS,
    FROZEN,
    POST_FAULTS,
    ConnectionFault,
    PostFault,
)
from tests.simulation.simulation_database import SimulationDatabase
from tests.simulation.simulator import Simulation

T = TypeVar("T")


class Scenario:
    """A simulation in which only the named faults happen."""

    def __init__(self, database: SimulationDatabase) -> None:
        database.reset()
        self.simulation = Simulation(database, self)
        self.agents = self.simulation.agents
        self.post_faults: list[PostFault] = []
        """The faults of the next posts."""
        self.connection_faults: list[tuple[ConnectionFault, int]] = []
        """The faults of the connections of the next functions, each with the number of round trips before it."""
        self.frozen_after_receive: list[bool] = []
        """Whether the process is frozen that settles the next message and claims."""
        self.database_away: list[bool] = []
        """Whether the database is away when the next messages come."""
        self.during_calls: list[Callable[[], None]] = []
        """What others do during the next network calls."""
        self.simulation.during_call = self._during_call
        self._commands = 0

    def choose(self, options: tuple[T, ...]) -> T:
        """Choose the next fault of a post, and the ordinary case of everything else."""
        if options is POST_FAULTS and self.post_faults:
            return self.post_faults.pop(0)  # type: ignore[return-value]
        if (options is CONNECTION_FAULTS or options is DELIVERY_FAULTS) and self.connection_faults:
            return self.connection_faults.pop(0)  # type: ignore[return-value]
        if options is AWAY and self.database_away:
            return self.database_away.pop(0)  # type: ignore[return-value]
        if options is FROZEN and self.frozen_after_receive:
            return self.frozen_after_receive.pop(0)  # type: ignore[return-value]
        return options[0]

    def _during_call(self, _agent_id: str) -> None:
        if self.during_calls:
            self.during_calls.pop(0)()

    def connect(self, agent_id: str) -> None:
        """Connect an agent, and deliver its queue."""
        self.agents.connect(agent_id)
        self.agents.flush(self.agents.flush_requests.pop())

    def submit(self, agent_id: str, **fields: Any) -> None:
        """Submit a command."""
        self._commands += 1
        command = NewCommand(agent_id=agent_id, action=f"do-{self._commands}", payload={}, **fields)
        self.simulation.operators.submit_exactly([command])

    def report(self, agent_id: str, *kinds: str, of_agent: str | None = None, connection: int = 0) -> None:
        """Report on the first command that reached this agent, or another one; connection 1 is the one before the last."""
        for kind in kinds:
            command = self.agents.memory[of_agent or agent_id][0]
            self.agents.report(self.agents.connections(agent_id)[connection], command, kind)

    def pass_time_and_sweep(self, seconds: int) -> None:
        """Let time pass, then sweep."""
        self.simulation.pass_time(seconds)
        self.simulation.sweep()


def play_scenario(database: SimulationDatabase, scenario_of: Callable[[Scenario], None]) -> History:
    """Play a scenario to its end, and return its history."""
    scenario = Scenario(database)
    with scenario.simulation.patched_layer():
        scenario_of(scenario)
        scenario.simulation.finish(reconnecting=set())
    return scenario.simulation.history


def offline_agent(scenario: Scenario) -> None:
    """A command waits for an offline agent."""
    scenario.submit("k8s")


def expiry(scenario: Scenario) -> None:
    """A command expires before its agent connects."""
    scenario.submit("k8s", ttl_seconds=5)
    scenario.simulation.pass_time(25)


def connection_after_expiry(scenario: Scenario) -> None:
    """An agent connects after a command's deliver_by, but before the sweep."""
    expiry(scenario)
    scenario.submit("k8s")
    scenario.connect("k8s")


def missing_ack(scenario: Scenario) -> None:
    """A command arrives, and its agent sends heartbeats and no ack."""
    scenario.connect("k8s")
    scenario.submit("k8s")
    scenario.agents.heartbeat(scenario.agents.connections("k8s")[0])
    scenario.pass_time_and_sweep(61)


def post_without_answer(scenario: Scenario) -> None:
    """A post arrives, but its answer does not."""
    scenario.connect("k8s")
    scenario.post_faults = [PostFault.TIMEOUT_DELIVERED]
    scenario.submit("k8s")


def backlog(scenario: Scenario) -> None:
    """An agent with a window of one connects and has several commands."""
    for _ in range(3):
        scenario.submit("k8s")
    scenario.connect("k8s")


def backlog_of_batch(scenario: Scenario) -> None:
    """An agent with a window of three connects and has more commands."""
    for _ in range(5):
        scenario.submit("batch")
    scenario.connect("batch")


def submission_before_ack(scenario: Scenario) -> None:
    """A command is submitted while another one waits for its ack."""
    scenario.connect("k8s")
    scenario.simulation.pass_time(25)
    for _ in range(2):
        scenario.submit("k8s")


def submission_during_post(scenario: Scenario) -> None:
    """A command is submitted while another one is posted."""
    scenario.connect("batch")
    scenario.simulation.pass_time(25)
    scenario.during_calls = [lambda: scenario.submit("batch")]
    scenario.submit("batch")


def repeated_reports(scenario: Scenario) -> None:
    """An ack comes after the result, and a result comes twice."""
    scenario.connect("k8s")
    scenario.submit("k8s")
    scenario.report("k8s", "ack", "complete", "ack", "complete")


def late_ack(scenario: Scenario) -> None:
    """An ack comes over the old connection after the command was sent again over the new one."""
    scenario.connect("k8s")
    scenario.submit("k8s")
    scenario.connect("k8s")
    scenario.report("k8s", "ack", connection=1)


def late_disconnect(scenario: Scenario) -> None:
    """The $disconnect event of the old connection comes after the new one was opened."""
    scenario.connect("k8s")
    scenario.connect("k8s")
    scenario.agents.disconnect(scenario.agents.connections("k8s")[1])


def forged_report(scenario: Scenario) -> None:
    """An agent reports on another agent's command."""
    scenario.connect("k8s")
    scenario.connect("batch")
    scenario.submit("k8s")
    scenario.report("batch", "report complete", of_agent="k8s")


def reused_key(scenario: Scenario) -> None:
    """An idempotency key comes with two requests."""
    for _ in range(2):
        scenario.submit("k8s", idempotency_key="key-1")


def missing_result(scenario: Scenario) -> None:
    """An acknowledged command never gets a result."""
    scenario.connect("k8s")
    scenario.submit("k8s")
    scenario.report("k8s", "ack")
    scenario.pass_time_and_sweep(700)


def inserted_row(scenario: Scenario) -> None:
    """A command is inserted with psql."""
    scenario.connect("k8s")
    scenario.simulation.pass_time(25)
    scenario.simulation.operators.insert("k8s")
    scenario.simulation.sweep()


def killed_lease_holder(scenario: Scenario) -> None:
    """A process is killed while it holds the lease."""
    scenario.connect("batch")
    scenario.agents.heartbeat(scenario.agents.connections("batch")[0])
    scenario.post_faults = [PostFault.KILLED_BEFORE]
    scenario.submit("batch")
    scenario.pass_time_and_sweep(61)


def refused_post(scenario: Scenario) -> None:
    """A post is refused, and its command returns to the queue."""
    scenario.connect("k8s")
    scenario.post_faults = [PostFault.REFUSED]
    scenario.submit("k8s")


def frozen_after_claim(scenario: Scenario) -> None:
    """A process is frozen between its claim and its first post, until another one has posted the command."""
    scenario.connect("k8s")
    scenario.simulation.pass_time(25)
    for _ in range(2):
        scenario.submit("k8s")
    scenario.frozen_after_receive = [True]
    scenario.report("k8s", "complete")


def stop_to_closed_connection(scenario: Scenario) -> None:
    """An agent of protocol 2 loses its connection before it is asked to stop a command."""
    scenario.connect("batch")
    scenario.submit("batch")
    scenario.report("batch", "report ack")
    scenario.post_faults = [PostFault.GONE]
    scenario.simulation.operators.cancel(scenario.simulation.operators.known[-1])
    scenario.connect("batch")
    scenario.simulation.sweep()


def release_without_answer(scenario: Scenario) -> None:
    """A refused post is released twice, because the first answer is lost; another process posts in between."""
    scenario.submit("batch")
    scenario.agents.connect("batch")
    scenario.post_faults = [PostFault.NONE, PostFault.REFUSED]
    scenario.connection_faults = [(ConnectionFault.LOST_AFTER, 2)]  # after the claim
    scenario.during_calls = [nothing, nothing, lambda: scenario.connect("batch")]
    scenario.agents.flush(scenario.agents.flush_requests.pop())


def nothing() -> None:
    """Let others do nothing during a network call."""


def answer_without_commit_answer(scenario: Scenario) -> None:
    """A docker-agent's answer is settled, but the answer to the commit is lost; the session has another command."""
    scenario.connect("docker")
    for _ in range(2):
        scenario.submit("docker", session_id="s1")
    scenario.connection_faults = [(ConnectionFault.LOST_AFTER, 0)]
    scenario.report("docker", "answer")


def stop_for_new_agent(scenario: Scenario) -> None:
    """A command times out, its agent is deleted, and another agent with its id connects; then the command is cancelled."""
    scenario.connect("batch")
    scenario.submit("batch", execution_timeout=5)
    scenario.report("batch", "report ack")
    scenario.agents.crash("batch", half_open=False)
    scenario.pass_time_and_sweep(61)
    scenario.simulation.operators.delete("batch")
    scenario.simulation.operators.create("batch")
    scenario.connect("batch")
    scenario.simulation.operators.cancel(scenario.simulation.operators.known[-1])


def report_of_new_agent(scenario: Scenario) -> None:
    """A new agent reports on a command of the agent that had its id before."""
    scenario.connect("batch")
    scenario.submit("batch")
    command = scenario.agents.memory["batch"][0]
    scenario.simulation.operators.delete("batch")
    scenario.simulation.operators.create("batch")
    scenario.connect("batch")
    scenario.agents.report(scenario.agents.connections("batch")[0], command, "report complete")


def orphan(scenario: Scenario) -> None:
    """A command is accepted while its agent is deleted, and the id is used again before the sweep."""
    scenario.submit("k8s")
    scenario.simulation.operators.delete("k8s")
    scenario.simulation.operators.create("k8s")
    # As if the submission had been committed right after the deletion.
    scenario.simulation.database.observer.execute(
        "update agent_commands set status = 'pending', moves = moves + 1, completed_at = null, cause = 'accepted'"
    )
    scenario.simulation.database.observer.execute("delete from command_history where from_status is not null")
    scenario.simulation.database.observer.execute("update feed set pruned_position = 0, pruned_number = 0")
    scenario.connect("k8s")


def deleted_agent(scenario: Scenario) -> None:
    """An agent is deleted while a command waits for it."""
    scenario.submit("k8s")
    scenario.simulation.operators.delete("k8s")


def reconnects(scenario: Scenario) -> None:
    """Two processes with one id throw each other out, and acknowledge nothing."""
    scenario.submit("k8s")
    for _ in range(4):
        scenario.connect("k8s")
        scenario.agents.heartbeat(scenario.agents.connections("k8s")[0])


def retryable_failure(scenario: Scenario) -> None:
    """An attempt fails, and the agent asks for another."""
    scenario.connect("batch")
    scenario.submit("batch")
    scenario.report("batch", "report ack", "report retry")
    scenario.agents.heartbeat(scenario.agents.connections("batch")[0])


def mute_agent(scenario: Scenario) -> None:
    """An agent executes and says nothing any more."""
    scenario.agents.go_mute("k8s")
    scenario.submit("k8s")
    scenario.connect("k8s")
    for _ in range(3):
        scenario.pass_time_and_sweep(61)


def lost_flush(scenario: Scenario) -> None:
    """The flush of a new connection of an agent of protocol 2 is lost."""
    scenario.agents.connect("batch")
    scenario.simulation.pass_time(25)
    scenario.submit("batch")
    scenario.simulation.sweep()


def confirmed_cancel(scenario: Scenario) -> None:
    """An agent confirms a cancel, and then reports a result."""
    scenario.connect("batch")
    scenario.submit("batch")
    scenario.report("batch", "report ack")
    scenario.simulation.operators.cancel(scenario.simulation.operators.known[-1])
    scenario.report("batch", "report cancelled", "report complete")


def cancel_without_ack(scenario: Scenario) -> None:
    """A command is cancelled after it was sent, and its agent does not acknowledge it."""
    scenario.connect("k8s")
    scenario.submit("k8s")
    scenario.simulation.operators.cancel(scenario.simulation.operators.known[-1])
    scenario.connect("k8s")


def late_result(scenario: Scenario) -> None:
    """The only attempt of a command is not acknowledged, and then its agent reports a result."""
    scenario.connect("k8s")
    scenario.submit("k8s", max_attempts=1)
    scenario.simulation.pass_time(25)
    scenario.connect("k8s")
    scenario.report("k8s", "complete")


def crash_and_resume(scenario: Scenario) -> None:
    """An agent crashes while it executes, and says afterwards that it executes nothing."""
    scenario.connect("batch")
    scenario.submit("batch")
    scenario.report("batch", "report ack")
    scenario.agents.crash("batch", half_open=False)
    scenario.connect("batch")
    scenario.agents.resume(scenario.agents.connections("batch")[0])


def database_away(scenario: Scenario) -> None:
    """An agent reports a result while the database is away."""
    scenario.connect("k8s")
    scenario.submit("k8s")
    scenario.database_away = [True]
    scenario.report("k8s", "complete")


def database_away_from_batch(scenario: Scenario) -> None:
    """An agent of protocol 2 reports a result while the database is away."""
    scenario.connect("batch")
    scenario.submit("batch")
    scenario.database_away = [True]
    scenario.report("batch", "both")


def retry_said_again(scenario: Scenario) -> None:
    """An agent that asked for another attempt says its ack and its failure again, because neither was confirmed."""
    scenario.connect("batch")
    scenario.submit("batch")
    scenario.post_faults = [PostFault.SWALLOWED, PostFault.SWALLOWED]
    scenario.report("batch", "report ack", "report retry")
    scenario.agents.say_again(scenario.agents.connections("batch")[0])
    scenario.simulation.operators.cancel(scenario.simulation.operators.known[-1])


def database_away_again(scenario: Scenario) -> None:
    """An agent says two things while the database is away, which is away again when the queue brings them."""
    scenario.connect("k8s")
    scenario.submit("k8s")
    scenario.database_away = [True, True]
    scenario.report("k8s", "ack", "complete")
    scenario.connection_faults = [(ConnectionFault.LOST_BEFORE, 0)]
    scenario.simulation.late_queue.bring(2)


def cancel_and_reconnect(scenario: Scenario) -> None:
    """A command is cancelled while its agent executes it; the agent connects again before it reports."""
    scenario.connect("batch")
    scenario.submit("batch")
    scenario.report("batch", "report ack")
    scenario.simulation.operators.cancel(scenario.simulation.operators.known[-1])
    scenario.connect("batch")
    scenario.pass_time_and_sweep(25)


def time_out_of_batch(scenario: Scenario) -> None:
    """A command times out at an agent of protocol 2 that stays connected."""
    scenario.connect("batch")
    scenario.submit("batch", execution_timeout=5)
    scenario.report("batch", "report ack")
    scenario.pass_time_and_sweep(61)


def reconnection_during_the_last_post(scenario: Scenario) -> None:
    """An agent reconnects while the only attempt of a command is posted over its old connection, which is gone."""
    scenario.connect("k8s")
    scenario.simulation.pass_time(25)
    scenario.post_faults = [PostFault.GONE]
    scenario.during_calls = [lambda: scenario.agents.connect("k8s")]
    scenario.submit("k8s", max_attempts=1)


def late_progress(scenario: Scenario) -> None:
    """An agent reports progress while the database is away, and again before the queue brings the first report."""
    scenario.connect("batch")
    scenario.submit("batch")
    scenario.report("batch", "report ack")
    scenario.database_away = [True, False]
    scenario.report("batch", "report progress", "report progress")
    scenario.simulation.pass_time(25)
    scenario.simulation.late_queue.bring(1)


def report_before_the_welcome(scenario: Scenario) -> None:
    """An agent says again what is not confirmed, before flush could post its welcome."""
    scenario.connect("batch")
    scenario.submit("batch")
    scenario.post_faults = [PostFault.SWALLOWED]
    scenario.report("batch", "report ack")
    scenario.agents.connect("batch")
    scenario.agents.say_again(scenario.agents.connections("batch")[0])
    scenario.agents.flush(scenario.agents.flush_requests.pop())


def ack_of_older_attempt(scenario: Scenario) -> None:
    """An agent of protocol 2 acknowledges its first attempt after the second one was sent."""
    scenario.connect("batch")
    scenario.submit("batch")
    scenario.connect("batch")
    scenario.report("batch", "report ack")
