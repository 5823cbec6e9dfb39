"""What an errno means when the kernel refuses to attach, mechanism by mechanism: the rule behind it, in a sentence.

Sources: kernel/trace/bpf_trace.c, kernel/trace/fprobe.c, kernel/bpf/verifier.c and kernel/bpf/trampoline.c of
Linux 6.1 to 7.3.
"""

from __future__ import annotations

import errno

from multiprobe.errors import errno_name
from multiprobe.kernel.mechanism import Mechanism

ENOTSUPP = 524  # include/linux/errno.h: not an errno of user space
_BATCH = frozenset(
    {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENODEV, errno.EFAULT, errno.ENOSPC, errno.EMFILE, errno.ENFILE}
)
"""Errnos that speak of the whole request, never of one function in it."""

_MEANINGS = {
    (Mechanism.KPROBE_MULTI, errno.ENOENT): "no ftrace location is here (not traceable, or inside a function)",
    (Mechanism.KPROBE_MULTI, errno.ESRCH): "no traceable function of this name",
    (Mechanism.KPROBE_MULTI, errno.EINVAL): "its module is going away, or the program may not run here",
    (Mechanism.TRACING_MULTI, errno.ENOENT): "the kernel finds no traceable function of this name (or several)",
    (Mechanism.TRACING_MULTI, errno.EINVAL): "the kernel forbids trampolines here (deny list, prototype, or no return)",
    (Mechanism.TRACING_MULTI, errno.EOPNOTSUPP): "its return value is larger than 8 bytes",
    (Mechanism.TRACING_MULTI, errno.E2BIG): "its trampoline is full (36 programs at the most)",
    (Mechanism.TRACING_MULTI, errno.EBUSY): "this program is attached to it already, or replaced by another",
    (Mechanism.TRAMPOLINE, errno.ENOENT): "the kernel finds no traceable function of this name",
    (Mechanism.TRAMPOLINE, errno.EINVAL): "the kernel forbids trampolines here (deny list, prototype, or no return)",
    (Mechanism.TRAMPOLINE, errno.E2BIG): "its trampoline is full (36 programs at the most)",
    (Mechanism.TRAMPOLINE, errno.EBUSY): "another user of ftrace holds this function's call site",
    (Mechanism.KPROBE, errno.EINVAL): "the kernel forbids kprobes here (notrace or on its blacklist)",
    (Mechanism.KPROBE, errno.EILSEQ): "this offset is not the start of an instruction",
    (Mechanism.KPROBE, errno.EADDRNOTAVAIL): "several functions have this name",
    (Mechanism.KPROBE, errno.ENOENT): "there is no such symbol",
    (Mechanism.UPROBE_MULTI, ENOTSUPP): "its first instruction can't be probed: it has a LOCK or segment prefix, is "
    "a breakpoint, or is none of the processor's",
    (Mechanism.UPROBE_MULTI, errno.EINVAL): "it is not in the file, or not where a probe may be",
    (Mechanism.UPROBE_MULTI, errno.EIO): "the kernel can't read this part of the file",
}
_MEANINGS_OF_ANY = {
    errno.ENODEV: "its module was unloaded meanwhile",
    errno.ENOMEM: "the kernel ran out of memory for it",
    errno.EMFILE: "this process has no file descriptor left (ulimit -n)",
    errno.ENFILE: "this machine has no file descriptor left (fs.file-max)",
    ENOTSUPP: "too many arguments for a trampoline",
    errno.EAGAIN: "the function is being live-patched",
}


def is_about_the_batch(mechanism: Mechanism, number: int) -> bool:
    """Whether the errno speaks of the whole request, so that looking for a guilty function is no use."""
    return number in _BATCH and (mechanism, number) not in _MEANINGS


RESOURCES = frozenset({errno.EMFILE, errno.ENFILE})
"""Errnos of a process or machine that has no more descriptors: no other mechanism helps."""
_KIND = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.E2BIG, ENOTSUPP})
_FUNCTION = frozenset(
    {errno.EINVAL, errno.ENOENT, errno.ESRCH, errno.EOPNOTSUPP, errno.EILSEQ, errno.EADDRNOTAVAIL, ENOTSUPP}
)


def is_about_the_kind(number: int) -> bool:
    """Whether the errno, of a load or of a whole request, says that this kernel lacks the mechanism."""
    return number in _KIND


def is_about_the_function(number: int) -> bool:
    """Whether the errno may be a lasting property of one function; if so, an empty program proves it."""
    return number in _FUNCTION


def meaning(mechanism: Mechanism, number: int, *, is_sleepable: bool = False) -> str:
    """Why the kernel refused this function, as far as the errno tells; `is_sleepable`: the program is."""
    if is_sleepable and number == errno.EINVAL:
        return "no sleepable program may run here: only on functions that allow error injection, or on system calls"
    known = _MEANINGS.get((mechanism, number)) or _MEANINGS_OF_ANY.get(number)
    return known or f"the kernel answered {errno_name(number)}"
