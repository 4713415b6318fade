"""`make conformance`: it finds nothing wrong with agents that are right, and exactly what is wrong with the others."""

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conformance import scenarios
from conformance.checks import BY_NAME, CHECKS, Level
from conformance.codec import decode
from conformance.findings import Findings, Verdict
from conformance.harness import Options
from conformance.runner import run, wanted

ROOT = Path(__file__).parents[3]
SMALL_AGENT = [sys.executable, str(Path(__file__).with_name("faulty_agent.py"))]
DEMONSTRATION_AGENT = [
    *(
        sys.executable,
        "-m",
        "examples.reference_agent",
        "--url",
        "{url}",
        "--id",
        "{id}",
        "--key",
        "{key}",
        "--state",
        "{dir}",
    ),
    *("--poll", "1"),
]
AT_ONCE = 10
"""How many agents run at the same time."""
RIGHT = {
    "the demonstration agent": (DEMONSTRATION_AGENT, 1),
    "the demonstration agent in protocol 2": ([*DEMONSTRATION_AGENT, "--protocol", "2"], 2),
    "a small agent": (SMALL_AGENT, 1),
    "a small agent in protocol 2": ([*SMALL_AGENT, "--protocol", "2"], 2),
    "a docker agent": ([*SMALL_AGENT, "--platform", "docker"], 1),
}
SILENT = {"acks", "ack-first", "redelivery-acked"}
ONLY_SECOND = {check.name for check in CHECKS if check.protocol == 2}
DEPENDING = {
    "acks",
    "ack-first",
    "outcomes",
    "command-ids",
    "reports",
    "one-document",
    "redelivery-same-end",
    "survives-garbage",
}
"""Checks whose subject looks different in the second protocol."""
FAULTS = [
    *((check.name, 1) for check in CHECKS if check.name not in ONLY_SECOND),
    *((name, 2) for name in sorted(ONLY_SECOND | DEPENDING)),
]

Played = dict[tuple[str, int], Findings]


@pytest.fixture(scope="module")
def played() -> Played:
    """The findings about every agent of these tests; signs of life are due within seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenarios, "HEARTBEAT_SECONDS", 4.0)
        patch.setattr(scenarios, "PING_SECONDS", 4.0)
        patch.setenv("PYTHONPATH", str(ROOT))
        return asyncio.run(_play_all())


async def _play_all() -> Played:
    limit = asyncio.Semaphore(AT_ONCE)
    found: Played = {}

    async def play(key: tuple[str, int], options: Options, *only: str) -> None:
        async with limit:
            found[key] = wanted(only)
            await run(options, found[key])

    async with asyncio.TaskGroup() as group:
        for name, (agent, protocol) in RIGHT.items():
            group.create_task(play((name, protocol), Options(agent=shlex.join(agent), protocol=protocol)))
        for fault, protocol in FAULTS:
            options = Options(
                agent=shlex.join([*SMALL_AGENT, "--fault", fault, "--protocol", str(protocol)]),
                protocol=2 if fault == "protocol" else protocol,
                slow=BY_NAME[fault].scene == "patience",
                patience=5.0 if fault in {"registers", "connects"} else 15.0,
            )
            group.create_task(play((fault, protocol), options, BY_NAME[fault].scene))
    return found


@pytest.mark.parametrize(("name", "protocol"), [(name, protocol) for name, (_, protocol) in RIGHT.items()])
def test_an_agent_that_is_right_passes(played: Played, name: str, protocol: int) -> None:
    """Every check holds, but for those that are of the other protocol or take long."""
    findings = played[name, protocol]

    assert {finding.check.name: finding.seen for finding in findings.all() if finding.verdict is Verdict.FAILED} == {}
    assert findings.conforms()
    skipped = {finding.check.name for finding in findings.all() if finding.verdict is Verdict.SKIPPED}
    expected = {"heartbeat", "keep-alive-ping"} | (ONLY_SECOND if protocol == 1 else set[str]())
    assert skipped - {"jitter", "keeps-outcomes"} == expected | (SILENT if "docker" in name else set[str]())


@pytest.mark.parametrize(("fault", "protocol"), FAULTS)
def test_a_fault_is_found_by_the_check_that_is_for_it_and_by_no_other(
    played: Played, fault: str, protocol: int
) -> None:
    """What is seen is told, and a MUST alone decides."""
    findings = played[fault, protocol]

    failed = {finding.check.name: finding.seen for finding in findings.all() if finding.verdict is Verdict.FAILED}
    assert failed.keys() == {fault}, failed
    assert failed[fault]
    assert findings.conforms() is (BY_NAME[fault].level is Level.SHOULD)


def test_every_sentence_stands_in_the_protocol() -> None:
    """What an author is told to look up is there, word for word; two checks say that they are good manners only."""
    protocol = " ".join((ROOT / "docs" / "protocol.md").read_text(encoding="utf-8").split())

    assert [check.name for check in CHECKS if check.sentence and check.sentence not in protocol] == []
    assert {check.name for check in CHECKS if check.sentence is None} == {"ping-message", "sigterm"}
    assert all(check.level is Level.SHOULD for check in CHECKS if check.sentence is None)


def conformance(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program as `make conformance` does."""
    return subprocess.run(
        [sys.executable, "-m", "conformance", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_author_is_told_what_was_seen_and_how_to_mend_it() -> None:
    """With the sentence of the protocol, and exit code 1."""
    told = conformance("--agent", shlex.join([*SMALL_AGENT, "--fault", "register-key"]), "--only", "register-key")

    assert told.returncode == 1
    check = BY_NAME["register-key"]
    shown = " ".join(told.stdout.replace("│", " ").split())
    for text in (
        "✗ MUST register-key",
        check.sentence or "",
        check.expected,
        "Bearer 0000",
        check.mend,
        "does not conform",
    ):
        assert text in shown


def test_machines_get_json() -> None:
    """One document on standard output, and exit code 0 where all is well."""
    told = conformance("--agent", shlex.join(SMALL_AGENT), "--only", "websocket-ping", "--json")

    assert told.returncode == 0
    document = json.loads(told.stdout)
    assert document["conforms"] is True
    [check] = document["checks"]
    assert (check["name"], check["level"], check["verdict"]) == ("websocket-ping", "MUST", "passed")


def test_an_agent_that_ends_at_once_does_not_conform() -> None:
    """The reason is told, not beside every check that it keeps from being reached, and nothing waits for it in vain."""
    told = conformance("--agent", "sh -c 'echo oops; exit 3'")

    assert told.returncode == 1
    shown = " ".join(told.stdout.split())
    assert "ended with 3; its last words were │ │ oops" in shown
    assert told.stdout.count("ended with 3") <= 3


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("/no/such/agent", "The agent does not start: [Errno 2] No such file or directory: '/no/such/agent'.\nNext: "),
        ("sh -c 'echo", "The agent does not start: No closing quotation.\nNext: "),
        ("", "There is no agent to check.\nNext: say what starts it: make conformance AGENT="),
    ],
)
def test_what_is_no_program_is_told_once_and_nothing_is_checked(agent: str, said: str) -> None:
    """Whatever it would have been checked for."""
    told = conformance("--agent", agent)

    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith(said)
    assert told.stderr.count("\n") == 2


