"""Serves metrics over HTTP, for Prometheus and what speaks OpenMetrics."""

from __future__ import annotations

import gzip
import socket
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from multiprobe.errors import UsageError
from multiprobe.output.metrics_text import content_type_for, metrics_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from multiprobe.output.metrics import Family

_COMPRESSION = 1
"""gzip's level: texts like these shrink to 3 %, at level 9 to 1.5 % in four times the time."""
_PATIENCE = 60
"""Seconds that a client may stay silent."""


class MetricsServer:
    """Answers GET of any path while it is open, from `serving` on with what the source yields. Must be closed.

    lock: held while the source is asked, in a thread of the server
    Raises UsageError where the address can't be had.
    """

    def __init__(self, host: str, port: int) -> None:
        self.lock = threading.Lock()
        self._source: Callable[[], Iterable[Family]] | None = None
        try:
            self._server = _Server(host, port, self.collect)
        except OSError as error:
            raise UsageError(
                f"cannot serve metrics at {_spelled(host, port)}: {error.strerror or error}",
                hint="another process may listen there: use another port, --metrics :0 takes any that is free",
            ) from error
        self.address = _spelled(host, self._server.server_port)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    def collect(self) -> list[Family]:
        """The families of this moment."""
        with self.lock:
            return [] if self._source is None else list(self._source())

    @contextmanager
    def serving(self, source: Callable[[], Iterable[Family]]) -> Iterator[None]:
        """Within the block, requests are answered from `source`; it is not asked any more afterwards."""
        self._source = source
        try:
            yield
        finally:
            with self.lock:
                self._source = None

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _spelled(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Server(ThreadingHTTPServer):
    """Listens on the first address of a host, of whichever family."""

    def __init__(self, host: str, port: int, collect: Callable[[], Iterable[Family]]) -> None:
        self.collect = collect
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, address = found[0]
        super().__init__((str(address[0]), port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no matter for the terminal."""


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: _Server
    timeout = _PATIENCE

    def do_GET(self) -> None:
        """Answer with all metrics."""
        content_type = content_type_for(self.headers.get("Accept", ""))
        text = metrics_text(self.server.collect(), content_type=content_type)
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            text = gzip.compress(text, _COMPRESSION)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""
