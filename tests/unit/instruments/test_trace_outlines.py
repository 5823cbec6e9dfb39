"""What `trace` finds out of all functions before it attaches, and what only of those that are called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "kernel"))

from btf_writer import BtfWriter

import multiprobe as mp
from multiprobe.instruments.trace import describe
from multiprobe.instruments.trace.arguments import Described, Outline
from multiprobe.instruments.trace.describe import Describer, Wanted
from multiprobe.instruments.trace.descriptions import Descriptions
from multiprobe.instruments.trace.program import tables
from multiprobe.kernel.btf.types import Btf
from multiprobe.kernel.btf.values import Signature

READ_BEHIND = {"named", "buffered", "whole", "wide", "opened"}
"""Functions behind whose arguments something may be read."""


@pytest.fixture
def kernel(tmp_path: Path) -> mp.Kernel:
    w = BtfWriter()
    char, int_, long = w.integer("char", 1), w.signed("int", 4), w.integer("unsigned long", 8)
    const, plain = w.pointer(w.add("const", target=char)), w.pointer(char)
    other = w.pointer(w.struct("other", 16, ("a", long, 0), ("b", long, 64)))
    qstr = w.struct("qstr", 16, ("hash", long, 0), ("name", const, 64))
    dentry = w.pointer(w.struct("dentry", 24, ("d_flags", long, 0), ("d_name", qstr, 64)))
    small, big = w.struct("small", 8, ("v", long, 0)), w.struct("big", 128)
    functions = {
        "none": (0, ()),
        "numbers": (int_, (("a", int_), ("b", long))),
        "pointers": (other, (("a", other), ("b", w.pointer(0)))),
        "errno": (long, (("a", long),)),
        "variadic": (int_, (("a", int_), ("", 0))),
        "returned": (big, (("a", int_),)),
        "many": (int_, tuple((f"a{n}", long) for n in range(9))),
        "inline": (int_, (("a", small), ("b", int_))),
        "named": (int_, (("a", int_), ("name", const))),
        "buffered": (long, (("buf", plain), ("count", long))),
        "whole": (int_, (("a", int_), ("b", qstr), ("c", int_))),
        "wide": (int_, (("b", big),)),
        "opened": (int_, (("a", dentry),)),
    }
    for name, (returned, parameters) in functions.items():
        w.function(name, returned, *parameters)
    lines = [f"ffffffff8100{n:02x}00 T {name}\n" for n, name in enumerate([*functions, "untyped"])]
    (tmp_path / "btf").write_bytes(w.data())
    (tmp_path / "kallsyms").write_text("".join(lines))
    return mp.Kernel.from_files(kallsyms=str(tmp_path / "kallsyms"), btf=str(tmp_path / "btf"))


@pytest.mark.parametrize("depth", [None, 0, 1, 3])
def test_the_program_is_told_the_same(kernel: mp.Kernel, depth: int | None) -> None:
    functions = kernel.functions("*", unsafe=True)
    assert len(functions) == 14
    described = Describer(kernel, Wanted(depth=depth)).describe(functions)
    outlined = Describer(kernel, Wanted(depth=depth)).outlines(functions)
    assert tables(outlined) == tables(described)
    assert [one.steps for one in outlined] == [one.steps for one in described]


def test_functions_with_nothing_to_be_read_behind_are_outlined(kernel: mp.Kernel) -> None:
    functions = kernel.functions("*", unsafe=True)
    outlined = Describer(kernel, Wanted()).outlines(functions)
    names = {one.name for one, known in zip(functions, outlined, strict=True) if isinstance(known, Described)}
    assert names == READ_BEHIND | {"untyped"}
    assert sum(isinstance(one, Outline) for one in outlined) == 14 - len(names)


def test_wanted_paths_are_looked_for_in_all_functions(kernel: mp.Kernel) -> None:
    functions = kernel.functions("*", unsafe=True)
    with pytest.raises(mp.UsageError, match="none of these functions has an argument 'nothing'"):
        Describer(kernel, Wanted(only=("nothing",))).outlines(functions)
    describer = Describer(kernel, Wanted(only=("name",)))
    assert all(isinstance(one, Described) for one in describer.outlines(functions))
    position = [one.name for one in functions].index("numbers")
    assert Descriptions(describer, functions)[position].names == []


def test_a_function_is_described_when_it_is_called(kernel: mp.Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    functions = kernel.functions("numbers", "pointers", "many", unsafe=True)
    describer = Describer(kernel, Wanted())
    described: list[int] = []  # the BTF ids of functions
    signature = describe.signature

    def counted(btf: Btf, type_id: int, **options: Any) -> Signature:
        described.append(type_id)
        return signature(btf, type_id, **options)

    monkeypatch.setattr(describe, "signature", counted)
    descriptions = Descriptions(describer, functions)
    tables(describer.outlines(functions))
    assert (len(descriptions), described) == (3, [])
    assert [descriptions[1].names, descriptions[1].names] == [["a", "b"], ["a", "b"]]
    assert described == [functions.btf_ids()[1]]
    assert list(descriptions) == describer.describe(functions)
    assert descriptions[1:] == describer.describe(functions)[1:]
