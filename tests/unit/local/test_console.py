"""What a function prints, in the log file and on the terminal."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from local.console import LINE_BYTES, SHOWN_CHARACTERS, Console, LogFile, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Loaded 3 commands\tin 2 ms", "Loaded 3 commands\tin 2 ms"),
        ("Zürich 東京 😀", "Zürich 東京 😀"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("one\r\ntwo", "one\\x0d\\x0atwo"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\u2066a\u2069\u200b", "\\u2066a\\u2069\\u200b"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    """Those of the terminal, of both sets, and those that change the direction of the text."""
    assert printable(text) == shown


def test_nothing_that_an_agent_says_reaches_the_terminal_raw(capsys: pytest.CaptureFixture[str]) -> None:
    """In a message, in a field, in its name, in a level, in a line that is no JSON."""
    evil = "\x1b[2J\n\x9b\u202e\ud800"
    record = {"level": evil, "message": evil, "agent_id": evil, evil: "value"}

    console = Console()
    console.events([("MessageFunction", json.dumps(record))])
    console.events([("MessageFunction", json.dumps(record, ensure_ascii=False).replace("\\u001b", "\x1b"))])
    console.events([("MessageFunction", evil)])

    output = capsys.readouterr().out
    assert output.count("\n") == 3
    assert not set(evil).intersection(output.replace("[2J", "").replace("\n", "")) - set("[2J")
    assert output.count("\\x1b[2J") == 9


def test_a_long_line_is_cut_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """With a note."""
    Console().events([("MessageFunction", json.dumps({"level": "INFO", "message": "x" * 100_000}))])

    output = capsys.readouterr().out
    assert len(output) < SHOWN_CHARACTERS + 200
    assert "characters in all" in output


def test_the_log_file_is_for_its_owner_and_cuts_long_lines(tmp_path: Path) -> None:
    """Also with a umask that allows everything."""
    before = os.umask(0)
    try:
        log = LogFile(tmp_path / "logs" / "dispatcher.log", pytest.fail)
        log.write("é" * LINE_BYTES)
        log.write("x" * LINE_BYTES)
        log.write("\ud800")
        log.close()
    finally:
        os.umask(before)

    long, fits, surrogate = (tmp_path / "logs" / "dispatcher.log").read_text().splitlines()
    assert long == f"{'é' * (LINE_BYTES // 2)} … cut, {2 * LINE_BYTES} bytes in all"
    assert fits == "x" * LINE_BYTES
    assert surrogate == "\\ud800"
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "logs" / "dispatcher.log").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """And the dispatcher goes on."""
    told: list[str] = []
    log = LogFile(Path("/dev/full"), told.append)

    for _ in range(3):
        log.write("line")
    log.close()

    assert len(told) == 1
    assert told[0].startswith("/dev/full cannot be written: [Errno 28] No space left on device")
    assert capsys.readouterr().err == ""


def test_a_log_that_cannot_be_opened_is_told_once(tmp_path: Path) -> None:
    """Here a file stands where its folder should be."""
    (tmp_path / "logs").touch()
    told: list[str] = []
    log = LogFile(tmp_path / "logs" / "dispatcher.log", told.append)

    log.write("line")
    log.write("line")
    log.close()

    assert len(told) == 1
