"""Label selectors: the language of Kubernetes, evaluated by the database."""

import pytest
from psycopg.types.json import Jsonb

from dispatcher.agents.selectors import BadSelector, parse
from dispatcher.platform.database import Connection

FLEET: dict[str, dict[str, str]] = {
    "bare": {},
    "dev": {"env": "dev", "tier": "a"},
    "prod-a": {"env": "prod", "tier": "a", "zone": "eu-1"},
    "prod-b": {"env": "prod", "tier": "b", "canary": "", "zone": "eu-2"},
    "quote": {"env": "it's", 'odd"key': "%(x)s"},
}


@pytest.fixture
def fleet(conn: Connection) -> Connection:
    """Agents with labels."""
    for agent_id, labels in FLEET.items():
        conn.execute(
            "insert into agents (agent_id, platform, labels) values (%s, 'linux', %s)", (agent_id, Jsonb(labels))
        )
    return conn


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("env=prod", ["prod-a", "prod-b"]),
        ("env==prod", ["prod-a", "prod-b"]),
        ("env = prod , tier = a", ["prod-a"]),
        ("env!=prod", ["bare", "dev", "quote"]),
        ("env", ["dev", "prod-a", "prod-b", "quote"]),
        ("!env", ["bare"]),
        ("! canary,env=prod", ["prod-a"]),
        ("canary=", ["prod-b"]),
        ("tier in (a,b)", ["dev", "prod-a", "prod-b"]),
        ("tier in ( a )", ["dev", "prod-a"]),
        ("tier notin (a)", ["bare", "prod-b", "quote"]),
        ("env=prod,tier in (a,b),!canary,zone!=eu-2", ["prod-a"]),
        ("env=it's", ["quote"]),
        ('odd"key', ["quote"]),
        ("env=%s", []),
        ("in in (a)", []),
    ],
)
def test_a_selector_selects_what_kubernetes_selects(fleet: Connection, selector: str, selected: list[str]) -> None:
    """A label that is absent is not equal to anything; values are data, whatever they hold."""
    parsed = parse(selector)

    rows = fleet.execute(
        f"select agent_id from agents a where {parsed.condition} order by agent_id".encode(), parsed.parameters
    ).fetchall()

    assert [agent_id for (agent_id,) in rows] == selected


@pytest.mark.parametrize(
    ("selector", "problem"),
    [
        ("", "at character 1: expected the name of a label, or `!`, found the end"),
        ("env=prod,", "at character 10: expected the name of a label, or `!`, found the end"),
        ("env prod", "at character 5: expected `=`, `==`, `!=`, `in`, `notin`, `,` or the end, found `prod`"),
        ("cpu>5", "at character 4: expected `=`, `==`, `!=`, `in`, `notin`, `,` or the end, found `>`"),
        ("tier in a", "at character 9: expected `(`, found `a`"),
        ("tier in ()", "at character 10: expected a value, found `)`"),
        ("tier in (a", "at character 11: expected `,` or `)`, found the end"),
        ("env=prod)", "at character 9: expected `,` or the end, found `)`"),
        ("env=prod!", "at character 9: expected `,` or the end, found `!`"),
        ("!!env", "at character 2: expected the name of a label, found `!`"),
        (",".join(["a=b"] * 33), "it has 33 requirements; a selector has 32 at most"),
        ("x" * 2001, "it has 2001 characters; a selector has 2000 at most"),
    ],
)
def test_a_bad_selector_is_refused_with_its_place(selector: str, problem: str) -> None:
    """The place is counted in characters, from 1."""
    with pytest.raises(BadSelector) as raised:
        parse(selector)

    assert str(raised.value) == problem
