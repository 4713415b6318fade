"""What an agent makes of answers that no dispatcher gives, and of connections that are cut in the middle of one."""

import asyncio
from pathlib import Path

import pytest

from command_dispatcher.agent.credentials import Credentials
from command_dispatcher.agent.link import Failure
from command_dispatcher.agent.settings import Settings
from command_dispatcher.agent.transport import NotConnected, open_connection

REGISTERED = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the tests."""
    return "asyncio"


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([b""], id="cut before the answer"),
        pytest.param([b"SSH-2.0-OpenSSH_9.2\r\n"], id="not HTTP"),
        pytest.param([b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"agentId"'], id="cut within the body"),
        pytest.param([b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"], id="too many headers"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n" + b"[" * 40_000], id="nested too deeply"),
        pytest.param([b"HTTP/1.1 502 Bad\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n<ht"], id="cut within an error"),
        pytest.param([REGISTERED, b""], id="cut before the handshake"),
        pytest.param([REGISTERED, b"SSH-2.0-OpenSSH_9.2\r\n"], id="no handshake"),
        pytest.param([REGISTERED, b"HTTP/1.1 302 Found\r\nLocation: ftp://x/\r\n\r\n"], id="a handshake elsewhere"),
    ],
)
async def test_a_broken_answer_is_only_a_failed_attempt(tmp_path: Path, answers: list[bytes]) -> None:
    """The agent tries again; it does not end."""
    left = list(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(left.pop(0) if left else b"")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        settings = Settings.read(
            url=f"http://127.0.0.1:{port}",
            agent_id="edge-1",
            api_key="key",
            enrolment_token=None,
            state=tmp_path / "agent.db",
            platform=None,
            region=None,
            window=1,
            drain_seconds=1,
            longest_pause=None,
        )
        with pytest.raises(NotConnected) as failed:
            await open_connection(settings, Credentials(settings))

    assert failed.value.failure is Failure.UNREACHABLE
    assert left == []
