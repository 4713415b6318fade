"""The conformance kit passes correct agents, and finds exactly the fault of every other agent."""

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from conformance.__main__ import main
from conformance.checks import BY_NAME, CHECKS, Level
from conformance.findings import Findings, Verdict
from conformance.harness import Limits, Options
from conformance.message_codec import decode
from conformance.scenario_runner import findings_for, run
from conformance.scenarios import regularity

Key = TypeVar("Key")
ROOT = Path(__file__).parents[3]
SMALL_AGENT = shlex.join([sys.executable, str(Path(__file__).with_name("faulty_agent.py"))])
REFERENCE_AGENT = (
    f"{sys.executable} -m examples.reference_agent --url {{url}} --id {{id}} --key {{key}} --state {{dir}} --poll 1"
)
AGENTS_AT_ONCE = 24
# For a busy machine: only a missing message takes that long.
LIMITS = Limits(
    **dict.fromkeys(("answer", "execution", "resend", "outage"), 15.0),
    **dict.fromkeys(("start", "reconnect"), 60.0),
    settle=3.0,
    approval=10.0,
    heartbeat=15.0,
    ping=15.0,
)
# A busy machine slows an agent without pauses down: these limits leave room for that. The small agent pauses longer.
FAULT_LIMITS = replace(LIMITS, window=6.0, shortest_pauses=5.0)
CORRECT = {
    "reference agent, protocol 1": (REFERENCE_AGENT, 1),
    "reference agent, protocol 2": (f"{REFERENCE_AGENT} --protocol 2", 2),
    "the SDK": (f"{sys.executable} {ROOT / 'examples/twenty_lines/agent.py'}", 2),
    "small agent, protocol 1": (SMALL_AGENT, 1),
    "small agent, protocol 2": (f"{SMALL_AGENT} --protocol 2", 2),
    "docker agent": (f"{SMALL_AGENT} --platform docker", 1),
}
ACKS = {"acks", "ack-first", "redelivery-acked"}
ONLY_PROTOCOL_2 = {check.name for check in CHECKS if check.protocol == 2}
# These checks look at messages that differ between the protocols.
BOTH_PROTOCOLS = {"outcomes", "command-ids", "reports", "one-document", "redelivery-same-end", "survives-garbage"}
FAULTS = [
    *((check.name, 1) for check in CHECKS if check.name not in ONLY_PROTOCOL_2),
    *((name, 2) for name in sorted(ONLY_PROTOCOL_2 | BOTH_PROTOCOLS | {"acks", "ack-first"})),
]


async def run_all(agents: Mapping[Key, tuple[Options, list[str]]]) -> dict[Key, Findings]:
    """Check several agents at the same time: most of that time they wait."""
    limit = asyncio.Semaphore(AGENTS_AT_ONCE)

    async def check(options: Options, only: list[str]) -> Findings:
        async with limit:
            findings = findings_for(only)
            await run(options, findings)
            return findings

    async with asyncio.TaskGroup() as group:
        tasks = {key: group.create_task(check(options, only)) for key, (options, only) in agents.items()}
    return {key: task.result() for key, task in tasks.items()}


@pytest.mark.timeout(300)
def test_correct_agents_pass_every_check_that_applies_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the checks of the other protocol, of acks for a docker agent, and the slow ones are skipped."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'clients/python/src'}")
    found = asyncio.run(
        run_all(
            {
                name: (Options(agent=agent, protocol=protocol, limits=LIMITS), [])
                for name, (agent, protocol) in CORRECT.items()
            }
        )
    )

    assert {name: findings.failures() for name, findings in found.items()} == {name: {} for name in CORRECT}
    for name, findings in found.items():
        assert findings.conforms(), name
        skipped = {finding.check.name for finding in findings.all() if finding.verdict is Verdict.SKIPPED}
        expected = {"heartbeat", "keep-alive-ping"} | (ONLY_PROTOCOL_2 if CORRECT[name][1] == 1 else set[str]())
        if name == "the SDK":
            expected |= {"pending-asks-again", "approved-connects"}  # it waits for half a minute, as it must
        # A fast agent reports before the close, so that nothing is left to be resent.
        assert skipped - {"keeps-outcomes"} == expected | (ACKS if name == "docker agent" else set[str]()), name


@pytest.mark.timeout(300)
def test_each_fault_fails_its_own_check_and_no_other() -> None:
    """Whether the agent conforms depends on the MUSTs alone."""
    agents = {
        (fault, protocol): (
            Options(
                agent=f"{SMALL_AGENT} --fault {fault} --protocol {protocol}",
                protocol=2 if fault == "protocol" else protocol,
                slow=BY_NAME[fault].scenario == "keep-alive",
                limits=FAULT_LIMITS,
            ),
            [BY_NAME[fault].scenario],
        )
        for fault, protocol in FAULTS
    }
    found = asyncio.run(run_all(agents))

    failed = {key: findings.failures() for key, findings in found.items()}
    assert {key: failures for key, failures in failed.items() if failures.keys() != {key[0]}} == {}
    assert [key for key in failed if not failed[key][key[0]]] == []
    wrong = [key for key in found if found[key].conforms() is (BY_NAME[key[0]].level is Level.MUST)]
    assert wrong == []
    for protocol in (1, 2):
        seen = failed["survives-garbage", protocol]["survives-garbage"]
        assert seen.startswith("after the message this is not JSON: the agent's process ended with exit code 1")


