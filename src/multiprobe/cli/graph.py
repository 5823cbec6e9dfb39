"""`multiprobe graph`: the tree of calls between functions, per thread, with durations.

Knows options, order of events and words; the recording is `instruments.graph`, what files look like is `output`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from time import CLOCK_BOOTTIME, CLOCK_MONOTONIC, clock_gettime_ns
from typing import TYPE_CHECKING

from multiprobe.cli.command import Asked, Command, Question
from multiprobe.cli.forms import check_files
from multiprobe.cli.options import Option
from multiprobe.errors import UsageError
from multiprobe.instruments.graph import instrument as graph
from multiprobe.instruments.graph.calltree import calls_in_order
from multiprobe.kernel.btf.values import signature
from multiprobe.output.flame import flame_svg
from multiprobe.output.folded import fold, folded_lines
from multiprobe.output.perfetto import write_perfetto
from multiprobe.output.slices import Slice, TraceThread, Track, self_times
from multiprobe.output.tree import tree_lines
from multiprobe.output.units import plural_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from multiprobe.functions.sets import FunctionSet
    from multiprobe.instruments.graph.calltree import Call
    from multiprobe.instruments.graph.instrument import Graphing, Sample, ThreadCalls
    from multiprobe.instruments.workload import Workload
    from multiprobe.kernel.btf.values import Signature
    from multiprobe.output.slices import Slice, Track

OWN = (
    Option("max_events", ("--max-events",), "natural", "End after so many calls.", "N", 100_000),
    Option("args", ("--args",), "flag", "Arguments too, and what calls return.", default=False),
    Option("perfetto", ("--perfetto",), "text", "Write a trace for ui.perfetto.dev.", "FILE"),
    Option("flame", ("--flame",), "text", "Write a flame graph of self times, as SVG.", "FILE"),
    Option("folded", ("--folded",), "flag", "Print folded stacks of self times (ns).", default=False),
)

HELP = """Show who calls whom: the tree of calls between all functions that a PATTERN matches, for each thread.

