"""Metrics: what Prometheus reads is what was given, whatever names hold; ports that can't be had are errors."""

from __future__ import annotations

import gzip
import socket
import urllib.request
from collections.abc import Callable, Iterable

import pytest

pytest.importorskip("prometheus_client")
from prometheus_client import CollectorRegistry, Metric
from prometheus_client import generate_latest as plain_text
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as open_text
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse

from multiprobe.errors import UsageError
from multiprobe.names import printable
from multiprobe.output.metrics import (
    BOUNDS,
    Family,
    ListedRows,
    NumberFamily,
    TimeFamily,
    added,
    cumulative,
    single,
)
from multiprobe.output.metrics_server import MetricsServer

NASTY = 'a"b\\c\nd\x1b[31m\udcff\u202e{}=,#'
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def served(source: Callable[[], Iterable[Family]], *, accept: str = "text/plain") -> str:
    server = MetricsServer("127.0.0.1", 0)
    try:
        with server.serving(source):
            request = urllib.request.Request(f"http://{server.address}/metrics", headers={"Accept": accept})
            with urllib.request.urlopen(request, timeout=10) as answer:
                text: str = answer.read().decode()
                return text
    finally:
        server.close()


def families() -> Iterable[Family]:
    yield NumberFamily("x_calls", "Calls.", ("function", "module"), {("a", ""): 3, (NASTY, "m"): 1 << 60})
    yield single("x_now", "Now.", 1.5)
    yield TimeFamily("x_seconds", "Times.", ("function",), {("a",): ([1, 0, 2], 1_500_000_000)})


@pytest.mark.parametrize(("accept", "parser"), [("text/plain", parse), (OPEN_METRICS, parse_open)])
def test_what_is_read_is_what_was_given(accept: str, parser: Callable[[str], Iterable[object]]) -> None:
    text = served(families, accept=accept)
    read = {(one.name, *one.labels.values()): one.value for f in parser(text) for one in f.samples}  # type: ignore[attr-defined]
    assert read["x_calls_total", "a", ""] == 3
    (nasty,) = [labels for labels in read if labels[0] == "x_calls_total" and labels[2] == "m"]
    assert nasty[1] == 'a"b\\c\\nd\\x1b[31m\\xff\\u202e{}=,#'
    assert read[nasty] == 1 << 60
    assert read["x_now",] == 1.5
    assert read["x_seconds_count", "a"] == 3
    assert read["x_seconds_sum", "a"] == 1.5
    assert read["x_seconds_bucket", "a", "+Inf"] == read["x_seconds_bucket", "a", "1.023e-06"] == 3


class Library:
    """The same families as objects of prometheus_client."""

    def collect(self) -> Iterable[Metric]:
        calls = CounterMetricFamily("x_calls", "Calls.", labels=("function", "module"))
        calls.add_metric(("a", ""), 3)
        calls.add_metric((printable(NASTY), "m"), 1 << 60)
        now = GaugeMetricFamily("x_now", "Now.", value=1.5)
        times = HistogramMetricFamily("x_seconds", "Times.", labels=("function",))
        times.add_metric(("a",), buckets=cumulative([1, 0, 2]), sum_value=1.5)
        return [calls, now, times]


@pytest.mark.parametrize(("accept", "oracle"), [("text/plain", plain_text), (OPEN_METRICS, open_text)])
def test_the_text_is_that_of_prometheus_client(accept: str, oracle: Callable[[CollectorRegistry], bytes]) -> None:
    registry = CollectorRegistry()
    registry.register(Library())
    parser = parse if accept == "text/plain" else parse_open
    assert list(parser(served(families, accept=accept))) == list(parser(oracle(registry).decode()))


def test_an_answer_is_compressed_for_who_asks() -> None:
    server = MetricsServer("127.0.0.1", 0)
    headers = {"Accept-Encoding": "gzip", "Accept": OPEN_METRICS}
    try:
        with server.serving(families):
            request = urllib.request.Request(f"http://{server.address}/", headers=headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
                assert gzip.decompress(answer.read()) == served(families, accept=OPEN_METRICS).encode()
    finally:
        server.close()


def test_buckets_have_exact_bounds() -> None:
    buckets = [0] * 36
    buckets[10], buckets[11], buckets[35] = 5, 7, 2  # 512 … 1023 ns, 1024 … 2047 ns, above 17 s
    found = cumulative(buckets)
    assert len(found) == len(BOUNDS) + 1
    assert found[0] == ("1.023e-06", 5)
    assert found[1] == ("4.095e-06", 12)
    assert found[-2:] == [("17.179869183", 12), ("+Inf", 14)]
    numbers = [n for _, n in found]
    assert numbers == sorted(numbers)


def calls(**rows: int) -> NumberFamily:
    return NumberFamily("x", "Calls.", ("function",), {(name,): n for name, n in rows.items()}, others="rest")


def listed(rows: ListedRows, family: Family) -> tuple[dict[str, float], float]:
    """What is listed, in order, and the number of the others."""
    found, others = rows.choose(family)
    assert (others.name, others.is_counter) == ("rest", True)  # type: ignore[union-attr]
    return {name: found.rows[name,] for (name,) in found.rows}, others.rows[()]  # type: ignore[dict-item, return-value]


def test_listed_rows_stay_and_the_rest_only_grows() -> None:
    rows = ListedRows(2)
    assert listed(rows, calls(a=1)) == ({"a": 1}, 0)
    assert listed(rows, calls(a=1, b=5, c=9)) == ({"a": 1, "c": 9}, 5)
    assert listed(rows, calls(a=1, b=500, c=9, d=1)) == ({"a": 1, "c": 9}, 501)
    assert list(listed(ListedRows(None), calls(a=1, b=5))[0]) == ["b", "a"]
    assert listed(ListedRows(0), calls(a=1)) == ({}, 1)
    whole = single("x_now", "Now.", 1)
    assert list(ListedRows(0).choose(whole)) == [whole]


def test_of_times_the_largest_sums_are_listed_and_the_others_are_counted() -> None:
    rows = {("a",): ([2, 3], 10), ("b",): ([1], 20)}
    assert listed(ListedRows(1), TimeFamily("x", "Times.", ("function",), rows, others="rest")) == ({"b": ([1], 20)}, 5)


def test_families_of_one_name_are_added_up() -> None:
    times = [
        TimeFamily("t", "Times.", ("f",), rows)
        for rows in ({("a",): ([1, 0, 2], 5)}, {("a",): ([1], 1), ("b",): ([0, 1], 7)})
    ]
    numbers, sums = added([calls(a=1, b=2), times[0], calls(b=3, c=4), times[1]])
    assert numbers == calls(a=1, b=5, c=4)
    assert sums == TimeFamily("t", "Times.", ("f",), {("a",): ([2, 0, 2], 6), ("b",): ([0, 1], 7)})


def test_nothing_is_asked_outside_of_the_block() -> None:
    server = MetricsServer("127.0.0.1", 0)
    try:
        with server.serving(families):
            assert len(server.collect()) == 3
        assert server.collect() == []
    finally:
        server.close()


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=rf"cannot serve metrics at 127.0.0.1:{port}: Address already in use"):
            MetricsServer("127.0.0.1", port)


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(UsageError, match=r"cannot serve metrics at 192\.0\.2\.1:9435"):
        MetricsServer("192.0.2.1", 9435)
    with pytest.raises(UsageError, match=r"cannot serve metrics at no\.such.host.invalid:9435"):
        MetricsServer("no.such.host.invalid", 9435)
