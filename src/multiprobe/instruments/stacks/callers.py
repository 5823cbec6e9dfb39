"""Counts the callers of one function, by a second program that is attached to it while its details are shown."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.kernel.resolve import Resolver

if TYPE_CHECKING:
    from multiprobe.binaries.mixed import AnyFunctionSet

stacks = mp.StackTraces(max_entries=4096)
seen = mp.Hash(mp.i64, mp.u64, 4096)


@mp.program
def note(ctx: mp.Context) -> None:
    """Count the stack that led here."""
    seen[stacks.id(ctx)] += 1


class Callers:
    """Counts the callers of the only function in `function` from now on. Must be closed, which detaches."""

    def __init__(self, function: AnyFunctionSet, *, pid: int | None = None) -> None:
        self._resolver = Resolver.load()
        self._name = function[0].name
        self._attachment = mp.attach(note, function, pid=pid, own=pid is not None)

    def counts(self) -> list[tuple[str, int]]:
        """The callers' names and their numbers of calls, most calls first."""
        found: Counter[str] = Counter()
        addresses = self._attachment.map(stacks).addresses
        for number, n in self._attachment.map(seen).as_dict().items():
            frames = [self._resolver.caller(address) for address in addresses(number)]
            found[caller([(frame.name, frame.label) for frame in frames if not frame.is_generated], self._name)] += n
        return found.most_common()

    def close(self) -> None:
        """Detach."""
        self._attachment.close()


def caller(frames: list[tuple[str, str]], name: str) -> str:
    """The label of the caller's frame, among frames (name, label) from the innermost on; "?" if there is none.

    At its entry, a function may not be on the stack yet: then the caller is the first frame outside tracing code.
    """
    names = [frame for frame, _ in frames]
    if name in names:
        rest = frames[names.index(name) + 1 :]
    else:
        rest = [frame for frame in frames if not frame[0].startswith(MACHINERY)]
    return rest[0][1] if rest else "?"


MACHINERY = ("bpf_", "__bpf_", "kprobe_", "fprobe_", "ftrace_", "arch_ftrace_", "trace_call_bpf", "perf_trace", "aggr_")
"""Prefixes of the functions between a probe and the probed function."""
