"""`attach`: choose, plan, load, link, verify, activate. An error in any step undoes all of them.

Nothing of the program counts before everything is attached: programs return at once until they are activated.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from multiprobe.binaries.mixed import binary_parts, kernel_of
from multiprobe.binaries.rules import NO_SYMBOLS, SYMBOLS_HINT
from multiprobe.compiler.program import Program
from multiprobe.errors import (
    AttachError,
    MultiprobeError,
    NoMatchError,
    NotSupportedError,
    UsageError,
    telling_shortage,
)
from multiprobe.kernel.mechanism import Mechanism, mechanism_names
from multiprobe.kernel.tasks import Tasks
from multiprobe.links.attaching import Attaching
from multiprobe.links.guard.limits import Limits
from multiprobe.links.own_calls import may_leave_out, without_own_calls
from multiprobe.links.plan.mechanisms import Mechanisms
from multiprobe.links.plan.memory import require_memory
from multiprobe.links.plan.planning import NOTHING, plan_attachment
from multiprobe.links.plan.programs import ProgramSettings, plan_program
from multiprobe.links.plan.request import choose, cookies_by_position, parse_side, require_kernel
from multiprobe.links.plan.usable import require_switched_on, telling_why, usable_for, why_none, withholds
from multiprobe.maps.cpus import load_n_cpus

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable, Mapping

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.functions.kernel import Kernel
    from multiprobe.links.attachment import Attachment
    from multiprobe.links.ledger import Ledger
    from multiprobe.links.mechanisms.harm import Harm
    from multiprobe.links.objects import ObjectProgram
    from multiprobe.links.plan.mechanisms import Names
    from multiprobe.links.plan.plan import LinkPlan
    from multiprobe.links.plan.request import Functions
    from multiprobe.links.report import Report

NO_LIMITS = Limits()
ATTEMPTS = 3
"""So often are functions attached whose modules go meanwhile."""


@telling_shortage("attaching")
def attach(
    program: Program | ObjectProgram,
    functions: Functions,
    *,
    cookies: Iterable[int] | None = None,
    when: str | None = None,
    mechanisms: Mechanisms | Names | None = None,
    pid: int | None = None,
    children: bool = True,
    on_bad: str = "skip",
    unsafe: bool = False,
    own: bool = True,
    limits: Limits = NO_LIMITS,
    replaceable: bool = False,
    kernel: Kernel | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Attachment:
    """Attach `program` to all of `functions`, in as few links as the kernel allows.

    program: made by `@mp.program`, or from `mp.load_object(…).programs`
    functions: a set from `kernel.functions(…)` or `binary.functions(…)`; or a pattern, a list of patterns, of symbols,
        of addresses, or of sets
    cookies: one integer (64 bits, unsigned) for each function, in order: `ctx.cookie` in the program
    when: "entry", "return" or "session" (both); the program's own `when`, or "entry", if not given
    mechanisms: `mp.Mechanisms(only=…, without=…, max_singles=…)`, or a name; the cheapest that can is chosen
    pid: run only in this process (its id in our pid namespace), and with `children` in its children, theirs, and so on
    on_bad: "skip" attaches what can be attached and reports the rest; "error" attaches all or nothing
    unsafe: also functions known to hang or crash a machine; own: False leaves out this process and its watchdog
    limits: `mp.Limits(…)`, what it may cost; replaceable: allow `drop` and `add`; kernel: the running one if not given
    progress: called with (functions attached, all functions) while functions are attached one by one

    Raises UsageError, CompileError, NoMatchError (no function is left), NotSupportedError, NotPermittedError,
    VerifierError, KernelError, and AttachError (with a `report`): all were refused, or one with `on_bad="error"`.
    """
    _require_types(program, kernel, limits, progress, children)
    side, started = _checked_side(when or program.when or "entry", on_bad), time.perf_counter()
    allowed, chosen = Mechanisms.of(mechanisms), choose(functions, kernel, unsafe=unsafe)
    usable = _usable(program, chosen, allowed.allowed, when=side)
    with telling_why(kernel_of(chosen), usable):
        harmful = _harmful_probes(chosen) if usable & Mechanism.UPROBE_MULTI else NOTHING
    placed = cookies_by_position(cookies, chosen)
    tasks = Tasks.of(pid, has_own=own, has_children=children, is_namespaced=_is_namespaced(program))
    for _ in range(ATTEMPTS):
        settings = ProgramSettings(tasks, limits.is_guarded or replaceable)
        plan, ledger = plan_attachment(chosen, allowed, when=side, usable=usable, harmful=harmful)
        ledger.add_time("plan", time.perf_counter() - started)
        if not plan.n_functions or on_bad == "error":
            _require_planned(chosen, ledger.report(), plan, on_bad, usable=usable, allowed=allowed.allowed)
        require_memory(ledger.report().kernel_memory.get("predicted", 0), plan, limits.max_memory)
        with telling_why(kernel_of(chosen), usable):
            if isinstance(program, Program) and on_bad != "error" and may_leave_out(chosen):
                plan = _without_own_calls(program, chosen, plan, ledger, placed, settings)
            attaching = Attaching(
                program, chosen, plan, ledger, placed, settings, limits=limits, max_singles=allowed.max_singles,
                progress=progress,
            )  # fmt: skip
            made = _attached(attaching, on_bad, limits.watchdog)
        if made is not None:
            return made
    raise _restless(ledger.report())


def _without_own_calls(
    program: Program,
    chosen: AnyFunctionSet,
    plan: LinkPlan,
    ledger: Ledger,
    cookies: array[int] | None,
    settings: ProgramSettings,
) -> LinkPlan:
    """The plan without functions that the program itself calls.

    Raises NoMatchError if nothing else was chosen.
    """
    functions, ordered = chosen.take(plan.planned), plan.ordered(cookies)
    planned = plan_program(program, functions, plan, settings, n_cpus=load_n_cpus(), cookies=ordered)
    with ledger.timed("compile"):
        compiled = [planned.code(*hook) for hook in planned.hooks(plan.mechanisms)]
    plan, refusals = without_own_calls(chosen, plan, compiled, program.maps)
    ledger.skip(refusals)
    if refusals and not plan.n_functions:
        words = "; ".join(map(str, refusals[:3]))
        raise NoMatchError(words, hint="attach a program that does not call it; a list of symbols is attached as it is")
    return plan


def _attached(attaching: Attaching, on_bad: str, watchdog: float | None) -> Attachment | None:
    """The attachment; None, with everything undone, if modules of attached functions were unloaded meanwhile."""
    with attaching:
        attaching.run()
        if attaching.has_lost_modules():
            return None
        _require_attached(attaching.ledger.report(), on_bad, hint=attaching.descriptor_advice())
        return attaching.finish(watchdog)


def _restless(report: Report) -> AttachError:
    what = "nothing stays attached: each time, a module of the functions was unloaded or loaded anew meanwhile"
    return AttachError(what, report=report, hint="try again when no modules come and go")


def _is_namespaced(program: Program | ObjectProgram) -> bool:
    return isinstance(program, Program) and program.is_namespaced


def _require_types(program: object, kernel: object, limits: object, progress: object, children: object) -> None:
    """Raise UsageError for arguments of another type, before anything is done."""
    if not isinstance(program, Program) and not hasattr(program, "make_loader"):
        raise UsageError(
            f"invalid program {program!r}: expected a program",
            hint="decorate a function with @mp.program, or take one of mp.load_object(…).programs",
        )
    if not isinstance(limits, Limits):
        raise UsageError(f"invalid limits={limits!r}: expected mp.Limits(…)")
    if not isinstance(children, bool):
        raise UsageError(f"invalid children={children!r}: expected True or False")
    require_kernel(kernel)
    if progress is not None and not callable(progress):
        raise UsageError(f"invalid progress={progress!r}: expected a function of two numbers")


def _require_planned(
    chosen: AnyFunctionSet, report: Report, plan: LinkPlan, on_bad: str, *, usable: Mechanism, allowed: Mechanism
) -> None:
    """Raise AttachError where a function is skipped though none may be, and another error where all are.

    What the machine withholds from this user is explained in either case.
    """
    is_withheld = not plan.n_functions and withholds(kernel_of(chosen), report)
    if report.skipped and on_bad == "error" and not is_withheld:
        raise _refused(report, "nothing was attached: ")
    if not plan.n_functions:
        raise _nothing(chosen, report, usable=usable, side=plan.when, allowed=allowed)


def _require_attached(report: Report, on_bad: str, *, hint: str) -> None:
    """Raise AttachError where a function was refused and none may be, and where all were."""
    if report.failed and on_bad == "error":
        raise _refused(report, "everything was detached again: ", hint=hint)
    if not report.attached:
        raise _refused(report, "nothing could be attached: ", hint=hint)


def _checked_side(when: str, on_bad: str) -> str:
    if on_bad not in ("skip", "error"):
        raise UsageError(f"invalid on_bad={on_bad!r}: expected 'skip' or 'error'")
    return parse_side(when)


def _usable(program: Program | ObjectProgram, chosen: AnyFunctionSet, allowed: Mechanism, *, when: str) -> Mechanism:
    usable = allowed & usable_for(chosen, when=when)
    if not isinstance(program, Program):
        usable = program.require_usable(usable, when)
    elif program.sleepable:
        usable = _require_sleepable(usable)
    return require_switched_on(usable, kernel_of(chosen))


def _require_sleepable(usable: Mechanism) -> Mechanism:
    sleepable = usable & (Mechanism.TRACING_MULTI | Mechanism.TRAMPOLINE | Mechanism.UPROBE_MULTI)
    if usable and not sleepable:
        raise NotSupportedError(
            f"a sleepable program can't be attached by {' or '.join(mechanism_names(usable))}: kprobes may not sleep",
            hint="allow tracing_multi or trampoline, or make the program without sleepable=True",
        )
    return sleepable


def _refused(report: Report, what: str, *, hint: str = "") -> AttachError:
    words = [str(item) for item in (*report.skipped, *report.failed)]
    more = f" (and {len(words) - 5} more)" if len(words) > 5 else ""
    rest = "on_bad='skip' attaches the rest" if report.attached else "`multiprobe functions --why NAME` explains each"
    return AttachError(what + "; ".join(words[:5]) + more, report=report, hint=hint or rest)


def _nothing(
    chosen: AnyFunctionSet, report: Report, *, usable: Mechanism, side: str, allowed: Mechanism
) -> MultiprobeError:
    if not report.requested:
        return NoMatchError("no function matches", hint="`multiprobe functions PATTERN…` shows what a pattern matches")
    codes = {refusal.code for refusal in report.skipped}
    kernel = kernel_of(chosen)
    if not usable or withholds(kernel, report):
        return why_none(kernel, allowed=allowed, when=side)
    if len(chosen) and any(mask & ~usable for mask in chosen.mechanisms(when=side)):
        names = mechanism_names(usable)
        return NotSupportedError(
            f"{_none_of(report.requested)} by {' or '.join(names)}: {report}",
            hint="allow another mechanism, or see `multiprobe functions --why NAME`",
        )
    words = "; ".join(str(refusal) for refusal in report.skipped[:3])
    more = f"{_none_of(report.requested)}: " if report.requested > 1 else ""
    unknown = report.skipped[0].request.rpartition(":")[2] if codes == {"unknown_name"} else ""
    hint = "`multiprobe functions --why NAME` explains each"
    if unknown:
        binaries = [part for _, part in binary_parts(chosen) if report.skipped[0] in part.unresolved]
        where = f"{binaries[0].table.path}:" if binaries else ""
        hint = f"`multiprobe functions '{where}*{unknown}*'` lists the functions with this in their names"
    elif codes == {NO_SYMBOLS}:
        hint = SYMBOLS_HINT
    return NoMatchError(more + words, hint=hint)


def _none_of(n: int) -> str:
    return f"none of the {n:,} requested functions can be attached" if n > 1 else "the function can't be attached"


def _harmful_probes(chosen: AnyFunctionSet) -> Mapping[int, Harm]:
    """Which functions of binaries come to harm by a probe."""
    from multiprobe.links.mechanisms.harm import harmful_probes

    return harmful_probes(chosen)
