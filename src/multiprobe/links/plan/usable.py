"""Which mechanisms this kernel was built with, on each side of a function; and what to say when none will do.

Decides by evidence (symbols, types), never by version; that the kernel and the user's rights really allow a mechanism
shows when it is used, and `multiprobe doctor` asks beforehand.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from multiprobe.binaries.mixed import binary_parts, kernel_of
from multiprobe.errors import NotPermittedError, NotSupportedError
from multiprobe.kernel.features import Features
from multiprobe.kernel.mechanism import Mechanism, mechanism_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.errors import MultiprobeError
    from multiprobe.functions.kernel import Kernel
    from multiprobe.kernel.diagnosis import Finding
    from multiprobe.kernel.examine import State
    from multiprobe.links.report import Report

_FTRACE_SWITCH = "/proc/sys/kernel/ftrace_enabled"
_KPROBES_SWITCH = "/sys/kernel/debug/kprobes/enabled"
_DOCTOR = "`multiprobe doctor` shows what is missing"


def usable_mechanisms(kernel: Kernel, *, when: str) -> Mechanism:
    """Mask of the mechanisms that the kernel offers for programs that run `when`."""
    offers = kernel.offers
    if when != "session" or not offers:
        return offers
    names = kernel.table.rows_of_name
    if not names("bpf_session_is_return"):  # Linux kernel commit adf46d88ae4b (in v6.10)
        offers &= ~Mechanism.KPROBE_MULTI & ~Mechanism.TRACING_MULTI
    if not has_fsession(kernel):
        offers &= ~Mechanism.TRACING_MULTI
    return offers


def usable_for(functions: AnyFunctionSet, *, when: str) -> Mechanism:
    """Mask of the mechanisms that the kernel offers for these functions and programs that run `when`."""
    kernel = kernel_of(functions)
    offers = Mechanism.NONE if kernel is None else usable_mechanisms(kernel, when=when)
    has_uprobes = binary_parts(functions) and (when != "session" or not Features().probe("uprobe_session").is_no)
    return offers | Mechanism.UPROBE_MULTI if has_uprobes else offers


def has_fsession(kernel: Kernel) -> bool:
    """Whether the kernel was built with sessions that are one trampoline program."""
    return bool(kernel.table.rows_of_name("bpf_jit_supports_fsession"))


def paired_mechanisms(kernel: Kernel, *, when: str, may_fsession: bool = True) -> Mechanism:
    """Mask of the mechanisms for which a session is two programs and two links, the kernel having none for them."""
    if when != "session":
        return Mechanism.NONE
    is_single = may_fsession and has_fsession(kernel)
    return Mechanism.KPROBE | (Mechanism.NONE if is_single else Mechanism.TRAMPOLINE)


def require_switched_on(usable: Mechanism, kernel: Kernel | None) -> Mechanism:
    """`usable` without what the system's switches silence: an attachment would succeed there, and never run.

    Raises NotSupportedError when nothing is left. Seen on 6.1 and 6.12: with kernel.ftrace_enabled=0 every mechanism
    counts 0, with the switch of kprobes off the single kprobes do.
    """
    left = usable
    if kernel is None:
        return usable
    if _reads_zero(_FTRACE_SWITCH):
        left = usable & Mechanism.UPROBE_MULTI
    elif usable & Mechanism.KPROBE and _reads_zero(_KPROBES_SWITCH):
        left &= ~Mechanism.KPROBE
    if usable & Mechanism.KERNEL and not left & Mechanism.KERNEL:
        raise _diagnosed(kernel, usable)
    return left


def _reads_zero(path: str) -> bool:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(8).strip() == b"0"
    except OSError:
        return False


def why_none(kernel: Kernel | None, *, allowed: Mechanism = Mechanism.ALL, when: str) -> MultiprobeError:
    """The error for a kernel on which nothing of what was asked for can attach; None: functions of binaries."""
    if kernel is None:
        if allowed & Mechanism.UPROBE_MULTI:
            return NotSupportedError(
                "this kernel has no uprobe sessions: no program can be attached to both sides of a binary's functions",
                hint="attach to entries or returns; Linux 6.13 and later have sessions",
            )
        return NotSupportedError(
            f"functions of a binary can't be attached by {allowed.label}",
            hint="allow uprobe_multi, which attaches them",
        )
    offered = usable_mechanisms(kernel, when=when)
    if offered and not offered & allowed:
        return NotSupportedError(
            f"kernel {kernel.release} has no {allowed.label} for programs that run at {when}",
            hint=f"it has {offered.label}; leave the choice to multiprobe, or see `multiprobe doctor`",
        )
    return _diagnosed(kernel, allowed)


def withholds(kernel: Kernel | None, report: Report) -> bool:
    """Whether functions were skipped because the machine shows no list, addresses or types of any function."""
    codes = {refusal.code for refusal in report.skipped}
    if kernel is None:
        return False
    return bool(codes & {"list_unreadable", "address_hidden"}) or (
        "no_btf" in codes and "btf_problem" in kernel.table.evidence
    )


@contextmanager
def telling_why(kernel: Kernel | None, mechanisms: Mechanism) -> Iterator[None]:
    """Add the diagnosis of the mechanisms to what the kernel doesn't permit in the block, if it finds an obstacle."""
    try:
        yield
    except NotPermittedError as error:
        state, found = _findings(mechanisms) if kernel is None or kernel.is_running else (None, [])
        if state is None or not found:
            raise
        raise _told(state, mechanisms, found, error) from error


def _diagnosed(kernel: Kernel, allowed: Mechanism) -> MultiprobeError:
    """Ask the kernel itself, as `multiprobe doctor` does: for each mechanism, what stands in its way."""
    if not kernel.is_running:
        problems = "; ".join(kernel.problems()) or "its symbols show none of the mechanisms"
        return NotSupportedError(f"nothing could be attached on that kernel: {problems}")
    state, found = _findings(allowed & Mechanism.KERNEL)
    return _told(state, allowed, found, *([] if found else kernel.problems()))


def _told(state: State, allowed: Mechanism, found: list[Finding], *more: object) -> MultiprobeError:
    by = "" if allowed & Mechanism.KERNEL == Mechanism.KERNEL else f" by {allowed.label}"
    lines = [f"nothing can be attached{by} on this kernel ({state.release}):"]
    lines += [f"  {one.subject}: {one.why}" for one in found] + [f"  {one}" for one in more]
    pieces = dict.fromkeys(piece for one in found if one.remedy for piece in one.remedy.split("; "))
    hint = "; ".join(filter(None, [*pieces, state.vm_advice, _DOCTOR]))
    is_forbidden = any(one.is_forbidden for one in found)
    return (NotPermittedError if is_forbidden else NotSupportedError)("\n".join(lines), hint=hint)


def _findings(allowed: Mechanism) -> tuple[State, list[Finding]]:
    """The state of this machine, and what `multiprobe doctor` says of each allowed mechanism that can't be used."""
    from multiprobe.kernel.diagnosis import diagnose_mechanism, diagnose_uprobes
    from multiprobe.kernel.examine import examine

    state = examine()
    found = [diagnose_mechanism(state, name) for name in mechanism_names(allowed & Mechanism.KERNEL)]
    found += [diagnose_uprobes(state)] if allowed & Mechanism.UPROBE_MULTI else []
    return state, [one for one in found if one.usable is not True]
