"""What the kernel's own tracers and strace say of calls, for tests to hold multiprobe against; nothing here uses it.

`FunctionGraph` is ftrace's function_graph tracer, `SystemCalls` the kernel's trace points for system calls, both read
from tracefs; `read_strace` reads what `strace -f -T` wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

TRACEFS = Path("/sys/kernel/tracing")
BUFFER_KB = 4096
NEVER_RETURN = ("do_exit", "do_group_exit")
ROUNDING = 2_000
"""Nanoseconds; times are printed in microseconds."""
SHOWN = {"funcgraph-proc": 1, "funcgraph-tail": 1, "funcgraph-abstime": 1, "funcgraph-overhead": 0, "sleep-time": 1}

# From a second on a duration has no decimals (print_graph_duration gives them what is left of seven characters).
_GRAPH_LINE = re.compile(
    r"^\s*(?P<time>\d+\.\d+) \|\s*\d+\)\s+.*?-(?P<tid>\d+)\s*\|\s*(?:(?P<us>\d+(?:\.\d+)?) us)?\s*\|\s*(?P<what>\S.*)$"
)
_FUNCTION = re.compile(r"^(?P<name>[\w.]+)(?: \[\w+\])?\(\)(?: \{|;)$")
_STRACE_LINE = re.compile(r"^(?P<tid>\d+) +(?P<name>\w+)\(.*<(?P<seconds>\d+\.\d+)>$")
_STRACE_PART = re.compile(r"^(?P<tid>\d+) +(?:(?P<begun>\w+)\(.*<unfinished \.\.\.>|<\.\.\. (?P<resumed>\w+) resumed>)")
_EVENT = re.compile(r"-(?P<tid>\d+)\s+\[\d+\].*?\s(?P<time>\d+\.\d+): sys_(?P<side>enter|exit): NR (?P<number>-?\d+)")


@dataclass(slots=True)
class Call:
    """A call as the kernel's tracer saw it; `took` in ns, None where it did not return."""

    name: str
    took: int | None = None
    children: list[Call] = field(default_factory=list)

    @property
    def own(self) -> int | None:
        """What it took without the calls below it."""
        return None if self.took is None else self.took - sum(child.took or 0 for child in self.children)


def walk(calls: list[Call], depth: int = 0) -> Iterator[tuple[int, Call]]:
    """Every call with its depth, in the order of their beginnings."""
    for call in calls:
        yield depth, call
        yield from walk(call.children, depth + 1)


def is_ordered(calls: list[Call]) -> bool:
    """Whether no call took longer than the one that made it.

    On a very busy emulated machine with two CPUs, the kernel (6.12) now and then prints an end milliseconds too early,
    among the calls before; then ends seem to belong to other calls.
    """
    return all(
        (call.took is None or sum(child.took or 0 for child in call.children) <= call.took + ROUNDING)
        and is_ordered(call.children)
        for call in calls
    )


def is_whole(calls: list[Call]) -> bool:
    """Whether all calls of a thread that is gone have an end, but for those that never return."""
    return all(call.took is not None or call.name in NEVER_RETURN for _, call in walk(calls))


class FunctionGraph:
    """The function_graph tracer on a few functions, while the block runs; `calls` after it."""

    def __init__(self, *functions: str) -> None:
        self._functions = functions
        self.calls: dict[int, list[Call]] = {}

    def __enter__(self) -> Self:
        write("tracing_on", "0")
        write("buffer_size_kb", str(BUFFER_KB))
        write("trace_clock", "mono")
        write("set_ftrace_filter", "\n".join(self._functions))
        write("current_tracer", "function_graph")
        for option, setting in SHOWN.items():
            if (TRACEFS / "options" / option).exists():
                write(f"options/{option}", str(setting))
        write("tracing_on", "1")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        write("tracing_on", "0")
        text = (TRACEFS / "trace").read_text()
        write("current_tracer", "nop")
        write("set_ftrace_filter", "")
        write("tracing_on", "1")
        if error is None:
            assert "LOST" not in text, "the kernel's own tracer lost events"
            self.calls = parse_graph(text)


def write(name: str, text: str) -> None:
    (TRACEFS / name).write_text(text)


def parse_graph(text: str) -> dict[int, list[Call]]:
    """The outermost calls of each thread from function_graph's text."""
    roots: dict[int, list[Call]] = {}
    open_calls: dict[int, list[Call]] = {}
    for line in text.splitlines():
        match = _GRAPH_LINE.match(line)
        if match is None:
            continue
        tid, what = int(match["tid"]), match["what"].strip()
        took = round(float(match["us"]) * 1000) if match["us"] else None
        around = open_calls.setdefault(tid, [])
        if what.startswith("}"):
            if around:  # else it began before the tracer did
                around.pop().took = took
        elif (called := _FUNCTION.match(what)) is not None:
            call = Call(called["name"], took)
            (around[-1].children if around else roots.setdefault(tid, [])).append(call)
            if what.endswith("{"):
                around.append(call)
    return roots


class SystemCalls:
    """The kernel's trace points at system calls, while the block runs; then `took`: (thread, number) → seconds."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers
        self._folder = TRACEFS / "instances" / "truth"
        self.took: dict[tuple[int, int], list[float]] = {}

    def __enter__(self) -> Self:
        self._folder.mkdir()
        wanted = " || ".join(f"id == {number}" for number in self._numbers)
        for name, text in (("buffer_size_kb", str(BUFFER_KB)), ("trace_clock", "mono")):
            (self._folder / name).write_text(text)
        for side in ("enter", "exit"):
            (self._folder / f"events/raw_syscalls/sys_{side}/filter").write_text(wanted)
            (self._folder / f"events/raw_syscalls/sys_{side}/enable").write_text("1")
        return self

    def __exit__(self, *_: object) -> None:
        text = (self._folder / "trace").read_text()
        self._folder.rmdir()
        began: dict[int, float] = {}
        for line in text.splitlines():
            match = _EVENT.search(line)
            if match is None:
                continue
            tid, time = int(match["tid"]), float(match["time"])
            if match["side"] == "enter":
                began[tid] = time
            elif tid in began:
                self.took.setdefault((tid, int(match["number"])), []).append(time - began.pop(tid))


def read_strace(text: str) -> dict[tuple[int, str], list[float]]:
    """(thread, system call) → seconds of each that ended, from the output of `strace -f -T`."""
    took: dict[tuple[int, str], list[float]] = {}
    for line in text.splitlines():
        ended = _STRACE_LINE.match(line)
        if ended is not None:
            took.setdefault((int(ended["tid"]), ended["name"]), []).append(float(ended["seconds"]))
            continue
        part = _STRACE_PART.match(line)
        seconds = re.search(r"<(\d+\.\d+)>$", line)
        if part is not None and part["resumed"] and seconds is not None:
            took.setdefault((int(part["tid"]), part["resumed"]), []).append(float(seconds[1]))
    return took
