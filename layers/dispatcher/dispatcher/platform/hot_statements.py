"""Hot statements: what runs for each command or message, at half of the processor time that a cursor of psycopg takes.

psycopg does all that is difficult: it encodes the parameters, waits for the server and decodes the rows.  What is left out is
made anew for each cursor.  Parameters have no types here; PostgreSQL finds them in the functions that a statement calls.
"""

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from psycopg import generators
from psycopg.abc import PQGen
from psycopg.adapt import AdaptersMap, Dumper, PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from dispatcher.platform import settings
from dispatcher.platform.database import Connection

_PLACEHOLDER = re.compile(rb"%\((\w+)\)s")


class HotStatement:
    """A statement with `%(name)s` for its parameters.

    It is parsed and planned once for each connection that belongs to this process alone (`settings.prepares_statements`).
    """

    def __init__(self, query: bytes) -> None:
        self._names = list(dict.fromkeys(name.decode() for name in _PLACEHOLDER.findall(query)))
        places = {name: b"$%d" % place for place, name in enumerate(self._names, 1)}
        self._query = _PLACEHOLDER.sub(lambda found: places[found[1].decode()], query)
        self._formats = [PyFormat.TEXT] * len(self._names)
        self._name = b"hot_%d" % next(_numbers)

    def fetch(self, conn: Connection, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Execute the statement and return its rows; raises what `Connection.execute` raises.

        The connection must be in autocommit mode: nothing is begun here.
        """
        if not conn.autocommit:
            raise ValueError("a hot statement begins no transaction")
        kept = _kept.get(conn)
        if kept is None:
            kept = _kept[conn] = _Kept(conn)
        transformer, pgconn = kept.transformer, conn.pgconn
        values = transformer.dump_sequence([parameters[name] for name in self._names], self._formats)
        with conn.lock:
            if kept.prepared is None:
                result = _result(conn, pgconn.send_query_params, self._query, values)
            else:
                if self._name not in kept.prepared:
                    _result(conn, pgconn.send_prepare, self._name, self._query)
                    kept.prepared.add(self._name)
                result = _result(conn, pgconn.send_query_prepared, self._name, values)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)


class _HexDumper(Dumper):
    """Encodes bytes; psycopg's own dumper needs the connection for it."""

    def dump(self, obj: bytes) -> bytes:
        return b"\\x" + obj.hex().encode()


class _Kept:
    """What is made once for a connection."""

    def __init__(self, conn: Connection) -> None:
        # Not of the connection itself: the dictionary below would keep it for ever.
        adapters = AdaptersMap(conn.adapters)
        adapters.register_dumper(bytes, _HexDumper)
        self.transformer = Transformer(adapters)
        self.prepared: set[bytes] | None = set() if settings.prepares_statements() else None


_kept: WeakKeyDictionary[Connection, _Kept] = WeakKeyDictionary()
_numbers = itertools.count(1)


def _result(conn: Connection, send: Callable[..., None], *arguments: Any) -> PGresult:
    """Send something to the server, and wait for its result."""
    result: PGresult = conn.wait(_exchange(conn, send, arguments))[-1]  # an error of the commit comes last
    if result.status == ExecStatus.FATAL_ERROR:
        raise error_from_result(result)
    return result


def _exchange(conn: Connection, send: Callable[..., None], arguments: tuple[Any, ...]) -> PQGen[Any]:
    send(*arguments)  # within the wait: one that does not begin sends nothing
    return (yield from generators.execute(conn.pgconn))
