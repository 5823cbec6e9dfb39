"""Who calls one function: a second program on it, beside whatever is there, for as long as somebody looks.

Knows how to attach, count stacks, and which frame of a stack is the caller; must not know terminals.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.kernel.resolve import Resolver

if TYPE_CHECKING:
    from typing import Any

    from multiprobe.functions.sets import FunctionSet
    from multiprobe.kernel.resolve import Resolver

stacks = mp.StackTraces(max_entries=4096)
seen = mp.Hash(mp.i64, mp.u64, 4096)


@mp.program
def note(ctx: Any) -> None:
    """Count the stack that led here."""
    seen[stacks.id(ctx)] += 1


class Callers:
    """The callers of the one function in `function`, counted from now on. Must be closed, which detaches."""

    def __init__(self, function: FunctionSet, *, pid: int | None = None) -> None:
        self._resolver: Resolver = Resolver.load()
        self._name = function[0].name
        self._attachment: Any = mp.attach(note, function, pid=pid)

    def counts(self) -> list[tuple[str, int]]:
        """Callers by name, and how often each called, most calls first."""
        found: Counter[str] = Counter()
        traces = self._attachment.map(stacks)
        for number, n in self._attachment.map(seen).as_dict().items():
            places = [self._resolver.caller(address) for address in traces.addresses(number)]
            found[caller([(place.name, place.label) for place in places if not place.is_generated], self._name)] += n
        return found.most_common()

    def close(self) -> None:
        """Detach."""
        self._attachment.close()


def caller(frames: list[tuple[str, str]], name: str) -> str:
    """The label of the frame (name, label) behind the function's own, innermost first; "?" where that can't be seen.

    At its entry a function may not be on the stack itself yet: then all frames up to the first that isn't tracing
    machinery are passed over, and that one is the caller.
    """
    names = [frame for frame, _ in frames]
    if name in names:
        rest = frames[names.index(name) + 1 :]
    else:
        rest = [frame for frame in frames if not frame[0].startswith(MACHINERY)]
    return rest[0][1] if rest else "?"


MACHINERY = ("bpf_", "__bpf_", "kprobe_", "fprobe_", "ftrace_", "arch_ftrace_", "trace_call_bpf", "perf_trace", "aggr_")
"""How functions begin that stand between a probe and what it probes."""
