"""Metrics over HTTP for Prometheus and what speaks OpenMetrics: families of numbers, and the server that has them read.

prometheus_client writes the text and answers requests; this module says what it gets, and when.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from multiprobe.errors import NotSupportedError, UsageError
from multiprobe.names import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prometheus_client import Metric

Labels: TypeAlias = tuple[str, ...]

BOUNDS = tuple(range(10, 36, 2))
"""The buckets of histograms: times of at most so many bits, 1 µs to 17 s in steps of 4."""


@dataclass(frozen=True, slots=True)
class NumberFamily:
    """Counters, or gauges: a number for each tuple of label values."""

    name: str
    text: str
    labels: Labels
    rows: Mapping[Labels, float]
    is_counter: bool = True


@dataclass(frozen=True, slots=True)
class TimeFamily:
    """Distributions of times: for each tuple of label values, numbers by the bits of their ns, and the sum in ns."""

    name: str
    text: str
    labels: Labels
    rows: Mapping[Labels, tuple[Sequence[int], int]]


def single(name: str, text: str, number: float, *, is_counter: bool = False) -> NumberFamily:
    """A family of one number, without labels."""
    return NumberFamily(name, text, (), {(): number}, is_counter=is_counter)


Family: TypeAlias = NumberFamily | TimeFamily


class ListedRows:
    """Which rows are listed: at most `most` (None: all), and what is listed once stays, so that counters never fall.

    The largest come first: while there is room, at each `choose`.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._listed: dict[Labels, None] = {}

    def choose(self, rows: Mapping[Labels, int]) -> tuple[list[Labels], int]:
        """The rows to list, and the sum of all others. `rows`: how large each is."""
        room = len(rows) if self._most is None else self._most - len(self._listed)
        new = sorted((labels for labels in rows if labels not in self._listed), key=lambda labels: -rows[labels])
        self._listed |= dict.fromkeys(new[: max(0, room)])
        listed = [labels for labels in self._listed if labels in rows]
        return listed, sum(rows.values()) - sum(rows[labels] for labels in listed)


class MetricsServer:
    """Answers GET /metrics while it is open, from `serving` on with what the source yields. Must be closed.

    lock: held while the source is asked, in a thread of the server
    Raises NotSupportedError without prometheus_client, UsageError where the address can't be had.
    """

    def __init__(self, host: str, port: int) -> None:
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError as error:
            raise NotSupportedError(
                "--metrics needs prometheus_client", hint="pip install 'multiprobe[metrics]'"
            ) from error
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
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

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


def cumulative(buckets: Sequence[int]) -> list[tuple[str, float]]:
    """The buckets of a histogram as Prometheus counts them: numbers of times up to a bound, in seconds.

    A time of at most n bits is at most 2ⁿ−1 ns: the bounds are exact.
    """
    sums = [(str(((1 << bits) - 1) / 1e9), float(sum(buckets[: bits + 1]))) for bits in BOUNDS]
    return [*sums, ("+Inf", float(sum(buckets)))]
