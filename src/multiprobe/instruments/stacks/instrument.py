"""Counts the stacks that lead to the attached functions: the instrument, its samples, and the names of frames.

The program is in `stacks.program`. Calls whose stack could not be taken are counted by the errno.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.binaries.mixed import binary_parts
from multiprobe.errors import errno_name
from multiprobe.instruments.instrument import AttachOptions, Instrument
from multiprobe.instruments.stacks.program import MAX_STACKS, NO_STACK, NOT_ASKED, NOT_TAKEN, OF_PROGRAM, StacksProbe
from multiprobe.instruments.stacks.user_symbols import Mapping, UserFrame, UserResolver
from multiprobe.kernel.resolve import Resolver
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Unpack

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.binaries.sets import UserFunctionSet
    from multiprobe.links.attachment import Attachment

MAX_PLACES = 8
"""The most places that are named of one frame."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that led to `function` (an index): its frames, the number of calls, and the ns spent in them.

    `frames` go from the outermost to the function itself; a stack that could not be taken has only the function's
    frame. `ns` is 0 if calls are not timed. `places` has for each frame where it is in the source, `path:line`, or ""
    where that is not known; several, joined by commas, if the calls of the stack differ; () if none is known.
    """

    function: int
    frames: tuple[str, ...]
    calls: int
    ns: int
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StacksSample:
    """The stacks counted in `seconds`, the largest first, and the calls whose stack could not be taken, by errno.

    notes: why inlined functions or callers are not known, a sentence each
    """

    seconds: float
    stacks: list[Stack]
    not_taken: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def n_calls(self) -> int:
        """All calls."""
        return sum(stack.calls for stack in self.stacks)


class StackCounter(Instrument[StacksSample]):
    """A running count of stacks."""

    def __init__(self, attachment: Attachment, probe: StacksProbe) -> None:
        super().__init__(attachment)
        self._probe = probe
        self._user = UserResolver()
        self._seen: set[int] = set()

    def poll(self) -> bool:
        """Read the mappings of processes, most of which will have exited at the end."""
        if self._probe.has_user:
            for *_, pid in self._attachment.map(self._probe.hits).as_dict():
                if pid not in self._seen:
                    self._seen.add(pid)
                    self._user.look(pid)
        return False

    def _read(self) -> StacksSample:
        self.poll()
        hits = self._attachment.map(self._probe.hits).as_dict()
        total = self._attachment.map(self._probe.total).as_dict() if self._probe.is_timed else {}
        namer = Namer(Resolver.load(), self._user, self.functions, self._attachment.map(self._probe.stacks).addresses)
        self._user.find_inlined(namer.user_addresses(hits))
        stacks = named(namer, hits, total)
        stacks.sort(key=lambda stack: (-stack.ns, -stack.calls, stack.frames))
        notes = (*dict.fromkeys(self._user.problems), *without_callers(hits, namer.n_frames))
        return StacksSample(self.seconds, stacks, not_taken(hits), notes)


def start(
    functions: AnyFunctionSet,
    *,
    has_user: bool = False,
    is_timed: bool = False,
    max_stacks: int = MAX_STACKS,
    **options: Unpack[AttachOptions],
) -> StackCounter:
    """Attach to `functions` and count their stacks. The other options are those of `multiprobe.attach`.

    has_user: record the process's stack, too (of functions of programs it is recorded anyway)
    is_timed: measure how long calls take; max_stacks: room for so many different stacks
    """
    cookies = cookies_of(functions)
    probe = StacksProbe(has_user=has_user, is_timed=is_timed, has_programs=cookies is not None, max_stacks=max_stacks)
    when = "session" if is_timed else "entry"
    return StackCounter(mp.attach(probe.program, functions, when=when, cookies=cookies, **options), probe)


def cookies_of(functions: AnyFunctionSet) -> list[int] | None:
    """The cookies that tell the program which functions are of programs; None if there is none."""
    found = binary_parts(functions)
    if not found:
        return None
    cookies = [0] * len(functions)
    for first, part in found:
        cookies[first : first + len(part)] = [OF_PROGRAM] * len(part)
    return cookies


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames, outermost first: their labels, and their places in the source, () if no place is known."""

    labels: tuple[str, ...]
    places: tuple[str, ...] = ()

    @classmethod
    def of(cls, frames: Iterable[UserFrame]) -> Frames:
        """These frames of a process."""
        known = tuple(frames)
        places = tuple(frame.place for frame in known)
        return cls(tuple(frame.label for frame in known), places if any(places) else ())

    def __add__(self, inner: Frames) -> Frames:
        """These frames around others."""
        places = (*self.places, *inner.places)
        if places and len(places) < len(self.labels) + len(inner.labels):
            places = tuple(place for one in (self, inner) for place in one.places or ("",) * len(one.labels))
        return Frames(self.labels + inner.labels, places)


