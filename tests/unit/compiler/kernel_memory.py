"""A kernel with a few types, and memory with objects of them, for programs on the test machine."""

from __future__ import annotations

import sys
from pathlib import Path
from struct import pack_into

sys.path.append(str(Path(__file__).parents[1] / "kernel"))

from btf_writer import BtfWriter

import multiprobe as mp

ITEM_SIZE = 120


def types() -> bytes:
    """BTF with `struct item`, which has a member of each sort."""
    w = BtfWriter()
    int_, u8, u16, u32, u64 = (
        w.signed("int", 4),
        w.integer("unsigned char", 1),
        w.integer("unsigned short", 2),
        w.integer("unsigned int", 4),
        w.integer("long unsigned int", 8),
    )
    char, bool_ = w.integer("char", 1), w.add("int", "_Bool", 1, (4 << 24 | 8,))
    s8 = w.add("typedef", "__s8", w.integer("signed char", 1))
    big = w.integer("__int128", 16)
    color = w.enum("color", ("RED", 0), ("BLUE", 5))
    mood = w.enum("mood", ("BAD", -1), ("GOOD", 1), flag=True)
    inner = w.struct("inner", 8, ("x", int_, 0), ("y", u16, 32))
    union = w.struct("", 8, ("word", u64, 0), ("half", u32, 0), kind="union")
    function = w.pointer(w.prototype(int_, ("a", int_)))
    name, grid = w.array(char, 16, u32), w.array(w.array(u16, 3, u32), 2, u32)
    flexible = w.array(u32, 0, u32)
    item = 0
    forward = w.add("fwd", "item")
    to_item = w.pointer(w.add("const", target=forward))
    pairs = w.array(inner, 2, u32)
    members = [("next", to_item, 0), ("a", int_, 64), ("b", s8, 96), ("c", bool_, 104), ("d", u16, 112)]
    members += [("inner", inner, 128), ("", union, 192), ("low", u32, 3 << 24 | 256), ("", u32, 2 << 24 | 259)]
    members += [("high", int_, 5 << 24 | 261), ("wide", u64, 40 << 24 | 266), ("color", color, 320)]
    members += [("mood", mood, 352), ("call", function, 384), ("name", name, 448), ("grid", grid, 576)]
    members += [("pairs", pairs, 704), ("link", w.pointer(to_item), 832), ("opaque", w.pointer(0), 896)]
    members += [("tail", flexible, 960)]
    item = w.struct("item", ITEM_SIZE, *members, flag=True)
    w.struct("outer", 160, ("count", u64, 0), ("holder", w.struct("holder", 128, ("item", item, 64)), 64))
    w.struct("huge", 16, ("value", big, 0))
    w.add("var", "counter", int_, (1,))
    w.add("typedef", "u32", u32)
    w.add("typedef", "u64", u64)
    w.struct("task_struct", 32, ("pid", int_, 0), ("item", to_item, 64), ("comm", name, 128))
    w.struct("elsewhere", 1, ("u", u8, 0))
    return w.data()


def kernel(path: Path) -> mp.Kernel:
    """The kernel that has them, out of a file."""
    path.write_bytes(types())
    path.with_name("kallsyms").write_bytes(b"")
    return mp.Kernel.from_files(kallsyms=str(path.with_name("kallsyms")), btf=str(path))


def put(memory: bytearray, offset: int, letter: str, *numbers: int) -> None:
    pack_into(f"<{len(numbers)}{letter}", memory, offset, *numbers)
