"""`attach`: choose, plan, load, link, verify, activate; and undo all of it when any step fails.

Nothing of the program counts before everything is attached: programs return at once until they are activated.
"""

from __future__ import annotations

import time
from array import array
from errno import ENODEV
from typing import TYPE_CHECKING

from multiprobe.compiler.programs import Program
from multiprobe.compiler.shape import SIDES
from multiprobe.errors import AttachError, MultiprobeError, NoMatchError, NotSupportedError, UsageError
from multiprobe.functions.sets import Refusal
from multiprobe.kernel.mechanism import Mechanism, mechanism_names
from multiprobe.links.attachment import Attachment
from multiprobe.links.guard.limits import Limits
from multiprobe.links.guard.safety import make_guard
from multiprobe.links.guard.waves import in_waves
from multiprobe.links.loading import Loading
from multiprobe.links.mechanisms.culprits import Culprits
from multiprobe.links.mechanisms.linked import Held
from multiprobe.links.mechanisms.linking import CONTEXTS, Linking
from multiprobe.links.mechanisms.meaning import meaning
from multiprobe.links.plan.mechanisms import Mechanisms
from multiprobe.links.plan.planning import plan_attachment
from multiprobe.links.plan.request import choose, cookies_by_place
from multiprobe.links.plan.usable import require_switched_on, usable_mechanisms, why_none
from multiprobe.links.report import Failure, Report
from multiprobe.links.verify import differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from multiprobe.functions.kernel import Kernel
    from multiprobe.functions.sets import FunctionSet
    from multiprobe.links.guard.guard import Guard
    from multiprobe.links.objects import ObjectProgram
    from multiprobe.links.plan.mechanisms import Names
    from multiprobe.links.plan.plan import Group, Plan
    from multiprobe.links.plan.request import Functions

NO_LIMITS = Limits()


