"""Compiled programs: BPF instructions with holes, and how the holes are filled for one attachment.

A `Code` is inert and can be written to disk. What differs from one attachment to the next (map descriptors, sizes,
the pid asked for) is left open as relocations, so that one compilation serves all. Knows the instruction encoding
of 64-bit immediates and calls; must not know Python sources, LLVM or system calls.
"""

from __future__ import annotations

from struct import pack_into
from typing import NamedTuple

from multiprobe.errors import UsageError

MAP, MAP_VALUE, CONSTANT, KFUNC = "map", "map_value", "constant", "kfunc"
LD_IMM64, MOVE_IMMEDIATE = 0x18, 0xB7
CONSTANT_SOURCE = 7
"""The source register that marks an instruction as waiting for a constant: the kernel knows none such."""
PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, PSEUDO_KFUNC_CALL = 1, 2, 2
INSN_SIZE = 8


class Relocation(NamedTuple):
    """The instruction at `insn` waits for the value called `key`.

    `kind` "map": a map's descriptor; "map_value": the descriptor of a single-entry array, whose value's address it
    becomes; "constant": a number below 2**31; "kfunc": the BTF id of a kernel function in vmlinux.
    """

    insn: int
    kind: str
    key: str


class Code(NamedTuple):
    """A compiled program. `maps` are the Python names of its maps, in the order of the keys "map0", "map1", ….

    `needs` ⊂ {function, cookie, ip, arg, arg_count, ret, is_return, session, veto, pid, ns_pid, cpu, time,
    stack_pointer, kernel_entry}
    lines: pairs of an instruction and the source location of it and those that follow: the line (the function's first
        line is 0) above ten bits for the column (from 1; 0: not known)
    text: the function's source, by lines
    """

    insns: bytes
    relocations: tuple[Relocation, ...]
    maps: tuple[str, ...]
    needs: frozenset[str]
    lines: tuple[tuple[int, int], ...]
    text: tuple[str, ...] = ()

    @property
    def keys(self) -> frozenset[str]:
        """The names of all values that `link` needs."""
        return frozenset(relocation.key for relocation in self.relocations)

    def location_of(self, insn: int) -> tuple[int, int] | None:
        """(line, column) of an instruction in the source: the line counted from the function's first line as 0, the
        column from 1, or 0 if it isn't known."""
        found = None
        for first, location in self.lines:
            if first > insn:
                break
            found = location >> 10, location & 1023
        return found

    def link(self, values: dict[str, int]) -> bytes:
        """The instructions with every hole filled. Raises UsageError naming what is missing."""
        missing = sorted(self.keys - values.keys())
        if missing:
            raise UsageError(f"linking a program: no value for {', '.join(missing)}")
        linked = bytearray(self.insns)
        for relocation in self.relocations:
            _fill(linked, relocation, values[relocation.key])
        return bytes(linked)


def _fill(insns: bytearray, relocation: Relocation, number: int) -> None:
    at = relocation.insn * INSN_SIZE
    if relocation.kind == KFUNC:
        insns[at + 1] = insns[at + 1] & 0x0F | PSEUDO_KFUNC_CALL << 4
        pack_into("<hi", insns, at + 2, 0, number)
        return
    if relocation.kind == CONSTANT:
        if not 0 <= number < 1 << 31:
            raise UsageError(f"linking a program: {relocation.key} is {number}, which doesn't fit in 31 bits")
        insns[at + 1] &= 0x0F
        pack_into("<i", insns, at + 4, number)
        return
    source = {MAP: PSEUDO_MAP_FD, MAP_VALUE: PSEUDO_MAP_VALUE}[relocation.kind]
    insns[at + 1] = insns[at + 1] & 0x0F | source << 4
    pack_into("<i", insns, at + 4, number)
    pack_into("<I", insns, at + 12, 0)
