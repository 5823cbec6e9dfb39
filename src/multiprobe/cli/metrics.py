"""What `--metrics` serves of an instrument: the command's own families, and those on its report."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

import multiprobe as mp
from multiprobe.output.metrics import NumberFamily, single

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from multiprobe.binaries.mixed import AnyFunction
    from multiprobe.cli.measurement import Measurement
    from multiprobe.cli.options import MeasuringOptions
    from multiprobe.instruments.instrument import Instrument
    from multiprobe.output.metrics import Family

SampleT = TypeVar("SampleT")
MOST = 1_000
"""Rows that are listed, unless `--top` is given."""
BY_FUNCTION = ("function", "module")


def families_of(
    measurement: Measurement[MeasuringOptions, SampleT], instrument: Instrument[SampleT]
) -> Iterator[Family]:
    """What one instrument of a measurement measured by now, and what its report says. They add up over instruments."""
    yield from measurement.metrics(instrument, instrument.sample())
    report = instrument.report
    states = {"attached": report.attached, "skipped": len(report.skipped), "failed": len(report.failed)}
    yield functions_by_state(states | {"dropped": len(report.dropped)})
    text = "What is known not to have been seen, by cause."
    yield by_word("multiprobe_missed", text, "cause", report.missed, is_counter=True)


def functions_by_state(numbers: Mapping[str, int]) -> NumberFamily:
    """How many functions are in each state."""
    return by_word("multiprobe_functions", "Requested functions by what became of them.", "state", numbers)


def families_about(measurement: Measurement[MeasuringOptions, SampleT]) -> Iterator[Family]:
    """What is said once for all instruments."""
    text = "How long it has been measuring."
    yield single("multiprobe_measured_seconds", text, measurement.instrument.seconds)
    known: tuple[str, ...] = (measurement.options.line[0], mp.__version__, os.uname().release)
    about = ("command", "version", "kernel")
    yield NumberFamily("multiprobe_info", "What measures here.", about, {known: 1.0}, is_counter=False)


def by_word(name: str, text: str, label: str, numbers: Mapping[str, int], *, is_counter: bool = False) -> NumberFamily:
    """A family with one label."""
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
