"""Follows modules that come and go while `--metrics` is served.

Functions of modules that have come are measured by an instrument of their own, beside that of the start, which goes on
undisturbed. An instrument all of whose modules have gone is closed, and the numbers that it counted are kept.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

import multiprobe as mp
from multiprobe.binaries.libraries import split_requests
from multiprobe.binaries.mixed import kernel_part
from multiprobe.cli.metrics import MOST, by_word, families_about, families_of, functions_by_state
from multiprobe.errors import MultiprobeError
from multiprobe.functions.sets import FunctionSet
from multiprobe.kernel.modules import load_modules
from multiprobe.output.metrics import ListedRows, TimeFamily, added

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from multiprobe.cli.measurement import Measurement
    from multiprobe.cli.options import MeasuringOptions
    from multiprobe.instruments.instrument import Instrument
    from multiprobe.output.metrics import Family
    from multiprobe.output.metrics_server import MetricsServer

SampleT = TypeVar("SampleT")
EVERY = 1.0
"""Seconds between two looks at the list of modules."""


@contextmanager
def serving(measurement: Measurement[MeasuringOptions, SampleT], server: MetricsServer) -> Iterator[Callable[[], None]]:
    """Within the block, requests are answered with the numbers of the moment.

    Yields what is to be called a few times a second, to follow modules.
    """
    follower = ModuleFollower(measurement)
    try:
        with server.serving(follower.families):
            yield follower.look
    finally:
        follower.close()


class _Running(Generic[SampleT]):
    """An instrument, and how many functions it is attached to: in each module that is still there, and in others."""

    def __init__(self, instrument: Instrument[SampleT]) -> None:
        self.instrument = instrument
        self.modules = _attached_by_module(instrument)
        self.n_gone = 0

    def lose(self, modules: Collection[str]) -> dict[str, int]:
        """Forget modules that have gone; how many functions went with each."""
        gone = {name: self.modules.pop(name) for name in modules if name in self.modules}
        self.n_gone += sum(gone.values())
        return gone


class ModuleFollower(Generic[SampleT]):
    """The instruments of one measurement: that of the start, and those of modules that came. Must be closed.

    The main thread calls `look`, a thread of the server `families`, while it holds the server's lock.
    """

    def __init__(self, measurement: Measurement[MeasuringOptions, SampleT]) -> None:
        self._measurement = measurement
        self._listed = ListedRows(measurement.options.limit(MOST))
        self._first = _Running(measurement.instrument)
        self._later: list[_Running[SampleT]] = []
        self._past: list[Family] = []  # counters of instruments that are closed
        self._events = Counter({"loaded": 0, "unloaded": 0, "refused": 0})
        self._gone: dict[str, int] = {}  # modules that have gone, and how many functions went with each
        self._patterns = split_requests(measurement.options.patterns)[1]
        _, chosen = kernel_part(measurement.instrument.functions)
        self._is_following = chosen is not None or bool(self._patterns)
        self._known: Mapping[str, str] = load_modules() if chosen is None else chosen.table.origin.modules
        self._seen = self._known
        self._looked = time.monotonic()

    @property
    def _running(self) -> list[_Running[SampleT]]:
        return [self._first, *self._later]

    def families(self) -> Iterator[Family]:
        """The numbers of all instruments, added up; those of functions as far as they are listed."""
        found = [family for one in self._running for family in families_of(self._measurement, one.instrument)]
        states = {"attached": -sum(one.n_gone for one in self._running), "gone": sum(self._gone.values())}
        for family in added([*self._past, *found, functions_by_state(states)]):
            yield from self._listed.choose(family)
        text = "Modules with requested functions that were loaded or unloaded; loads after which attaching failed."
        yield by_word("multiprobe_modules", text, "event", self._events, is_counter=True)
        yield from families_about(self._measurement)

    def look(self) -> None:
        """Empty ring buffers, and once a second look for modules that came or went."""
        with self._measurement.reading:
            for one in self._later:
                one.instrument.poll()
        if not self._is_following or time.monotonic() - self._looked < EVERY:
            return
        self._looked = time.monotonic()
        now = load_modules()
        self._lose([name for name, address in self._known.items() if now.get(name) != address])
        if now == self._seen:  # they often come in numbers: not before no more do
            self._attach([name for name in now if name not in self._known])
            self._known = now
        self._seen = now

    def _lose(self, modules: Collection[str]) -> None:
        """Modules have gone: close what was attached in them alone."""
        if not modules:
            return
        self._known = {name: address for name, address in self._known.items() if name not in modules}
        with self._measurement.reading:
            for one in self._running:
                gone = one.lose(modules)
                self._gone |= gone
                self._events["unloaded"] += len(gone)
                for name in gone:
                    self._note(f"module {name} was unloaded, and its probes with it; the counts until then are kept")
            for one in [one for one in self._later if not one.modules]:
                self._later.remove(one)
                self._retire(one.instrument)

    def _retire(self, instrument: Instrument[SampleT]) -> None:
        """Close an instrument, and keep its counters."""
        with instrument:
            instrument.finish()
            last = families_of(self._measurement, instrument)
            counters = [one for one in last if isinstance(one, TimeFamily) or one.is_counter]
        self._past = added([*self._past, *counters])

    def _attach(self, modules: Collection[str]) -> None:
        """Modules have come: attach those of their functions that the patterns choose."""
        if not modules:
            return
        try:
            made = self._start(modules)
        except (MultiprobeError, OSError) as error:  # what was there goes on
            with self._measurement.reading:
                self._events["refused"] += 1
            self._note(f"nothing was attached in {', '.join(sorted(modules))}, loaded meanwhile: {error}")
            return
        if made is None:
            return
        with self._measurement.reading:
            self._later.append(made)
            self._events["loaded"] += len(made.modules)
            self._gone = {name: n for name, n in self._gone.items() if name not in made.modules}
        for name in made.modules:
            self._note(f"module {name} was loaded meanwhile: what its functions did is in the metrics only")

    def _start(self, modules: Collection[str]) -> _Running[SampleT] | None:
        """Attach; None if the patterns choose none of the functions. Raises MultiprobeError."""
        measurement = self._measurement
        functions = self._choose(modules)
        if not len(functions):
            return None
        workload = measurement.workload
        options = measurement.options.attach_options(None if workload is None else workload.pid)
        options["limits"] = replace(options["limits"], watchdog=0)  # that of the start watches this process
        return _Running(measurement.start_later(functions, options))

    def _choose(self, modules: Collection[str]) -> FunctionSet:
        """The functions of these modules that the patterns of the command line choose."""
        unsafe = self._measurement.options.unsafe
        found = mp.Kernel().functions(*self._patterns, unsafe=unsafe)
        places = [place for place, row in enumerate(found.rows) if found.table.module(row) in modules]
        taken = found.take(places)  # without the requests that no function answers: the report of the start has them
        return FunctionSet(taken.table, taken.rows, offsets=taken.offsets, unsafe=unsafe)

    def _note(self, sentence: str) -> None:
        self._measurement.instrument.note(sentence)

    def close(self) -> None:
        """Detach the instruments of modules that came."""
        while self._later:
            self._later.pop().instrument.close()


def _attached_by_module(instrument: Instrument[SampleT]) -> dict[str, int]:
    """The modules that an instrument is attached in, and to how many functions."""
    _, chosen = kernel_part(instrument.functions)
    if chosen is None:
        return {}
    refused = {one.function for one in instrument.report.failed}
    modules = enumerate(map(chosen.table.module, chosen.rows))
    found = Counter(module for place, module in modules if module and not (refused and chosen.label(place) in refused))
    return dict(found)
