"""TCP ports for tests."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
