"""Records calls into rings until a condition holds, and decodes what is left in them.

The program is in `record.program`; arguments are decoded as `trace` does, without what they point to.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.binaries.mixed import kernel_of
from multiprobe.errors import CompileError, UsageError
from multiprobe.functions.kernel import Kernel
from multiprobe.instruments.instrument import AttachOptions, Instrument
from multiprobe.instruments.record.program import DEFAULT_RECORDS, WORDS, RecordProbe
from multiprobe.instruments.task_names import task_ids
from multiprobe.instruments.trace.describe import Describer, Wanted
from multiprobe.instruments.trace.descriptions import Descriptions
from multiprobe.instruments.trace.filter import parse_filter
from multiprobe.instruments.trace.filter_names import FilterNames
from multiprobe.instruments.trace.instrument import TracedCall
from multiprobe.instruments.trace.program import tables
from multiprobe.instruments.trace.reads import N_ARGUMENTS
from multiprobe.links.plan.request import choose

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, Unpack

    from numpy.typing import NDArray

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.instruments.trace.arguments import Described
    from multiprobe.links.attachment import Attachment
    from multiprobe.links.plan.request import Functions

    Key = tuple[int, int]
    Words = Sequence[int]

EVERY = 0.1
"""Seconds between two looks at whether the condition has held."""


@dataclass(frozen=True, slots=True)
class HeldCall:
    """The call in which the condition held.

    time: when it held; begin: when the call began, both CLOCK_MONOTONIC in ns
    thread: process (high 32 bits) and thread; function: the index of its function among the attached ones
    """

    time: int
    thread: int
    begin: int
    function: int


@dataclass(frozen=True, slots=True)
class Recording:
    """What the rings hold.

    seconds: how long it recorded; calls: in the order in which they began. One without a duration was in progress; one
        without arguments had begun before what the rings hold
    held: the call in which the condition held, or None; overwritten: records that the rings did not keep
    """

    seconds: float
    calls: Sequence[TracedCall]
    held: HeldCall | None
    overwritten: int

    @property
    def held_call(self) -> TracedCall | None:
        """The recorded call in which the condition held; None if it never held, or the rings don't hold it."""
        held = self.held
        if held is None:
            return None
        thread = task_ids(held.thread)
        return next((call for call in self.calls if (call.begin, (call.pid, call.tid)) == (held.begin, thread)), None)


class FlightRecorder(Instrument[Recording]):
    """A running recording. `poll` is true once the condition has held."""

    def __init__(
        self, attachment: Attachment, probe: RecordProbe, described: Sequence[Described], *, last: float | None
    ) -> None:
        super().__init__(attachment)
        self._probe, self._described, self._span = probe, described, last
        self._clock = time.monotonic_ns()
        self._held: HeldCall | None = None

    def poll(self) -> bool:
        """Whether the condition has held."""
        if not self._probe.has_condition:
            return False
        found = [HeldCall(*one) for one in self._attachment.events(self._probe.held).take()]
        if found and self._held is None:
            self._held = min(found, key=lambda one: one.time)
        return self._held is not None

    def _read(self) -> Recording:
        self.poll()
        n_written = self._attachment.map(self._probe.heads).per_cpu()
        overwritten = sum(max(0, n[0] - self._probe.records) for n in n_written)
        return Recording(self.seconds, [], self._held, overwritten)

    def _read_last(self) -> Recording:
        found = self._read()
        rings: NDArray[Any] = self._attachment.read(self._probe.ring, per_cpu=True)
        used = [ring.reshape(-1, WORDS) for ring in rings]
        records = [(cpu, words) for cpu, ring in enumerate(used) for words in ring[ring[:, 0] > 0].tolist()]
        calls = sorted(self._calls(records), key=lambda call: call.begin)
        return Recording(found.seconds, self._late(calls), found.held, found.overwritten)

    def _late(self, calls: list[TracedCall]) -> list[TracedCall]:
        """The calls of the last seconds that are wanted: those that had not ended before."""
        if self._span is None or not calls:
            return calls
        end = int(1e9 * (self._ended or time.monotonic())) if self._held is None else self._held.time
        start = end - int(1e9 * self._span)
        return [call for call in calls if call.duration is None or call.begin + call.duration >= start]

    def _calls(self, records: Iterable[tuple[int, Words]]) -> Iterator[TracedCall]:
        """Joins records of entries and returns, each with its CPU."""
        names = self._names()
        under_way: dict[Key, list[tuple[int, Words]]] = {}
        for cpu, words in sorted(records, key=_order):
            moment, what, thread, *rest = words
            if not what & 1:
                under_way.setdefault((thread, moment), []).append((cpu, words))
                continue
            begun = under_way.get((thread, rest[0]))
            entry = begun.pop() if begun else None
            yield self._call(entry, (cpu, words), names.get(thread, ""))
        for entries in under_way.values():
            for entry in entries:
                yield self._call(entry, None, names.get(entry[1][2], ""))

    def _names(self) -> dict[int, str]:
        """The names of threads: the last one that each had."""
        found = self._attachment.map(self._probe.names).as_dict()
        return dict(sorted(found, key=lambda key: found[key]))

    def _call(self, entry: tuple[int, Words] | None, back: tuple[int, Words] | None, comm: str) -> TracedCall:
        cpu, words = entry or back or (0, (0,) * WORDS)
        begin = words[0] if entry else words[3]
        function = words[1] >> 1
        known = self._described[function]
        arguments = known.decoder()(words[3 : 3 + N_ARGUMENTS], {})[0] if entry else ()
        pid, tid = task_ids(words[2])
        moment = (begin - self._clock) / 1e9
        call = TracedCall(moment, begin, cpu, pid, tid, comm, self.functions[function], arguments)
        if back is None:
            return call
        ret = back[1][4]
        signed = ret - (1 << 64) if ret >> 63 else ret
        return call._replace(duration=back[1][0] - begin, returned=known.returned(ret), raw=signed)


