"""Every call of the chosen functions: when, who, with which arguments, what came back.

The program is in `trace_probe`. Knows how its events become calls with typed arguments; must not know terminals,
signals or output formats.
"""

from __future__ import annotations

import time
from array import array

import multiprobe as mp
from multiprobe.instruments.running import Running
from multiprobe.instruments.trace_filter import parse_filter
from multiprobe.instruments.trace_probe import FIRST_TEXT, N_ARGUMENTS, SECOND_TEXT, SYSCALL, Probe
from multiprobe.instruments.trace_types import UNKNOWN, Described, describe
from multiprobe.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from multiprobe.functions.sets import Function, FunctionSet

    Spelled = str | int | bool | None

RING_SIZE = 1 << 22
MAX_PENDING = 1 << 16
"""So many calls that were entered wait for their return; the oldest are given up then."""


@value
class Call:
    """One call. It began `time` seconds after tracing did, at `begin` (CLOCK_MONOTONIC, ns).

    `arguments` are (name, value) pairs, texts in quotes; `duration` (ns), `returned` (spelled) and `raw` (the register)
    are None when only entries are seen.
    """

    time: float
    begin: int
    cpu: int
    pid: int
    tid: int
    comm: str
    function: Function
    arguments: tuple[tuple[str, Spelled], ...]
    duration: int | None = None
    returned: Spelled = None
    raw: int | None = None


class Tracing(Running):
    """A running trace. Must be closed, which detaches; `take` gives the calls that ended since."""

    def __init__(self, attachment: Any, probe: Probe, described: Sequence[Described]) -> None:
        super().__init__(attachment)
        self._probe = probe
        self._described = described
        streams = (probe.entered, probe.texts) if probe.when == "entry" else (probe.left, probe.entered, probe.texts)
        self._readers = [attachment.events(one) for one in streams]
        self._began = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        self._pending: dict[tuple[int, int], Any] = {}
        self._texts: dict[tuple[int, int], list[Any]] = {}
        self._returns: dict[tuple[int, int], Any] = {}
        self.unmatched = 0

    def take(self, *, timeout: float = 0.0) -> list[Call]:
        """The calls since the last time, in the order of their ends; waits up to `timeout` seconds for the first."""
        # Returns are read before entries, and those before texts: what a return speaks of is there already.
        taken = [reader.take(timeout=timeout if place == 0 else 0.0) for place, reader in enumerate(self._readers)]
        *left, entered, texts = taken
        for text in texts:
            self._texts.setdefault((text.thread, text.begin), []).append(text)
        if self._probe.when == "entry":
            return [self._call(one, None) for one in entered]
        for one in entered:
            self._pending[one.thread, one.begin] = one
        made = list(self._matched(left[0]))
        self._give_up()
        return made

    def _matched(self, left: Sequence[Any]) -> Iterator[Call]:
        for back in left:
            one = self._pending.pop((back.thread, back.begin), None)
            if one is None:
                self.unmatched += 1
            else:
                yield self._call(one, back)

    def _give_up(self) -> None:
        for store in (self._pending, self._texts):
            while len(store) > MAX_PENDING:
                del store[next(iter(store))]

    def _call(self, one: Any, back: Any) -> Call:
        known = self._described[one.function] if one.function < len(self._described) else UNKNOWN
        raw = [one.a0, one.a1, one.a2, one.a3, one.a4, one.a5]
        texts = {text.place: text.text for text in self._texts.pop((one.thread, one.begin), ())}
        return Call(
            time=(one.begin - self._began) / 1e9,
            begin=one.begin,
            cpu=one.cpu,
            pid=one.thread >> 32,
            tid=one.thread & 0xFFFFFFFF,
            comm=one.comm,
            function=self.functions[one.function],
            arguments=tuple(known.arguments(raw, texts)),
            duration=None if back is None else back.end - back.begin,
            returned=None if back is None else known.returned(back.ret & (1 << 64) - 1),
            raw=None if back is None else back.ret,
        )

    def sample(self) -> list[Call]:
        """What `take` gives without waiting."""
        return self.take()

    def stop(self) -> list[Call]:
        """Trace no more, and note what was missed; the last calls."""
        self._attachment.stop()
        last = self.take()
        self._attachment.report.missed = self.missed()
        return last

    def missed(self) -> dict[str, int]:
        """What is known not to have been seen, by cause."""
        found: dict[str, int] = self._attachment.missed()
        return found | ({"unmatched_returns": self.unmatched} if self.unmatched else {})


def start(
    functions: FunctionSet,
    *,
    filter: str | None = None,
    entries_only: bool = False,
    size: int = RING_SIZE,
    **options: Any,
) -> Tracing:
    """Attach to `functions`; the other options are those of `multiprobe.attach`.

    filter: a Python expression (see `trace_filter`); entries_only: don't wait for returns
    """
    probe = Probe(parse_filter(filter or "True"), entries_only=entries_only, size=size)
    options.pop("when", None)
    attachment: Any = mp.attach(probe.program, functions, when=probe.when, **options)
    try:
        described = describe(attachment.functions)
        attachment.map(probe.table).fill(array("I", map(_how, described)))
        return Tracing(attachment, probe, described)
    except BaseException:
        attachment.close()
        raise


def _how(known: Described) -> int:
    """A function's entry in the probe's table."""
    places = [place for place in known.texts if place < N_ARGUMENTS][:2]
    bits = SYSCALL if known.is_syscall else 0
    for place, shift in zip(places, (FIRST_TEXT, SECOND_TEXT), strict=False):
        bits |= place + 1 << shift
    return bits
