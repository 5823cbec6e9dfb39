"""A function's entry: is its ftrace call site patched, and where does it lead? x86-64.

Knows machine code of the first few bytes and the names of ftrace's and BPF's stubs. Pure: bytes and symbols in,
values out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprobe.inspect.names import Symbol

#: What os.uname() says of machines whose code this module, `disassembly` and `trampoline` can read.
MACHINE = "x86_64"
#: How many bytes of a function `parse_site` looks at.
SITE_BYTES = 24
_SITE_SIZE = 5
_ENDBR = b"\xf3\x0f\x1e\xfa"
# What a kernel puts over ENDBR where no indirect call may land (gen_endbr_poison, arch/x86/include/asm/ibt.h).
_SEALED = (b"\x66\x0f\x1f\x00", b"\x0f\x1f\x40\xd6")
_NOPS = (b"\x0f\x1f\x44\x00\x00", b"\x66\x66\x66\x66\x90")
_CALL, _JUMP, _BREAKPOINT = 0xE8, 0xE9, 0xCC
_ADDRESS_MASK = (1 << 64) - 1

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


@dataclass(frozen=True, slots=True)
class CallSite:
    """The entry of a function.

    address: of the call site itself: the function's, or 4 bytes in, behind ENDBR
    code: the function's first bytes
    kind: "nop", "call", "jump", "breakpoint", or "none" (something else stands there)
    target: where a call or jump leads, else None
    """

    address: int
    code: bytes
    kind: str
    target: int | None

    @property
    def is_patched(self) -> bool:
        """Does the entry lead away from the function?"""
        return self.kind in ("call", "jump", "breakpoint")

    @property
    def resume(self) -> int:
        """Where the function goes on behind its call site."""
        return self.address + _SITE_SIZE


def parse_site(code: bytes, function: int) -> CallSite:
    """Read the entry of the function at address `function` from its first bytes."""
    skip = len(_ENDBR) if code[:4] == _ENDBR or code[:4] in _SEALED else 0
    site = code[skip : skip + _SITE_SIZE]
    address = function + skip
    if site in _NOPS:
        return CallSite(address, code, "nop", None)
    if len(site) == _SITE_SIZE and site[0] in (_CALL, _JUMP):
        distance = int.from_bytes(site[1:], "little", signed=True)
        kind = "call" if site[0] == _CALL else "jump"
        return CallSite(address, code, kind, (address + _SITE_SIZE + distance) & _ADDRESS_MASK)
    if site and site[0] == _BREAKPOINT:
        return CallSite(address, code, "breakpoint", None)
    return CallSite(address, code, "none", None)


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