@pytest.mark.skipif(
    shutil.which("make") is None or not (ROOT / ".venv/bin/python").exists(), reason="no make, or no .venv for it"
)
def test_make_passes_a_command_with_quotes_and_options_on() -> None:
    """The command by the environment, as it is; the options in ARGS."""
    told = subprocess.run(
        [
            "make",
            "-o",
            ".venv/.local",
            "conformance",
            'AGENT=sh -c "echo oops; exit 3"',
            "ARGS=--only registers --json",
        ],
        cwd=ROOT,
        # Not as a part of the make that runs the tests.
        env={name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    [check] = json.loads(told.stdout)["checks"]
    assert check["seen"] == "the agent's process has ended with 3; its last words were\noops"


def test_an_agent_whose_url_ends_with_a_slash_comes_in() -> None:
    """`//api/v1/…` is the same path to the service, for the registration and for the WebSocket."""
    told = conformance(
        "--agent", shlex.join([*SMALL_AGENT, "--url", "{url}/"]), "--only", "registers", "--only", "connects", "--json"
    )

    assert {check["name"]: check["verdict"] for check in json.loads(told.stdout)["checks"]} == {
        "registers": "passed",
        "connects": "passed",
    }


@pytest.mark.parametrize("protocol", [1, 2])
def test_the_message_that_breaks_an_agent_is_named(played: Played, protocol: int) -> None:
    """The author need not guess which of many it was."""
    [finding] = [each for each in played["survives-garbage", protocol].all() if each.check.name == "survives-garbage"]

    assert finding.seen.startswith("after the message this is not JSON: the agent's process has ended with 1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--payload", "{}"], "each --payload belongs to an --action"),
        (["--action", "upgrade", "--payload", "{"], "--payload is not JSON"),
        (["--action", "upgrade", "--payload", "[]"], "--payload is a JSON object"),
    ],
)
def test_actions_come_with_objects(arguments: list[str], said: str) -> None:
    """Anything else is explained before an agent is started."""
    told = conformance("--agent", "true", *arguments)

    assert (told.returncode, said in told.stderr) == (2, True)


@pytest.mark.parametrize(
    ("protocol", "text", "check"),
    [
        (1, b'{"type": "ack", "payload": {"commandId": 7}}', "reports"),
        (1, b'{"type": "failed", "payload": {"commandId": "c"}}', "reports"),
        (1, b'{"type": "command_response", "success": true}', "reports"),
        (1, b'{"type": "reports", "reports": []}', "known-types"),
        (1, b"[]", "known-types"),
        (1, b"\xff", "one-document"),
        (1, b'{"type": "ack"}{"type": "ack"}', "one-document"),
        (1, b'{"type": "heartbeat", "payload": NaN}', "one-document"),
        (2, b'{"type": "ack", "payload": {"commandId": "c"}}', "known-types"),
        (2, b'{"type": "reports", "reports": {}}', "reports"),
        (2, b'{"type": "reports", "reports": [7]}', "reports"),
        (2, b'{"type": "reports", "reports": [{"kind": "done", "commandId": "c", "attempt": 1}]}', "reports"),
        (2, b'{"type": "reports", "reports": [{"kind": "progress", "commandId": "c", "attempt": 1}]}', "reports"),
        (
            2,
            b'{"type": "reports", "reports": [{"kind": "failed", "commandId": "c", "error": "e", "retryable": 1}]}',
            "reports",
        ),
    ],
)
def test_a_message_of_the_wrong_form_is_told_by_its_check(protocol: int, text: bytes, check: str) -> None:
    """Whatever else the message says."""
    fault = decode(protocol, text).fault

    assert fault is not None
    assert fault[0] == check
