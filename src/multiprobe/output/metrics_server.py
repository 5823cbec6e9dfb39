"""Serves metrics over HTTP: prometheus_client, an optional library, writes the text and answers requests."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from multiprobe.errors import UsageError
from multiprobe.names import printable
from multiprobe.output.metrics import TimeFamily, cumulative

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client import Metric

    from multiprobe.output.metrics import Family, Labels


class MetricsServer:
    """Answers GET /metrics while it is open, from `serving` on with what the source yields. Must be closed.

    lock: held while the source is asked, in a thread of the server
    Raises UsageError where the address can't be had.
    """

    def __init__(self, host: str, port: int) -> None:
        self.lock = threading.Lock()
        self._source: Callable[[], Iterable[Family]] | None = None
        registry = CollectorRegistry()
        registry.register(self)
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise UsageError(
                f"cannot serve metrics at {_spelled(host, port)}: {error.strerror or error}",
                hint="another process may listen there: use another port, --metrics :0 takes any that is free",
            ) from error
        self.address = _spelled(host, self._server.server_port)

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client calls for each request."""
        with self.lock:
            families = [] if self._source is None else list(self._source())
        return map(_metric, families)

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


def _metric(family: Family) -> Metric:
    if isinstance(family, TimeFamily):
        times = HistogramMetricFamily(family.name, family.text, labels=family.labels)
        for labels, (buckets, total) in family.rows.items():
            times.add_metric(_storable(labels), buckets=cumulative(buckets), sum_value=total / 1e9)
        return times
    kind = CounterMetricFamily if family.is_counter else GaugeMetricFamily
    numbers = kind(family.name, family.text, labels=family.labels)
    for labels, number in family.rows.items():
        numbers.add_metric(_storable(labels), number)
    return numbers


def _storable(labels: Labels) -> list[str]:
    """Labels are text in UTF-8, which prometheus_client escapes; of hostile names they hold what a terminal shows."""
    return list(map(printable, labels))
