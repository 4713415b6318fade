"""Agents by how long something waits for them: exact at any size, and bounded."""

import pytest

from dispatcher.agents import longest_due
from dispatcher.agents.agent_lists import AgentFilter
from dispatcher.agents.selectors import parse
from dispatcher.platform.database import Connection
from tests.rows import put

SOME: list[tuple[AgentFilter, str]] = [
    (AgentFilter(), "true"),
    (AgentFilter(presence="online"), "n % 3 = 0"),
    (AgentFilter(presence="offline"), "n % 3 > 0"),
    (AgentFilter(selector=parse("half=low")), "n < 15"),
    (AgentFilter(selector=parse("!half"), search="AGE-2"), "n between 20 and 29"),
    (AgentFilter(approval="pending", presence="online"), "n % 6 = 0"),
    (AgentFilter(backlog=True), "true"),
    (AgentFilter(backlog=False), "false"),
]


@pytest.fixture
def fleet(conn: Connection) -> Connection:
    """Thirty agents, each with three commands of the past, the oldest of which is not the first in the order of delivery."""
    conn.execute(
        """
        insert into agents (agent_id, platform, labels, approval, connection_id, connected_at, last_seen_at)
        select 'age-' || n, 'linux', case when n < 15 then '{"half": "low"}' else '{}'::jsonb end,
            case when n % 2 = 0 then 'pending' else 'approved' end,
            case when n % 3 = 0 then 'c' || n end, now(), now()
        from generate_series(0, 29) n
        """
    )
    conn.execute(
        """
        insert into agent_commands (agent_id, action, priority, created_at)
        select 'age-' || n, 'noop', -p,
            now() - (n * 7 % 30) / 3 * interval '1 hour' + p * interval '1 minute' * (1 - 2 * (n % 2))
        from generate_series(0, 29) n, generate_series(0, 2) p
        """
    )
    return conn


@pytest.mark.parametrize(("wanted", "condition"), SOME)
@pytest.mark.parametrize(("limit", "commands"), [(4, longest_due.COMMANDS), (50, 5), (2, 7)])
@pytest.mark.parametrize("connected", [longest_due.CONNECTED, 3])
@pytest.mark.parametrize("scope", [None, {"half": "low"}], ids=["all", "low"])
def test_whoever_waits_longest_comes_first(
    fleet: Connection,
    *,
    wanted: AgentFilter,
    condition: str,
    limit: int,
    commands: int,
    connected: int,
    scope: dict[str, str] | None,
) -> None:
    """Each agent comes once, however few commands a page may look at; commands of the same moment by their number."""
    expected = fleet.execute(
        f"""
        select c.agent_id
        from (select distinct on (agent_id) * from agent_commands order by agent_id, created_at, seq) c
        cross join lateral (select substr(c.agent_id, 5)::integer as n) as number
        where ({condition}) and {"true" if scope is None else "n < 15"}
        order by c.created_at, c.seq
        """.encode()
    ).fetchall()

    ids: list[str] = []
    after: longest_due.Place | None = None
    for _ in range(100):
        page = longest_due.list_page(
            fleet, scope=scope, wanted=wanted, after=after, limit=limit, commands=commands, connected=connected
        )
        assert len(page.agents) <= limit
        ids += [agent.agent_id for agent in page.agents]
        after = page.next
        if after is None:
            break

    assert ids == [agent_id for (agent_id,) in expected]


def test_what_is_not_due_yet_is_not_stuck(conn: Connection) -> None:
    """Neither a command for later, nor one that has ended, nor one whose agent was never created."""
    conn.execute(
        """
        insert into agents (agent_id, platform, connection_id, connected_at, last_seen_at)
        values ('a1', 'linux', 'c1', now(), now()), ('a2', 'linux', null, null, null), ('a3', 'linux', null, null, null)
        """
    )
    put(conn, "later", "a1", created_at="2026-01-01", not_before="2999-01-01")
    put(conn, "ended", "a2", created_at="2026-01-01", status="completed")
    put(conn, "nobody's", "a4", created_at="2026-01-01")
    put(conn, "due", "a3")

    for wanted, expected in ((AgentFilter(presence="online"), []), (AgentFilter(), ["a3"])):
        page = longest_due.list_page(conn, scope=None, wanted=wanted, limit=9)
        assert [agent.agent_id for agent in page.agents] == expected


def test_the_longest_stuck_of_ten_thousand_is_found_at_once(conn: Connection) -> None:
    """The first page reads a few of a hundred thousand commands, and of connected agents one command each."""
    conn.execute(
        """
        insert into agents (agent_id, platform, connection_id, connected_at, last_seen_at)
        select 'a' || n, 'linux', case when n % 10 = 0 then 'c' || n end, now(), now() from generate_series(1, 10000) n
        """
    )
    conn.execute(
        """
        insert into agent_commands (agent_id, action, created_at)
        select 'a' || n, 'noop', now() - case n when 7000 then interval '2 days' when 77 then interval '9 days'
            else n * interval '1 second' end
        from generate_series(1, 10000) n
        """
    )
    conn.execute("analyze agents, agent_commands")

    for wanted, stuck, most in ((AgentFilter(presence="online"), "a7000", 5000), (AgentFilter(), "a77", 2500)):
        with conn.transaction():
            before = _rows_read(conn)
            page = longest_due.list_page(conn, scope=None, wanted=wanted, limit=8)
            read = _rows_read(conn) - before
        assert page.agents[0].agent_id == stuck
        assert read < most, wanted


def test_a_page_reads_few_rows_although_many_connected_agents_have_a_backlog(conn: Connection) -> None:
    """The first page walks the oldest commands and looks into no queue; the queue of the one degraded agent is found."""
    conn.execute(
        """
        insert into agents (agent_id, platform, connection_id, connected_at, last_seen_at)
        select 'a' || n, 'linux', 'c' || n, now(), now() from generate_series(1, 3000) n
        """
    )
    conn.execute(
        """
        insert into agent_commands (agent_id, action, created_at)
        select 'a' || n, 'noop', now() - n * interval '1 second' - p * interval '1 hour'
        from generate_series(1, 3000) n, generate_series(1, 10) p
        """
    )
    conn.execute("analyze agents, agent_commands")

    with conn.transaction():
        before = _rows_read(conn)
        page = longest_due.list_page(conn, scope=None, wanted=AgentFilter(presence="online"), limit=8)
        read = _rows_read(conn) - before

    assert [agent.agent_id for agent in page.agents] == [f"a{3000 - n}" for n in range(8)]
    assert read < 6000
    conn.execute("update agents set spoke = false, mute_connections = 2 where agent_id = 'a1'")
    page = longest_due.list_page(conn, scope=None, wanted=AgentFilter(presence="degraded"), limit=8)
    assert [agent.agent_id for agent in page.agents] == ["a1"]
    assert page.next is None


def _rows_read(conn: Connection) -> int:
    row = conn.execute(
        """select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint
           from pg_stat_xact_user_tables where relname in ('agents', 'agent_commands')"""
    ).fetchone()
    assert row is not None
    total: int = row[0]
    return total
