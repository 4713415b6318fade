"""Lists of agents with filters: right at any size, and bounded."""

from datetime import timedelta

import pytest

from dispatcher.agents import agent_lists, registry
from dispatcher.agents.agent_lists import AgentFilter
from dispatcher.agents.selectors import parse
from dispatcher.platform.database import Connection
from tests.rows import put

FILTERS: list[tuple[AgentFilter, str]] = [
    (AgentFilter(), "true"),
    (AgentFilter(presence="online"), "n % 4 = 0"),
    (AgentFilter(presence="degraded"), "n % 4 = 1"),
    (AgentFilter(presence="offline"), "n % 4 > 1"),
    (AgentFilter(approval="pending", platform="linux"), "n % 10 = 3 and n % 2 = 0"),
    (AgentFilter(platform="linux"), "n % 2 = 0"),
    (AgentFilter(backlog=True), "n % 3 = 0"),
    (AgentFilter(backlog=False, presence="offline"), "n % 3 > 0 and n % 4 > 1"),
    (AgentFilter(selector=parse("half=low"), backlog=True), "n % 3 = 0 and n < 30"),
    (AgentFilter(selector=parse("half=low,!odd"), presence="offline"), "n < 30 and n % 2 = 0 and n % 4 > 1"),
    (AgentFilter(selector=parse("!odd")), "n % 2 = 0"),
    (AgentFilter(search="GE-1"), "n between 10 and 19 or n = 1"),
    (AgentFilter(search="7", backlog=True), "n % 10 = 7 and n % 3 = 0"),
]


@pytest.fixture
def fleet(conn: Connection) -> Connection:
    """Sixty agents: online, degraded (silent), connected but silent for long, and not connected; one of three has a backlog."""
    conn.execute(
        """
        create table facts_of as
        select
            n,
            'edge-' || n as agent_id,
            jsonb_build_object('half', case when n < 30 then 'low' else 'high' end)
                || case when n % 2 = 1 then '{"odd": ""}' else '{}'::jsonb end as labels
        from generate_series(0, 59) n
        """
    )
    conn.execute(
        """
        insert into agents (agent_id, platform, labels, approval, connection_id, connected_at, last_seen_at)
        select
            agent_id,
            case when n % 2 = 0 then 'linux' else 'windows' end,
            labels,
            case when n % 10 = 3 then 'pending' else 'approved' end,
            case when n % 4 < 3 then 'c' || n end,
            now(),
            now() - case n % 4 when 1 then interval '100 s' when 2 then interval '200 s' else interval '1 s' end
        from facts_of
        """
    )
    conn.execute(
        "insert into agents (agent_id, platform, labels, deleted_at) values ('edge-x', 'linux', '{\"half\": \"low\"}', now())"
    )
    conn.execute(
        """
        insert into agent_commands (agent_id, action, status)
        select agent_id, 'noop', case when n % 3 = 0 then 'pending' else 'completed' end from facts_of
        """
    )
    return conn


@pytest.mark.parametrize(("wanted", "condition"), FILTERS)
@pytest.mark.parametrize(("limit", "rows"), [(7, agent_lists.ROWS), (50, 9), (3, 5)])
@pytest.mark.parametrize("scope", [None, {"half": "high"}], ids=["all", "high"])
def test_the_pages_of_a_list_of_agents_are_what_its_filter_means(
    fleet: Connection, *, wanted: AgentFilter, condition: str, limit: int, rows: int, scope: dict[str, str] | None
) -> None:
    """However few agents a page may look at; each comes once, in the order of ids."""
    visible = "true" if scope is None else "n >= 30"
    expected = fleet.execute(
        f"select agent_id from facts_of where ({condition}) and {visible} order by agent_id".encode()
    ).fetchall()

    ids: list[str] = []
    after: str | None = None
    for _ in range(100):
        page = agent_lists.list_page(fleet, scope=scope, wanted=wanted, after=after, limit=limit, rows=rows)
        assert len(page.agents) <= limit
        if wanted.presence:
            assert {agent.presence for agent in page.agents} <= {wanted.presence}
        ids += [agent.agent_id for agent in page.agents]
        after = page.next
        if after is None:
            break

    assert ids == [agent_id for (agent_id,) in expected]