Every call is one line: when it began, how long it took, and below it the calls that it made. Calls of functions that
weren't chosen are left out; what they call appears under the next one around them that was. Ends after --duration, with
COMMAND, with Ctrl-C, or when there is room for no more calls (--max-events).
"""

EXAMPLES = """\
Examples:
  multiprobe graph 'vfs_*' 'ext4_*' --command-only -- cat /etc/passwd
  multiprobe graph 'tcp_*' --args --pid 4242 -d 2       with arguments and returned values
  multiprobe graph 'ext4:*' --perfetto t.pftrace -- sync   a trace to look at in ui.perfetto.dev
  multiprobe graph 'vfs_*' --flame vfs.svg -d 5         where the time goes"""

EVERY = 0.2
"""Seconds between looks at which threads there are, and at how much room is left."""


class GraphQuestion(Question):
    """Who calls whom, and how long does it take?"""

    when = "session"
    every = EVERY
    is_looking = True
    measuring: Graphing

    def __init__(
        self, asked: Asked, *, max_events: int, args: bool, perfetto: str | None, flame: str | None, folded: bool
    ) -> None:
        super().__init__(asked)
        _check(max_events)
        check_files(perfetto, flame)
        self.max_events, self.has_arguments = max_events, args
        self.perfetto, self.flame = perfetto, flame

    def start(self, functions: FunctionSet, **options: Any) -> Graphing:
        """Attach."""
        n_arguments = _most_arguments(functions) if self.has_arguments else -1
        return graph.start(functions, max_events=self.max_events, n_arguments=n_arguments, **options)

    def look(self, is_full: bool) -> bool:
        """End it when there is no more room."""
        return is_full

    def finish(self, sample: Sample) -> None:
        """The trace and the flame graph."""
        signatures = _signatures(self.measuring.functions) if self.has_arguments else {}
        self.shown = Shown(self.measuring, sample, signatures, self.workload)
        title = f"Time in {' '.join(self.asked.patterns)}"
        self.shown.write_files(perfetto=self.perfetto, flame=self.flame, title=title)

    def figures(self, sample: Sample) -> dict[str, Any]:
        """All calls together."""
        return {
            "calls": sample.n_calls,
            "unended": sample.n_unended,
            "threads": len(sample.threads),
            "seconds": round(sample.seconds, 6),
        }

    def rows(self, _: Sample) -> Iterator[dict[str, Any]]:
        """A row for each call."""
        return self.shown.json_objects()

    def print(self, _: Sample, report: dict[str, Any]) -> None:
        """A tree for each thread, and all calls together."""
        _print_trees(self.shown.tracks())
        unended = f", {report['unended']:,} of which had not ended" if report["unended"] else ""
        calls, threads = (plural_text(report[f"{noun}s"], noun) for noun in ("call", "thread"))
        print(f"{calls} in {threads}, in {report['seconds']:.2f} s{unended}")

    def folded(self, _: Sample) -> Iterator[str]:
        """A line for each different stack."""
        return iter(folded_lines(self.shown.folded()))


def _check(max_events: int) -> None:
    if not 0 < max_events < 1 << 24:
        raise UsageError(f"--max-events {max_events} can't be kept", hint="give a number from 1 to 16,000,000")


def _most_arguments(functions: FunctionSet) -> int:
    return max((known.n_registers for known in _signatures(functions).values()), default=0)


def _signatures(functions: FunctionSet) -> dict[int, Signature]:
    """By index: how to read what the registers hold, where the kernel has types."""
    found = {}
    for place, (row, type_id) in enumerate(zip(functions.rows, functions.btf_ids(), strict=True)):
        btf = functions.kernel.btf_of(functions.table.module(row)) if type_id else None
        if btf is not None:
            found[place] = signature(btf, type_id)
    return found


@dataclass(frozen=True, slots=True)
class Shown:
    """What was recorded, and how to spell it."""

    graphing: Graphing
    sample: Sample
    signatures: Mapping[int, Signature]
    workload: Workload | None

    def tracks(self) -> list[Track]:
        """A track for each thread."""
        return [Track(self._thread(found), list(self._slices(found))) for found in self.sample.threads]

    def _thread(self, found: ThreadCalls) -> Any:
        thread = found.thread
        if thread.cpu >= 0:
            return TraceThread(0, 0, f"swapper/{thread.cpu}", cpu=thread.cpu)
        process = self._name(thread.pid)
        return TraceThread(thread.pid, thread.tid, self._name(thread.tid) or process, process)

    def _name(self, number: int) -> str:
        name = self.graphing.names.get(number, "")
        if not name and self.workload is not None and number == self.workload.pid:
            return self.workload.command[0].rpartition("/")[2][:15]
        return name

    def _slices(self, found: ThreadCalls) -> Iterator[Slice]:
        labels = [self.graphing.functions[place] for place in range(len(self.graphing.functions))]
        for depth, call in calls_in_order(found.roots):
            yield Slice(str(labels[call.function]), call.begin, call.end, depth, self.arguments(call))

    def arguments(self, call: Call) -> dict[str, Any]:
        """Arguments by name, and under "=" what the call returned; nothing where they weren't kept."""
        known = self.signatures.get(call.function)
        if known is None:
            return {}
        spelled: dict[str, Any] = known.arguments(call.arguments)
        returned = known.returned.read_returned(call.returned) if call.returned is not None else None
        return spelled if returned is None else spelled | {"=": returned}

    def folded(self) -> dict[tuple[str, ...], int]:
        """Self times (ns) by stack; the outermost frame is the thread's name."""
        return fold(
            ((track.thread.name or f"thread {track.thread.tid}", *path), ns)
            for track in self.tracks()
            for path, ns in self_times(track.slices)
        )

    def write_files(self, *, perfetto: str | None, flame: str | None, title: str) -> None:
        """Those that were asked for."""
        if perfetto is not None:
            ahead = clock_gettime_ns(CLOCK_BOOTTIME) - clock_gettime_ns(CLOCK_MONOTONIC)
            with open(perfetto, "wb") as file:
                write_perfetto(self.tracks(), file, boottime=ahead)
        if flame is not None:
            with open(flame, "w", encoding="utf-8") as text:
                text.write(flame_svg(self.folded(), title=title, unit="ns"))

    def json_objects(self) -> Iterator[dict[str, Any]]:
        """Every call, callers before what they call, threads one after the other."""
        functions = self.graphing.functions
        number = 0
        for track, found in zip(self.tracks(), self.sample.threads, strict=True):
            around: list[int] = []
            for slice_, call in zip(track.slices, _calls(found), strict=True):
                del around[slice_.depth :]
                function = functions[call.function]
                arguments = dict(slice_.arguments)
                returned = arguments.pop("=", None)
                yield {
                    "type": "call",
                    "id": number,
                    "caller": around[-1] if around else None,
                    "function": function.name,
                    "module": function.module,
                    "thread": track.thread.tid,
                    "process": track.thread.pid,
                    "name": track.thread.name,
                    "begin": call.begin,
                    "end": call.end,
                    "duration": call.duration,
                } | ({"arguments": arguments, "returned": returned} if self.signatures else {})
                around.append(number)
                number += 1


def _calls(found: ThreadCalls) -> Iterator[Call]:
    return (call for _, call in calls_in_order(found.roots))


def _print_trees(tracks: Sequence[Track]) -> None:
    start = min((track.slices[0].begin for track in tracks if track.slices), default=0)
    for track in tracks:
        for line in tree_lines(track, start=start):
            sys.stdout.write(line + "\n")
        sys.stdout.write("\n")


COMMAND = Command("graph", HELP, EXAMPLES, GraphQuestion, OWN)
