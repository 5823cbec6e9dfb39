"""`Attachment`: a program that is attached to many functions. Owns its links, programs and maps."""

from __future__ import annotations

import errno
import os
import time
import warnings
from contextlib import ExitStack
from typing import TYPE_CHECKING, overload

from multiprobe import markup
from multiprobe.binaries.mixed import identities, kernel_of
from multiprobe.compiler.program import Program
from multiprobe.errors import AttachError, UsageError, errno_name
from multiprobe.kernel.tasks import require_process
from multiprobe.links.guard.limits import Limits
from multiprobe.links.guard.watchdog import Watchdog
from multiprobe.links.mechanisms.uprobe_program import replaced_files
from multiprobe.links.pins import open_pins, pin, unpin
from multiprobe.links.plan.planning import gone_among
from multiprobe.links.plan.request import choose
from multiprobe.links.report import Drop
from multiprobe.maps.maps import ArrayMap, HashMap, RowArrayMap
from multiprobe.maps.reading import EventReader
from multiprobe.maps.ringbuf import RingBufferMap
from multiprobe.maps.store import MapSet
from multiprobe.plurals import plural_text
from multiprobe.threads import uninterrupted

if TYPE_CHECKING:
    from array import array
    from collections.abc import Collection, Iterable, Mapping
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from multiprobe.binaries.mixed import AnyFunction, AnyFunctionSet
    from multiprobe.functions.kernel import Kernel
    from multiprobe.links.children import Follower
    from multiprobe.links.guard.guard import Guard
    from multiprobe.links.guard.replaceable import ReplaceableLinks
    from multiprobe.links.ledger import Ledger
    from multiprobe.links.mechanisms.link import Link
    from multiprobe.links.objects import ObjectProgram, ObjectStore
    from multiprobe.links.plan.request import Functions
    from multiprobe.links.report import Report, Verified
    from multiprobe.maps.events import EventT, RingBuffer
    from multiprobe.maps.histogram import Histogram, HistogramMap
    from multiprobe.maps.opening import Map
    from multiprobe.maps.specs import Array, Hash, MapSpec, PerFunction, RowArray
    from multiprobe.maps.stacks import StackTraces, StackTracesMap
    from multiprobe.maps.tasks import PerTask, PerTaskMap


