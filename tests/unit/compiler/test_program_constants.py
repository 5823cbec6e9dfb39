"""Holes for constants take one instruction, or none of their own: jumps and lines move along, and the second halves of
others stay."""

from __future__ import annotations

from struct import pack

import pytest

from multiprobe.compiler.backend.constants import fold, shorten


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


HOLE = insn(0xB7, dst=2, src=7, immediate=3)  # r2 = what is number 3 of the holes
COMPARE = insn(0x2D, dst=0, src=2, offset=1)  # if r0 > r2, over the next one
TWO = insn(0xB7, dst=0, immediate=2)
EXIT = insn(0x95)
USES = {
    "compares": (COMPARE, insn(0x25, dst=0, src=7, offset=1, immediate=3)),
    "compares 32 bits": (insn(0x2E, dst=0, src=2, offset=1), insn(0x26, dst=0, src=7, offset=1, immediate=3)),
    "multiplies": (insn(0x2F, dst=0, src=2), insn(0x27, dst=0, src=7, immediate=3)),
    "subtracts 32 bits": (insn(0x1C, dst=0, src=2), insn(0x14, dst=0, src=7, immediate=3)),
}
AFTERWARDS = {
    "nothing reads it": TWO,
    "it is written": insn(0xB7, dst=2) + insn(0xBF, dst=0, src=2),
    "it is read": insn(0xBF, dst=0, src=2),
    "it is stored": insn(0x7B, dst=10, src=2, offset=-8),
    "it is where something is stored": insn(0x62, dst=2),
    "an atomic operation adds it": insn(0xDB, dst=10, src=2, offset=-8),
    "it is loaded from": insn(0x79, dst=0, src=2),
    "a helper takes two arguments": insn(0x85, immediate=12),
    "a helper takes one argument": insn(0x85, immediate=11),
    "a helper that is not known": insn(0x85, immediate=13),
    "its value goes on in a loop": insn(0x0F, dst=0, src=2) + insn(0x05, offset=-2),
}
FREE = {"nothing reads it", "it is written", "a helper takes one argument"}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("afterwards", AFTERWARDS)
def test_a_constant_goes_into_the_instruction_that_uses_it_alone(use: str, afterwards: str) -> None:
    given, folded = USES[use]
    rest = AFTERWARDS[afterwards] + EXIT
    body = TWO + HOLE + given + insn(0x05) + rest  # a jump to the next one: either way leads to the rest
    found, lines = fold(body, ((0, 1), (1, 10), (2, 20), (3, 30)), {11: 1, 12: 2})
    if afterwards in FREE:
        assert found == TWO + folded + insn(0x05) + rest
        assert lines == ((0, 1), (1, 10), (1, 20), (2, 30))
    else:
        assert found == body


@pytest.mark.parametrize(
    "given",
    [
        insn(0x3F, dst=0, src=2),  # a division: the verifier refuses one by an immediate 0
        insn(0x6F, dst=0, src=2),  # a shift: it refuses one by 64
        insn(0x0F, dst=2, src=0),  # the other operand
        insn(0x0F, dst=2, src=2),
        insn(0x2D, dst=2, src=0, offset=1),
        insn(0x7B, dst=10, src=2, offset=-8),
    ],
)
def test_other_uses_keep_their_register(given: bytes) -> None:
    body = TWO + HOLE + given + insn(0x05) + EXIT
    assert fold(body, (), {}) == (body, ())


def test_a_use_that_is_reached_otherwise_keeps_its_register() -> None:
    body = TWO + insn(0x15, dst=1, offset=1) + HOLE + COMPARE + TWO + EXIT
    assert fold(body, (), {}) == (body, ())


def test_one_branch_that_reads_it_is_enough() -> None:
    body = TWO + HOLE + COMPARE + insn(0xBF, dst=0, src=2) + EXIT
    assert fold(body, (), {}) == (body, ())


def test_a_constant_of_the_programs_own_stays() -> None:
    body = TWO + insn(0xB7, dst=2, immediate=3) + COMPARE + insn(0x05) + EXIT
    assert fold(body, (), {}) == (body, ())


def test_jumps_to_a_constant_lead_to_its_use() -> None:
    body = TWO + insn(0x15, dst=1, offset=1) + TWO + HOLE + COMPARE + TWO + insn(0x05, offset=-4) + EXIT
    found, _ = fold(body, (), {})
    use = insn(0x25, dst=0, src=7, offset=1, immediate=3)
    assert found == TWO + insn(0x15, dst=1, offset=1) + TWO + use + TWO + insn(0x05, offset=-3) + EXIT
