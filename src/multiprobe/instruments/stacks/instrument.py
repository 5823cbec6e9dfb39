"""Which stacks lead to functions: counted or timed, each different stack once, by a program in our own language.

Stacks are taken when a function is entered, timed ones too: at its return many kernels can't walk the stack, which then
goes through the probe's own return path (Linux kernel commit 20a0bc10272f ("x86/fgraph: Fix return_to_handler regs.rsp
value"), and 8bc11700e0d2 for what runs on top of it). What was not taken is counted, by reason.

Knows how to attach and what the numbers mean; must not know terminals, signals or output formats.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.errors import UsageError, errno_name
from multiprobe.instruments.running import Running
from multiprobe.instruments.stacks.user_symbols import UserResolver
from multiprobe.kernel.resolve import Resolver

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from multiprobe.functions.sets import FunctionSet

MAX_STACKS = 16_384
_ID_BITS = 20
NO_STACK = (1 << _ID_BITS) - 1
"""Stands for any stack that could not be taken, where there is room for a number of 20 bits only."""
NOT_TAKEN = 1 << 63
"""Ids from here on are negative: an errno."""
NOT_ASKED = -1 & (1 << 64) - 1


class Probe:
    """A program and its maps.

    hits, total: (function, kernel stack, user stack, pid) → calls, and ns spent in them (only with `is_timed`); the pid
    is 0 and the user stack NOT_ASKED unless `has_user`
    """

    def __init__(self, *, has_user: bool, is_timed: bool, max_stacks: int = MAX_STACKS) -> None:
        if not 0 < max_stacks < NO_STACK:
            raise UsageError(f"{max_stacks} stacks can't be kept", hint=f"give a number from 1 to {NO_STACK - 1:,}")
        key = (mp.u32, mp.u64, mp.u64, mp.u32)
        self.stacks: Any = mp.StackTraces(max_entries=4 * max_stacks if max_stacks < 1 << 18 else max_stacks)
        self.hits: Any = mp.Hash(key, mp.u64, max_stacks)
        self.total: Any = mp.Hash(key, mp.u64, max_stacks)
        self.is_timed = is_timed
        self.has_user = has_user
        self.program = _timed(self) if is_timed else _counted(self)


def _counted(probe: Probe) -> Any:
    stacks, hits, has_user = probe.stacks, probe.hits, probe.has_user

    @mp.program
    def count_stacks(ctx: Any) -> None:
        if has_user:
            hits[ctx.function, mp.u64(stacks.id(ctx)), mp.u64(stacks.id(ctx, user=True)), ctx.pid] += 1
        else:
            hits[ctx.function, mp.u64(stacks.id(ctx)), NOT_ASKED, 0] += 1

    return count_stacks


def _timed(probe: Probe) -> Any:
    stacks, hits, total, has_user = probe.stacks, probe.hits, probe.total, probe.has_user
    first = mp.Array(mp.u64, 1)

    @mp.program(when="session")  # type: ignore[untyped-decorator]
    def time_stacks(ctx: Any) -> None:
        if not ctx.is_return:
            stack = stacks.id(ctx)
            now = ctx.time
            if not first[0]:
                first[0] = now
            ctx.session = (now << _ID_BITS) | (NO_STACK if stack < 0 else mp.u64(stack))
            return
        mark = ctx.session
        # 44 bits of time: calls of up to 4.8 hours
        took = ((ctx.time << _ID_BITS) - (mark & ~NO_STACK)) >> _ID_BITS
        if not mark or took > ctx.time - first[0]:
            return  # it began before all this, and its session may hold anything
        taken = mark & NO_STACK
        # What the process was doing is the same at the return.
        user = mp.u64(stacks.id(ctx, user=True)) if has_user else NOT_ASKED
        pid = ctx.pid if has_user else 0
        hits[ctx.function, taken, user, pid] += 1
        total[ctx.function, taken, user, pid] += took

    return time_stacks


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that led to `function` (an index): `frames` from the outermost to the function itself, how often, and how
    many ns were spent in those calls (0 if not timed). A stack that could not be taken has the function's frame alone.
    """

    function: int
    frames: tuple[str, ...]
    calls: int
    ns: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What was counted: `seconds` since it began, stacks (the largest first), and calls whose stack could not be taken,
    by reason."""

    seconds: float
    stacks: list[Stack]
    not_taken: dict[str, int]

    @property
    def n_calls(self) -> int:
        """All calls."""
        return sum(stack.calls for stack in self.stacks)


class Stacking(Running):
    """A running count of stacks. Must be closed, which detaches."""

    def __init__(self, attachment: Any, probe: Probe) -> None:
        super().__init__(attachment)
        self.probe = probe
        self._user = UserResolver()
        self._seen: set[int] = set()
        self._began = time.monotonic()
        self._last: Sample | None = None

    def sample(self) -> None:
        """Note the mappings of processes seen since, most of which are gone at the end."""
        if self.probe.has_user:
            for *_, pid in self._attachment.map(self.probe.hits).as_dict():
                if pid not in self._seen:
                    self._seen.add(pid)
                    self._user.look(pid)

    def stop(self) -> Sample:
        """Count no more; note what was missed; everything that was counted, with names."""
        if self._last is None:
            self._attachment.pause()
            seconds = time.monotonic() - self._began
            self.sample()
            self._attachment.set_missed(self._attachment.missed())
            self._last = self._read(seconds)
        return self._last

    def _read(self, seconds: float) -> Sample:
        hits = self._attachment.map(self.probe.hits).as_dict()
        total = self._attachment.map(self.probe.total).as_dict() if self.probe.is_timed else {}
        taken = self._attachment.map(self.probe.stacks)
        namer = Namer(Resolver.load(), self._user, self.functions, taken.addresses)
        stacks = [Stack(key[0], namer.frames(*key), n, total.get(key, 0)) for key, n in hits.items()]
        stacks = merged(stacks)
        stacks.sort(key=lambda stack: (-stack.ns, -stack.calls, stack.frames))
        return Sample(seconds, stacks, not_taken(hits))


def start(
    functions: FunctionSet,
    *,
    has_user: bool = False,
    is_timed: bool = False,
    max_stacks: int = MAX_STACKS,
    **options: Any,
) -> Stacking:
    """Attach to `functions`; the other options are those of `multiprobe.attach`.

    has_user: the process's stack, too; is_timed: how long calls took, not only how many; max_stacks: room for so many
    different ones
    """
    probe = Probe(has_user=has_user, is_timed=is_timed, max_stacks=max_stacks)
    options["when"] = "session" if is_timed else "entry"
    return Stacking(mp.attach(probe.program, functions, **options), probe)


class Namer:
    """Names the frames of stacks; `addresses(id)` gives a stack's, innermost first."""

    def __init__(
        self,
        kernel: Resolver,
        user: UserResolver,
        functions: FunctionSet,
        addresses: Callable[[int], Sequence[int]],
    ) -> None:
        self._kernel = kernel
        self._user = user
        self._functions = functions
        self._addresses = addresses

    def frames(self, function: int, kernel: int, user: int, pid: int) -> tuple[str, ...]:
        """From the outermost frame of the process to the function itself."""
        label = str(self._functions[function])
        inner = [label, *self._callers(kernel, label)]
        outer = [self._user.label(pid, address) for address in self._taken(user)]
        return tuple(reversed([*inner, *outer]))

    def callers(self, function: int, kernel: int) -> tuple[str, ...]:
        """The kernel's frames around the function, innermost first."""
        return tuple(self._callers(kernel, str(self._functions[function])))

    def _taken(self, stack: int) -> Sequence[int]:
        return self._addresses(stack) if stack < NO_STACK else ()

    def _callers(self, stack: int, label: str) -> list[str]:
        """The frames around the function, innermost first: not its own, nor those of the probe on top of it."""
        places = [self._kernel.caller(address) for address in self._taken(stack)]
        exact = [self._kernel.resolve(address) for address in self._taken(stack)]
        for n, (place, here) in enumerate(zip(places, exact, strict=True)):
            if label in (place.label, here.label):
                return [other.label for other in places[n + 1 :] if not other.is_generated]
        return [place.label for place in places if not place.is_generated]


def merged(stacks: Sequence[Stack]) -> list[Stack]:
    """Stacks whose frames read the same, as one: they were in other places of the same functions."""
    found: dict[tuple[str, ...], Stack] = {}
    for stack in stacks:
        known = found.get(stack.frames)
        calls, ns = (known.calls, known.ns) if known else (0, 0)
        found[stack.frames] = Stack(stack.function, stack.frames, calls + stack.calls, ns + stack.ns)
    return list(found.values())


def not_taken(hits: dict[tuple[int, ...], int]) -> dict[str, int]:
    """Calls whose kernel stack could not be taken, by the errno's name."""
    found: dict[str, int] = {}
    for (_, kernel, _, _), n in hits.items():
        if kernel >= NOT_TAKEN or kernel == NO_STACK:
            reason = errno_name((1 << 64) - kernel) if kernel >= NOT_TAKEN else "unknown"
            found[reason] = found.get(reason, 0) + n
    return found