class Attachment:
    """A program attached to functions; from `mp.attach`. `close()`, or leaving its `with` block, detaches it.

    program: as given; functions: the attached functions; `functions[i]` is the one with `ctx.function == i` in the
        program. One that the kernel refused keeps its index (see `report.failed`).

    The links belong to this process: if it dies the kernel detaches them. In a forked child the attachment is closed.
    """

    def __init__(
        self,
        program: Program | ObjectProgram,
        functions: AnyFunctionSet,
        *,
        links: ReplaceableLinks,
        store: MapSet | ObjectStore,
        ledger: Ledger,
        guard: Guard | None = None,
        follower: Follower | None = None,
    ) -> None:
        self.program = program
        self.functions = functions
        self._ledger = ledger
        self._links = links
        self._missed: dict[str, int] | None = None
        self._guard = guard
        self._follower = follower
        self._n_processes: int | None = None
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
    def map(self, spec: RowArray) -> RowArrayMap: ...
    @overload
    def map(self, spec: PerFunction | Array) -> ArrayMap: ...
    @overload
    def map(self, spec: Hash) -> HashMap: ...
    @overload
    def map(self, spec: RingBuffer[EventT]) -> RingBufferMap[EventT]: ...
    @overload
    def map(self, spec: StackTraces) -> StackTracesMap: ...
    @overload
    def map(self, spec: PerTask) -> PerTaskMap: ...
    @overload
    def map(self, spec: MapSpec) -> Map: ...
    def map(self, spec: MapSpec) -> Map:
        """The open map of `spec` in this attachment. Raises UsageError for a spec that the program doesn't use."""
        return self._store.map(spec)

    def read(self, spec: MapSpec, *, per_cpu: bool = False) -> NDArray[np.generic]:
        """The values in the map of `spec`, summed over CPUs: shape (functions,) for PerFunction, (slots,) for Array.

        Histogram: counts of shape (buckets,), or (functions, buckets) with `per_function`. Hash: a structured array of
            shape
        (keys,). With `per_cpu` (not for Hash) arrays have one axis more in front: (CPUs, …). Raises UsageError for a
        ring buffer or stacks.
        """
        found = self.map(spec)
        if isinstance(found, ArrayMap):
            return found.read(per_cpu=per_cpu)
        if per_cpu or not isinstance(found, HashMap):
            raise UsageError(
                f"reading {spec!r}: it is neither an array nor a hash table",
                hint="use attachment.map(spec), or events(spec)",
            )
        return found.read()

    def events(self, spec: RingBuffer[EventT], *, timeout: float | None = None) -> EventReader[EventT]:
        """Events that programs send to `spec`: an EventReader, to iterate over with `for` or `async for`, or to `read`.

        Iteration ends when the attachment is paused or closed (events sent until then are still returned), or after
        `timeout` seconds. Raises UsageError for another spec than a RingBuffer.
        """
        found = self.map(spec)
        if not isinstance(found, RingBufferMap):
            raise UsageError(f"{spec!r} is not a ring buffer", hint="declare one: mp.RingBuffer(…)")
        return EventReader(found, timeout=timeout)

    def totals(self, spec: MapSpec) -> array[int]:
        """The values of a PerFunction or Array map, summed over CPUs: array("Q"), or array("q") if signed.

        Needs no NumPy. Raises UsageError for other specs.
        """
        found = self.map(spec)
        if not isinstance(found, ArrayMap):
            raise UsageError(f"{spec!r} has keys, not indices", hint="use attachment.map(spec).as_dict()")
        return found.totals()

    def top(self, spec: MapSpec, n: int = 10) -> list[tuple[AnyFunction, int]]:
        """The `n` functions with the largest totals of `spec`: (Function, total), largest first, without zeros."""
        totals = self.totals(spec)
        indices = sorted((i for i, total in enumerate(totals) if total), key=lambda i: (-totals[i], i))
        return [(self.functions[index], totals[index]) for index in indices[:n]]

    def missed(self) -> dict[str, int]:
        """Known losses by cause, in calls or updates; all 0 if nothing was missed.

        link_misses: calls not delivered because another probe was running on that CPU (bpf_link_info: kprobe.multi, and
        single kprobes from Linux 6.7); recursion_misses: calls in which a program was running already (bpf_prog_info);
        full_maps, out_of_range, failed_reads, cut_loops: counted by the program; unknown_function: counts that belong
        to no attached function; unfollowed_children: children that were not measured, where they should be.
        """
        if self.is_closed:
            return dict(self._missed or {})
        unfollowed = {"unfollowed_children": self._follower.missed()} if self._follower else {}
        return self._links.missed() | self._store.losses() | unfollowed

    @property
    def report(self) -> Report:
        """A snapshot: for each requested function whether it was attached, and the losses known by now."""
        missed = self.missed() if self._missed is None else self._missed
        return self._ledger.report(links=self._n_links, missed=missed, processes=self._count_processes())

    def _count_processes(self) -> int | None:
        if self._follower is not None and not self.is_closed:
            self._n_processes = self._follower.n_processes
        return self._n_processes

    @property
    def _n_links(self) -> int:
        return len(self._links.links) if not self.is_closed else self._n_links_at_end

    def set_missed(self, causes: Mapping[str, int]) -> None:
        """Replace the losses in the report by `causes` (numbers by cause): the kernel's and an instrument's."""
        self._missed = dict(causes)

    def note(self, sentence: str) -> None:
        """Add `sentence` to the notes of the report."""
        self._ledger.note(sentence)

    def add_verified(self, verified: Iterable[Verified]) -> None:
        """Add results of looking for known calls to the report."""
        self._ledger.verify(verified)

    @property
    def links(self) -> tuple[Link, ...]:
        """The open kernel links."""
        return self._links.links

    # Changes

    def drop(self, functions: Functions) -> None:
        """Detach some of the functions (as for `mp.attach`). Their counts and their indices are kept.

        Raises UsageError for functions that are not attached, and without `replaceable=True`.
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
        """Attach functions again that were dropped; no others, because maps have slots for those alone.

        Raises UsageError for any other function, and AttachError, with errnos, for those that the kernel refuses this
        time.
        """
        indices = self._indices(functions)
        self._require_replaceable()
        wanted = indices - self._links.mechanism_of.keys()
        gone = gone_among(self.functions, wanted)
        refused = self._links.add(wanted - gone)
        if lost := gone_among(self.functions, wanted - gone - refused.keys()):  # unloaded meanwhile
            self._links.drop(lost)
        refused |= dict.fromkeys(gone | lost, errno.ENODEV)
        self._ledger.add(self.functions.label(index) for index in indices if index in self._links.mechanism_of)
        if refused:
            words = (f"{self.functions.label(index)}: {errno_name(number)}" for index, number in refused.items())
            raise AttachError(f"not attached again: {', '.join(words)}", report=self.report)

    def release(self, indices: Collection[int]) -> None:
        """Detach functions of which nothing more is to be learned, without a word in the report.

        indices: as `ctx.function`. Functions that don't share a link stay attached: detaching each of them takes long.
        Raises UsageError without `replaceable=True`.
        """
        self._require_replaceable()
        self._links.release(indices)

    def restore(self) -> None:
        """Attach functions again that were released. The report lists those that the kernel refuses as dropped."""
        self._require_replaceable()
        seconds = time.monotonic() - self._began
        refused = self._links.restore()
        self._ledger.drop(
            Drop(self.functions.label(index), "user", f"not attached again: {errno_name(number)}", 0.0, 0.0, seconds)
            for index, number in sorted(refused.items())
        )

    def _require_replaceable(self) -> None:
        if not self._links.has_gate:
            raise UsageError(
                f"{self.program.name} was attached without replaceable=True: functions can't be dropped or added",
                hint="attach it by mp.attach(…, replaceable=True)",
            )

    def _indices(self, functions: Functions) -> set[int]:
        chosen = choose(functions, kernel_of(self.functions), unsafe=True)
        own = {identity: index for index, identity in enumerate(identities(self.functions))}
        found = {own.get(identity) for identity in identities(chosen)}
        if None in found or chosen.unresolved:
            raise UsageError(
                "some of these functions do not belong to this attachment", hint="attach them by another mp.attach(…)"
            )
        return {index for index in found if index is not None}

    def follow(self, pid: int) -> None:
        """Measure another process, too, with its children; `pid` as for `mp.attach`.

        Raises UsageError for an attachment without `pid`, without children (see the notes of its report), or closed.
        """
        self._require_open()
        require_process(pid, may_end=True)
        if self._follower is None or not isinstance(self._store, MapSet):
            raise UsageError(
                "this attachment follows no process", hint="attach with pid=…, on a kernel that can follow its children"
            )
        self._follower.mark(pid, left_out=self._store.own())

    # Pins

    def pin(self, directory: str | os.PathLike[str]) -> None:
        """Pin links, programs and maps in `directory`, which is created in a BPF file system.

        The program stays attached when this object is closed or its process ends. `multiprobe.Attachment.from_pins`
        opens it again, `unpin` removes the pins. Raises UsageError for programs with ring buffers or stacks, with a
        budget, and for a directory that can't be made, KernelError if it is not in a BPF file system.
        """
        if not isinstance(self.program, Program):
            raise UsageError(f"{self.program!r} can't be pinned as an attachment", hint="pin its links one by one")
        follower = None if self._follower is None else self._follower.link
        pin(directory, self.program, self.functions, self._links, self._store, follower)
        self._is_pinned = True

    @classmethod
    def from_pins(
        cls, directory: str | os.PathLike[str], program: Program, *, kernel: Kernel | None = None
    ) -> Attachment:
        """Open an attachment that this process or another one pinned in `directory`.

        program: the same program, whose map specs are used to read; kernel: as for `mp.attach`

        Raises DataError for a directory without such pins, UsageError for another program, KernelError.
        """
        found = open_pins(directory, program, kernel)
        attachment = cls(program, found.functions, links=found.links, store=found.store, ledger=found.ledger)
        attachment._is_pinned = True
        return attachment

    def unpin(self, directory: str | os.PathLike[str]) -> None:
        """Remove the pins in `directory`; the kernel detaches when no process holds the links."""
        unpin(directory)
        self._is_pinned = False

    # Life

    def resume(self) -> None:
        """Let the program run after `pause`; `mp.attach` does so itself. Raises UsageError once closed."""
        self._require_open()
        self._store.activate()
        if self._guard is not None and not self._guard.is_watching:
            self._guard.start()

    def pause(self) -> None:
        """Have the program return at once on every hit: counts don't change until `resume`.

        Raises UsageError for programs of object files, which lack the check, and once closed.
        """
        self._require_open()
        if not self._store.can_idle:
            raise UsageError(f"{self.program!r} can't be paused while it is attached", hint="detach() ends it")
        self._store.deactivate()

    def _require_open(self) -> None:
        if self.is_closed:
            where = "" if self._is_closed else f" in this process, which was forked from {self._owner}"
            raise UsageError(f"this attachment is closed{where}", hint="call mp.attach again")

    def watch(self, seconds: float, *, at_once: bool = False) -> None:
        """Start a process that kills this one if it hangs for `seconds`, so that the kernel detaches.

        at_once: start it before this returns, not a moment later

        Raises UsageError for less than half a second.
        """
        seconds = Limits(watchdog=seconds).watchdog or 0.0
        if not seconds or self._watchdog is not None:
            return
        what = f"the front end of {self.program.name} on {plural_text(len(self._links.mechanism_of), 'function')}"
        self._watchdog = Watchdog(self._store.control, seconds, what, ledger=self._ledger, at_once=at_once)

    @property
    def is_closed(self) -> bool:
        """Whether it was closed; also true in a forked child."""
        return self._is_closed or self._owner != os.getpid()

    def detach(self) -> None:
        """Detach from every function. When it returns, no link and no program is left in the kernel, unless pinned."""
        if not self.is_closed:
            uninterrupted(self._detach)

    def _detach(self) -> None:
        """May be done again, where Ctrl-C has cut it off."""
        with self._ledger.timed("detach"):
            try:
                if not self._is_closed:
                    self._note_end()
            except Exception:
                self._close_all()
                raise
            self._close_all()

    def _note_end(self) -> None:
        """Switch the programs off, and keep the numbers that are gone with the links."""
        if self._guard is not None:
            self._guard.stop()
        if not self._is_pinned:
            self._store.deactivate()
        for sentence in replaced_files(self.functions):
            self._ledger.note(sentence)
        self._n_links_at_end = len(self._links.links)
        self._count_processes()
        self._missed = self.missed() if self._missed is None else self._missed

    def _close_all(self) -> None:
        self._is_closed = True
        with ExitStack() as ending:
            ending.callback(self._store.close)
            if self._watchdog is not None:  # it watches links being closed, and uses the control map
                ending.callback(self._watchdog.stop)
            if self._follower is not None:
                ending.callback(self._follower.close)
            ending.callback(self._links.close)

    close = detach

    async def __aenter__(self) -> Attachment:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.detach()

    def __del__(self) -> None:
        if not getattr(self, "_is_closed", True) and not self.is_closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self.detach()

    def __enter__(self) -> Attachment:
        self._require_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _repr_html_(self) -> str:
        """For notebooks: the program, and the report."""
        state = "closed" if self.is_closed else "attached"
        return f"<p><b>{markup.text(self.program.name)}</b>, {state}</p>\n{self.report._repr_html_()}"

    def __repr__(self) -> str:
        functions, links = plural_text(len(self._links.mechanism_of), "function"), plural_text(self._n_links, "link")
        state = "closed" if self.is_closed else f"{functions} in {links}"
        return f"<Attachment of {self.program.name}: {state}>"