@pytest.mark.parametrize(
    "wanted",
    [
        AgentFilter(presence="online"),
        AgentFilter(approval="pending"),
        AgentFilter(backlog=True, presence="online"),
        AgentFilter(backlog=False),
        AgentFilter(selector=parse("!of-tests")),
        AgentFilter(selector=parse("of-tests"), platform="windows"),
    ],
    ids=["presence", "approval", "backlog and presence", "no backlog", "no label", "label and platform"],
)
def test_a_filter_of_agents_that_no_index_fits_reads_a_bounded_number_of_rows(
    conn: Connection, wanted: AgentFilter
) -> None:
    """It ends early and says so, instead of being slow."""
    conn.execute(
        """insert into agents (agent_id, platform, labels)
           select 'a' || n, 'linux', '{"of-tests": ""}' from generate_series(1, 10000) n"""
    )
    conn.execute("insert into agent_commands (agent_id, action) select agent_id, 'noop' from agents")
    conn.execute("analyze agents, agent_commands")

    with conn.transaction():
        before = rows_read(conn)
        page = agent_lists.list_page(conn, scope=None, wanted=wanted, limit=20, rows=200)
        read = rows_read(conn) - before

    assert page.agents == []
    assert page.next is not None
    assert read < 5000


def test_agents_in_the_order_of_their_ids_are_read_without_a_look_up_of_each(conn: Connection) -> None:
    """A page may look at ten thousand; a look-up of each would take most of its time."""
    conn.execute("insert into agents (agent_id, platform) select 'a' || n, 'linux' from generate_series(1, 10000) n")
    conn.execute("analyze agents")

    with conn.transaction():
        before = index_scans(conn)
        page = agent_lists.list_page(conn, scope=None, wanted=AgentFilter(platform="windows"), limit=20, rows=200)
        scans = index_scans(conn) - before

    assert page.next is not None
    assert scans < 10


def index_scans(conn: Connection) -> int:
    """Return how often this transaction has begun to read an index of the agents."""
    row = conn.execute("select idx_scan from pg_stat_xact_user_tables where relname = 'agents'").fetchone()
    assert row is not None
    scans: int = row[0]
    return scans


def rows_read(conn: Connection) -> int:
    """Return how many rows this session has read."""
    row = conn.execute(
        """select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint
           from pg_stat_xact_user_tables where relname in ('agents', 'agent_commands')"""
    ).fetchone()
    assert row is not None
    total: int = row[0]
    return total


def test_an_agent_shows_how_much_waits_for_it_and_since_when(conn: Connection) -> None:
    """Up to a thousand commands are counted; of these the oldest is named."""
    conn.execute("insert into agents (agent_id, platform) values ('a1', 'linux'), ('a2', 'linux')")
    put(conn, "k1", created_at="2026-01-02", priority=1)
    put(conn, "k2", created_at="2026-01-01")
    put(conn, "k3", created_at="2025-01-01", status="completed")
    conn.execute(
        "insert into agent_commands (agent_id, action) select 'a2', 'noop' from generate_series(1, %s)",
        (registry.COUNTED + 1,),
    )

    one, two = agent_lists.list_page(conn, scope=None, limit=5).agents

    assert one.pending_count == 2
    assert one.oldest_pending_at is not None
    assert one.oldest_pending_at.isoformat() == "2026-01-01T00:00:00+00:00"
    assert two.pending_count == registry.COUNTED
    assert registry.find(conn, "a1", None) == one
    assert one.created_at - one.oldest_pending_at > timedelta(0)
