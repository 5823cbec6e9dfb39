"""Every call of the chosen functions: when, who, with which arguments, what came back.

The program is in `trace_probe`. Knows how its events become calls with typed arguments; must not know terminals,
signals or output formats.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import multiprobe as mp
from multiprobe.errors import CompileError, UsageError
from multiprobe.instruments.running import Running
from multiprobe.instruments.stacks.instrument import Namer
from multiprobe.instruments.stacks.user_symbols import UserResolver
from multiprobe.instruments.trace.describe import Describer, Wanted
from multiprobe.instruments.trace.filter import Filter, parse_filter
from multiprobe.instruments.trace.filter_names import FilterNames
from multiprobe.instruments.trace.program import Probe, tables
from multiprobe.instruments.trace.types import UNKNOWN, Described
from multiprobe.kernel.resolve import Resolver

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from multiprobe.functions.sets import Function, FunctionSet

    Spelled = str | int | bool | None

RING_SIZE = 1 << 22
NOTHING: dict[int, Any] = {}
MAX_PENDING = 1 << 16
"""So many calls that were entered wait for their return; the oldest are given up then."""


class Call(NamedTuple):
    """One call. It began `time` seconds after tracing did, at `begin` (CLOCK_MONOTONIC, ns).

    `arguments` are (name, value) pairs, texts in quotes; `members` are those of structs behind arguments, by the
    argument's name; `duration` (ns), `returned` (spelled) and `raw` (the register) are None when only entries are seen;
    `stack` are the callers, innermost first, where stacks were asked for.
    """

    time: float
    begin: int
    cpu: int
    pid: int
    tid: int
    comm: str
    function: Function
    arguments: tuple[tuple[str, Spelled], ...]
    members: Mapping[str, Any] = {}
    duration: int | None = None
    returned: Spelled = None
    raw: int | None = None
    stack: tuple[str, ...] | None = None


class StackNames:
    """Names the callers of calls, by the ids of their stacks."""

    def __init__(self, attachment: Any, stacks: Any) -> None:
        taken = attachment.map(stacks)
        self._namer = Namer(Resolver.load(), UserResolver(), attachment.functions, taken.addresses)
        self._known: dict[tuple[int, int], tuple[str, ...]] = {}

    def __call__(self, function: int, stack: int) -> tuple[str, ...]:
        """Innermost first, the function left out; () for a stack that could not be taken (the report counts them)."""
        if stack < 0:
            return ()
        key = (function, stack)
        if key not in self._known:
            self._known[key] = self._namer.callers(function, stack)
        return self._known[key]


class Tracing(Running):
    """A running trace. Must be closed, which detaches; `take` gives the calls that ended since."""

    def __init__(self, attachment: Any, probe: Probe, described: Sequence[Described]) -> None:
        super().__init__(attachment)
        self._probe = probe
        decoders = {id(known): (known.decoder(), known.returned) for known in described}
        self._decoders = [decoders[id(known)] for known in described]
        self._named: dict[int, Function] = {}
        self._callers = None if probe.stacks is None else StackNames(attachment, probe.stacks)
        self._unknown = (UNKNOWN.decoder(), UNKNOWN.returned)
        self._readers = [attachment.events(one) for one in probe.streams]
        self._began = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        self._pending: dict[tuple[int, int], Any] = {}
        self._content: dict[tuple[int, int], dict[int, Any]] = {}
        self._more: dict[tuple[int, int], Any] = {}
        self._early: list[Any] = []
        self.unmatched = 0

    def take(self, *, timeout: float = 0.0) -> list[Call]:
        """The calls since the last time, in the order of their ends; waits up to `timeout` seconds for the first."""
        # What an event speaks of was sent before it, and is read after it: it is there.
        taken = [reader.take(timeout=timeout if place == 0 else 0.0) for place, reader in enumerate(self._readers)]
        *left, entered, more, blocks, texts = taken
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
        self._give_up()
        return made

    def _matched(self, left: Sequence[Any], *, is_last: bool) -> Iterator[Call]:
        for back in left:
            one = self._pending.pop((back[0], back[1]), None)
            if one is not None:
                yield self._call(one, back)
            elif is_last:
                self.unmatched += 1
            else:  # its entry may stand behind one that another CPU hasn't finished yet
                self._early.append(back)

    def _give_up(self) -> None:
        stores: tuple[dict[Any, Any], ...] = (self._pending, self._content, self._more)
        for store in stores:
            while len(store) > MAX_PENDING:
                del store[next(iter(store))]

    def _call(self, one: Any, back: Any) -> Call:
        thread, begin, function, cpu, comm, *raw = one
        stack = None if self._callers is None else self._callers(function, raw.pop())
        key = (thread, begin)
        if self._more:
            raw += self._more.pop(key, ())
        known = function < len(self._decoders)
        decode, returned = self._decoders[function] if known else self._unknown
        arguments, members = decode(raw, self._content.pop(key, NOTHING))
        head = ((begin - self._began) / 1e9, begin, cpu, thread >> 32, thread & 0xFFFFFFFF, comm)
        if function not in self._named:
            self._named[function] = self.functions[function]
        what = (self._named[function], arguments, members)
        if back is None:
            return Call(*head, *what, stack=stack)
        ret = back[5]
        return Call(*head, *what, back[2] - begin, returned(ret & (1 << 64) - 1), ret, stack)

    def sample(self) -> list[Call]:
        """What `take` gives without waiting."""
        return self.take()

    def stop(self) -> list[Call]:
        """Trace no more, and note what was missed; the last calls."""
        self._attachment.pause()
        last: list[Call] = []
        while (found := self.take()) or self._early:
            last += found
        self._attachment.set_missed(self.missed())
        return last

    def missed(self) -> dict[str, int]:
        """What is known not to have been seen, by cause."""
        found: dict[str, int] = self._attachment.missed()
        return found | ({"unmatched_returns": self.unmatched} if self.unmatched else {})


def start(
    functions: FunctionSet,
    *,
    filter: str | None = None,
    wanted: Wanted | None = None,
    entries_only: bool = False,
    has_stacks: bool = False,
    size: int = RING_SIZE,
    **options: Any,
) -> Tracing:
    """Attach to `functions`; the other options are those of `multiprobe.attach`.

    filter: a Python expression (see `trace_filter`); wanted: which arguments, and what of the structs that they point
    to (see `trace_describe`); entries_only: don't wait for returns; has_stacks: the kernel's stack of each call
    """
    describer = Describer(functions.kernel, wanted or Wanted())
    n_steps = len(tables(describer.describe(functions))[1]) // 2
    condition = parse_filter(filter, FilterNames(functions).meaning) if filter is not None else Filter()
    probe = Probe(condition, entries_only=entries_only, size=size, n_steps=n_steps, has_stacks=has_stacks)
    options.pop("when", None)
    try:
        attachment: Any = mp.attach(probe.program, functions, when=probe.when, **options)
    except CompileError as error:
        raise UsageError(f"the filter can't be compiled: {error.message}", hint=error.hint) from error
    try:
        described = describer.describe(attachment.functions)
        table, steps = tables(described, most=probe.n_steps)
        steps.extend([0] * (2 * probe.n_steps - len(steps)))
        attachment.map(probe.steps).fill(steps)
        made = Tracing(attachment, probe, described)
        attachment.map(probe.table).fill(table)  # last: it lets the probe begin
        return made
    except BaseException:
        attachment.close()
        raise
