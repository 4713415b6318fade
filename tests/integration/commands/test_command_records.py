"""Lists of commands are cut in the database, so that no function loads what it cannot answer."""

import json

import pytest

from dispatcher.commands import command_records
from dispatcher.commands.command_lists import Filter
from dispatcher.commands.lifecycle import Status
from dispatcher.platform.database import Connection
from tests.rows import create_agent, find, put

FILTERS = [Filter(), Filter(agent_id="a1"), Filter(statuses=frozenset({Status.PENDING, Status.DEAD}))]


@pytest.mark.parametrize("filters", FILTERS, ids=["all", "agent", "statuses"])
def test_a_page_ends_before_its_bytes_are_exceeded(conn: Connection, filters: Filter) -> None:
    """Only the columns that are asked for count; a page has one command at least."""
    create_agent(conn)
    for number in range(9):
        put(conn, f"k{number}", payload=json.dumps("x" * 100_000), progress=json.dumps("y" * 500_000))

    def listed(most_bytes: int, *include: str) -> tuple[list[str], bool]:
        page = command_records.list_page(
            conn, scope=None, wanted=filters, limit=6, most_bytes=most_bytes, include=include
        )
        assert all((command.payload is not None) == ("payload" in include) for command in page.commands)
        return [command.command_id for command in page.commands], page.next is not None

    assert listed(250_000, "payload") == (["k8", "k7"], True)
    assert listed(250_000, "payload", "progress") == (["k8"], True)
    assert listed(250_000) == (["k8", "k7", "k6", "k5", "k4", "k3"], True)


def test_the_last_page_says_so(conn: Connection) -> None:
    """Otherwise every list would end with an empty page."""
    create_agent(conn)
    for number in range(3):
        put(conn, f"k{number}")

    places = [command_records.position_of(find(conn, f"k{number}")) for number in (2, 0)]

    pages = [
        command_records.list_page(conn, scope=None, wanted=Filter(), before=before, limit=3, most_bytes=10**6)
        for before in (None, *places)
    ]

    assert [([command.command_id for command in page.commands], page.next) for page in pages] == [
        (["k2", "k1", "k0"], None),
        (["k1", "k0"], None),
        ([], None),
    ]
