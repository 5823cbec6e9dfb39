"""From a plan to an attachment: load, link, verify. Functions that a mechanism is refused go to the next one."""

from __future__ import annotations

import errno
import os
from array import array
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from multiprobe.binaries.mixed import kernel_of, kernel_part, only_of_kernel
from multiprobe.compiler.program import Program
from multiprobe.errors import AttachError, KernelError, NotPermittedError, NotSupportedError, VerifierError
from multiprobe.functions.kernel import Kernel
from multiprobe.functions.sets import Refusal
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.kernel.memory import kernel_bytes_used, load_meminfo
from multiprobe.links.attachment import Attachment
from multiprobe.links.children import follow_children
from multiprobe.links.guard.hottest import Hottest
from multiprobe.links.guard.replaceable import ReplaceableLinks
from multiprobe.links.guard.safety import find_price, make_guard
from multiprobe.links.guard.waves import in_waves
from multiprobe.links.loading import ProgramLoader
from multiprobe.links.mechanisms.culprits import Culprits
from multiprobe.links.mechanisms.errnos import RESOURCES, is_about_the_kind, meaning
from multiprobe.links.mechanisms.linking import Linking
from multiprobe.links.mechanisms.proof import proven
from multiprobe.links.mechanisms.singles import raise_descriptor_limit
from multiprobe.links.plan.memory import predict_maps, require_room
from multiprobe.links.plan.plan import make_plan
from multiprobe.links.plan.planning import gone_among, limit_singles
from multiprobe.links.plan.programs import plan_program
from multiprobe.links.report import Failure
from multiprobe.links.verify import differences
from multiprobe.maps.cpus import load_n_cpus
from multiprobe.plurals import plural_text
from multiprobe.threads import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.links.children import Follower
    from multiprobe.links.guard.guard import Guard
    from multiprobe.links.guard.limits import Limits
    from multiprobe.links.ledger import Ledger
    from multiprobe.links.loading import Loader
    from multiprobe.links.objects import ObjectProgram
    from multiprobe.links.plan.plan import LinkPlan
    from multiprobe.links.plan.programs import ProgramSettings

_FORBIDDEN = errno.EPERM
_KPROBES = Mechanism.KPROBE_MULTI | Mechanism.KPROBE
_HOLDING_MODULES = Mechanism.KERNEL & ~Mechanism.KPROBE
UNCOUNTED = (
    "this kernel does not count the calls that kprobes miss (Linux 6.7 and later do): link_misses and recursion_misses "
    "are 0 whatever was missed"
)


