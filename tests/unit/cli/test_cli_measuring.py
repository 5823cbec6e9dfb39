"""The course of a measurement, which all measuring commands share."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from multiprobe.cli.measuring import watch
from multiprobe.cli.options import MeasuringOptions


class FakeInstrument:
    def __init__(self, *, n_polls: int = 0) -> None:
        self.events: list[str] = []
        self._n_polls = n_polls

    def poll(self) -> bool:
        self.events.append("poll")
        return len(self.events) == self._n_polls

    def sample(self) -> str:
        self.events.append("sample")
        return "sample"

    def finish(self) -> str:
        self.events.append("finish")
        return "last"


def measurement(instrument: FakeInstrument, **options: Any) -> Any:
    return SimpleNamespace(
        options=MeasuringOptions(patterns=("x",), **options),
        instrument=instrument,
        workload=None,
        every=0.001,
        is_looking=False,
        has_table=False,
        metrics_server=None,
        reading=nullcontext(),
    )


def test_watch_measures_until_the_time_is_over() -> None:
    instrument = FakeInstrument()
    assert watch(measurement(instrument, duration=0)) == "last"
    assert instrument.events == ["finish"]


def test_watch_ends_when_there_is_no_more_room() -> None:
    instrument = FakeInstrument(n_polls=3)
    assert watch(measurement(instrument)) == "last"
    assert instrument.events == ["poll"] * 3 + ["finish"]


def test_watch_ends_when_the_command_has_seen_enough() -> None:
    instrument = FakeInstrument()
    made = measurement(instrument)
    made.is_looking, made.look = True, lambda sample: sample == "sample"
    assert watch(made) == "last"
    assert instrument.events == ["poll", "sample", "finish"]