class Namer:
    """Names the frames of stacks, each once; `addresses(id)` gives a stack's, innermost first."""

    def __init__(
        self, kernel: Resolver, user: UserResolver, functions: AnyFunctionSet, addresses: Callable[[int], Sequence[int]]
    ) -> None:
        self._kernel = kernel
        self._user = user
        self._functions = functions
        self._addresses = addresses
        self._inner: dict[tuple[int, int], Frames] = {}
        self._outer: dict[tuple[int, int], Frames] = {}
        self._known: dict[int, _NamedAddress] = {}

    def frames(self, function: int, kernel: int, user: int, pid: int) -> Frames:
        """From the outermost frame of the process to the function itself."""
        if kernel == NOT_ASKED:
            return self._of_program(function, user, pid)
        inner = self._inner.get((function, kernel))
        if inner is None:
            label = str(self._functions[function])
            labels = (*reversed(self._callers(kernel, label)), label)
            inner = self._inner[function, kernel] = Frames(labels)
        return inner if user >= NO_STACK else self._of_process(user, pid) + inner

    def _of_process(self, user: int, pid: int) -> Frames:
        """The frames of a process that has entered the kernel."""
        outer = self._outer.get((user, pid))
        if outer is None:
            frames = (self._user.frames(pid, *pair) for pair in reversed(_inside(self._addresses(user))))
            outer = self._outer[user, pid] = Frames.of(chain.from_iterable(frames))
        return outer

    def _of_program(self, function: int, user: int, pid: int) -> Frames:
        """The frames of a process down to a function of its program, which is on top of its stack."""
        first, part = self._part(function)
        itself = Frames((part.label(function - first),))
        if user >= NO_STACK:
            return itself
        addresses = self._addresses(user)
        self._add_mapping(function, addresses, pid)
        frames = (self._user.frames(pid, *pair) for pair in reversed(_inside(addresses)[1:]))
        return Frames.of(chain.from_iterable(frames)) + itself

    def _part(self, function: int) -> tuple[int, UserFunctionSet]:
        return next(one for one in reversed(binary_parts(self._functions)) if one[0] <= function)

    def _add_mapping(self, function: int, addresses: Sequence[int], pid: int) -> None:
        """Tell where the traced binary is in a process: its mappings may not have been read."""
        if addresses and addresses[0]:
            first, part = self._part(function)
            self._user.add(pid, _mapping(part, function - first, addresses[0]))

    def user_addresses(self, hits: Iterable[tuple[int, ...]]) -> Iterator[tuple[int, int]]:
        """(process, address) of all frames of processes, by which they are named."""
        for function, kernel, user, pid in hits:
            if user < NO_STACK:
                addresses = self._addresses(user)
                if kernel == NOT_ASKED:
                    self._add_mapping(function, addresses, pid)
                yield from ((pid, inside) for _, inside in _inside(addresses)[kernel == NOT_ASKED :])

    def n_frames(self, stack: int) -> int:
        """How many frames a stack has."""
        return sum(address != 0 for address in self._addresses(stack))

    def callers(self, function: int, kernel: int) -> tuple[str, ...]:
        """The kernel's frames around the function, innermost first."""
        return tuple(self._callers(kernel, str(self._functions[function])))

    def _callers(self, stack: int, label: str) -> list[str]:
        """The frames around the function, innermost first, without its own and those of the probe on top of it."""
        frames = [self._frame(address) for address in self._addresses(stack)] if stack < NO_STACK else []
        for n, frame in enumerate(frames):
            if label in (frame.label, frame.exact_label):
                return [other.label for other in frames[n + 1 :] if not other.is_generated]
        return [frame.label for frame in frames if not frame.is_generated]

    def _frame(self, address: int) -> _NamedAddress:
        found = self._known.get(address)
        if found is None:
            caller, exact = self._kernel.caller(address), self._kernel.resolve(address)
            found = self._known[address] = _NamedAddress(caller.label, exact.label, caller.is_generated)
        return found


