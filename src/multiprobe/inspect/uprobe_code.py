"""Tells what a process has where a function begins: its own bytes, or what the kernel put there. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.arch.facts import Arch
    from multiprobe.binaries.mappings import FileMapping

CODE_BYTES = 16
"""How many bytes of a function are compared: the longest sequence that the kernel puts there has 10."""

#: What a function may begin with in a process.
STATES = {
    "original": "the file's own bytes",
    "breakpoint": "a uprobe's breakpoint",
    "call": "a uprobe, optimized: a call of the kernel's trampoline page",
    "former_call": "a nop, with the rest of the call of an optimized uprobe that was removed",
    "changed": "other bytes than the file's, which are no uprobe's",
    "unreadable": "not readable",
}


@dataclass(frozen=True, slots=True)
class SiteCode:
    """state: a key of `STATES`; target: where a call leads; trampoline: [start, end) of the page that it is in"""

    state: str
    target: int | None = None
    trampoline: tuple[int, int] | None = None


def read_site(arch: Arch, code: bytes, original: bytes, address: int, trampolines: Sequence[FileMapping]) -> SiteCode:
    """What `code` at `address` of a process is, where the file has the `original` bytes.

    trampolines: the mappings of the process to which the kernel's calls lead
    """
    if not code:
        return SiteCode("unreadable")
    if code == original[: len(code)]:
        return SiteCode("original")
    if code.startswith(arch.breakpoint):
        return SiteCode("breakpoint")
    call = arch.parse_uprobe_call(code, address) if arch.parse_uprobe_call else None
    page = next((one for one in trampolines if call is not None and one.start <= call.target < one.end), None)
    if call is None or page is None:
        return SiteCode("changed")
    return SiteCode("former_call" if call.is_nop else "call", call.target, (page.start, page.end))