def test_every_quoted_sentence_is_in_the_protocol() -> None:
    """Only two checks have no sentence, and those are SHOULDs."""
    protocol = " ".join((ROOT / "docs" / "protocol.md").read_text(encoding="utf-8").split())

    assert [check.name for check in CHECKS if check.sentence and check.sentence not in protocol] == []
    assert {check.name: check.level for check in CHECKS if check.sentence is None} == {
        "ping-message": Level.SHOULD,
        "sigterm": Level.SHOULD,
    }


def test_a_failure_is_reported_with_everything_that_its_author_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """The requirement, what the agent did, the sentence of the protocol, and what to do."""
    code = main(["--agent", f"{SMALL_AGENT} --fault register-key", "--only", "register-key", "--patience", "60"])

    shown = " ".join(capsys.readouterr().out.split())
    check = BY_NAME["register-key"]
    assert code == 1
    assert "FAILED: MUST register-key" in shown
    assert f"Expected {check.expected}" in shown
    assert "Observed X-Agent-Api-Key: Bearer 0000" in shown
    assert f"docs/protocol.md “{check.sentence}”" in shown
    assert f"What to do {check.advice}" in shown
    assert "The agent does not conform to docs/protocol.md" in shown


def test_programs_get_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    """An agent that conforms ends the kit with exit code 0."""
    code = main(["--agent", SMALL_AGENT, "--only", "connects", "--json", "--patience", "60"])

    document = json.loads(capsys.readouterr().out)
    assert (code, document["conforms"]) == (0, True)
    [check] = document["checks"]
    assert (check["name"], check["level"], check["verdict"]) == ("connects", "MUST", "passed")


def test_an_agent_that_ends_at_once_does_not_conform(capsys: pytest.CaptureFixture[str]) -> None:
    """The kit does not wait for it; it shows the last output for the two failed checks, not for those it did not reach."""
    code = main(["--agent", "sh -c 'echo oops; exit 3'"])

    shown = capsys.readouterr().out
    assert code == 1
    assert "the agent's process ended with exit code 3 its last output: oops" in " ".join(shown.split())
    assert shown.count("oops") == 2


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        ("/no/such/agent", "The agent does not start: [Errno 2] No such file or directory: '/no/such/agent'.\nNext: "),
        ("sh -c 'echo", "The agent does not start: No closing quotation.\nNext: "),
        ("", "No agent was named.\nNext: name the command that starts it: make conformance AGENT="),
    ],
)
def test_a_command_that_does_not_start_is_reported_once(
    capsys: pytest.CaptureFixture[str], agent: str, message: str
) -> None:
    """Nothing was checked: exit code 2."""
    assert main(["--agent", agent]) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count(message) == 1


@pytest.mark.skipif(
    shutil.which("make") is None or not (ROOT / ".venv/bin/python").exists(), reason="needs make and .venv"
)
def test_make_passes_on_a_command_with_quotes_and_the_options() -> None:
    """AGENT is passed through the environment, ARGS on the command line."""
    result = subprocess.run(
        [
            "make",
            "-o",
            ".venv/.local",
            "conformance",
            'AGENT=sh -c "echo oops; exit 3"',
            "ARGS=--only registers --json",
        ],
        cwd=ROOT,
        # This make is independent of the make that runs the tests.
        env={name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))},
        capture_output=True,
        text=True,
        check=False,
    )

    [check] = json.loads(result.stdout)["checks"]
    assert check["seen"] == "the agent's process ended with exit code 3\nits last output:\noops"


def test_a_base_url_with_a_slash_at_its_end_works(capsys: pytest.CaptureFixture[str]) -> None:
    """`//api/v1/…` is the same path, for the registration and for the WebSocket."""
    agent = f"{SMALL_AGENT} --url {{url}}/"

    main(["--agent", agent, "--only", "registers", "--only", "connects", "--json", "--patience", "60"])

    checks = json.loads(capsys.readouterr().out)["checks"]
    assert {check["name"]: check["verdict"] for check in checks} == {"registers": "passed", "connects": "passed"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--payload", "{}"], "each --payload needs an --action"),
        (["--action", "upgrade", "--payload", "{"], "--payload is not JSON"),
        (["--action", "upgrade", "--payload", "[]"], "--payload must be a JSON object"),
    ],
)
def test_a_wrong_payload_is_explained_before_an_agent_is_started(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """Like any other mistake in the command line."""
    with pytest.raises(SystemExit) as exited:
        main(["--agent", "true", *arguments])

    assert exited.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pauses", "regular"),
    [
        ([2.0, 2.1, 1.95, 2.0], True),
        ([1.0, 2.05, 4.0, 8.1], True),
        ([0.3, 0.9, 0.4, 1.2], False),
        ([0.5, 1.8, 0.2, 6.0], False),
    ],
)
def test_pauses_that_are_alike_or_doubled_are_regular(pauses: list[float], regular: bool) -> None:  # noqa: FBT001
    """Random pauses are not."""
    assert (regularity(pauses) is not None) is regular


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
        (2, b'{"type": "reports", "reports": [{"kind": "done", "commandId": "c"}]}', "reports"),
        (2, b'{"type": "reports", "reports": [{"kind": "progress", "commandId": "c"}]}', "reports"),
        (
            2,
            b'{"type": "reports", "reports": [{"kind": "failed", "commandId": "c", "error": "e", "retryable": 1}]}',
            "reports",
        ),
    ],
)
def test_a_malformed_message_fails_its_check(protocol: int, text: bytes, check: str) -> None:
    """The problem names the check and quotes the message."""
    problem = decode(protocol, text).problem

    assert problem is not None
    assert problem[0] == check