def _inside(addresses: Sequence[int]) -> list[tuple[int, int]]:
    """The addresses of a stack, each with one inside of its call: but for the first, it is to be returned to them."""
    return [(address, address - (n > 0)) for n, address in enumerate(addresses)]


def _mapping(functions: UserFunctionSet, position: int, address: int) -> Mapping:
    """Where the code of a binary is in a process that has one of its functions at this address."""
    first, last = functions.table.extent
    start = address - functions.offset_of(position, address)
    return Mapping(start + first, start + last, first, os.path.abspath(functions.table.path))


@dataclass(frozen=True, slots=True)
class _NamedAddress:
    """The labels of an address that is returned to: of the call before it, and of itself."""

    label: str
    exact_label: str
    is_generated: bool


def named(namer: Namer, hits: dict[tuple[int, ...], int], total: dict[tuple[int, ...], int]) -> list[Stack]:
    """Calls and ns by stack. Stacks with the same frames are one: they differed in the addresses within functions."""
    found: dict[tuple[str, ...], _Sums] = {}
    for key, n in hits.items():
        frames = namer.frames(*key)
        sums = found.get(frames.labels)
        if sums is None:
            sums = found[frames.labels] = _Sums(key[0])
        sums.calls += n
        sums.ns += total.get(key, 0)
        if frames.places:
            sums.places.append(frames.places)
    return [Stack(one.function, labels, one.calls, one.ns, _places(one.places)) for labels, one in found.items()]


@dataclass(slots=True)
class _Sums:
    """The sums of one stack, and the places of the frames of each of the stacks in it that has some."""

    function: int
    calls: int = 0
    ns: int = 0
    places: list[tuple[str, ...]] = field(default_factory=list)


def _places(stacks: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The places of each frame in stacks with the same frames."""
    return tuple(_listed(sorted(filter(None, set(column)))) for column in zip(*stacks, strict=True))


def _listed(places: list[str]) -> str:
    more = f", … {len(places) - MAX_PLACES:,} more" if len(places) > MAX_PLACES else ""
    return ", ".join(places[:MAX_PLACES]) + more


def without_callers(hits: dict[tuple[int, ...], int], n_frames: Callable[[int], int]) -> list[str]:
    """A note where most calls of functions of programs have no caller on their stack."""
    calls = {key: n for key, n in hits.items() if key[1] == NOT_ASKED and key[2] < NO_STACK}
    n_alone = sum(n for (_, _, user, _), n in calls.items() if n_frames(user) <= 1)
    if n_alone * 2 <= sum(calls.values()):
        return []
    return [
        f"no caller is on the stack of {plural_text(n_alone, 'call')} of functions of programs: the kernel follows "
        "frame pointers, and this code seems to be compiled without them (gcc -fno-omit-frame-pointer has them)"
    ]


def not_taken(hits: dict[tuple[int, ...], int]) -> dict[str, int]:
    """The calls whose stack (of functions of the kernel, the kernel's) could not be taken, by the name of the errno."""
    found: dict[str, int] = {}
    for (_, kernel, user, _), n in hits.items():
        stack = user if kernel == NOT_ASKED else kernel
        if stack >= NOT_TAKEN or stack == NO_STACK:
            reason = errno_name((1 << 64) - stack) if stack >= NOT_TAKEN else "unknown"
            found[reason] = found.get(reason, 0) + n
    return found
