"""What an attachment would be, without one: the plan as a report. Pure but for reading the kernel's facts."""

from __future__ import annotations

from multiprobe.attach.planning import Terms, plan_attachment
from multiprobe.attach.report import Report
from multiprobe.attach.usable import usable_mechanisms, why_none
from multiprobe.kernel.mechanism import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multiprobe.functions.sets import FunctionSet


def preview(functions: FunctionSet, terms: Terms) -> Report:
    """A report whose `attached`, `links` and `mechanisms` tell what is planned; the kernel may still refuse some.

    Raises NotSupportedError or NotPermittedError where nothing could be attached by any allowed mechanism.
    """
    kernel = functions.kernel
    if not terms.allowed & usable_mechanisms(kernel, when=terms.when):
        raise why_none(kernel, mechanism=terms.mechanism, when=terms.when)
    plan, report = plan_attachment(functions, terms)
    hidden = ("list_unreadable", "address_hidden")
    if not plan.n_functions and any(refusal.code in hidden for refusal in report.skipped):
        raise why_none(kernel, mechanism=terms.mechanism, when=terms.when)
    report.attached = plan.n_functions
    report.links = plan.n_links
    report.mechanisms = {NAMES[group.mechanism]: len(group.places) for group in plan.groups}
    return report
