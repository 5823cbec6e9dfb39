"""Holes for constants take one instruction: jumps and lines move along, and the second halves of others stay."""

from __future__ import annotations

from struct import pack

from multiprobe.compiler.backend.constants import shorten


def insn(opcode: int, dst: int = 0, src: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return pack("<BBhi", opcode, dst | src << 4, offset, immediate)


def test_jumps_over_a_constant_are_shorter_both_ways() -> None:
    long = b"".join(
        (
            insn(0xB7),  # 0
            insn(0x15, offset=3),  # 1: to 5
            insn(0x18, dst=3, src=7, immediate=2) + insn(0),  # 2
            insn(0x3D, dst=0, src=3, offset=-5),  # 4: to 0
            insn(0x95),  # 5
        )
    )
    short, lines = shorten(long, ((0, 10), (2, 20), (4, 30), (5, 40)))
    assert short == b"".join(
        (
            insn(0xB7),
            insn(0x15, offset=2),
            insn(0xB7, dst=3, src=7, immediate=2),
            insn(0x3D, dst=0, src=3, offset=-4),
            insn(0x95),
        )
    )
    assert lines == ((0, 10), (2, 20), (3, 30), (4, 40))


def test_addresses_of_maps_keep_both_halves() -> None:
    # a second half that looks like a jump and like a hole is neither
    wide = insn(0x18, dst=1, src=2, immediate=1) + insn(0x05, offset=7)
    other = insn(0x18, dst=1) + insn(0x18, src=7)
    body = wide + other + insn(0x85, immediate=1) + insn(0x95)
    assert shorten(body, ((0, 1),)) == (body, ((0, 1),))
    hole = insn(0x18, src=7, immediate=1) + insn(0)
    assert shorten(body[:-8] + hole + body[-8:], ()) == (
        body[:-8] + insn(0xB7, src=7, immediate=1) + body[-8:],
        (),
    )
