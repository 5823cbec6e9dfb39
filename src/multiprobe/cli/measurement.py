"""`Measurement`: what a measuring command adds to the common course of a measurement, which `measuring` defines.

Each command has a subclass, in the command's own module.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Generic, TypeVar

from multiprobe.cli.options import MeasuringOptions

if TYPE_CHECKING:
    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.cli.live import Live
    from multiprobe.cli.results import Results
    from multiprobe.compiler.program import Program
    from multiprobe.instruments.instrument import AttachOptions, Instrument
    from multiprobe.instruments.workload import Workload
    from multiprobe.output.metrics import Family
    from multiprobe.output.metrics_server import MetricsServer
    from multiprobe.output.page import Picture
    from multiprobe.output.table import TextTable

OptionsT_co = TypeVar("OptionsT_co", bound=MeasuringOptions, covariant=True)
SampleT = TypeVar("SampleT")
JsonObject = Mapping[str, object]


class Measurement(ABC, Generic[OptionsT_co, SampleT]):
    """One run of a measuring command: how to start its instrument, and how to show the samples.

    when: the side of the calls that is measured
    every: seconds between two samples; may change during the measurement
    is_looking: call `look` with every sample
    has_table: show `table` on a terminal during the measurement
    uses_types: the types of functions of programs are of use
    instrument: the running instrument, from `begin` on
    workload: the process of COMMAND, if any
    results: the stream of the results
    metrics_server: that of `--metrics`
    """

    when = "entry"
    every = 1.0
    is_looking = False
    has_table = False
    uses_types = False
    instrument: Instrument[SampleT]
    workload: Workload | None = None
    results: Results
    metrics_server: MetricsServer | None = None

    def __init__(self, options: OptionsT_co) -> None:
        self.options = options

    @property
    def reading(self) -> AbstractContextManager[object]:
        """To be held while samples are taken: a server of metrics takes them in a thread of its own."""
        return nullcontext() if self.metrics_server is None else self.metrics_server.lock

    @property
    def is_replaceable(self) -> bool:
        """Whether functions may be detached while others are measured. Their hits are counted for that."""
        return self.options.limits.is_guarded

    def program_ahead(self) -> Program | None:
        """The program, if it is known before functions are selected: it is compiled before a virtual machine starts."""
        return None

    def adapt(self, functions: AnyFunctionSet) -> None:
        """Choose the side of the functions (`when`), now that they are known."""

    def program(self, functions: AnyFunctionSet) -> Program | None:
        """The program, for `--dry-run`: what its maps take, and what functions it calls."""
        return self.program_ahead()

    @abstractmethod
    def start(self, functions: AnyFunctionSet, options: AttachOptions) -> Instrument[SampleT]:
        """Attach, and return the running instrument."""

    def start_later(self, functions: AnyFunctionSet, options: AttachOptions) -> Instrument[SampleT]:
        """The same for functions that came when the measurement had begun: of modules, with `--metrics`."""
        return self.start(functions, options)

    def begin(self) -> None:
        """Prepare after attaching, before COMMAND begins."""

    def look(self, sample: SampleT) -> bool:
        """Process a sample during the measurement, if `is_looking`. True ends the measurement."""
        return False

    def runs_again(self) -> bool:
        """After COMMAND has ended: whether it shall run once more. Its next process is `workload` then."""
        return False

    def table(self, sample: SampleT, before: SampleT | None, rows: int) -> TextTable:
        """The table of so many rows that a terminal shows during the measurement."""
        raise NotImplementedError

    def screen(self) -> Live[SampleT]:
        """The full-screen view of `--live`."""
        raise NotImplementedError

    def metrics(self, instrument: Instrument[SampleT], sample: SampleT) -> Iterable[Family]:
        """The numbers that `--metrics` serves of a sample of this instrument, the first or a later one."""
        raise NotImplementedError

    @abstractmethod
    def figures(self, sample: SampleT) -> dict[str, object]:
        """The figures of the last sample for the report."""

    @abstractmethod
    def rows(self, sample: SampleT, *, top: int = 0) -> Iterable[JsonObject]:
        """The results in the last sample, a JSON object each: the rows of a table; the `top` largest, or all."""

    def json(self, sample: SampleT) -> Iterable[JsonObject]:
        """The JSON objects to print at the end: the results, unless they were printed before."""
        return self.rows(sample, top=self.options.top or 0)

    def saved_rows(self, sample: SampleT) -> Iterable[JsonObject]:
        """The JSON objects of `--save`: all results, also those that were printed before."""
        return self.rows(sample)

    def settings(self) -> dict[str, object]:
        """What the rows depend on: only runs with equal settings can be merged or compared."""
        return {"when": self.when, **self.options.settings}

    @abstractmethod
    def print(self, sample: SampleT) -> None:
        """Write the results in the last sample as text."""

    def folded(self, sample: SampleT) -> Iterable[str]:
        """The last sample as folded stacks, line by line."""
        raise NotImplementedError

    def pictures(self, sample: SampleT) -> Iterable[Picture]:
        """What the page of `--html` shows above the rows."""
        return ()

    def finish(self, sample: SampleT) -> None:
        """Process the last sample, and write the files that the command's own options ask for."""