def _order(record: tuple[int, Words]) -> tuple[int, int]:
    """By time; of one moment, entries come first."""
    words = record[1]
    return words[0], words[1] & 1


def start(
    functions: AnyFunctionSet,
    *,
    until: str | None = None,
    last: float | None = None,
    records: int = DEFAULT_RECORDS,
    **options: Unpack[AttachOptions],
) -> FlightRecorder:
    """Attach to `functions` and record their calls. The other options are those of `multiprobe.attach`.

    until: the condition, a Python expression as a filter of `trace`; it is asked at each call, and stops the rings
    last: keep the calls of so many seconds before that (None: all that the rings hold)
    records: room for so many entries and returns on each CPU, rounded up to a power of two
    """
    describer = Describer(kernel_of(functions) or Kernel(), Wanted(depth=0))
    condition = None if until is None else parse_filter(until, FilterNames(functions).meaning)
    probe = RecordProbe(condition, records=records)
    try:
        attachment = mp.attach(probe.program, functions, **options)
    except CompileError as error:
        raise UsageError(f"the condition can't be compiled: {error.message}", hint=error.hint) from error
    try:
        made = FlightRecorder(attachment, probe, Descriptions(describer, attachment.functions), last=last)
        table, _ = tables(describer.outlines(attachment.functions))
        attachment.map(probe.table).fill(table)  # last: from here on, calls are recorded
        return made
    except BaseException:
        attachment.close()
        raise


def record(
    functions: Functions,
    *,
    until: str | None = None,
    duration: float | None = None,
    last: float | None = None,
    records: int = DEFAULT_RECORDS,
    **options: Unpack[AttachOptions],
) -> Recording:
    """Record calls in memory, of which the newest overwrite the oldest, and return the last ones at the end.

    functions: as for `mp.attach`
    until: end when this Python expression holds for a call, as a filter of `multiprobe trace`: "ret == -ENOSPC"
    duration: end after so many seconds at the latest; one of the two is needed
    last: keep the calls of so many seconds before the end (None: all that the rings hold)
    records: room for so many entries and returns on each CPU, rounded up to a power of two
    The other options are those of `mp.attach`. Raises UsageError for an invalid condition or time, or neither of them,
    and whatever `mp.attach` raises.
    """
    if (until is None and duration is None) or (duration is not None and not 0 <= duration < math.inf):
        raise UsageError(f"invalid until={until!r}, duration={duration!r}: expected a condition or seconds ≥ 0")
    chosen = choose(functions, options.get("kernel"), unsafe=options.get("unsafe", False))
    with start(chosen, until=until, last=last, records=records, **options) as recorder:
        ends = time.monotonic() + (math.inf if duration is None else duration)
        while not recorder.poll() and (left := ends - time.monotonic()) > 0:
            time.sleep(min(left, EVERY))
        return recorder.finish()
