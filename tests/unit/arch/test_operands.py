"""The places of USDT arguments, as compilers write them for x86-64 and aarch64."""

from __future__ import annotations

import pytest

from multiprobe.arch.operands import Operand, Register, parse_operands

RDI, RAX, RBP, RBX, RCX = (Register(offset) for offset in (112, 80, 32, 40, 88))
MINUS_20 = -20 & (1 << 64) - 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8@%rdi", Operand(8, False, RDI)),
        ("-4@%edi", Operand(4, True, RDI)),
        ("1@%al", Operand(1, False, RAX)),
        ("1@%ah", Operand(1, False, Register(80, 1))),
        ("2@%r8w", Operand(2, False, Register(72))),
        ("1@%dil", Operand(1, False, RDI)),
        ("4@$5", Operand(4, False, constant=5)),
        ("-4@$-5", Operand(4, True, constant=-5 & (1 << 64) - 1)),
        ("2@$0xfffe", Operand(2, False, constant=0xFFFE)),
        ("-4@-20(%rbp)", Operand(4, True, is_memory=True, base=RBP, constant=MINUS_20)),
        ("8f@(%rbx)", Operand(8, False, is_memory=True, base=RBX)),
        ("8@8(%rbx,%rcx,4)", Operand(8, False, is_memory=True, base=RBX, index=RCX, scale=4, constant=8)),
        ("8@(%rbx,%rcx)", Operand(8, False, is_memory=True, base=RBX, index=RCX)),
        ("4@512(%site)", Operand(4, False, is_memory=True, base=Register(128), constant=512)),
        ("8@16(,%rcx,8)", Operand(8, False, is_memory=True, index=RCX, scale=8, constant=16)),
    ],
)
def test_x86_64(text: str, expected: Operand) -> None:
    assert parse_operands(text, "x86_64") == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8@x0", Operand(8, False, Register(0))),
        ("-4@w3", Operand(4, True, Register(24))),
        ("8@sp", Operand(8, False, Register(248))),
        ("8@[sp, 16]", Operand(8, False, is_memory=True, base=Register(248), constant=16)),
        ("-4@[x29, -20]", Operand(4, True, is_memory=True, base=Register(232), constant=MINUS_20)),
        ("8@[x1]", Operand(8, False, is_memory=True, base=Register(8))),
        ("8@[x1, x2, lsl 3]", Operand(8, False, is_memory=True, base=Register(8), index=Register(16), scale=8)),
        ("-4@-5", Operand(4, True, constant=-5 & (1 << 64) - 1)),
        ("4@5", Operand(4, False, constant=5)),
    ],
)
def test_aarch64(text: str, expected: Operand) -> None:
    assert parse_operands(text, "aarch64") == [expected]


def test_several_arguments_with_spaces_in_them() -> None:
    found = parse_operands("8@x0 -4@[sp, 16]   8@[x1, x2, lsl 3] 4@7", "aarch64")
    assert [(one.size, one.is_memory) for one in found if isinstance(one, Operand)] == [
        (8, False), (4, True), (8, True), (4, False),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "   ", "nonsense", "@", "3@%rdi"])
def test_what_is_no_argument(text: str) -> None:
    assert parse_operands(text, "x86_64") == []


@pytest.mark.parametrize(
    "where", ["counter(%rip)", "%xmm0", "%fs:8", "$", "$x", "()", "8", "8(%eax)", "8(%rax,%rbx,3)", "%rdi8", ""]
)
def test_what_cannot_be_read_keeps_its_place(where: str) -> None:
    found = parse_operands(f"8@%rdi 8@{where} 4@$1", "x86_64")
    assert found == [Operand(8, False, RDI), where, Operand(4, False, constant=1)]


@pytest.mark.parametrize("where", ["v0", "[w1]", "[sp", "[x1, x2, lsl 9]", "x31"])
def test_what_cannot_be_read_on_aarch64(where: str) -> None:
    assert parse_operands(f"8@{where}", "aarch64") == [where]
