from __future__ import annotations

import pytest
from btf_writer import BtfWriter

from multiprobe.kernel.btf.types import Btf
from multiprobe.kernel.btf.values import Signature, ValueType, signature

ALL = (1 << 64) - 1


def written(*, returns: str = "int", big_first: bool = False) -> Signature:
    w = BtfWriter()
    ids = {
        "void": 0,
        "int": w.integer("int", 4),
        "size_t": w.add("typedef", "size_t", w.integer("long unsigned int", 8)),
        "bool": w.integer("_Bool", 1),
        "char": w.integer("char", 1),
    }
    ids["pointer"] = w.pointer(w.struct("file", 8))
    ids["enum"] = w.enum("state", ("IDLE", 0), ("BUSY", 1))
    ids["big"] = w.struct("big", 16)
    ids["huge"] = w.add("typedef", "huge_t", w.struct("huge", 17))
    ids["unsigned long"] = w.add("const", target=w.integer("unsigned long", 8))
    ids["u64"] = w.add("typedef", "u64", w.integer("long long unsigned int", 8))
    params = [("file", ids["pointer"]), ("count", ids["size_t"]), ("fd", ids["int"]), ("", ids["bool"])]
    params += [("state", ids["enum"]), ("c", ids["char"]), ("on_stack", ids["int"])]
    if big_first:
        params.insert(1, ("big", ids["big"]))
    function = w.function("f", ids[returns], *params)
    return signature(Btf.parse(w.data()), function)


def test_arguments_are_read_by_their_types() -> None:
    raw = (0xFFFF888000001000, 4096, 0xFFFFFFFF, 1, 1, 0xFF, 99)
    assert written().arguments(raw) == {
        "file": "0xffff888000001000",
        "count": 4096,
        "fd": -1,
        "arg3": True,
        "state": "BUSY",
        "c": -1,
    }


def test_a_struct_returned_in_memory_takes_the_first_register() -> None:
    """The caller passes the address for the result in register 0, so that all parameters move on by one."""
    found = written(returns="huge")
    assert found.arguments((0xFFFFC90000001000, 0xFFFF888000001000, 4096, 0xFFFFFFFF, 1, 1)) == {
        "file": "0xffff888000001000",
        "count": 4096,
        "fd": -1,
        "arg3": True,
        "state": "BUSY",
    }
    assert (found.first, found.n_registers) == (1, 6)
    assert found.returned.read_returned(0xFFFFC90000001000) == "*(huge_t *)0xffffc90000001000"
    small = written(returns="big")
    assert (small.first, small.n_registers, len(small.parameters)) == (0, 6, 6)


def test_what_is_behind_two_registers_is_left_out() -> None:
    assert written(big_first=True).arguments((1, 2, 3)) == {"file": "0x1"}


@pytest.mark.parametrize(
    ("returns", "raw", "read"),
    [
        ("int", 0, 0),
        ("int", 7 | 0xDEAD << 32, 7),
        ("int", 0xFFFFFFFE, "-ENOENT"),
        ("int", ALL - 511, "-ERESTARTSYS"),
        ("int", 0x80000000, -(1 << 31)),
        ("size_t", ALL, ALL),
        ("pointer", 0, "NULL"),
        ("pointer", ALL - 11, "-ENOMEM"),
        ("pointer", 0xFFFF888000001000, "0xffff888000001000"),
        ("enum", 9, 9),
        ("bool", 0x100, False),
        ("void", 5, None),
        ("big", 5, "0x5"),
        ("unsigned long", ALL - 12, "-EACCES"),
        ("unsigned long", ALL - 4094, -4095),
        ("unsigned long", ALL - 4095, ALL - 4095),
        ("unsigned long", 0, 0),
        ("u64", ALL - 12, ALL - 12),
    ],
)
def test_what_functions_return(returns: str, raw: int, read: object) -> None:
    assert written(returns=returns).returned.read_returned(raw) == read


def test_negative_enumerators() -> None:
    type_ = ValueType("enum", 32, {-1: "UNKNOWN"})
    assert type_.read(0xFFFFFFFF) == "UNKNOWN"
    assert type_.read(0xFFFFFFFE) == -2
