"""What an attachment would be, without one: the plan as a report. Pure but for reading the kernel's facts."""

from __future__ import annotations

from multiprobe.attach.plan import make_plan
from multiprobe.attach.report import Report
from multiprobe.attach.usable import usable_mechanisms, why_none
from multiprobe.kernel.mechanism import NAMES, Mechanism, mechanism_bit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.functions.sets import FunctionSet


def preview(functions: FunctionSet, *, when: str, mechanism: str | None, without: Sequence[str]) -> Report:
    """A report whose `attached`, `links` and `mechanisms` tell what is planned; the kernel may still refuse some.

    Raises NotSupportedError or NotPermittedError where nothing could be attached by any allowed mechanism.
    """
    allowed = mechanism_bit(mechanism) if mechanism else Mechanism.ALL
    for name in without:
        allowed &= ~mechanism_bit(name)
    usable = allowed & usable_mechanisms(functions.kernel, when=when)
    if not usable:
        raise why_none(functions.kernel, mechanism=mechanism, when=when)
    plan = make_plan(functions.mechanisms(when=when), when=when, usable=usable)
    skipped = functions.refusals(usable, when=when)
    if not plan.n_functions and any(refusal.code in ("list_unreadable", "address_hidden") for refusal in skipped):
        raise why_none(functions.kernel, mechanism=mechanism, when=when)
    report = Report(len(functions) + len(functions.unresolved), skipped)
    report.attached = plan.n_functions
    report.links = plan.n_links
    report.mechanisms = {NAMES[group.mechanism]: len(group.places) for group in plan.groups}
    return report
