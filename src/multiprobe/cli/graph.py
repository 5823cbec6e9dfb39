"""`multiprobe graph`: the tree of calls between functions, per thread, with durations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

import click

from multiprobe.binaries.mixed import has_kernel_types, name_fields
from multiprobe.cli.files import writing
from multiprobe.cli.measurement import Measurement
from multiprobe.cli.measuring_command import measuring_command
from multiprobe.cli.options import (
    MeasuringOptions,
    SelectionOption,
    StoppingOption,
    flame_option,
    folded_option,
    measuring_options,
    perfetto_option,
)
from multiprobe.cli.params import WholeNumber
from multiprobe.cli.perfetto_files import write_trace
from multiprobe.instruments.graph import instrument as graph
from multiprobe.instruments.graph.instrument import MAX_EVENTS, CallRecorder, GraphSample
from multiprobe.instruments.graph.program import GraphProbe
from multiprobe.instruments.signatures import signatures
from multiprobe.kernel.btf.values import UNKNOWN
from multiprobe.output.flame import flame_svg
from multiprobe.output.folded import fold, folded_lines
from multiprobe.output.page import Picture
from multiprobe.output.slices import Slice, TraceThread, Track, self_times
from multiprobe.output.tree import HANG, tree_lines
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.compiler.program import Program
    from multiprobe.instruments.graph.calltree import Call, CallTree
    from multiprobe.instruments.graph.instrument import ThreadCalls
    from multiprobe.instruments.instrument import AttachOptions
    from multiprobe.instruments.workload import Workload
    from multiprobe.kernel.btf.values import Signature, Spelled
    from multiprobe.output.slices import Argument

EXAMPLES = """\
Examples:
  multiprobe graph 'vfs_*' 'ext4_*' --command-only -- cat /etc/passwd
  multiprobe graph 'tcp_*' --args --pid 4242 -d 2         with arguments and returned values
  multiprobe graph 'ext4:*' --perfetto t.pftrace -- sync  a trace for ui.perfetto.dev
  multiprobe graph 'vfs_*' --flame vfs.svg -d 5           where the time is spent"""

EVERY = 0.2
"""Seconds between two looks at new threads and at the room left."""
MOST_EVENTS = (1 << 24) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOptions(MeasuringOptions):
    """The options of `graph`."""

    max_events: int = MAX_EVENTS
    args: bool = False
    perfetto: str | None = None
    flame: str | None = None


class GraphMeasurement(Measurement[GraphOptions, GraphSample]):
    """Records calls."""

    when = "session"
    every = EVERY
    instrument: CallRecorder

    def __init__(self, options: GraphOptions) -> None:
        super().__init__(options)
        self.uses_types = options.args

    def program(self, functions: AnyFunctionSet) -> Program:
        """The program."""
        n_arguments, has_types = self._n_arguments(functions), has_kernel_types(functions)
        return GraphProbe(max_events=self.options.max_events, n_arguments=n_arguments, has_types=has_types).program

    def _n_arguments(self, functions: AnyFunctionSet) -> int:
        return _most_arguments(functions) if self.options.args else -1

    def start(self, functions: AnyFunctionSet, options: AttachOptions) -> CallRecorder:
        """Attach and record."""
        n_arguments = self._n_arguments(functions)
        return graph.start(functions, max_events=self.options.max_events, n_arguments=n_arguments, **options)

    def finish(self, sample: GraphSample) -> None:
        """Write the trace and the flame graph."""
        known = signatures(self.instrument.functions) if self.options.args else []
        self.shown = ShownGraph(self.instrument, sample, known, self.workload)
        if self.options.perfetto is not None:
            write_trace(self.options.perfetto, self.shown.tracks())
        if self.options.flame is not None:
            with writing(self.options.flame) as file:
                file.writelines(picture.svg for picture in self.pictures(sample))

    def pictures(self, sample: GraphSample) -> Iterator[Picture]:
        """The flame graph of self times."""
        title = f"Time in {' '.join(self.options.patterns)}"
        yield Picture(title, flame_svg(self.shown.folded(), title=title, unit="ns"), is_fluid=True)

    def figures(self, sample: GraphSample) -> dict[str, object]:
        """The numbers of calls and of threads."""
        return {
            "calls": sample.n_calls,
            "unended": sample.n_unended,
            "threads": len(sample.threads),
            "seconds": round(sample.seconds, 6),
        }

    def rows(self, sample: GraphSample, *, top: int = 0) -> Iterator[dict[str, object]]:
        """A row for each call."""
        return self.shown.json_objects()

    def print(self, sample: GraphSample) -> None:
        """Print a tree for each thread, and the number of all calls."""
        self.results.lines(tree_text(self.shown.tracks()), hang=HANG)
        unended = f", {sample.n_unended:,} of which had not ended" if sample.n_unended else ""
        calls, threads = plural_text(sample.n_calls, "call"), plural_text(len(sample.threads), "thread")
        self.results.lines([f"{calls} in {threads}, in {sample.seconds:.2f} s{unended}"])

    def folded(self, sample: GraphSample) -> Iterator[str]:
        """A line for each different stack."""
        return iter(folded_lines(self.shown.folded()))


def _most_arguments(functions: AnyFunctionSet) -> int:
    return max((known.n_registers for known in signatures(functions)), default=0)


@dataclass(frozen=True, slots=True)
class Slices:
    """The slices of calls, made anew each time: a million take more memory than their calls."""

    calls: CallTree
    labels: Sequence[str]
    arguments: Callable[[Call], Mapping[str, Argument]] | None

    def __iter__(self) -> Iterator[Slice]:
        labels, arguments = self.labels, self.arguments
        if arguments is None:
            return (Slice(labels[call.function], call.begin, call.end, call.depth) for call in self.calls)
        return (Slice(labels[call.function], call.begin, call.end, call.depth, arguments(call)) for call in self.calls)


@dataclass(frozen=True)
class ShownGraph:
    """The recorded calls, and how to decode them."""

    recorder: CallRecorder
    sample: GraphSample
    signatures: Sequence[Signature]
    workload: Workload | None

    def tracks(self) -> list[Track]:
        """A track for each thread."""
        arguments = self.arguments if self.signatures else None
        return [Track(self._thread(one), Slices(one.calls, self._labels, arguments)) for one in self.sample.threads]

    @cached_property
    def _labels(self) -> list[str]:
        return [str(self.recorder.functions[index]) for index in range(len(self.recorder.functions))]

    def _thread(self, found: ThreadCalls) -> TraceThread:
        thread = found.thread
        if thread.cpu >= 0:
            return TraceThread(0, 0, f"swapper/{thread.cpu}", cpu=thread.cpu)
        process = self._name(thread.pid)
        return TraceThread(thread.pid, thread.tid, self._name(thread.tid) or process, process)

    def _name(self, number: int) -> str:
        name = self.recorder.names.get(number, "")
        if not name and self.workload is not None and number == self.workload.pid:
            return self.workload.command[0].rpartition("/")[2][:15]
        return name

    def arguments(self, call: Call) -> dict[str, Spelled]:
        """Arguments by name, and under "=" the returned value; empty if they weren't recorded."""
        known = self.signatures[call.function] if self.signatures else UNKNOWN
        if known is UNKNOWN:
            return {}
        spelled: dict[str, Spelled] = known.arguments(call.arguments)
        returned = known.returned.read_returned(call.returned) if call.returned is not None else None
        return spelled if returned is None else spelled | {"=": returned}

    def folded(self) -> dict[tuple[str, ...], int]:
        """Self times (ns) by stack; the outermost frame is the thread's name."""
        return fold(
            ((track.thread.name or f"thread {track.thread.tid}", *path), ns)
            for track in self.tracks()
            for path, ns in self_times(track.slices).items()
        )

    def json_objects(self) -> Iterator[dict[str, object]]:
        """Every call, callers before their callees, one thread after the other."""
        functions = self.recorder.functions
        number = 0
        for found in self.sample.threads:
            around: list[int] = []
            thread = self._thread(found)
            for call in found.calls:
                del around[call.depth :]
                function = functions[call.function]
                arguments = self.arguments(call)
                returned = arguments.pop("=", None)
                yield {
                    "type": "call",
                    "id": number,
                    "caller": around[-1] if around else None,
                    **name_fields(function),
                    "thread": thread.tid,
                    "process": thread.pid,
                    "name": thread.name,
                    "begin": call.begin,
                    "end": call.end,
                    "duration": call.duration,
                } | ({"arguments": arguments, "returned": returned} if self.signatures else {})
                around.append(number)
                number += 1


def tree_text(tracks: Sequence[Track]) -> Iterator[str]:
    """A tree for each thread, and a line between."""
    start = min((slice_.begin for track in tracks for slice_ in islice(track.slices, 1)), default=0)
    for track in tracks:
        yield from tree_lines(track, start=start)
        yield ""


@measuring_command("graph", GraphOptions, examples=EXAMPLES)
@click.option(
    "--max-events",
    cls=StoppingOption,
    type=WholeNumber(1, MOST_EVENTS),
    default=MAX_EVENTS,
    show_default=True,
    metavar="N",
    help="Stop after N calls.",
)
@click.option("--args", cls=SelectionOption, is_flag=True, help="Record arguments and returned values, too.")
@perfetto_option
@flame_option
@folded_option
@measuring_options
def command(options: GraphOptions) -> GraphMeasurement:
    """Show the tree of calls between the selected functions, for each thread.

    Every call is one line: when it began, how long it took, and below it the calls that it made. Calls of other
    functions are left out; the selected functions that they call appear below the next selected caller.
    """
    return GraphMeasurement(options)
