"""The command line against a real service: what it sends, what it writes where, how it ends."""

import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from command_dispatcher.client import Client, NotAuthenticated
from command_dispatcher.client.core import request
from tests.e2e.command_line import COLUMNS, MODULE, CommandLine, Result
from tests.e2e.conftest import Agent
from tests.e2e.dispatcher_process import PASSWORD, Dispatcher, until

LOGIN = ("login", "--username", "admin", "--password-stdin")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line of somebody who has never logged in."""
    return CommandLine(tmp_path, monkeypatch, capsys)


@pytest.fixture
def cli(bare: CommandLine, dispatcher: Dispatcher) -> CommandLine:
    """The command line of an admin."""
    bare.ok(*LOGIN, "--url", dispatcher.url, "--context", "here", stdin=f"{PASSWORD}\n")
    return bare


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses."""
    return re.sub(r"[^a-z]+", "-", request.node.name.removeprefix("test_"))[:24].strip("-")


@pytest.fixture
def started() -> Iterator[list[Agent]]:
    """Agents that are closed after the test."""
    agents: list[Agent] = []
    yield agents
    for agent in agents:
        agent.close()


@pytest.fixture
def agent(cli: CommandLine, dispatcher: Dispatcher, started: list[Agent]) -> Callable[..., str]:
    """Create an agent with the command line, and connect it."""

    def connect(agent_id: str, reply: Callable[[dict[str, Any]], list[Any]] | None = None, *labels: str) -> str:
        options = [word for label in labels for word in ("--label", label)]
        key = cli.ok("agents", "create", agent_id, "--platform", "linux", *options, "-o", "json").json["apiKey"]
        started.append(Agent(dispatcher.url, agent_id, key, reply))
        return agent_id

    return connect


def _accept(command: dict[str, Any]) -> list[Any]:
    return [{"type": "ack", "payload": {"commandId": command["commandId"]}}]


def _fail(command: dict[str, Any]) -> list[Any]:
    identity = {"commandId": command["commandId"]}
    return [{"type": "ack", "payload": identity}, {"type": "failed", "payload": {**identity, "error": "no disk"}}]


def test_a_login_keeps_the_token_where_only_its_owner_reads_it(cli: CommandLine) -> None:
    """The password is on stdin, never an argument."""
    tokens = cli.home / "dispatcher" / "tokens.json"
    assert stat.S_IMODE(tokens.stat().st_mode) == 0o600
    assert PASSWORD not in tokens.read_text()
    assert cli.ok("context", "list", "-o", "json").json["contexts"][0]["current"] is True


def test_a_wrong_password_stores_nothing(bare: CommandLine, dispatcher: Dispatcher) -> None:
    """It is denied, in the service's words."""
    result = bare(*LOGIN, "--url", dispatcher.url, stdin="wrong-password\n")
    assert (result.code, result.out) == (4, "")
    assert not (bare.home / "dispatcher").exists()


