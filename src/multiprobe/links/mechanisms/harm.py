"""Probes at entries that would change what a program computes, by the first instruction of the function.

Besides five-byte nops (`red_zone`), these are vector instructions. The kernel's uprobes take the opcode that follows a
VEX or EVEX prefix for that of an instruction of one byte (`branch_setup_ops` and others in arch/x86/kernel/uprobes.c):
they emulate another instruction, or refuse one that can be probed. Tried on Linux 6.18: `vpbroadcastb %esi,%zmm16`,
with which `__memset_avx512_unaligned_erms` begins, has the opcode of a conditional jump, and was not carried out.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from multiprobe.binaries.mixed import binary_parts
from multiprobe.binaries.usdt import UsdtProbeSet
from multiprobe.links.mechanisms.red_zone import nop_sites, why_harmful
from multiprobe.links.mechanisms.uprobe_program import open_unchanged

if TYPE_CHECKING:
    from multiprobe.binaries.mixed import AnyFunctionSet

VEX_2, VEX_3, EVEX = b"\xc5", b"\xc4", b"\x62"
"""The first bytes of vector instructions; in 64-bit code, no other instruction begins with them."""
_VECTOR = (
    "begins with a vector instruction (AVX), which the kernel's probes take for another instruction: "
    "the function would compute something else"
)


class Harm(NamedTuple):
    """Why a function is not probed, as one word and as a sentence."""

    code: str
    reason: str


def harmful_probes(functions: AnyFunctionSet) -> dict[int, Harm]:
    """The positions of functions of binaries whose results a probe would change here, each with the reason.

    Of USDT probes, those of which every site would. Runs a program, once in the life of this process, if a function
    begins with a five-byte nop, or a site is one.
    """
    at_nops = nop_sites(functions)
    why = why_harmful() if at_nops else ""
    found = {place: Harm("red_zone", f"{what} a five-byte nop, and {why}") for place, what in at_nops.items() if why}
    for first, part in binary_parts(functions) if os.uname().machine == "x86_64" else ():
        if isinstance(part, UsdtProbeSet):  # whose sites are nops
            continue
        sites = part.sites()
        with open_unchanged(part) as file:
            for prefix in (VEX_2, VEX_3, EVEX):
                for place in part.table.starting_with(file, sites.offsets, prefix):
                    position = sites.positions[place]
                    found[first + position] = Harm("vector", f"{part.label(position)} {_VECTOR}")
    return found