def attach(
    program: Program | ObjectProgram,
    functions: Functions,
    *,
    cookies: Iterable[int] | None = None,
    when: str | None = None,
    mechanisms: Mechanisms | Names | None = None,
    pid: int | None = None,
    on_bad: str = "skip",
    unsafe: bool = False,
    limits: Limits = NO_LIMITS,
    kernel: Kernel | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Attachment:
    """Attach `program` to all of `functions`, in as few links as the kernel allows.

    program: made by `@mp.program`, or from `mp.load_object(…).programs`
    functions: a FunctionSet from `kernel.functions(…)`; or a pattern, a list of patterns, of symbols or of addresses
    cookies: one integer (64 bits, unsigned) for each function, in order: `ctx.cookie` in the program
    when: "entry", "return" or "session" (both); the program's own `when`, or "entry", if not given
    mechanisms: `mp.Mechanisms(only=…, without=…, max_singles=…)`, or the name of the only one; the cheapest that can
        carry a function is chosen
    pid: act only in this process (its thread group id, as seen from the initial pid namespace)
    on_bad: "skip" attaches what can be attached and reports the rest; "error" attaches all or nothing
    unsafe: also functions known to hang or crash a machine
    limits: `mp.Limits(budget=…, careful=…, watchdog=…)`
    progress: called with (done, all) while functions go one by one

    Raises UsageError, CompileError, NoMatchError (nothing to attach to), NotSupportedError and NotPermittedError
    (this kernel or user can't), AttachError (`on_bad="error"` and something was refused; its `report` says what),
    VerifierError and KernelError.
    """
    side = when or program.when or "entry"
    _check(side, on_bad)
    allowed = Mechanisms.of(mechanisms)
    started = time.perf_counter()
    chosen = choose(functions, kernel, unsafe=unsafe)
    given = cookies_by_place(cookies, chosen)
    usable = _usable(program, chosen.kernel, allowed.allowed, when=side)
    plan, report = plan_attachment(chosen, allowed, when=side, usable=usable)
    report.timings["plan"] = time.perf_counter() - started
    if report.skipped and on_bad == "error":
        raise _refused(report, "nothing was attached: ")
    if not plan.n_functions:
        raise _nothing(chosen, report, usable=usable, side=side, allowed=allowed.allowed)
    attaching = _Attaching(program, chosen, plan, report, given, pid=pid, progress=progress, limits=limits)
    with attaching:
        attaching.run()
        if report.failed and on_bad == "error":
            raise _refused(report, "everything was detached again: ")
        return attaching.finish(limits.watchdog)


def _check(side: str, on_bad: str) -> None:
    if side not in SIDES:
        raise UsageError(f"invalid when={side!r}: expected 'entry', 'return' or 'session'")
    if on_bad not in ("skip", "error"):
        raise UsageError(f"invalid on_bad={on_bad!r}: expected 'skip' or 'error'")


def _usable(program: Program | ObjectProgram, kernel: Kernel, allowed: Mechanism, *, when: str) -> Mechanism:
    usable = allowed & usable_mechanisms(kernel, when=when)
    if not isinstance(program, Program):
        usable = program.require_usable(usable, when)
    return require_switched_on(usable) if usable else usable


def _refused(report: Report, what: str) -> AttachError:
    words = [str(item) for item in (*report.skipped, *report.failed)]
    more = f" (and {len(words) - 5} more)" if len(words) > 5 else ""
    return AttachError(what + "; ".join(words[:5]) + more, report=report, hint="on_bad='skip' attaches the rest")


def _nothing(
    chosen: FunctionSet, report: Report, *, usable: Mechanism, side: str, allowed: Mechanism
) -> MultiprobeError:
    if not report.requested:
        return NoMatchError("no function matches", hint="`multiprobe functions PATTERN…` shows what a pattern matches")
    codes = {refusal.code for refusal in report.skipped}
    if not usable or codes & {"list_unreadable", "address_hidden"}:
        return why_none(chosen.kernel, allowed=allowed, when=side)
    if len(chosen) and any(mask & ~usable for mask in chosen.mechanisms(when=side)):
        names = mechanism_names(usable)
        return NotSupportedError(
            f"none of the {report.requested} functions can be reached by {' or '.join(names)}: {report}",
            hint="allow another mechanism, or see `multiprobe functions --why NAME`",
        )
    words = "; ".join(str(refusal) for refusal in report.skipped[:3])
    return NoMatchError(
        f"none of the {report.requested} requested functions can be attached: {words}",
        hint="`multiprobe functions --why NAME` explains each",
    )


def _gone(share: FunctionSet, refused: Iterable[int]) -> set[int]:
    """Those of the refused places whose module is there no more."""
    modules = {place: share.table.module(share.rows[place]) for place in refused}
    gone = share.kernel.gone_modules(modules.values())
    return {place for place, module in modules.items() if module in gone}


class _Attaching:
    """The way from a plan to an Attachment; leaving the `with` block before `finish` undoes everything."""

    def __init__(
        self,
        program: Program | ObjectProgram,
        chosen: FunctionSet,
        plan: Plan,
        report: Report,
        cookies: array[int] | None,
        *,
        pid: int | None,
        progress: Callable[[int, int], None] | None,
        limits: Limits,
    ) -> None:
        if limits.is_guarded:
            plan = in_waves(plan, has_budget=limits.budget is not None, is_careful=limits.careful)
        order = plan.groups[0].places  # ascending, as all groups' are
        if len(plan.groups) > 1:
            order = sorted(place for group in plan.groups for place in group.places)
        self.index_of = {place: index for index, place in enumerate(order)} if len(plan.groups) > 1 else None
        self.program = program
        self.plan = plan
        self.report = report
        self.functions = chosen.take(order)
        self.cookies = None if cookies is None else array("Q", [cookies[place] for place in order])
        self.progress = progress
        self.held: list[Held] = []
        contexts = {CONTEXTS[group.mechanism] for group in plan.groups}
        options: dict[str, Any] = {
            "when": plan.when,
            "pid": pid,
            "paired": plan.paired & plan.mechanisms,
            "has_gate": limits.is_guarded,
        }
        self.loading = (
            Loading(program, self.functions, self.cookies, contexts=contexts, **options)
            if isinstance(program, Program)
            else program.make_loading(self.functions, **options)
        )
        self.linking = Linking(self.loading, self.cookies, timings=report.timings)
        self.limits = limits
        self.guard: Guard | None = None
        self.is_finished = False

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        if not self.is_finished:
            for held in self.held:
                held.close()
            if self.guard is not None:
                self.guard.parts.close()
            self.loading.close()

    def run(self) -> None:
        """Attach one group after the other; under guard, as long as the machine bears it."""
        if self.limits.is_guarded:
            self.guard = make_guard(self.limits, self.linking, self.plan, self.report)
        for place, group in enumerate(self.plan.groups):
            if self.guard is None:
                self._attach(group)
            elif not self._attach_guarded(group, self.guard):
                self._leave_out(self.plan.groups[place + 1 :])
                break

    def _indices(self, group: Group) -> Sequence[int]:
        index_of = self.index_of
        return range(len(self.functions)) if index_of is None else [index_of[place] for place in group.places]

    def _attach_guarded(self, group: Group, guard: Guard) -> bool:
        """Attach, and have it watched; whether the machine bears more."""
        indices = self._indices(group)
        part, refused = guard.parts.link(group.mechanism, indices, progress=self.progress)
        self._account(group.mechanism, self.functions.take(indices), part.held, refused)
        return guard.settle(part)

    def _leave_out(self, groups: Sequence[Group]) -> None:
        """Report what isn't attached any more because the machine suffered."""
        why = "was not attached any more, since the machine's latency had suffered"
        self.report.skipped += [
            Refusal(self.functions.label(index), "machine_suffered", why)
            for group in groups
            for index in self._indices(group)
        ]
        if self.guard is not None and not self.guard.parts.all:
            raise AttachError(
                f"nothing stays attached: {self.report.dropped[-1].reason}",
                report=self.report,
                hint="attach fewer functions, or without care",
            )

    def _attach(self, group: Group) -> None:
        indices = self._indices(group)
        held = Held(group.mechanism)
        self.held.append(held)
        refused = self.linking.link(held, indices, progress=self.progress)
        self._account(group.mechanism, self.functions.take(indices), held, refused)

    def _account(self, mechanism: Mechanism, share: FunctionSet, held: Held, refused: dict[int, int]) -> None:
        n = len(share) - len(refused)
        name = mechanism.label
        self.report.attached += n
        self.report.links += len(held.links)
        if n:
            self.report.mechanisms[name] = self.report.mechanisms.get(name, 0) + n
        gone = _gone(share, refused)
        self.report.failed += [
            Failure(share.label(place), name, number, meaning(mechanism, ENODEV if place in gone else number))
            for place, number in sorted(refused.items())
        ]
        lasting = {share.label(place): number for place, number in refused.items() if place not in gone}
        if lasting:
            Culprits.remember(share.kernel.build_id, mechanism, lasting)
        wrong = differences(mechanism, share, held, refused)
        if wrong:
            raise AttachError(
                f"the kernel attached somewhere else than planned: {'; '.join(wrong[:5])}", report=self.report
            )

    def _note_modules(self) -> None:
        """Say which modules can't be unloaded meanwhile, and which take their probes along."""
        table = self.functions.table
        if len(table.module_names) < 2:
            return
        modules = sorted(
            {table.module_names[n] for n in set(map(table.modules.__getitem__, self.functions.rows))} - {""}
        )
        if modules:
            all_held = [*self.held, *(self.guard.parts.held if self.guard else ())]
            is_pinned = any(held.mechanism != Mechanism.KPROBE and held.links for held in all_held)
            fate = "can't be unloaded while this is attached" if is_pinned else "take their probes along when unloaded"
            self.report.notes.append(f"modules that {fate}: {', '.join(modules)}")

    def finish(self, watchdog: float | None) -> Attachment:
        self._note_modules()
        attachment = Attachment(
            self.program,
            self.functions,
            held=self.held,
            store=self.loading.store,
            report=self.report,
            guard=self.guard,
        )
        attachment.resume()
        if watchdog:
            attachment.watch(watchdog)
        self.is_finished = True
        return attachment
