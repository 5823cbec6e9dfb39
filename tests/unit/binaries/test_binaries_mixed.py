"""Functions of several binaries as one sequence: order, columns, refusals; sets of one file become one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from elf_writer import CODE, IFUNC, Made, make_elf

import multiprobe as mp
from multiprobe.binaries.binary import Binary
from multiprobe.binaries.code import PIECE, instruction_kinds
from multiprobe.binaries.instructions import NOP5, Kind, kind_of
from multiprobe.binaries.mixed import MixedFunctionSet, binary_parts, identities, joined, kernel_of, kernel_part, owners
from multiprobe.kernel.mechanism import Mechanism

Write = Callable[..., Path]


@pytest.fixture
def one(write: Write) -> Binary:
    return Binary(write(make_elf([Made("a", 0), Made("b", 1), Made("resolver", 2, 1 << 4 | IFUNC)]), "one"))


@pytest.fixture
def two(write: Write) -> Binary:
    return Binary(write(make_elf([Made("a", 0), Made("c", 3)]), "two"))


def names(functions: object) -> list[tuple[str, str]]:
    return [(function.module, function.name) for function in functions]  # type: ignore[attr-defined]


def test_the_order_is_that_of_the_parts(one: Binary, two: Binary) -> None:
    mixed = joined([one.functions("b", "nobody"), two.functions()])
    assert isinstance(mixed, MixedFunctionSet)
    assert names(mixed) == [("one", "b"), ("two", "a"), ("two", "c")]
    assert [mixed[place].name for place in (0, 1, 2, -1)] == ["b", "a", "c", "c"]
    assert [mixed.label(place) for place in range(3)] == ["b", "a", "c"]
    assert list(mixed.addresses()) == [*one.functions("b").addresses(), *two.functions().addresses()]
    assert [refusal.request for refusal in mixed.unresolved] == ["nobody"]
    assert [first for first, _ in binary_parts(mixed)] == [0, 1]
    assert kernel_part(mixed) == (0, None)
    assert kernel_of(mixed) is None
    assert "c" in mixed
    assert "nobody" not in mixed
    with pytest.raises(IndexError):
        mixed[3]


def test_sets_of_one_file_become_one(one: Binary, two: Binary) -> None:
    again = Binary(one.path)
    mixed = joined([one.functions("b"), two.functions("a"), again.functions("a", "b")])
    assert names(mixed) == [("one", "b"), ("one", "a"), ("two", "a")]
    assert len(set(identities(mixed))) == 3
    assert len(set(owners(mixed))) == 2
    alone = joined([one.functions("b"), again.functions("a")])
    assert isinstance(alone, mp.UserFunctionSet)
    assert names(alone) == [("one", "b"), ("one", "a")]


def test_a_part_is_a_set_of_its_own_kind(one: Binary, two: Binary) -> None:
    mixed = joined([one.functions("a", "b"), two.functions()])
    assert names(mixed.take([0, 2, 3])) == [("one", "a"), ("two", "a"), ("two", "c")]
    assert isinstance(mixed.take([2, 3]), mp.UserFunctionSet)
    assert names(mixed.take([1])) == [("one", "b")]


def test_verdicts_and_refusals(one: Binary, two: Binary) -> None:
    mixed = joined([one.functions(), two.functions("c+1")])
    uprobe = Mechanism.UPROBE_MULTI
    assert list(mixed.mechanisms()) == [uprobe, uprobe, 0, uprobe]
    assert list(mixed.mechanisms(when="return")) == [uprobe, uprobe, 0, 0]
    assert (mixed.n_attachable(), mixed.n_attachable(when="session")) == (3, 2)
    codes = {when: [refusal.code for refusal in mixed.refusals(when=when)] for when in ("entry", "return")}
    assert codes == {"entry": ["ifunc"], "return": ["ifunc", "offset"]}
    refused = mixed.refusals(Mechanism.KERNEL)
    assert [refusal.code for refusal in refused] == ["not_allowed", "not_allowed", "ifunc", "not_allowed"]


def test_returns_of_go_are_refused(write: Write) -> None:
    go = Binary(write(make_elf([Made("main.main", 0)], extra={".gopclntab": b"\0"}), "go"))
    assert go.functions().n_attachable() == 1
    assert [refusal.code for refusal in go.functions().refusals(when="session")] == ["go_return"]


def test_returns_in_files_with_exceptions_are_unsafe(write: Write) -> None:
    symbols = [Made("_Z4workv", 0), Made("__gxx_personality_v0", None)]
    thrower = Binary(write(make_elf(symbols), "thrower"))
    assert [refusal.code for refusal in thrower.functions("_Z4workv").refusals(when="return")] == ["exceptions"]
    assert thrower.functions("_Z4workv").n_attachable() == 1
    assert thrower.functions("_Z4workv", unsafe=True).n_attachable(when="session") == 1


def test_a_set_of_no_functions_has_no_verdicts(one: Binary) -> None:
    assert one.functions("no_such_function").n_attachable(when="return") == 0


@pytest.mark.parametrize("gap", [16, 1000, PIECE - 3, PIECE, 3 * PIECE])
def test_which_functions_begin_with_certain_instructions(gap: int) -> None:
    data = bytearray(5 * gap + len(CODE))
    for place in (1, 3):
        data[place * gap : place * gap + 5] = NOP5
    data[2 * gap : 2 * gap + 4] = bytes.fromhex("c5f9ebc2")
    offsets = [4 * gap, 3 * gap, 0, gap, 2 * gap, len(data) - 2, gap]
    expected = {1: Kind.NOP5, 3: Kind.NOP5, 4: Kind.JUMP, 6: Kind.NOP5}
    assert instruction_kinds(data, offsets) == expected
    assert instruction_kinds(data, []) == {}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("554889e5", None),  # push %rbp
        ("0f1f4000", None),  # a nop of four bytes
        ("c3", None),
        ("64488b0425", None),  # mov %fs:…, %rax
        ("c5f8", Kind.OTHER),  # cut off
        ("c5f9efc0", Kind.REFUSED),  # vpxor
        ("65c5f9eb0425", Kind.JUMP),  # vpor %gs:…
        ("6765c5f9eb06", Kind.JUMP),  # vpor %gs:(%esi)
        ("c4e2619004", Kind.NOP),  # vpgatherdd
        ("c5f890c8", Kind.NOP),  # kmovw
        ("62f26d489dc1", Kind.POPF),  # vfnmadd132ss
        ("62f16c48c2c902", Kind.RETURN),  # vcmpleps
        ("c4e270f2c2", Kind.GENERAL),  # andn
        ("c5e9f2c1", Kind.OTHER),  # vpslld
        ("c4e37bf0c205", Kind.GENERAL),  # rorx
        ("62f47c08ffc0", Kind.APX),  # {evex} inc
        ("f30f1efa", None),  # endbr64
        ("660fefc0", None),  # pxor
        ("90", None),
        ("f390", Kind.PAUSE),
        ("4890", None),  # a nop with REX
        ("4990", Kind.EXCHANGE),  # xchg %rax, %r8
        ("4190", Kind.EXCHANGE),
        ("9c", Kind.PUSHF),
        ("669c", Kind.PUSHF),
        ("489c", Kind.PUSHF),
        ("0f05", Kind.SYSCALL),
        ("480f05", Kind.SYSCALL),
        ("0fa2", None),  # cpuid
        ("f3a4", Kind.REPEAT),  # rep movsb
        ("f348ab", Kind.REPEAT),  # rep stosq
        ("66f3a5", Kind.REPEAT),  # rep movsw
        ("f267a6", Kind.REPEAT),  # repne cmpsb, with short addresses
        ("a4", None),  # movsb
        ("48a5", None),
    ],
)
def test_what_kernels_may_take_an_instruction_for(code: str, kind: Kind | None) -> None:
    data = bytes.fromhex(code)
    assert kind_of(data) is kind
    assert instruction_kinds(data, [0]) == ({} if kind is None else {0: kind})
