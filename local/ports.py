"""TCP ports of 127.0.0.1: listen on one, find a free one, find the process that uses one."""

import errno
import socket

import psutil


class PortInUseError(RuntimeError):
    """Another program listens on the port; the text says which, and what to do next."""


def listen(port: int) -> socket.socket:
    """Listen on the port, on any free one for 0; raises PortInUseError, and OSError for a port that needs rights."""
    try:
        listener = socket.create_server(("127.0.0.1", port), backlog=2048)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        owner = _owner(port)
        by, end = (
            (f" by process {owner.pid}: {' '.join(owner.cmdline()):.100}", f"end it (kill {owner.pid})")
            if owner
            else ("", "free it")
        )
        raise PortInUseError(
            f"port {port} is taken{by}.\nNext: {end}, or choose another port: DISPATCHER_PORT={port + 1}"
        ) from None
    # Otherwise an answer in several parts waits 40 ms for the client's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def free(preferred: int = 0) -> int:
    """Return the preferred port if it is free now, else another one that is."""
    for port in (preferred, 0):
        try:
            with socket.create_server(("127.0.0.1", port)) as probe:
                return int(probe.getsockname()[1])
        except (OSError, OverflowError):
            continue
    raise OSError(errno.EADDRINUSE, "no TCP port is free on 127.0.0.1; end a program that holds many connections")


def _owner(port: int) -> psutil.Process | None:
    """Return the process that listens on the port; None if it is not visible."""
    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and getattr(connection.laddr, "port", None) == port
                and connection.pid
            ):
                return psutil.Process(connection.pid)
    except psutil.Error:
        pass
    return None
