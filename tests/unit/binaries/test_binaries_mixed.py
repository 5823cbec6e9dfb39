"""Functions of several binaries as one sequence: order, columns, refusals; sets of one file become one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from elf_writer import CODE, IFUNC, Made, make_elf

import multiprobe as mp
from multiprobe.binaries.binary import Binary
from multiprobe.binaries.code import PIECE, starting_with
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
def test_which_functions_begin_with_certain_bytes(gap: int) -> None:
    data = bytearray(5 * gap + len(CODE))
    for place in (1, 3):
        data[place * gap : place * gap + 4] = b"abcd"
    offsets = [4 * gap, 3 * gap, 0, gap, 2 * gap, len(data) - 2]
    assert starting_with(data, offsets, b"abcd") == [1, 3]
    assert starting_with(data, [], b"abcd") == []