def test_who_is_not_logged_in_is_told_how(
    bare: CommandLine, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any context, with only a URL, after a logout, with a token that is no token."""
    assert "next: dispatcher login --url" in bare("agents", "list").err
    monkeypatch.setenv("DISPATCHER_URL", dispatcher.url)
    assert f"next: dispatcher login --url {dispatcher.url}" in bare("agents", "list").err
    monkeypatch.setenv("DISPATCHER_TOKEN", "invented")
    result = bare("agents", "list")
    assert (result.code, f"dispatcher login --url {dispatcher.url}" in result.err) == (4, True)


def test_contexts_name_services(cli: CommandLine, dispatcher: Dispatcher) -> None:
    """Each has its own token; the one in use can be changed, and one can be deleted."""
    token = cli.ok("tokens", "create", "second", "--role", "reader", "-o", "json").json["token"]
    cli.ok("login", "--url", dispatcher.url, "--context", "reader", "--token-stdin", stdin=f"{token}\n")
    refused = cli("agents", "create", "never", "--platform", "linux")
    assert (refused.code, "role" in refused.err) == (4, True)
    cli.ok("context", "use", "here")
    cli.ok("operators", "list")
    cli.ok("agents", "list", "--context", "reader")
    cli.ok("context", "delete", "reader")
    gone = cli("agents", "list", "--context", "reader")
    assert (gone.code, "there are: here" in gone.err) == (3, True)
    cli.ok("logout")
    assert "next: dispatcher login" in cli("agents", "list").err


def test_an_agent_from_its_creation_to_its_end(cli: CommandLine, name: str) -> None:
    """Create, find, label, reject, approve, rotate keys, explain, delete."""
    created = cli.ok("agents", "create", name, "--platform", "linux", "--label", f"env={name}", "-o", "json")
    assert len(created.json["apiKey"]) == 64
    assert "shown only now" in created.err
    assert cli.ok("agents", "list", "--selector", f"env={name}", "-o", "id").ids == [name]
    assert cli.ok("agents", "list", "--search", name[3:20], "--presence", "offline", "-o", "id").ids == [name]
    cli.ok("agents", "label", name, "zone=eu-1", "env-")
    assert cli.ok("agents", "show", name, "-o", "json").json["labels"] == {"zone": "eu-1"}
    assert cli.ok("agents", "reject", name, "-o", "json").json["approval"] == "rejected"
    assert cli.ok("agents", "approve", name, "-o", "json").json["approval"] == "approved"
    second = cli.ok("agents", "keys", "create", name, "-o", "json").json["keyId"]
    cli.ok("agents", "keys", "revoke", name, second, "--yes")
    assert second not in cli.ok("agents", "keys", "list", name, "-o", "id").ids
    assert "never connected" in cli.ok("agents", "why", name).out
    assert cli("agents", "delete", name).code == 2
    cli.ok("agents", "delete", name, "--yes")
    assert cli("agents", "show", name).code == 3


def test_an_unknown_agent_brings_near_names(cli: CommandLine, name: str) -> None:
    """A typing error costs no look at a list."""
    cli.ok("agents", "create", name, "--platform", "linux")
    for arguments in (("agents", "show", name + "x"), ("send", name + "x", "restart")):
        result = cli(*arguments)
        assert (result.code, f"did you mean {name}?" in result.err) == (3, True)


def test_send_waits_for_the_result(cli: CommandLine, agent: Callable[..., str], name: str) -> None:
    """The data is on stdout and completed means 0."""
    result = cli("send", agent(name), "restart", "--payload", '{"now": true}', "--wait", "-o", "json")
    assert (result.code, result.json["status"], result.json["result"]) == (0, "completed", {"state": "running"})
    assert "idempotency key: " in result.err


def test_a_failed_command_is_exit_code_1(cli: CommandLine, agent: Callable[..., str], name: str) -> None:
    """A script need not read the output."""
    result = cli("send", agent(name, _fail), "restart", "--wait")
    assert (result.code, "no disk" in result.out) == (1, True)


def test_a_cancel_of_a_command_under_way_says_that_its_end_is_open(
    cli: CommandLine, agent: Callable[..., str], name: str
) -> None:
    """And how to see the end; for a command that waits there is nothing more to say."""
    command = cli.ok("send", agent(name, _accept), "restart", "-o", "id").ids[0]
    until(lambda: cli.ok("commands", "show", command, "-o", "json").json["status"] == "acknowledged")
    result = cli.ok("commands", "cancel", command)
    assert f"next: dispatcher commands watch {command}" in result.err
    waiting = cli.ok("send", name, "restart", "--not-before", "1h", "-o", "id").ids[0]
    assert cli.ok("commands", "cancel", waiting).err == ""


def test_giving_up_is_exit_code_5(cli: CommandLine, name: str) -> None:
    """It names the command and how to go on, and later `watch` finds it."""
    cli.ok("agents", "create", name, "--platform", "linux")
    result = cli("send", name, "restart", "--wait", "--give-up", "1s")
    command = cli.ok("commands", "list", "--agent", name, "-o", "id").out.strip()
    assert (result.code, result.out) == (5, "")
    assert f"next: dispatcher commands watch {command}" in result.err
    assert "never connected" in cli.ok("commands", "why", command).out
    cli.ok("commands", "cancel", command)
    assert cli("commands", "watch", command).code == 1


def test_a_repetition_with_the_printed_key_has_one_effect(cli: CommandLine, name: str) -> None:
    """The key is printed before anything is sent."""
    cli.ok("agents", "create", name, "--platform", "linux")
    first = cli.ok("send", name, "restart", "-o", "json")
    key = re.findall(r"idempotency key: (\S+)", first.err)[0]
    again = cli.ok("send", name, "restart", "-o", "json", "--idempotency-key", key)
    other = cli("send", name, "stop", "--idempotency-key", key)
    assert again.json["commandId"] == first.json["commandId"]
    assert (other.code, "--idempotency-key" in other.err) == (1, True)


def test_json_is_the_apis_own(cli: CommandLine, dispatcher: Dispatcher, name: str) -> None:
    """What is learnt from the API's documentation holds in a shell."""
    cli.ok("agents", "create", name, "--platform", "linux")
    cli.ok("send", name, "restart")
    cli.ok("send", name, "restart")
    api = dispatcher.client()
    whole = api.get(f"/api/v1/commands?agentId={name}")
    assert cli.ok("commands", "list", "--agent", name, "-o", "json").json == whole
    assert cli.ok("commands", "list", "--agent", name, "--limit", "1", "-o", "json").json == api.get(
        f"/api/v1/commands?agentId={name}&limit=1"
    )
    lines = cli.ok("commands", "list", "--agent", name, "-o", "ndjson").out.splitlines()
    assert [json.loads(line) for line in lines] == whole["commands"]
    assert cli.ok("agents", "show", name, "-o", "json").json == api.get(f"/api/v1/agents/{name}")


def test_many_need_a_yes(cli: CommandLine, name: str) -> None:
    """Nobody can be asked in a pipe; a dry run sends nothing; a selector means approved agents only."""
    names = [f"{name}-{number}" for number in range(3)]
    for each in names:
        cli.ok("agents", "create", each, "--platform", "linux", "--label", f"env={name}")
    cli.ok("agents", "reject", names[2])
    selector = ("--selector", f"env={name}")
    refused = cli("send", *selector, "restart")
    assert (refused.code, "--yes" in refused.err, names[0] in refused.err) == (2, True, True)
    dry = cli.ok("send", *selector, "restart", "--dry-run", "-o", "json")
    assert [command["agentId"] for command in dry.json["commands"]] == names[:2]
    assert cli.ok("commands", "list", *selector, "-o", "id").ids == []
    sent = cli.ok("send", *selector, "restart", "--yes", "-o", "json").json["commands"]
    assert [command["agentId"] for command in sent] == names[:2]
    assert cli("send", "--selector", "env=nobody", "restart", "--yes").code == 3


def test_many_are_waited_for(cli: CommandLine, agent: Callable[..., str], name: str) -> None:
    """One that fails makes the exit code 1; each is shown when it has ended."""
    good, bad = agent(f"{name}-good"), agent(f"{name}-bad", _fail)
    result = cli("send", good, bad, "restart", "--yes", "--wait", "-o", "ndjson")
    ended = {item["agentId"]: item["status"] for item in map(json.loads, result.out.splitlines())}
    assert (result.code, ended) == (1, {good: "completed", bad: "failed"})


def test_very_many_are_waited_for_too(cli: CommandLine, agent: Callable[..., str], name: str) -> None:
    """More than are asked for one by one."""
    text = "\n".join(json.dumps({"agentId": name, "action": f"a{number}"}) for number in range(25))
    agent(name)
    result = cli.ok("send", "--file", "-", "--yes", "--wait", "-o", "json", stdin=text)
    assert sorted(command["action"] for command in result.json["commands"]) == sorted(f"a{n}" for n in range(25))


def test_commands_come_from_a_file_or_a_pipe(cli: CommandLine, name: str, tmp_path: Path) -> None:
    """NDJSON or a JSON list, in the API's form; options fill in what a line leaves out."""
    cli.ok("agents", "create", name, "--platform", "linux")
    commands = [{"agentId": name, "action": "a", "payload": [1]}, {"agentId": name, "action": "b", "priority": 5}]
    text = "\n".join(json.dumps(command) for command in commands)
    cli.ok("send", "--file", "-", "--yes", "--priority", "-3", stdin=text)
    file = tmp_path / "commands.json"
    file.write_text(json.dumps(commands[:1]))
    cli.ok("send", "--file", str(file))
    listed = cli.ok("commands", "list", "--agent", name, "--include", "payload", "-o", "json").json["commands"]
    found = sorted((command["action"], command["priority"], command["payload"]) for command in listed)
    assert found == [("a", -3, [1]), ("a", 0, [1]), ("b", 5, None)]
    wrong = cli("send", "--file", "-", "--yes", stdin=text + '\n{"agentId": "x"}')
    assert (wrong.code, "-, line 3 is not a command" in wrong.err) == (2, True)


def test_commands_are_found_cancelled_and_redriven(cli: CommandLine, name: str) -> None:
    """By id or all that match; the filter is counted first and confirmed."""
    cli.ok("agents", "create", name, "--platform", "linux")
    for action in ("start", "stop", "stop"):
        cli.ok("send", name, action, "--ttl", "2h", "--not-before", "1h", "--max-attempts", "2")
    which = ("--agent", name, "--action", "stop")
    assert len(cli.ok("commands", "list", *which, "--since", "5m", "--status", "pending,sent", "-o", "id").ids) == 2
    assert "2 commands match" in cli.ok("commands", "cancel", *which, "--dry-run").err
    assert cli("commands", "cancel", *which).code == 2
    done = cli.ok("commands", "cancel", *which, "--yes", "--reason", "wrong build", "-o", "json")
    assert done.json == {"matched": 2, "changed": 2}
    assert "No command matches" in cli.ok("commands", "cancel", *which, "--yes").err
    first = cli.ok("commands", "list", *which, "-o", "id").ids[0]
    assert cli.ok("commands", "show", first, "-o", "json").json["status"] == "cancelled"
    assert "cancelled" in cli.ok("commands", "history", first).out
    again = cli.ok("commands", "redrive", first, "-o", "json").json
    assert (again["redriveOf"], again["status"]) == (first, "pending")
    assert cli("commands", "cancel").code == 2
    nothing = cli("commands", "redrive")
    assert (nothing.code, "not both" in nothing.err, "--status failed" in nothing.err) == (2, False, True)
    both = cli("commands", "cancel", first, "--agent", name)
    assert (both.code, "not both" in both.err, "--status pending" in both.err) == (2, True, True)


def test_a_wrong_use_is_exit_code_2(cli: CommandLine) -> None:
    """Found here or by the service."""
    wrong = [
        ("nope",),
        ("send", "edge-1"),
        ("send", "edge-1", "restart", "--payload", "{"),
        ("send", "edge-1", "restart", "--give-up", "5s"),
        ("commands", "list", "--since", "yesterday"),
        ("commands", "list", "--status", "lost"),
        ("agents", "list", "--selector", "env in ("),
        ("agents", "label", "edge-1", "=x"),
        ("enrolment", "create"),
        ("operators", "put", "ada", "--role", "reader"),
    ]
    assert {arguments: cli(*arguments).code for arguments in wrong} == dict.fromkeys(wrong, 2)


def test_access_is_given_and_taken(cli: CommandLine, dispatcher: Dispatcher, name: str) -> None:
    """Operators, API tokens, enrolment tokens, the audit log."""
    cli.ok("operators", "put", name, "--role", "reader", "--password-stdin", stdin="a-long-password\n")
    assert name in cli.ok("operators", "list", "-o", "id").ids
    cli.ok("operators", "disable", name, "--yes")
    token = cli.ok("tokens", "create", "ci", "--role", "reader", "--ttl", "1h", "-o", "json").json
    assert token["tokenId"] in cli.ok("tokens", "list", "-o", "id").ids
    cli.ok("tokens", "revoke", token["tokenId"], "--yes")
    with Client(dispatcher.url, token["token"]) as client, pytest.raises(Exception, match="valid"):
        client.agents.get("x")
    enrolment = cli.ok("enrolment", "create", "--prefix", f"{name}-", "--uses", "3", "--approved", "-o", "json").json
    assert cli.ok("enrolment", "show", enrolment["tokenId"], "-o", "json").json["usesLeft"] == 3
    assert enrolment["tokenId"] in cli.ok("enrolment", "list", "-o", "id").ids
    cli.ok("enrolment", "revoke", enrolment["tokenId"], "--yes")
    assert "admin" in cli.ok("audit", "--limit", "5").out


def test_sessions_and_templates(cli: CommandLine, agent: Callable[..., str], name: str) -> None:
    """StreamSpace's part of the API."""
    short = f"t-{abs(hash(name)) % 10_000}"
    manifest = {
        "apiVersion": "stream.space/v1alpha1",
        "kind": "Template",
        "metadata": {"name": short},
        "spec": {"displayName": "F", "baseImage": "linuxserver/firefox:latest"},
    }
    cli.ok("templates", "put", short, "--file", "-", stdin=json.dumps(manifest))
    assert cli.ok("templates", "show", short).json["metadata"]["name"] == short
    assert short in cli.ok("templates", "list", "-o", "id").ids
    started = cli.ok("sessions", "start", short, "--user", "ada", "--agent", agent(name), "-o", "json").json
    assert started["name"] in cli.ok("sessions", "list", "--limit", "0", "-o", "id").ids
    until(lambda: cli.ok("sessions", "show", started["name"], "-o", "json").json["state"] == "running")
    cli.ok("sessions", "stop", started["name"])
    cli.ok("templates", "delete", short, "--yes")


def test_the_overview_is_printed_once_in_a_pipe(cli: CommandLine) -> None:
    """Figures for people, or the API's JSON."""
    assert "AGENTS" in cli.ok("overview").out
    assert set(cli.ok("overview", "-o", "json").json["agents"]) == {"online", "degraded", "offline"}


def test_events_are_followed_until_ctrl_c(cli: CommandLine, agent: Callable[..., str], name: str) -> None:
    """One JSON object a line, as it happens; without --follow the events that are kept."""
    following = subprocess.Popen(
        [
            *MODULE,
            "events",
            "--follow",
            "--after",
            "start",
            "--agent",
            name,
            "--type",
            "command.completed",
            "-o",
            "ndjson",
        ],
        env=cli.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    command = cli.ok("send", agent(name), "restart", "--wait", "-o", "json").json["commandId"]
    assert following.stdout is not None
    event = json.loads(following.stdout.readline())
    following.send_signal(signal.SIGINT)
    rest, _ = following.communicate()
    assert (event["commandId"], event["status"], rest, following.returncode) == (command, "completed", "", 0)
    kept = cli.ok("events", "--agent", name, "--type", "command.accepted,command.completed", "-o", "json").json[
        "events"
    ]
    assert [each["type"] for each in kept] == ["command.accepted", "command.completed"]


def test_executables_of_a_folder_are_an_agent(cli: CommandLine, dispatcher: Dispatcher, name: str) -> None:
    """JSON on stdin, JSON on stdout, and SIGTERM ends it in order."""
    folder = cli.home / "actions"
    folder.mkdir()
    script = folder / "greet"
    script.write_text('#!/bin/sh\necho "{\\"said\\": $(cat)}"\n')
    script.chmod(0o755)
    key = cli.ok("agents", "create", name, "--platform", "linux", "-o", "json").json["apiKey"]
    running = subprocess.Popen(
        [*MODULE, "agent", "exec", str(folder), "--url", dispatcher.url, "--id", name],
        env=cli.environment(AGENT_API_KEY=key, AGENT_STATE=str(cli.home / "agent.db")),
        stderr=subprocess.PIPE,
    )
    result = cli.ok("send", name, "greet", "--payload", '"world"', "--wait", "--give-up", "60s", "-o", "json").json[
        "result"
    ]
    running.terminate()
    running.communicate()
    assert (result["said"]["payload"], running.returncode) == ("world", 0)
    assert cli("agent", "exec", "/no/such/folder").code == 2
    assert cli("agent", "run", "no_such_module:agent").code == 2


def test_webhooks_from_their_creation_to_their_end(cli: CommandLine) -> None:
    """The secret is shown once; a test that does not arrive is exit code 1."""
    made = cli.ok("webhooks", "create", "https://hooks.example.invalid/in", "--type", "command.failed", "-o", "json")
    webhook = made.json["webhookId"]
    assert (made.json["secret"][:6], "shown only now" in made.err) == ("whsec_", True)
    assert "secret" not in cli.ok("webhooks", "show", webhook, "-o", "json").json
    assert webhook in cli.ok("webhooks", "list", "-o", "id").ids
    assert cli("webhooks", "test", webhook).code == 1
    assert "false" in cli.ok("webhooks", "deliveries", webhook).out
    assert (
        cli.ok("webhooks", "rotate-secret", webhook, "--overlap", "1h", "-o", "json").json["secret"]
        != made.json["secret"]
    )
    assert cli.ok("webhooks", "change", webhook, "--disable", "-o", "json").json["enabled"] is False
    assert cli("webhooks", "change", webhook).code == 2
    cli.ok("webhooks", "delete", webhook, "--yes")
    assert cli("webhooks", "show", webhook).code == 3


def test_the_loss_check_answers_with_its_exit_code(cli: CommandLine) -> None:
    """0: every invariant holds."""
    result = cli.ok("check")
    assert ("lost_commands\t0" in result.out, "Every invariant holds" in result.err) == (True, True)


def test_a_pipe_gets_whole_values_between_tabs(cli: CommandLine, name: str) -> None:
    """No header, no colour, nothing shortened, absolute times: for cut and awk."""
    long = f"{name}-{'x' * 60}"
    cli.ok("agents", "create", long, "--platform", "linux", "--label", "note=" + "y" * 80)
    line = cli.ok("agents", "list", "--search", long).out.rstrip("\n").split("\t")
    assert (line[0], line[1], line[-1]) == (long, "offline", "note=" + "y" * 80)


def test_nothing_that_came_from_elsewhere_moves_the_terminal(
    cli: CommandLine, agent: Callable[..., str], name: str
) -> None:
    """An agent's text is escaped."""

    def fail(command: dict[str, Any]) -> list[Any]:
        identity = {"commandId": command["commandId"]}
        return [{"type": "failed", "payload": {**identity, "error": "\x1b[2Jgone\x9b\u202e"}}]

    result = cli("send", agent(name, fail), "restart", "--wait")
    shown = cli("commands", "list", "--agent", name, "-o", "json").out
    assert r"\u001b[2Jgone\u009b\u202e" in result.out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", result.out + shown)


def test_a_reader_that_leaves_is_no_error(cli: CommandLine) -> None:
    """`dispatcher … | head`: no stack trace, and the shell's exit code for it."""
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [*MODULE, "agents", "list", "-o", "json"],
        env=cli.environment(),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (141, "")


def test_without_a_network_there_is_a_sentence(bare: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it was, what to check, exit code 1; never a stack trace."""
    monkeypatch.setenv("DISPATCHER_TOKEN", "t")
    for url in ("http://127.0.0.1:1", "http://no-such-host.invalid"):
        monkeypatch.setenv("DISPATCHER_URL", url)
        result = bare("agents", "list")
        assert (result.code, result.out) == (1, "")
        assert re.search(f"error: No answer from {url}: [A-Z]", result.err)
        assert "next: " in result.err
        assert "Traceback" not in result.err
    assert "repeat it with --idempotency-key" in bare("send", "edge-1", "restart").err


def test_a_terminal_of_80_columns_is_enough(cli: CommandLine, name: str) -> None:
    """Ids are whole, the rest is shortened, colours only where they are wanted."""
    long = f"{name}-{'x' * 40}"
    cli.ok("agents", "create", long, "--platform", "linux", "--label", "note=" + "y" * 80)
    command = cli.ok("send", long, "a-long-action-that-takes-room", "-o", "json").json["commandId"]
    table = cli.terminal("commands", "list", "--agent", long)
    assert "\x1b[33mpending" in table.out
    assert max(map(len, table.lines)) <= COLUMNS
    assert any(line.startswith(command) for line in table.lines)
    assert "\x1b[3" not in cli.terminal("commands", "list", "--agent", long, NO_COLOR="1").out
    for arguments in (("--help",), ("send", "--help"), ("commands", "cancel", "--help"), ("agents", "list")):
        assert max(map(len, cli.terminal(*arguments).lines)) <= COLUMNS


def test_the_help_begins_with_what_is_done_most(bare: CommandLine) -> None:
    """Commands with others below them stand where they belong."""
    headings = [line for line in bare.ok("--help").out.splitlines() if re.fullmatch(r"\w.*:", line)]
    assert headings == ["Options:", "Send and follow:", "Agents and sessions:", "Access:", "This machine:"]
    assert re.findall(r"^  ([a-z]+) ", bare.ok("--help").out, re.MULTILINE)[:4] == [
        "send",
        "commands",
        "events",
        "webhooks",
    ]


def test_an_empty_list_names_the_next_step(cli: CommandLine) -> None:
    """Unless a filter made it empty; on stderr, so that a program gets nothing."""
    empty, filtered = cli.ok("webhooks", "list"), cli.ok("agents", "list", "--search", "no-such-agent")
    assert (empty.out, "next: dispatcher webhooks create" in empty.err) == ("", True)
    assert (filtered.out, filtered.err) == ("", "There are none.\n")


def test_a_person_is_asked(cli: CommandLine, name: str) -> None:
    """Yes does it, anything else does nothing."""
    cli.ok("agents", "create", name, "--platform", "linux")
    assert cli.terminal("agents", "delete", name, answer="n\n").code == 1
    cli.ok("agents", "show", name)
    assert cli.terminal("agents", "delete", name, answer="y\n").code == 0
    assert cli("agents", "show", name).code == 3


def test_ctrl_c_stops_waiting_and_says_that_the_command_goes_on(cli: CommandLine, name: str) -> None:
    """The live line shows why it waits."""
    cli.ok("agents", "create", name, "--platform", "linux")
    result: Result = cli.terminal("send", name, "restart", "--wait", until=lambda shown: "never connected" in shown)
    command = cli.ok("commands", "list", "--agent", name, "-o", "id").out.strip()
    text = "\n".join(result.lines)
    assert (result.code, f"next: dispatcher commands watch {command}" in " ".join(text.split())) == (130, True)
    assert "Traceback" not in text


def test_the_overview_is_live_in_a_terminal(cli: CommandLine) -> None:
    """Until Ctrl-C, which is no failure."""
    result = cli.terminal("overview", until=lambda shown: shown.count("AGENTS") > 1)
    assert (result.code, "Ctrl-C ends" in result.out) == (0, True)


def test_options_for_every_command_may_stand_before_it(cli: CommandLine, name: str) -> None:
    """As after it, which goes before; a command that has no such option refuses it."""
    cli.ok("agents", "create", name, "--platform", "linux")
    words = ("agents", "show", name)
    assert cli.ok("-o", "json", *words).json["agentId"] == name
    assert cli.ok("--output=json", *words, "--context", "here").json["agentId"] == name
    assert cli.ok("agents", "-oid", "show", name).ids == [name]
    assert cli.ok("-o", "id", *words, "-o", "json").json["agentId"] == name
    assert cli.ok("--context", "here", "agents", "-o", "json", "keys", "list", name).json["keys"]
    unknown = cli("--context", "elsewhere", *words)
    assert (unknown.code, "there are: here" in unknown.err) == (3, True)
    assert cli("--context").code == 2
    refused = cli("-o", "json", "context", "use", "here")
    assert (refused.code, "No such option: -o" in refused.err) == (2, True)


def test_a_logout_ends_the_log_in_at_the_service(cli: CommandLine, dispatcher: Dispatcher) -> None:
    """A copy of the token is worth nothing afterwards; an API token is only forgotten, and that is said."""
    token = json.loads((cli.home / "dispatcher" / "tokens.json").read_text())["here"]
    api_token = cli.ok("tokens", "create", "kept", "--role", "reader", "-o", "json").json["token"]
    assert cli.ok("logout").err == "The token of here is deleted.\n"
    with Client(dispatcher.url, token) as client, pytest.raises(NotAuthenticated):
        client.call(request("GET", "/api/v1/auth/session"))
    cli.ok("login", "--url", dispatcher.url, "--context", "here", "--token-stdin", stdin=f"{api_token}\n")
    assert "still valid" in cli.ok("logout").err
    with Client(dispatcher.url, api_token) as client:
        client.call(request("GET", "/api/v1/auth/session"))


def test_an_agent_has_its_events(cli: CommandLine, name: str) -> None:
    """In order, and only its own; with -o id their ids."""
    cli.ok("agents", "create", name, "--platform", "linux")
    cli.ok("agents", "create", f"{name}-other", "--platform", "linux")
    command = cli.ok("send", name, "restart", "-o", "id").out.strip()
    events = cli.ok("agents", "events", name, "-o", "json").json["events"]
    assert [(event["type"], event["agentId"]) for event in events] == [
        ("agent.created", name),
        ("command.accepted", name),
    ]
    assert events[1]["commandId"] == command
    ids = [event["id"] for event in events]
    assert cli.ok("agents", "events", name, "-o", "id").ids == ids
    after = cli.ok("agents", "events", name, "--limit", "1", "-o", "json").json["after"]
    first = cli.ok("agents", "events", name, "--limit", "1", "-o", "id")
    assert (first.ids, first.err) == (
        ids[:1],
        f"There may be more: --after {after} goes on, and --follow shows new ones.\n",
    )
    followed = (*MODULE, "events", "--follow", "--after", "start", "--agent", name, "-o", "id")
    with subprocess.Popen(followed, env=cli.environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline().strip() for _ in ids] == ids
        process.kill()


def test_no_color_means_no_escape_at_all(cli: CommandLine, name: str) -> None:
    """Neither in a table, nor in a question, nor in an error."""
    cli.ok("agents", "create", name, "--platform", "linux")
    for words, answer in [
        (("agents", "list"), ""),
        (("agents", "delete", name), "n\n"),
        (("agents", "show", "unknown"), ""),
        (("overview",), ""),
        (("--help",), ""),
    ]:
        shown = cli.terminal(*words, answer=answer, NO_COLOR="1").out
        assert (shown != "", "\x1b" in shown) == (True, False), words


def test_arguments_are_utf_8_in_every_locale(cli: CommandLine, name: str) -> None:
    """A job of cron or of a container often has the locale C."""
    cli.ok("agents", "create", name, "--platform", "linux")
    environment = cli.environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    words = ("send", name, "w\N{LATIN SMALL LETTER A WITH DIAERESIS}rmen", "-o", "id")
    sent = subprocess.run([*MODULE, *words], env=environment, capture_output=True, text=True, check=True)
    assert cli.ok("commands", "show", sent.stdout.strip(), "-o", "json").json["action"] == words[2]

    broken: list[str | bytes] = [*MODULE, "agents", "show", b"\xff"]
    refused = subprocess.run(broken, env=environment, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr) == (2, "error: An argument is not a text in UTF-8.\n")
