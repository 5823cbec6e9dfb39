"""What an attachment would come to, without making it.

Reads what is known of the kernel. Only functions of binaries make it ask, as before an attachment: which of their
instructions the kernel refuses, in this process alone; and, where a probe may do harm, by a program of our own.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from multiprobe.binaries.mixed import kernel_of, owners
from multiprobe.errors import CompileError, NotSupportedError
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.kernel.tasks import Tasks
from multiprobe.links.guard.limits import Limits
from multiprobe.links.guard.waves import in_waves
from multiprobe.links.mechanisms.errnos import meaning
from multiprobe.links.mechanisms.harm import as_far_as_known, harmful_probes
from multiprobe.links.mechanisms.refused import refused_as_far_as_known
from multiprobe.links.own_calls import may_leave_out, without_own_calls
from multiprobe.links.plan.costs import LOOP_TURN
from multiprobe.links.plan.mechanisms import Mechanisms
from multiprobe.links.plan.memory import n_possible_cpus, predict_maps, why_too_large
from multiprobe.links.plan.plan import Group
from multiprobe.links.plan.planning import plan_attachment
from multiprobe.links.plan.programs import ProgramSettings, plan_program
from multiprobe.links.plan.request import choose, parse_side, require_kernel
from multiprobe.links.plan.steps import Step, steps_of
from multiprobe.links.plan.usable import usable_for, why_none, withholds
from multiprobe.links.report import Failure, Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.compiler.code import Code
    from multiprobe.compiler.program import Program
    from multiprobe.functions.kernel import Kernel
    from multiprobe.links.plan.mechanisms import Names
    from multiprobe.links.plan.plan import LinkPlan
    from multiprobe.links.plan.programs import ProgramPlan
    from multiprobe.links.plan.request import Functions


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Plan:
    """What `mp.attach` would do; from `mp.plan`. The kernel may still refuse some of it.

    report: its `attached`, `links`, `mechanisms` and `kernel_memory` are what is planned, `skipped` what would not be
        attached, `failed` the functions of binaries that the kernel refuses; notes say if `mp.attach` would refuse the
        plan for its memory, and what can't be known without the right to attach
    steps: for each mechanism its functions, links, system calls, and CPU instructions to attach and to detach
    """

    report: Report
    steps: list[Step]

    def to_json(self, *, rate: float) -> dict[str, object]:
        """The object that `--dry-run --json` prints, times in seconds.

        `rate`: instructions a second of this machine.
        """
        return self.report.to_json() | {
            "type": "plan",
            "steps": [step.to_json() for step in self.steps],
            "system_calls": sum(step.system_calls for step in self.steps),
            "attach_seconds": round(sum(step.attach for step in self.steps) / rate, 6),
            "detach_seconds": round(sum(step.detach for step in self.steps) / rate, 6),
        }


def instruction_rate(*, turns: int = 100_000) -> float:
    """Instructions a second that this machine does, roughly: by how long an empty loop takes."""
    began = time.perf_counter()
    for _ in range(turns):
        pass
    return turns * LOOP_TURN / (time.perf_counter() - began)


def preview(
    functions: AnyFunctionSet,
    mechanisms: Mechanisms,
    *,
    when: str = "entry",
    limits: Limits = NO_LIMITS,
    program: Program | None = None,
    pid: int | None = None,
    own: bool = True,
    children: bool = True,
    is_replaceable: bool = False,
) -> Plan:
    """What attaching a program to these functions by these mechanisms would come to; the options are `plan`'s.

    Raises NotSupportedError or NotPermittedError where nothing could be attached by any allowed mechanism.
    """
    is_namespaced = program is not None and program.is_namespaced
    tasks = Tasks.of(pid, has_own=own, has_children=children, is_namespaced=is_namespaced)
    kernel = kernel_of(functions)
    usable = mechanisms.allowed & usable_for(functions, when=when)
    if not usable:
        raise why_none(kernel, allowed=mechanisms.allowed, when=when)
    harmful, notes = as_far_as_known(harmful_probes, functions) if usable & Mechanism.UPROBE_MULTI else ({}, [])
    plan, ledger = plan_attachment(functions, mechanisms, when=when, usable=usable, harmful=harmful)
    settings = ProgramSettings(tasks, limits.is_guarded or is_replaceable)
    if program is not None and may_leave_out(functions):
        planned = plan_program(program, functions.take(plan.planned), plan, settings, n_cpus=n_possible_cpus())
        codes = _compilable(planned, plan.mechanisms)
        plan, left_out = without_own_calls(functions, plan, codes, program.maps)
        ledger.skip(left_out)
    if any(group.mechanism == Mechanism.UPROBE_MULTI for group in plan.groups):
        plan, failures, unknown = _without_refused(functions, plan)
        ledger.fail(failures)
        notes += unknown
    if program is not None:
        planned = plan_program(program, functions.take(plan.planned), plan, settings, n_cpus=n_possible_cpus())
        waves = in_waves(plan, has_budget=limits.budget is not None, is_careful=limits.careful)
        ledger.set_maps(predict_maps(planned, n_parts=len(waves.groups)))
    report = ledger.report()
    if not plan.n_functions and withholds(kernel, report):
        raise why_none(kernel, allowed=mechanisms.allowed, when=when)
    steps = steps_of(plan, owners(functions))
    too_large = why_too_large(report.kernel_memory.get("predicted", 0), plan, limits.max_memory)
    told = replace(
        report,
        notes=(*notes, *([f"would be refused: {too_large}"] if too_large else [])),
        attached=plan.n_functions,
        links=sum(step.links for step in steps),
        mechanisms={group.mechanism.label: len(group.positions) for group in plan.groups},
    )
    return Plan(told, steps)


def _compilable(planned: ProgramPlan, mechanisms: Mechanism) -> Iterator[Code]:
    """What the program is compiled to for these mechanisms; what can't be compiled, attaching tells."""
    for hook in planned.hooks(mechanisms):
        with suppress(CompileError, NotSupportedError):
            yield planned.code(*hook)


