"""`Attachment`: a program that is attached to many functions. Owns its links, programs and maps."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from html import escape
from typing import TYPE_CHECKING, overload

from multiprobe.compiler.program import Program
from multiprobe.errors import AttachError, UsageError, errno_name
from multiprobe.functions.kernel import Kernel
from multiprobe.links.guard.limits import Limits
from multiprobe.links.guard.watchdog import Watchdog
from multiprobe.links.pins import open_pins, pin, unpin
from multiprobe.links.plan.request import choose
from multiprobe.links.report import Drop
from multiprobe.maps.maps import ArrayMap, HashMap
from multiprobe.maps.reading import EventReader
from multiprobe.maps.ringbuf import RingBufferMap

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from multiprobe.functions.kernel import Kernel
    from multiprobe.functions.sets import Function, FunctionSet
    from multiprobe.links.guard.guard import Guard
    from multiprobe.links.guard.replaceable import ReplaceableLinks
    from multiprobe.links.ledger import Ledger
    from multiprobe.links.mechanisms.link import Link
    from multiprobe.links.objects import ObjectProgram, ObjectStore
    from multiprobe.links.plan.request import Functions
    from multiprobe.links.report import Report, Verified
    from multiprobe.maps.events import RingBuffer
    from multiprobe.maps.histogram import Histogram, HistogramMap
    from multiprobe.maps.opening import Map
    from multiprobe.maps.specs import Array, Hash, MapSpec, PerFunction
    from multiprobe.maps.stacks import StackTraces, StackTracesMap
    from multiprobe.maps.store import MapSet


class Attachment:
    """A program, attached. Close it (or leave its `with` block) to detach; the kernel does if the process dies.

    It belongs to the process that made it. In a forked child it is closed, and nothing done there changes the parent's.

    functions: the attached functions; `functions[i]` is the one that the program knows as `ctx.function == i`.
        One that the kernel refused keeps its index (see `report.failed`).
    """

    def __init__(
        self,
        program: Program | ObjectProgram,
        functions: FunctionSet,
        *,
        links: ReplaceableLinks,
        store: MapSet | ObjectStore,
        ledger: Ledger,
        guard: Guard | None = None,
    ) -> None:
        self.program = program
        self.functions = functions
        self._ledger = ledger
        self._links = links
        self._missed: dict[str, int] | None = None
        self._guard = guard
        self._watchdog: Watchdog | None = None
        self._is_closed = False
        self._owner = os.getpid()
        self._n_links_at_end = 0
        self._is_pinned = False
        self._began = time.monotonic()
        self._store = store

    # Results

    @overload
    def map(self, spec: Histogram) -> HistogramMap: ...
    @overload
    def map(self, spec: PerFunction | Array) -> ArrayMap: ...
    @overload
    def map(self, spec: Hash) -> HashMap: ...
    @overload
    def map(self, spec: RingBuffer) -> RingBufferMap: ...
    @overload
    def map(self, spec: StackTraces) -> StackTracesMap: ...
    @overload
    def map(self, spec: MapSpec) -> Map: ...
    def map(self, spec: MapSpec) -> Map:
        """The open map of `spec` in this attachment."""
        return self._store.map(spec)

    def read(self, spec: MapSpec, *, per_cpu: bool = False) -> NDArray[np.generic]:
        """A map's content now: for PerFunction shape (n functions,), or (n CPUs, n functions) with `per_cpu`.

        For Histogram, counts of shape (buckets,), or (n functions, buckets) with one for each function. For Hash, a
        structured array.
        """
        found = self.map(spec)
        if isinstance(found, ArrayMap):
            return found.read(per_cpu=per_cpu)
        if per_cpu or not isinstance(found, HashMap):
            raise UsageError(f"{spec!r} can't be read like this", hint="see attachment.map(spec), or events(spec)")
        return found.read()

    def events(self, spec: RingBuffer, *, timeout: float | None = None) -> EventReader:
        """Receive what programs send to `spec`: iterate over it, with `for` or `async for`, or use its `read`.

        Iteration ends when the attachment is paused or closed (what had been sent until then is still received), or
        after `timeout` seconds.
        """
        found = self.map(spec)
        if not isinstance(found, RingBufferMap):
            raise UsageError(f"{spec!r} carries no events", hint="declare one with mp.RingBuffer(…)")
        return EventReader(found, timeout=timeout)

    def totals(self, spec: MapSpec) -> array[int]:
        """What `read` gives for PerFunction and Array, summed over CPUs, without NumPy: one total each."""
        found = self.map(spec)
        if not isinstance(found, ArrayMap):
            raise UsageError(f"{spec!r} has keys, not indices", hint="use attachment.map(spec).as_dict()")
        return found.totals()

    def top(self, spec: MapSpec, n: int = 10) -> list[tuple[Function, int]]:
        """The `n` functions with the largest totals, largest first; zeros are left out."""
        totals = self.totals(spec)
        indices = sorted((i for i, total in enumerate(totals) if total), key=lambda i: (-totals[i], i))
        return [(self.functions[index], totals[index]) for index in indices[:n]]

    def missed(self) -> dict[str, int]:
        """What is known not to have been seen, by cause; all zero when nothing was missed.

        link_misses: calls that the kernel did not hand over because another probe was running on that CPU (it
        tells them for kprobe.multi, and on newer kernels for single kprobes); recursion_misses: programs not run
        because one was running already; full_maps, out_of_range, failed_reads, cut_loops: what programs could not do;
        unknown_function: what they booked on no attached function.
        """
        if self.is_closed:
            return dict(self._missed or {})
        return self._links.missed() | self._store.losses()

    @property
    def report(self) -> Report:
        """A snapshot: how each requested function ended, and what is known by now to have been missed."""
        missed = self.missed() if self._missed is None else self._missed
        return self._ledger.report(links=self._n_links, missed=missed)

    @property
    def _n_links(self) -> int:
        return len(self._links.links) if not self.is_closed else self._n_links_at_end

    def set_missed(self, causes: Mapping[str, int]) -> None:
        """Have the report say that so much was missed, from now on: by the kernel, and by an instrument."""
        self._missed = dict(causes)

    def note(self, sentence: str) -> None:
        """Add a sentence to the report."""
        self._ledger.note(sentence)

    def add_verified(self, verified: Iterable[Verified]) -> None:
        """Add known calls that were looked for to the report."""
        self._ledger.verify(verified)

    @property
    def links(self) -> tuple[Link, ...]:
        """The open kernel links."""
        return self._links.links

    # Changes

    def drop(self, functions: Functions) -> None:
        """Detach some of the functions. What they counted is kept, and so are their indices.

        Raises UsageError for functions that are not attached, and unless it was attached with `replaceable=True`.
        """
        indices = self._indices(functions)
        self._require_replaceable()
        if missing := indices - self._links.mechanism_of.keys():
            raise UsageError(f"{self.functions.label(min(missing))} is not attached")
        seconds = time.monotonic() - self._began
        self._ledger.drop(
            Drop(self.functions.label(index), "user", f"dropped by the user{why}", 0.0, 0.0, seconds)
            for index, why in self._links.drop(indices).items()
        )

    def add(self, functions: Functions) -> None:
        """Attach functions again that were dropped. Maps have room only for the functions of the first request.

        Raises UsageError for any others, and AttachError for those that the kernel refuses this time.
        """
        indices = self._indices(functions)
        self._require_replaceable()
        refused = self._links.add(indices - self._links.mechanism_of.keys())
        self._ledger.add(self.functions.label(index) for index in indices if index in self._links.mechanism_of)
        if refused:
            words = (f"{self.functions.label(index)}: {errno_name(number)}" for index, number in refused.items())
            raise AttachError(f"not attached again: {', '.join(words)}", report=self.report)

    def _require_replaceable(self) -> None:
        if not self._links.has_gate:
            raise UsageError(
                f"{self.program.name} is attached for good: functions can't be dropped or added",
                hint="mp.attach(…, replaceable=True) makes it possible",
            )

    def _indices(self, functions: Functions) -> set[int]:
        chosen = choose(functions, Kernel.of(self.functions.table), unsafe=True)
        own = {address: index for index, address in enumerate(self.functions.addresses())}
        found = {own.get(address) for address in chosen.addresses()}
        if None in found or chosen.unresolved:
            raise UsageError(
                "some of these functions do not belong to this attachment", hint="attach them with mp.attach(…)"
            )
        return {index for index in found if index is not None}

    # Pins

    def pin(self, directory: str | os.PathLike[str]) -> None:
        """Pin links, programs and maps in a new directory of a BPF file system: it stays attached, and goes on, when
        this object is closed or its process ends. `multiprobe.Attachment.from_pins` opens it again; `unpin` ends it.

        Raises UsageError for programs with ring buffers or stacks, and with a budget.
        """
        if not isinstance(self.program, Program):
            raise UsageError(f"{self.program!r} can't be pinned as an attachment", hint="pin its links one by one")
        pin(directory, self.program, self.functions, self._links, self._store)
        self._is_pinned = True

    @classmethod
    def from_pins(
        cls, directory: str | os.PathLike[str], program: Program, *, kernel: Kernel | None = None
    ) -> Attachment:
        """Open an attachment that was pinned, by this process or another one.

        program: the same program, whose map specs are used to read. Raises DataError, UsageError and KernelError.
        """
        found = open_pins(directory, program, kernel)
        attachment = cls(program, found.functions, links=found.links, store=found.store, ledger=found.ledger)
        attachment._is_pinned = True
        return attachment

    def unpin(self, directory: str | os.PathLike[str]) -> None:
        """Remove the pins: the attachment ends when no process holds it any more."""
        unpin(directory)
        self._is_pinned = False

    # Life

    def resume(self) -> None:
        """Let the program act; `mp.attach` does so itself once everything is attached."""
        self._require_open()
        self._store.activate()
        if self._guard is not None and not self._guard.is_watching:
            self._guard.start()

    def pause(self) -> None:
        """Have the program return at once on every hit, from now on: counts stand still until `resume`.

        Raises UsageError for programs of objects, which nothing was built into.
        """
        self._require_open()
        if not self._store.can_idle:
            raise UsageError(f"{self.program!r} can't be paused while it is attached", hint="detach() ends it")
        self._store.deactivate()

    def _require_open(self) -> None:
        if self.is_closed:
            where = "" if self._is_closed else f" in this process, which was forked from {self._owner}"
            raise UsageError(f"this attachment is closed{where}", hint="call mp.attach again")

    def watch(self, seconds: float) -> None:
        """Have another process watch this one: when it hangs for so many seconds, it is ended, and thereby detached.

        Raises UsageError for less than half a second.
        """
        seconds = Limits(watchdog=seconds).watchdog or 0.0
        if not seconds or self._watchdog is not None:
            return
        what = f"the front end of {self.program.name} on {len(self._links.mechanism_of)} functions"
        self._watchdog = Watchdog(self._store.control, seconds, what, ledger=self._ledger)

    @property
    def is_closed(self) -> bool:
        return self._is_closed or self._owner != os.getpid()

    def detach(self) -> None:
        """Detach from every function; nothing of the program is left in the kernel when this returns."""
        if self.is_closed:
            return
        with self._ledger.timed("detach"), ExitStack() as ending:
            if self._watchdog is not None:
                ending.callback(self._watchdog.stop)
            ending.callback(self._store.close)
            ending.callback(self._links.close)
            if self._guard is not None:
                self._guard.stop()
            try:
                if not self._is_pinned:
                    self._store.deactivate()
                self._n_links_at_end = len(self._links.links)
                self._missed = self.missed() if self._missed is None else self._missed
            finally:
                self._is_closed = True

    close = detach

    async def __aenter__(self) -> Attachment:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.detach()

    def __enter__(self) -> Attachment:
        self._require_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _repr_html_(self) -> str:
        """For notebooks: the program, and the report."""
        state = "closed" if self.is_closed else "attached"
        return f"<p><b>{escape(self.program.name)}</b>, {state}</p>\n{self.report._repr_html_()}"

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else f"{len(self._links.mechanism_of)} functions in {self._n_links} links"
        return f"<Attachment of {self.program.name}: {state}>"