class Attaching:
    """One attachment in the making; leaving the `with` block before `finish` undoes everything.

    cookies: by position in `chosen`, or None
    """

    def __init__(
        self,
        program: Program | ObjectProgram,
        chosen: AnyFunctionSet,
        plan: LinkPlan,
        ledger: Ledger,
        cookies: array[int] | None,
        settings: ProgramSettings,
        *,
        limits: Limits,
        max_singles: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        tasks = settings.tasks
        self._hottest = Hottest.of(chosen, tasks.pid) if limits.is_guarded else None
        if self._hottest is not None:
            hot = self._hottest.among(chosen)
            plan = in_waves(plan, has_budget=limits.budget is not None, is_careful=limits.careful, hot=hot)
        order = plan.planned
        self.program = program
        self.plan = plan
        self.ledger = ledger
        self.functions = chosen.take(order)
        self.progress = progress
        self.limits = limits
        self.has_gate = settings.has_gate
        self._index_of = None if len(order) == len(chosen) else {position: n for n, position in enumerate(order)}
        self._masks = plan.masks if self._index_of is None else bytes(map(plan.masks.__getitem__, order))
        self._usable = plan.usable
        self._max_singles = max_singles
        self._n_singles = 0
        self._tried: dict[int, Mechanism] = {}  # of the functions that a mechanism was refused
        self._failures: dict[int, Failure] = {}
        self._verdicts: dict[int, str] = {}  # the verifier's, where the program doesn't fit the function
        ordered = plan.ordered(cookies)
        self.tasks = tasks
        self.follower: Follower | None = None
        self.loader = self._make_loader(ordered, settings)
        self.links = ReplaceableLinks(
            Linking(self.loader, ordered, ledger=ledger), load_n_cpus() if self.has_gate else 0
        )
        self.guard: Guard | None = None
        self.is_finished = False

    def _make_loader(self, cookies: array[int] | None, settings: ProgramSettings) -> Loader:
        program, plan, tasks = self.program, self.plan, self.tasks
        if not isinstance(program, Program):
            functions = only_of_kernel(self.functions, f"{program!r}")
            return program.make_loader(functions, when=plan.when, pid=tasks.pid, has_gate=self.has_gate)
        planned = plan_program(program, self.functions, plan, settings, n_cpus=load_n_cpus(), cookies=cookies)
        require_room(predict_maps(planned, n_parts=len(plan.groups)))
        if tasks.has_children:
            self.follower = follow_children(tasks, kernel_of(self.functions) or Kernel(), self.ledger)
            planned = planned.for_tasks(tasks.marked(self.follower.maps) if self.follower else tasks)
        self.ledger.set_maps(predict_maps(planned, n_parts=len(plan.groups)))
        try:
            return ProgramLoader(planned)
        except BaseException:
            self._close_follower()
            raise

    def _close_follower(self) -> None:
        if self.follower is not None:
            self.follower.close()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        if not self.is_finished:
            self.discard()

    def discard(self) -> None:
        """Undo everything."""
        uninterrupted(self._undo)

    def _undo(self) -> None:
        try:
            self.links.close()
        finally:
            self.loader.close()
            self._close_follower()

    # Attaching

    def run(self) -> None:
        """Attach group by group; under guard, as long as the machine bears it."""
        if self._hottest is not None and isinstance(self.loader, ProgramLoader):
            self.guard = make_guard(self.limits, self.loader, self.links, self.ledger, self._hottest)
        before = kernel_bytes_used(load_meminfo())
        pending = deque((group.mechanism, self._indices(group.positions)) for group in self.plan.groups)
        while pending:
            mechanism, indices = pending.popleft()
            n_parts = len(self.links.parts)
            refused = self._attach(mechanism, indices)
            if refused:
                pending += self._fall_back(mechanism, refused)
            if len(self.links.parts) == n_parts:
                continue
            if self.guard is None:
                self.links.open(self.links.parts[-1])
            elif not self.guard.settle(self.links.parts[-1]):
                self._leave_out(index for _, indices in pending for index in indices)
                break
        if "predicted" in self.ledger.report().kernel_memory:
            self.ledger.set_memory(taken=max(0, kernel_bytes_used(load_meminfo()) - before))
        self._report_failures()
        self._report_uncounted()

    def _indices(self, positions: Sequence[int]) -> Sequence[int]:
        """The indices of functions by their positions in the request."""
        index_of = self._index_of
        if index_of is None:
            return range(len(positions)) if len(positions) == len(self.functions) else positions
        if len(positions) == len(index_of):
            return range(len(positions))
        return [index_of[position] for position in positions]

    def _attach(self, mechanism: Mechanism, indices: Sequence[int]) -> dict[int, int]:
        """Attach by one mechanism; the errno of each function that it was refused."""
        if self.guard is not None and isinstance(self.loader, ProgramLoader):
            find_price(self.guard, self.loader, mechanism)
        try:
            part = self.links.link(mechanism, self._ordered(mechanism, indices), progress=self.progress)
        except (KernelError, NotSupportedError, NotPermittedError) as error:
            return self._without_kind(mechanism, indices, error)
        linked = part.linked
        self._verdicts |= linked.verdicts
        for sentence in linked.notes:
            self.ledger.note(sentence)
        self.ledger.attach(mechanism, len(part.indices))
        self._n_singles += len(part.indices) if mechanism.is_single else 0
        wrong = differences(linked.links, self.functions)
        if wrong and not gone_among(self.functions, part.indices):  # else everything will be undone
            raise AttachError(
                f"the kernel attached to other functions than planned: {'; '.join(wrong[:5])}",
                report=self.ledger.report(),
            )
        return linked.refused

    def _ordered(self, mechanism: Mechanism, indices: Sequence[int]) -> Sequence[int]:
        """The indices in the order of addresses, in which kprobe.multi wants them."""
        if mechanism != Mechanism.KPROBE_MULTI:
            return indices
        addresses = self.functions.addresses()
        if isinstance(indices, range) and len(indices) == len(addresses) and array("Q", sorted(addresses)) == addresses:
            return indices
        return sorted(indices, key=addresses.__getitem__)

    def _without_kind(
        self, mechanism: Mechanism, indices: Sequence[int], error: KernelError | NotSupportedError | NotPermittedError
    ) -> dict[int, int]:
        """Do without a mechanism if the error is about it as a whole, and another one can carry some functions.

        What is not permitted fails for these functions alone where others are attached already.
        """
        is_forbidden = isinstance(error, NotPermittedError)
        number = error.errno if isinstance(error, KernelError) else _FORBIDDEN if is_forbidden else errno.EOPNOTSUPP
        others = self._usable & ~mechanism
        if isinstance(error, VerifierError) or not (is_forbidden or is_about_the_kind(number)):
            raise error
        can_go_on = any(self._masks[index] & others for index in indices)
        if not can_go_on and not (is_forbidden and self.links.parts):
            raise error
        self._usable = others
        what = "is not permitted" if is_forbidden else "can't be used on this kernel"
        self.ledger.note(f"{mechanism.label} {what}: {error}")
        return dict.fromkeys(indices, number)

    # What is refused

    def _fall_back(self, mechanism: Mechanism, refused: Mapping[int, int]) -> list[tuple[Mechanism, Sequence[int]]]:
        """Note the refusals, and plan the functions for other mechanisms that may carry them."""
        gone = gone_among(self.functions, refused)
        for index, number in refused.items():
            self._tried[index] = self._tried.get(index, Mechanism.NONE) | mechanism
            why = self._why(mechanism, errno.ENODEV if index in gone else number, index)
            self._failures.setdefault(index, Failure(self.functions.label(index), mechanism.label, number, why))
        if self._usable & mechanism:
            lasting = refused.keys() - gone - self._verdicts.keys()
            self._remember(mechanism, {index: refused[index] for index in lasting})
        again = [index for index in sorted(refused) if index not in gone and refused[index] not in RESOURCES]
        masks = bytes(self._masks[index] & self._usable & ~self._tried[index] for index in again)
        plan = make_plan(masks, when=self.plan.when, usable=self._usable, paired=self.plan.paired)
        return [(group.mechanism, [again[n] for n in group.positions]) for group in self._limited(plan).groups]

    def _why(self, mechanism: Mechanism, number: int, index: int) -> str:
        verdict = self._verdicts.get(index)
        if verdict:
            return f"the program does not fit it: {verdict}"
        is_sleepable = isinstance(self.program, Program) and self.program.sleepable
        return meaning(mechanism, number, is_sleepable=is_sleepable)

    def _limited(self, plan: LinkPlan) -> LinkPlan:
        """The plan without what would exceed the limit of functions attached one by one."""
        if not self._max_singles:
            return plan
        left = self._max_singles - self._n_singles
        if left > 0:
            return limit_singles(plan, left)[0]
        batches = [group for group in plan.groups if not group.mechanism.is_single]
        return plan.with_groups(batches)

    def _remember(self, mechanism: Mechanism, refused: Mapping[int, int]) -> None:
        """Remember for this kernel build which functions are refused by the mechanism whatever the program."""
        if mechanism == Mechanism.UPROBE_MULTI:  # which remembers them by file: mechanisms.tried
            return
        when = self.plan.when
        is_paired = bool(mechanism & self.plan.paired)
        lasting = proven(mechanism, self.functions, refused, when=when, is_paired=is_paired)
        if lasting:
            labels = {self.functions.label(index): number for index, number in lasting.items()}
            kernel = kernel_of(self.functions)
            Culprits.remember(kernel.build_id if kernel else "", mechanism, labels, when=when)

    def has_lost_modules(self) -> bool:
        """Whether modules of attached functions were unloaded since these were chosen: the links may be elsewhere.

        Modules can't go any more after that: links hold them, or go with them (single kprobes).
        """
        return bool(gone_among(self.functions, self.links.mechanism_of))

    def _report_failures(self) -> None:
        attached = self.links.mechanism_of
        self.ledger.fail(failure for index, failure in sorted(self._failures.items()) if index not in attached)
        if advice := self.descriptor_advice():
            self.ledger.note(advice)
        n = sum(index in attached for index in self._failures)
        if n and self.guard is None:
            self.ledger.note(f"{n:,} of the functions were refused by one mechanism and attached by another")

    def _report_uncounted(self) -> None:
        """Say where the kernel does not count what its kprobes miss: 0 misses are no result there."""
        link = next((link for link in self.links.links if link.mechanism & _KPROBES), None)
        with suppress(KernelError):
            if link is not None and not link.info().counts_missed:
                self.ledger.note(UNCOUNTED)

    def descriptor_advice(self) -> str:
        """How many descriptors all functions would have taken, and what gives them; "" where none was missing."""
        n_short = sum(failure.errno == errno.EMFILE for failure in self._failures.values())
        if not n_short:
            return ""
        sides = 2 if self.plan.when == "session" and self.plan.paired else 1
        n_needed = raise_descriptor_limit() + 2 * sides * n_short
        return (
            f"{plural_text(n_short, 'function')} had no file descriptor left: all together take about {n_needed:,}; "
            f"raise the limit with `ulimit -n {n_needed}` (beyond the hard limit as root), or attach fewer one by one"
        )

    def _leave_out(self, indices: Iterable[int]) -> None:
        """Report what isn't attached any more because the machine suffered."""
        why = "was not attached any more, since the machine's latency had suffered"
        self.ledger.skip([Refusal(self.functions.label(index), "machine_suffered", why) for index in indices])
        if not self.links.parts:
            report = self.ledger.report()
            raise AttachError(
                f"nothing stays attached: {report.dropped[-1].reason}",
                report=report,
                hint="attach fewer functions, or without careful=True (--careful)",
            )

    # The end

    def finish(self, watchdog: float | None) -> Attachment:
        """Activate the programs: the attachment owns everything from now on."""
        self._note_modules()
        attachment = Attachment(
            self.program,
            self.functions,
            links=self.links,
            store=self.loader.store,
            ledger=self.ledger,
            guard=self.guard,
            follower=self.follower,
        )
        has_own = not isinstance(self.loader, ProgramLoader) or self.tasks.has_own
        self.is_finished = True
        try:
            if watchdog and (not has_own or self.follower):  # its process is left out from the start
                attachment.watch(watchdog, at_once=True)
            self._mark_processes()
            attachment.resume()
            if watchdog:
                attachment.watch(watchdog)
        except BaseException:
            attachment.detach()
            raise
        return attachment

    def _mark_processes(self) -> None:
        """Mark the process to follow and its children; of multiprobe's own processes, at most this one."""
        if self.follower is not None and self.tasks.pid is not None and isinstance(self.loader, ProgramLoader):
            measured = {os.getpid()} if self.tasks.has_own else set()
            self.follower.mark(self.tasks.pid, left_out=self.loader.store.own() - measured)

    def _note_modules(self) -> None:
        """Say which modules can't be unloaded meanwhile, and which take their probes along."""
        _, chosen = kernel_part(self.functions)
        if chosen is None or len(chosen.table.module_names) < 2:
            return
        table = chosen.table
        modules = sorted({table.module_names[n] for n in set(map(table.modules.__getitem__, chosen.rows))} - {""})
        if modules:
            is_held = any(link.mechanism & _HOLDING_MODULES for link in self.links.links)
            fate = "can't be unloaded while this is attached" if is_held else "take their probes along when unloaded"
            self.ledger.note(f"modules that {fate}: {', '.join(modules)}")
