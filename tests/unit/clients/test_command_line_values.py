"""Texts of people and for people: durations, moments, labels, tables, contexts."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from command_dispatcher.cli.columns import EVENTS
from command_dispatcher.cli.contexts import Context, Contexts, folder, target
from command_dispatcher.cli.events_commands import Failures
from command_dispatcher.cli.overview import sparkline
from command_dispatcher.cli.stopping import Stop
from command_dispatcher.cli.tables import GAP, Column, column_widths, lines_of
from command_dispatcher.cli.values import (
    age,
    json_text,
    label_changes,
    labels_from,
    moment_from,
    printable,
    seconds_from,
)
from command_dispatcher.client import Unreachable
from command_dispatcher.digits import dumps, loads

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("2h30m", 9000), ("7d", 604_800), ("1w", 604_800)]
)
def test_durations_are_written_with_units(text: str, seconds: int) -> None:
    """Without a unit they are seconds."""
    assert seconds_from(text) == seconds


def test_a_failure_that_goes_on_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Another one is told, too."""
    failures = Failures()
    for reason in ("no answer", "no answer", "no answer", "busy"):
        failures.tell(Unreachable(reason))

    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize("text", ["", "h", "2 h", "-5", "1.5h", "5x", "٣"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Not guessed at."""
    with pytest.raises(ValueError, match="duration"):
        seconds_from(text)


def test_moments_are_absolute_or_distances() -> None:
    """A moment needs its time zone: this machine's would be a guess."""
    assert moment_from("2h", past=True, now=NOW) == NOW - timedelta(hours=2)
    assert moment_from("2h", past=False, now=NOW) == NOW + timedelta(hours=2)
    assert moment_from("2026-11-23T09:00:00+01:00", past=True) == NOW
    with pytest.raises(ValueError, match="moment"):
        moment_from("2026-11-23T08:00:00", past=True)


def test_ages_have_one_unit() -> None:
    """The largest that is counted at least twice."""
    distances = {"0s": 0, "119s": 119, "2m": 120, "2h": 7200, "2d": 172_800, "in 5m": -300}
    assert {age(NOW - timedelta(seconds=seconds), NOW): seconds for seconds in distances.values()} == distances


def test_labels_are_set_and_removed() -> None:
    """`name-` removes a label; a value may hold an equals sign and end with a dash."""
    assert label_changes(["env=prod", "old-", "url=a=b-", "empty="]) == {
        "env": "prod",
        "old": None,
        "url": "a=b-",
        "empty": "",
    }
    for wrong in ("env", "=prod", "-"):
        with pytest.raises(ValueError, match="label"):
            label_changes([wrong])
    with pytest.raises(ValueError, match="label"):
        labels_from(["old-"])


def test_what_a_terminal_would_obey_is_escaped() -> None:
    """Control characters of ASCII and Latin-1, and marks that turn text around; other letters stay."""
    assert printable("ä\x1b[2J\x9b\u202e\n日") == r"ä\u001b[2J\u009b\u202e\u000a日"
    assert json.loads(json_text({"a": "\x9b\u202e\n"})) == {"a": "\x9b\u202e\n"}
    assert "\x9b" not in json_text("\x9b")


@pytest.mark.parametrize("text", ["0.12345678901234567890123", "1.10", "1e-400", "12345678901234567890123", "0.1"])
def test_the_client_keeps_the_digits_of_numbers(text: str) -> None:
    """A payload reaches its agent, and a result its reader, as it was written."""
    whole = f'{{"a": [{text}, "x"], "b": 1.5}}'
    assert dumps(loads(whole)) == whole
    assert loads(text) == float(text) or loads(text) == int(text)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "[" * 100_000, "{", ""])
def test_what_is_not_json_is_refused(text: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match=r"."):
        loads(text)


def test_bars_are_scaled_to_the_largest() -> None:
    """Nothing at all is a space."""
    assert sparkline([0, 1, 4, 8]) == " ▁▄█"
    assert sparkline([]) == ""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty configuration."""
    for name in ("DISPATCHER_URL", "DISPATCHER_TOKEN", "DISPATCHER_CONTEXT", "DISPATCHER_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "dispatcher"


def test_the_environment_goes_before_the_context_and_an_option_before_both(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a token is never sent to another service than its own."""
    contexts = Contexts()
    contexts.save(Context(name="test", url="https://test.example"), "test-token")
    contexts.save(Context(name="prod", url="https://prod.example"), "prod-token")
    found: dict[str, Any] = {"current": target(None), "named": target("test")}
    monkeypatch.setenv("DISPATCHER_URL", "https://test.example/")
    found["by url"] = target(None)
    monkeypatch.setenv("DISPATCHER_URL", "https://other.example")
    found["elsewhere"] = target(None)
    monkeypatch.setenv("DISPATCHER_TOKEN", "own-token")
    found |= {"environment": target(None), "option": target("prod")}
    assert {name: (goal.url, goal.token) for name, goal in found.items()} == {
        "current": ("https://prod.example", "prod-token"),
        "named": ("https://test.example", "test-token"),
        "by url": ("https://test.example/", "test-token"),
        "elsewhere": ("https://other.example", None),
        "environment": ("https://other.example", "own-token"),
        "option": ("https://prod.example", "prod-token"),
    }
    assert folder() == home


