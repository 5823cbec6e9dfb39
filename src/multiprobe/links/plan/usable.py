"""Which mechanisms this kernel was built with, on each side of a function; and what to say when none will do.

Decides by evidence (symbols, types), never by version; that the kernel and the user's rights really allow a mechanism
shows when it is used, and `multiprobe doctor` asks beforehand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.errors import MultiprobeError, NotPermittedError, NotSupportedError
from multiprobe.kernel.mechanism import MECHANISMS, Mechanism

if TYPE_CHECKING:
    from multiprobe.functions.kernel import Kernel

_FTRACE_SWITCH = "/proc/sys/kernel/ftrace_enabled"
_KPROBES_SWITCH = "/sys/kernel/debug/kprobes/enabled"
_TRY_VM = "`--vm` runs the same command on a kernel in a virtual machine; `multiprobe doctor` shows what is missing"


def usable_mechanisms(kernel: Kernel, *, when: str) -> Mechanism:
    """Mask of the mechanisms that the kernel offers for programs that run `when`."""
    offers = kernel.offers
    if when != "session" or not offers:
        return offers
    names = kernel.table.rows_of_name
    if not names("bpf_session_is_return"):  # Linux kernel commit adf46d88ae4b (in v6.10)
        offers &= ~Mechanism.KPROBE_MULTI & ~Mechanism.TRACING_MULTI
    if not names("bpf_jit_supports_fsession"):
        offers &= ~Mechanism.TRACING_MULTI
    return offers


def paired_mechanisms(kernel: Kernel, *, when: str, has_fsession: bool = True) -> Mechanism:
    """Mask of the mechanisms for which a session is two programs and two links, the kernel having none for them."""
    if when != "session":
        return Mechanism.NONE
    has_fsession = has_fsession and bool(kernel.table.rows_of_name("bpf_jit_supports_fsession"))
    return Mechanism.KPROBE | (Mechanism.NONE if has_fsession else Mechanism.TRAMPOLINE)


def require_switched_on(usable: Mechanism) -> Mechanism:
    """`usable` without what the system's switches silence: an attachment would succeed there, and never run.

    Raises NotSupportedError when nothing is left. Seen on 6.1 and 6.12: with kernel.ftrace_enabled=0 every mechanism
    counts 0, with the switch of kprobes off the single kprobes do.
    """
    if _reads_zero(_FTRACE_SWITCH):
        raise NotSupportedError(
            "ftrace is switched off (kernel.ftrace_enabled = 0): probes could be attached, and would never run",
            hint="switch it on: sysctl kernel.ftrace_enabled=1",
        )
    if usable & Mechanism.KPROBE and _reads_zero(_KPROBES_SWITCH):
        usable &= ~Mechanism.KPROBE
        if not usable:
            raise NotSupportedError(
                f"kprobes are switched off: {_KPROBES_SWITCH} is 0", hint=f"switch them on: echo 1 >{_KPROBES_SWITCH}"
            )
    return usable


def _reads_zero(path: str) -> bool:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(8).strip() == b"0"
    except OSError:
        return False


def why_none(kernel: Kernel, *, allowed: Mechanism = Mechanism.ALL, when: str) -> MultiprobeError:
    """The error for a kernel on which nothing of what was asked for can attach."""
    offered = usable_mechanisms(kernel, when=when)
    if offered & ~allowed:
        return NotSupportedError(
            f"kernel {kernel.release} has no {allowed.label} for programs that run at {when}",
            hint=f"it has {offered.label}; leave the choice to multiprobe, or see `multiprobe doctor`",
        )
    return _diagnosed(kernel)


def _diagnosed(kernel: Kernel) -> MultiprobeError:
    """Ask the kernel itself, as `multiprobe doctor` does: for each mechanism, what stands in its way."""
    if not kernel.is_running:
        problems = "; ".join(kernel.problems()) or "its symbols show none of the mechanisms"
        return NotSupportedError(f"nothing could be attached on that kernel: {problems}")
    from multiprobe.kernel.diagnosis import diagnose_mechanisms
    from multiprobe.kernel.examine import examine

    state = examine()
    found = [f"  {finding.subject}: {finding.why}" for finding in diagnose_mechanisms(state) if not finding.usable]
    lines = found or [f"  {problem}" for problem in kernel.problems()]
    message = "\n".join([f"nothing can be attached on this kernel ({state.release}):", *lines])
    is_forbidden = any(answer.is_forbidden for answer in map(state.answers.__getitem__, MECHANISMS))
    return (NotPermittedError if is_forbidden else NotSupportedError)(message, hint=_TRY_VM)
