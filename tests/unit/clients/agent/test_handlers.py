"""What a handler may look like, what its arguments are, and how an agent finds its settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from command_dispatcher import Agent, testing
from command_dispatcher.agent import AgentError, Command, runner

SETTINGS = ("DISPATCHER_URL", "AGENT_ID", "AGENT_API_KEY", "AGENT_ENROLMENT_TOKEN", "AGENT_STATE")


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the tests."""
    return "asyncio"


class Restart(BaseModel):
    """A payload as a model."""

    service: str
    now: bool = False


async def by_model(command: Command, request: Restart) -> list[Any]:
    """Take the whole payload."""
    return [command.action, request.service, request.now]


async def by_model_alone(request: Restart) -> list[Any]:
    """Take only the payload."""
    return [request.service, request.now]


async def by_name(_: Command, service: str, times: int = 1) -> list[Any]:
    """Take fields of the payload."""
    return [service, times]


def by_name_alone(service: str) -> str:
    """Take one field, in a thread."""
    return service


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("handler", "payload", "expected"),
    [
        (by_model, {"service": "web", "now": "yes"}, ["work", "web", True]),
        (by_model, {"now": True}, "payload.service: Field required"),
        (by_model, [1], "payload: Input should be a valid dictionary or instance of Restart"),
        (by_model_alone, {"service": "web"}, ["web", False]),
        (by_name, {"service": "web", "other": 1}, ["web", 1]),
        (by_name, {"service": "web", "times": "3"}, ["web", 3]),
        (by_name, {"service": "web", "times": "x"}, "payload.times: Input should be a valid integer, unable to parse"),
        (by_name, {"times": 3}, "the payload has no service"),
        (by_name, "web", "the payload must be an object"),
        (by_name_alone, {"service": "web"}, "web"),
    ],
)
async def test_a_handler_gets_its_arguments_from_the_payload(
    handler: Callable[..., Any], payload: object, expected: object
) -> None:
    """A payload that does not fit fails the command and names the field."""
    agent = Agent()
    agent.on("work")(handler)
    async with testing.Service(agent) as service:
        command = await service.deliver("work", payload).ended()

    if command.status == "completed":
        assert command.result == expected
    else:
        assert str(command.error).startswith(str(expected))


def variadic(*_: Any) -> None:
    """Take anything."""


def test_a_handler_that_no_command_can_fill_is_refused_at_once() -> None:
    """When the program starts, not when the first command comes."""
    agent = Agent()
    agent.on("work")(by_name)

    with pytest.raises(AgentError, match="must name its arguments"):
        agent.on("other")(variadic)
    with pytest.raises(AgentError, match="The action 'work' has two handlers"):
        agent.on("work")(by_model)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "needs url (or DISPATCHER_URL) and agent_id (or AGENT_ID)"),
        ({"url": "example.com", "agent_id": "a"}, "must begin with http:// or https://"),
        ({"url": "http://127.0.0.1:1", "agent_id": "a", "window": 101}, "a number from 1 to 100"),
        ({"url": "http://127.0.0.1:1", "agent_id": "a"}, "needs api_key (or AGENT_API_KEY), or enrolment_token"),
    ],
)
def test_an_agent_that_cannot_run_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: dict[str, Any], words: str
) -> None:
    """One sentence, and no stack trace."""
    monkeypatch.chdir(tmp_path)
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(SystemExit) as ended:
        Agent(**arguments).run()

    assert str(ended.value.code).startswith("The agent does not run. ")
    assert words in str(ended.value.code)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("no_such_module:agent", "There is no module 'no_such_module'"),
        ("my_fleet:other", "The module 'my_fleet' has no agent 'other'"),
        (":agent", "':agent' is not MODULE:NAME"),
    ],
)
def test_a_specification_that_names_no_agent_is_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: str, words: str
) -> None:
    """The module is looked for in the current folder."""
    (tmp_path / "my_fleet.py").write_text("from command_dispatcher import Agent\nagent = Agent()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    assert isinstance(runner.load("my_fleet:agent"), Agent)
    assert runner.run(spec) == runner.USAGE
    assert words in capsys.readouterr().err