def test_the_files_are_only_for_their_owner(home: Path) -> None:
    """Also after a change, whatever the umask."""
    Contexts().save(Context(name="a", url="https://a.example"), "secret")
    Contexts().save(Context(name="b", url="https://b.example"), "secret")
    assert {stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()} == {0o600}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_broken_file_is_named(home: Path) -> None:
    """Instead of a stack trace."""
    home.mkdir()
    (home / "contexts.json").write_text("{")
    with pytest.raises(Stop, match=r"contexts\.json"):
        Contexts().all()


@pytest.mark.parametrize(
    ("room", "widths"),
    [
        (80, {0: 36, 1: 12, 2: 9, 3: 8}),  # everything fits
        (70, {0: 36, 1: 12, 2: 9}),  # the optional one goes
        (66, {0: 36, 1: 12, 2: 9}),  # nothing that is short shrinks
        (40, {0: 15, 1: 12, 2: 9}),  # the whole ones are folded last
    ],
)
def test_a_table_fits_its_terminal(room: int, widths: dict[int, int]) -> None:
    """Ids and statuses are whole as long as anything else can give way."""
    columns = [
        Column("ID", str, is_id=True),
        Column("STATUS", str, whole=True),
        Column("AGENT", str),
        Column("MORE", str, optional=True),
    ]
    assert column_widths([["x" * 36, "acknowledged", "an-agent!", "optional"]], columns, room) == widths


@pytest.mark.parametrize(
    ("id_", "label", "lines"),
    [
        ("edge-1", "env=prod", ["edge-1     online  env=prod"]),
        ("edge-1", "e" * 20, ["edge-1     online  eeeeeeeeeee…"]),
        ("edge-1", "\u672c" * 10, ["edge-1     online  \u672c\u672c\u672c\u672c\u672c…"]),  # each takes two columns
        ("a-long-id-of-30-characters-xxx", "env=prod", ["a-long-id-of-  online  env=prod", "30-characters", "-xxx"]),
    ],
)
def test_a_row_fits_its_terminal(id_: str, label: str, lines: list[str]) -> None:
    """An id goes on in the next line, other texts end with an ellipsis; nothing follows the last text."""
    columns = [Column("ID", str, is_id=True), Column("STATUS", str, whole=True), Column("LABELS", str)]

    header, *rows = lines_of([[id_.ljust(9), "online", label]], columns, 31, plain=True)

    assert (header.split(), rows) == (["ID", "STATUS", "LABELS"], lines)


def test_colours_repeat_a_word_and_take_no_room() -> None:
    """Only statuses have one."""
    columns = [Column("ID", str, is_id=True), Column("STATUS", str)]
    lines = list(lines_of([["a", "failed"], ["failing", "else"]], columns, 80, plain=False))
    assert lines == ["\x1b[1mID\x1b[0m       \x1b[1mSTATUS\x1b[0m", "a        \x1b[31mfailed\x1b[0m", "failing  else"]


def test_an_event_takes_one_line_of_80_columns() -> None:
    """Also with the longest type: the id of its command is whole, the name of its agent is shortened."""
    event = {
        "id": "8b836101b2e1-4645",
        "type": "command.acknowledged",
        "at": "2026-11-26T06:36:04.722989Z",
        "agentId": "an-agent-with-a-long-name",
        "commandId": f"cmd-{'0' * 32}",
        "action": "restart",
        "cause": "acknowledged by its agent",
    }
    moment, *others = [column.text(event) for column in EVENTS]
    row = [moment.partition("T")[2], *others]  # a terminal gets the time of day

    widths = column_widths([row], EVENTS, 80)

    assert sum(widths.values()) + GAP * (len(widths) - 1) <= 80
    assert {EVENTS[index].header: width for index, width in widths.items()}["COMMAND"] == 36