def _without_refused(functions: AnyFunctionSet, plan: LinkPlan) -> tuple[LinkPlan, list[Failure], list[str]]:
    """The plan without the functions of binaries that the kernel refuses; those as failures; what can't be known."""
    groups, failures, notes = list[Group](), list[Failure](), list[str]()
    for group in plan.groups:
        kept = group.positions
        if group.mechanism == Mechanism.UPROBE_MULTI:
            refused, notes = refused_as_far_as_known(functions.take(kept), when=plan.when)
            failures = [
                Failure(functions.label(kept[place]), group.mechanism.label, number, meaning(group.mechanism, number))
                for place, number in sorted(refused.items())
            ]
            kept = [position for place, position in enumerate(kept) if place not in refused]
        groups += [Group(group.mechanism, kept)] if kept else []
    return plan.with_groups(groups), failures, notes


def plan(
    functions: Functions,
    *,
    when: str = "entry",
    mechanisms: Mechanisms | Names | None = None,
    pid: int | None = None,
    children: bool = True,
    unsafe: bool = False,
    own: bool = True,
    limits: Limits = NO_LIMITS,
    replaceable: bool = False,
    kernel: Kernel | None = None,
    program: Program | None = None,
) -> Plan:
    """What `mp.attach` would do with these options, without attaching; needs no rights.

    functions, when, mechanisms, pid, children, unsafe, own, limits, replaceable, kernel: as for `mp.attach`; a kernel
        from `Kernel.from_directory` may be planned for as well
    program: with it, the report's `kernel_memory` says what all maps of the attachment would take ("maps", from 1 MB
        on), and functions that the program itself calls are skipped

    Raises UsageError, and NotSupportedError or NotPermittedError if nothing could be attached.
    """
    require_kernel(kernel)
    chosen, allowed = choose(functions, kernel, unsafe=unsafe), Mechanisms.of(mechanisms)
    return preview(
        chosen,
        allowed,
        when=parse_side(when),
        limits=limits,
        program=program,
        pid=pid,
        own=own,
        children=children,
        is_replaceable=replaceable,
    )
