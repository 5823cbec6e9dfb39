"""Tells which kind of code a function's call site leads to, by the names of ftrace's, kprobes' and BPF's stubs.

Decoding the call site itself depends on the processor: `arch`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprobe.arch.facts import CallSite
    from multiprobe.inspect.names import Symbol

#: How many bytes of a function decoding its call site takes.
SITE_BYTES = 24

#: Where a patched call site may lead, by kind, in words.
DESTINATIONS = {
    "direct": "straight into a BPF trampoline (ftrace direct call)",
    "ftrace_trampoline": "ftrace, the trampoline of the one ftrace_ops on this function",
    "ftrace": "ftrace, which calls every ftrace_ops on this function, and after them the direct trampoline if any",
    "kprobe": "an optimized kprobe",
    "breakpoint": "a kprobe's breakpoint",
    "other": "other code: this is no ftrace call site",
    "nowhere": "nowhere: a nop, nothing is attached at the entry",
    "none": "the function has no ftrace call site",
}


def destination(site: CallSite, symbol: Symbol | None) -> str:
    """Which kind of code a call site leads to (a key of `DESTINATIONS`); `symbol` is that of its target."""
    if site.kind == "breakpoint":
        return "breakpoint"
    if site.kind in ("nop", "none"):
        return "nowhere" if site.kind == "nop" else "none"
    if symbol is None:
        return "other"
    if is_trampoline(symbol):
        return "direct"
    if symbol.name in ("ftrace_caller", "ftrace_regs_caller"):
        return "ftrace"
    if symbol.module == "__builtin__ftrace":
        return "ftrace_trampoline"
    if symbol.module == "__builtin__kprobes":
        return "kprobe"
    return "other"


def is_trampoline(symbol: Symbol) -> bool:
    """Is this the image of a BPF trampoline?"""
    return symbol.module == "bpf" and symbol.name.startswith("bpf_trampoline_")


def trampoline_name(btf_obj_id: int, btf_id: int) -> str:
    """The symbol of the trampoline of a kernel function (bpf_trampoline_compute_key, include/linux/bpf_verifier.h)."""
    return f"bpf_trampoline_{btf_obj_id << 32 | 0x80000000 | btf_id}"
