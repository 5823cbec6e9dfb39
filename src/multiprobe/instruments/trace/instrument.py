"""Traces every call of the attached functions: time, task, decoded arguments and members, result, duration.

The program is in `trace.program`; `trace.describe` finds out how arguments are decoded.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import multiprobe as mp
from multiprobe.binaries.mixed import has_kernel_types, kernel_of
from multiprobe.binaries.types import with_types
from multiprobe.binaries.usdt import has_returns
from multiprobe.errors import CompileError, UsageError
from multiprobe.functions.kernel import Kernel
from multiprobe.instruments.instrument import AttachOptions, Instrument
from multiprobe.instruments.stacks.instrument import Namer
from multiprobe.instruments.stacks.user_symbols import UserResolver
from multiprobe.instruments.task_names import task_ids
from multiprobe.instruments.trace.arguments import UNKNOWN, Described
from multiprobe.instruments.trace.describe import Describer, Wanted
from multiprobe.instruments.trace.descriptions import Descriptions
from multiprobe.instruments.trace.filter import Filter, parse_filter
from multiprobe.instruments.trace.filter_names import FilterNames
from multiprobe.instruments.trace.program import TraceProbe, tables
from multiprobe.kernel.resolve import Resolver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, Unpack

    from multiprobe.binaries.mixed import AnyFunction, AnyFunctionSet
    from multiprobe.instruments.trace.arguments import Decoder
    from multiprobe.kernel.btf.values import Spelled
    from multiprobe.links.attachment import Attachment

    Key = tuple[int, int]
    EventRow = tuple[Any, ...]

T = TypeVar("T")

RING_SIZE = 1 << 22
MAX_PENDING = 1 << 16
"""The number of calls that wait for their return; beyond that, the oldest are dropped."""


class TracedCall(NamedTuple):
    """One call.

    time: seconds since tracing began; begin: time of the entry (CLOCK_MONOTONIC, ns)
    pid, tid: in our pid namespace; of a task outside of it the id in the first one, negative
    arguments: (name, value) pairs, strings in quotes; members: those of structs behind pointers, by argument
    duration (ns), returned (decoded) and raw (the register): None if only entries are traced
    stack: the callers, innermost first; None unless stacks are recorded
    """

    time: float
    begin: int
    cpu: int
    pid: int
    tid: int
    comm: str
    function: AnyFunction
    arguments: tuple[tuple[str, object], ...]
    members: Mapping[str, object] = {}
    duration: int | None = None
    returned: Spelled | None = None
    raw: int | None = None
    stack: tuple[str, ...] | None = None


class StackNames:
    """Names the callers of calls by the ids of their stacks."""

    def __init__(self, attachment: Attachment, stacks: mp.StackTraces) -> None:
        addresses = attachment.map(stacks).addresses
        self._namer = Namer(Resolver.load(), UserResolver(), attachment.functions, addresses)
        self._known: dict[tuple[int, int], tuple[str, ...]] = {}

    def __call__(self, function: int, stack: int) -> tuple[str, ...]:
        """Innermost first, without the function itself; () for a stack that could not be taken."""
        if stack < 0:
            return ()
        key = (function, stack)
        if key not in self._known:
            self._known[key] = self._namer.callers(function, stack)
        return self._known[key]


class CallTracer(Instrument[list[TracedCall]]):
    """A running trace. A sample is the list of calls that have ended since the one before."""

    def __init__(self, attachment: Attachment, probe: TraceProbe, described: Sequence[Described]) -> None:
        super().__init__(attachment)
        self._probe = probe
        self._described = described
        self._decoders: dict[int, tuple[Decoder, Callable[[int], Spelled | None]]] = {}
        self._named: dict[int, AnyFunction] = {}
        self._callers = None if probe.stacks is None else StackNames(attachment, probe.stacks)
        self._readers = [attachment.events(stream) for stream in probe.streams]
        self._clock = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        self._pending: dict[Key, EventRow] = {}
        self._content: dict[Key, dict[int, bytes | str]] = {}
        self._more: dict[Key, EventRow] = {}
        self._early: list[EventRow] = []
        self._n_unmatched = 0

    def _read(self) -> list[TracedCall]:
        # An event refers only to events that were sent before it, and these are read after it.
        *left, entered, more, blocks, texts = [reader.take() for reader in self._readers]
        for thread, begin, step, found in (*blocks, *texts):
            self._content.setdefault((thread, begin), {})[step] = found
        for one in more:
            self._more[one[0], one[1]] = one[2:]
        if self._probe.when == "entry":
            made = [self._call(one, None) for one in entered]
        else:
            for one in entered:
                self._pending[one[0], one[1]] = one
            again, self._early = self._early, []
            made = [*self._matched(again, is_last=True), *self._matched(left[0], is_last=False)]
        _drop_oldest(self._pending)
        _drop_oldest(self._content)
        _drop_oldest(self._more)
        return made

    def _read_last(self) -> list[TracedCall]:
        calls: list[TracedCall] = []
        while (found := self._read()) or self._early:
            calls += found
        return calls

    def _matched(self, left: Sequence[EventRow], *, is_last: bool) -> Iterator[TracedCall]:
        for back in left:
            one = self._pending.pop((back[0], back[1]), None)
            if one is not None:
                yield self._call(one, back)
            elif is_last:
                self._n_unmatched += 1
            else:  # its entry may come after one that another CPU has not committed yet
                self._early.append(back)

    def _call(self, one: EventRow, back: EventRow | None) -> TracedCall:
        thread, begin, function, cpu, comm, *raw = one
        stack = None if self._callers is None else self._callers(function, raw.pop())
        key = (thread, begin)
        if self._more:
            raw += self._more.pop(key, ())
        if function not in self._decoders:  # none is made for functions without a call
            known = self._described[function] if function < len(self._described) else UNKNOWN
            self._decoders[function] = known.decoder(), known.returned
        decode, returned = self._decoders[function]
        arguments, members = decode(raw, self._content.pop(key, {}))
        head = ((begin - self._clock) / 1e9, begin, cpu, *task_ids(thread), comm)
        if function not in self._named:
            self._named[function] = self.functions[function]
        what = (self._named[function], arguments, members)
        if back is None:
            return TracedCall(*head, *what, stack=stack)
        ret = back[5]
        return TracedCall(*head, *what, back[2] - begin, returned(ret & (1 << 64) - 1), ret, stack)

    def _missed(self) -> dict[str, int]:
        return super()._missed() | ({"unmatched_returns": self._n_unmatched} if self._n_unmatched else {})


def _drop_oldest(store: dict[Key, T]) -> None:
    while len(store) > MAX_PENDING:
        del store[next(iter(store))]


def start(
    functions: AnyFunctionSet,
    *,
    filter: str | None = None,
    wanted: Wanted | None = None,
    entries_only: bool = False,
    has_stacks: bool = False,
    size: int = RING_SIZE,
    **options: Unpack[AttachOptions],
) -> CallTracer:
    """Attach to `functions` and trace their calls. The other options are those of `multiprobe.attach`.

    filter: a Python expression (see `trace.filter`)
    wanted: which arguments to decode, and how deep to follow pointers to structs (see `trace.describe`)
    entries_only: don't trace returns (USDT probes have none); has_stacks: record the kernel's stack of each call
    size: bytes of each ring buffer
    """
    functions, problems = with_types(functions)
    describer = Describer(kernel_of(functions) or Kernel(), wanted or Wanted())
    known = describer.outlines(functions)
    n_steps = len(tables(known)[1]) // 2
    condition = parse_filter(filter, FilterNames(functions).meaning) if filter is not None else Filter()
    entries_only = entries_only or not has_returns(functions)
    probe = TraceProbe(
        condition,
        entries_only=entries_only,
        size=size,
        n_steps=n_steps,
        has_stacks=has_stacks,
        has_programs=any(one.is_program for one in known),
        has_types=has_kernel_types(functions),
        is_sleepable=kernel_of(functions) is None,
    )
    try:
        attachment = mp.attach(probe.program, functions, when=probe.when, **options)
    except CompileError as error:
        raise UsageError(f"the filter can't be compiled: {error.message}", hint=error.hint) from error
    try:
        table, steps = tables(describer.outlines(attachment.functions), most=probe.n_steps)
        steps.extend([0] * (2 * probe.n_steps - len(steps)))
        attachment.map(probe.steps).fill(steps)
        made = CallTracer(attachment, probe, Descriptions(describer, attachment.functions))
        for problem in problems:
            made.note(problem)
        attachment.map(probe.table).fill(table)  # last: from here on, calls are traced
        return made
    except BaseException:
        attachment.close()
        raise
