"""Predicts the kernel memory of links and maps; refuses links that would take too much of what is available."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from multiprobe.errors import DataError, KernelError, UsageError
from multiprobe.kernel.cgroup import load_bytes_left
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.kernel.memory import load_meminfo
from multiprobe.kernel.return_nodes import parse_return_nodes
from multiprobe.links.children import follower_maps
from multiprobe.links.ledger import MENTIONED_BYTES
from multiprobe.maps.cpus import load_n_cpus
from multiprobe.maps.memory import mapped_bytes, set_bytes
from multiprobe.maps.switch import switch_size
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from multiprobe.functions.table import FunctionTable
    from multiprobe.links.plan.plan import LinkPlan
    from multiprobe.links.plan.programs import ProgramPlan

TRAMPOLINE_BYTES, TRAMPOLINE_CPU_BYTES = 2_000, 8
"""Of a function attached by trampoline: its image, structures and direct call; and for each CPU, a reference count."""
_TRAMPOLINES = Mechanism.TRACING_MULTI | Mechanism.TRAMPOLINE


def predict_memory(plan: LinkPlan, table: FunctionTable, n_cpus: int | None = None) -> int:
    """Bytes of kernel memory for return nodes (one link for all) and trampolines; other structures are far smaller.

    n_cpus: the number of possible CPUs, this machine's if not given
    """
    n_returns, n_trampolines = (_count(plan, mask) for mask in (Mechanism.KPROBE_MULTI, _TRAMPOLINES))
    nodes = parse_return_nodes(table.evidence.get("return_nodes", ""))
    has_nodes = nodes is not None and n_returns and plan.when != "entry"
    if not has_nodes and not n_trampolines:
        return 0
    n_cpus = n_possible_cpus() if n_cpus is None else n_cpus
    found = n_trampolines * (TRAMPOLINE_BYTES + TRAMPOLINE_CPU_BYTES * n_cpus)
    return found + (nodes.bytes_for(n_returns, when=plan.when, n_cpus=n_cpus) if nodes and has_nodes else 0)


def predict_maps(planned: ProgramPlan, *, n_parts: int) -> int:
    """Bytes of kernel memory for all maps of an attachment whose links come in so many parts.

    Raises UsageError for a map that is too large for programs.
    """
    size = set_bytes(planned.maps)
    if planned.tasks.marks is not None:
        size += set_bytes(follower_maps(is_namespaced=planned.tasks.namespace is not None))
    return size + (n_parts * mapped_bytes(switch_size(planned.n_cpus)) if planned.has_gate else 0)


def require_room(size: int) -> None:
    """Raise KernelError (ENOMEM) for maps that take more bytes than the cgroups of this process leave it.

    The kernel would refuse them with the same errno, or, as 7.3 does, end this process for want of memory.
    """
    left = load_bytes_left() if size >= MENTIONED_BYTES else None
    if left is not None and size > left:
        subject = f"{size / 1e6:,.1f} MB of maps, and {left / 1e6:,.1f} MB left in the cgroup"
        raise KernelError("creating maps", errno.ENOMEM, subject=subject)


def why_too_large(predicted: int, plan: LinkPlan, limit: float) -> str:
    """Why a plan takes too much memory, or "" if it does not: `limit` is the part of MemAvailable that it may take.

    0 is no limit. Without /proc/meminfo there is none either.
    """
    available = load_meminfo().get("MemAvailable", 0) if predicted and limit else 0
    if not available or predicted <= limit * available:
        return ""
    return (
        f"attaching {plural_text(plan.n_functions, 'function')} at {plan.when} on "
        f"{plural_text(n_possible_cpus(), 'CPU')} would take about {predicted / 1e6:,.1f} MB of kernel memory, "
        f"more than {limit:.0%} of the {available / 1e6:,.1f} MB available"
    )


def require_memory(predicted: int, plan: LinkPlan, limit: float) -> None:
    """Raise UsageError for a plan that would take too much memory."""
    if why := why_too_large(predicted, plan, limit):
        ways = "choose fewer functions" if plan.when == "entry" else "choose fewer functions, or entries only (--entry)"
        raise UsageError(
            why,
            hint=f"{ways}, or another mechanism (--mechanism); or allow more: --max-memory 80%, or "
            "mp.Limits(max_memory=0.8) (0: no limit)",
        )


def _count(plan: LinkPlan, mask: Mechanism) -> int:
    return sum(len(group.positions) for group in plan.groups if group.mechanism & mask)


def n_possible_cpus() -> int:
    """The number of possible CPUs; of the CPUs that are there, where the kernel does not say."""
    try:
        return load_n_cpus()
    except DataError:  # sysfs isn't mounted
        return os.cpu_count() or 1
