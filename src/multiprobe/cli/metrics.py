"""What `--metrics` serves of a measurement: its own families, and those on the report that all commands share."""

from __future__ import annotations

import os
import sys
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, TypeVar

import multiprobe as mp
from multiprobe.output.metrics import Family, NumberFamily, single
from multiprobe.output.terminal import write_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from multiprobe.binaries.mixed import AnyFunction
    from multiprobe.cli.measurement import Measurement
    from multiprobe.cli.options import MeasuringOptions
    from multiprobe.output.metrics_server import MetricsServer

SampleT = TypeVar("SampleT")
MOST = 1_000
"""Rows that are listed, unless `--top` is given."""
BY_FUNCTION = ("function", "module")


def open_metrics(options: MeasuringOptions) -> MetricsServer | None:
    """The server of `--metrics`, or None; its address is printed. Raises UsageError."""
    if options.metrics is None:
        return None
    from multiprobe.output.metrics_server import MetricsServer

    server = MetricsServer(options.metrics.host, options.metrics.port)
    write_lines([f"metrics: http://{server.address}/metrics"], sys.stderr)
    return server


def serving(measurement: Measurement[MeasuringOptions, SampleT]) -> AbstractContextManager[None]:
    """Within the block, requests are answered with the numbers of the moment."""
    server = measurement.metrics_server
    return nullcontext() if server is None else server.serving(lambda: _families(measurement))


def _families(measurement: Measurement[MeasuringOptions, SampleT]) -> Iterator[Family]:
    instrument = measurement.instrument
    yield from measurement.metrics(instrument.sample())
    report, seconds = instrument.report, instrument.seconds
    states = {"attached": report.attached, "skipped": len(report.skipped), "failed": len(report.failed)}
    states["dropped"] = len(report.dropped)
    yield _by_word("multiprobe_functions", "Requested functions by what became of them.", "state", states)
    text = "What is known not to have been seen, by cause."
    yield _by_word("multiprobe_missed", text, "cause", report.missed, is_counter=True)
    yield single("multiprobe_measured_seconds", "How long it has been measuring.", seconds)
    known: tuple[str, ...] = (measurement.options.line[0], mp.__version__, os.uname().release)
    about = ("command", "version", "kernel")
    yield NumberFamily("multiprobe_info", "What measures here.", about, {known: 1.0}, is_counter=False)


def _by_word(name: str, text: str, label: str, numbers: Mapping[str, int], *, is_counter: bool = False) -> NumberFamily:
    rows: dict[tuple[str, ...], float] = {(word,): n for word, n in numbers.items()}
    return NumberFamily(name, text, (label,), rows, is_counter=is_counter)


def label_of(function: AnyFunction) -> tuple[str, str]:
    """The values of BY_FUNCTION."""
    return function.name, function.module


def summed(rows: Iterator[tuple[tuple[str, ...], int]]) -> Counter[tuple[str, ...]]:
    """Rows by labels: those with equal ones (functions of the same name) are added up."""
    found: Counter[tuple[str, ...]] = Counter()
    for labels, number in rows:
        found[labels] += number
    return found
