"""Typed pointers on the test machine: each sort of member is read as what it is, and what is wrong is refused."""

from __future__ import annotations

import linecache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_memory import ITEM_SIZE, BtfWriter, kernel, put
from runner import Bench

import multiprobe as mp
from multiprobe.compiler import cache
from multiprobe.compiler.compiling import compile_program
from multiprobe.compiler.digest import digest
from multiprobe.compiler.frontend.arguments import find_arguments, kernel_parameters
from multiprobe.compiler.frontend.statements import build
from multiprobe.compiler.frontend.typed import KernelTypes
from multiprobe.compiler.program import Program
from multiprobe.compiler.shape import Shape
from multiprobe.errors import CompileError

FILE = "<typed>"
MASK = (1 << 64) - 1
#: Where `struct item` keeps each member, by the offsets in kernel_memory.py.
VALUES = {"a": (8, "i", -5), "b": (12, "b", -3), "c": (13, "B", 7), "d": (14, "H", 65535), "x": (16, "i", -9)}
VALUES |= {"y": (20, "H", 9), "word": (24, "Q", 0x1234_5678_9ABC_DEF0), "color": (40, "I", 5), "mood": (44, "i", -1)}
VALUES |= {"call": (48, "Q", 0xFFFF_FFFF_8100_0000)}


def make(body: str, head: str = "") -> Program:
    source = f"{head}\n@mp.program\ndef program(ctx):\n" + "".join(f"    {line}\n" for line in body.split("\n"))
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    names: dict[str, Any] = {"mp": mp, "out": mp.Array(mp.i64, 4), "item": mp.struct("item"), "color": mp.enum("color")}
    exec(compile(source, FILE, "exec"), names)
    program = names["program"]
    assert isinstance(program, Program)
    return program


@pytest.fixture
def target(tmp_path: Path) -> mp.Kernel:
    return kernel(tmp_path / "btf")


class World:
    """A bench with two items in its memory: the first one's `next` is the second."""

    def __init__(self, body: str, target: mp.Kernel, head: str = "") -> None:
        self.bench = Bench(make(body, head), kernel=target)
        machine = self.bench.machine
        self.first, self.second = machine.allocate(ITEM_SIZE + 32), machine.allocate(ITEM_SIZE)
        memory, _ = machine.find(self.first, ITEM_SIZE)
        for offset, letter, number in VALUES.values():
            put(memory, offset, letter, number)
        put(memory, 0, "Q", self.second)
        low, high, wide = 5, -7, 0xAB_CDEF_0123
        put(memory, 32, "Q", low | (high & 31) << 5 | wide << 10)
        memory[56:72] = b"a name".ljust(16, b"\0")
        put(memory, 72, "H", *range(100, 106))
        put(memory, 88, "i", 71)
        put(memory, 96, "i", -72)
        cell = machine.allocate(8)
        machine.write(cell, 8, self.second)
        put(memory, 104, "Q", cell, 0xDEAD)
        put(memory, 120, "I", 31, 32, 33)
        put(machine.find(self.second, ITEM_SIZE)[0], 8, "i", 42)

    def out(self, *arguments: int, **facts: int) -> int:
        return self.bench.hit(self.first, *arguments, **facts).array("out")[0]


MEMBERS = [
    ("p.a", -5),
    ("p.b", -3),
    ("p.c", 1),
    ("p.d", 65535),
    ("p.inner.x", -9),
    ("p.inner.y", 9),
    ("p.word", 0x1234_5678_9ABC_DEF0),
    ("p.half", 0x9ABC_DEF0),
    ("p.low", 5),
    ("p.high", -7),
    ("p.wide", 0xAB_CDEF_0123),
    ("p.color", 5),
    ("p.color == color.BLUE", 1),
    ("p.mood", -1),
    ('p.mood == mp.enum("mood").BAD', 1),
    ("mp.u32(p.call)", 0x8100_0000),
    ("p.name[2]", ord("n")),
    ("p.name[ctx.arg(1)]", ord("m")),
    ("p.grid[1][2]", 105),
    ("p.grid[ctx.arg(2)][ctx.arg(2)]", 104),
    ("p.pairs[1].x", -72),
    ("p.pairs[ctx.arg(2)].x", -72),
    ("p.tail[2]", 33),
    ("p.next.a", 42),
    ("p.next.next.a", 0),
    ("p.link[0].a", 42),
    ("p[0].a", -5),
    ("p.next == 0", 0),
    ("p.next.next is None", 1),
    ("p.next is not None", 1),
    ("p.next == p.link[0]", 1),
    ("1 if p.next else 0", 1),
    ("not p.next.next", 1),
    ("p.opaque == 0xDEAD", 1),
    ("item(p.next).a", 42),
    ('mp.struct("item")(ctx.arg(0)).d', 65535),
    ('mp.cast("struct item *", ctx.arg(0)).a', -5),
    ('mp.cast("int *", mp.address_of(p.a))[0]', -5),
    ('mp.cast("u32", 1 << 40 | 7)', 7),
    ('mp.cast("int", 0xFFFFFFF5)', -11),
    ('mp.cast("_Bool", 0x100)', 0),
    ("mp.u64(mp.address_of(p.d)) - mp.u64(p)", 14),
    ("mp.u64(p.name) - mp.u64(p)", 56),
    ("mp.u64(p.inner) - mp.u64(p)", 16),
    ("p.inner.x + p.inner.y", 0),
    ("(p.next or p).a", 42),
    ("(p if ctx.arg(1) else p.next).a", -5),
    ('mp.container_of(mp.address_of(p.inner), "struct item", "inner").a', -5),
    ('mp.container_of(mp.address_of(p.inner.y), "struct item", "inner.y").d', 65535),
    ('ctx.arg(0, "const struct item *").a', -5),
    ('ctx.arg(3, "int")', -1),
    ('ctx.arg(3, "unsigned int")', 0xFFFFFFFF),
    ("ctx.task.pid", 71),
    ("ctx.task.item.a", -5),
    ('mp.per_cpu("counter")[0]', -5),
    ('mp.per_cpu("counter", 3)[0]', 71),
    ("p & 7", 0),
    ("p >> 63", 1),
    ("max(p, p.next) == p.next", 1),
]


@pytest.mark.parametrize(("expression", "expected"), MEMBERS, ids=[expression for expression, _ in MEMBERS])
def test_members(expression: str, expected: int, target: mp.Kernel) -> None:
    world = World(f'p = ctx.arg(0, "struct item *")\nout[0] = {expression}', target)
    machine = world.bench.machine
    task = machine.allocate(16)
    machine.write(task, 4, 71)
    machine.write(task + 8, 8, world.first)
    machine.variables = dict.fromkeys(range(200), world.first + 8)
    here = world.first + 8
    found = world.out(4, 1, 0xFFFFFFFF, task=task, task_btf=task, this_cpu=here, per_cpu=world.first + 88)
    assert found & MASK == expected & MASK


def test_failed_reads_give_zero_and_are_counted(target: mp.Kernel) -> None:
    world = World('p = ctx.arg(1, "struct item *")\nout[0] = p.next.a + p.low + 1', target)
    assert world.out(0) == 1
    assert world.bench.losses() == {"failed_reads": 3}


def test_what_is_read_together_fails_alone(target: mp.Kernel) -> None:
    """Memory ends behind the first member."""
    body = 'p = ctx.arg(1, "struct item *")\nn, a, d = p.next, p.a, p.d\nout[0] = n.a\nout[1] = a + d + 3'
    world = World(body, target)
    cut = world.bench.machine.put(world.second.to_bytes(8, "little"))
    assert world.out(cut) == 42
    assert world.bench.array("out")[1] == 3
    assert world.bench.losses() == {"failed_reads": 2}


@pytest.mark.parametrize(
    ("body", "n"),
    [
        ("out[0] = p.next.a + p.next.d", 3),
        ("a, d, n = p.a, p.d, p.next\nout[0] = a + d", 1),
        ("a = p.a\np = p.next\nd = p.d\nout[0] = a + d", 2),
        ("a = p.a\nd = p.d\np = p.next\nout[0] = a + d + p.a", 2),
        ("q = p.next\nout[0] = q.a\nout[1] = q.a\nout[2] = p.next.a", 3),
        ("if p.a:\n    out[0] = p.a + p.d\nout[1] = p.a", 2),
        ("out[0] = p.a\np = p.next\nout[1] = p.a", 3),
        ("for i in range(3):\n    out[i] = p.a + p.a", 3),
        ("out[0] = ctx.task.item.a + ctx.task.item.a", 2),
        ("out[0] = ctx.task.pid + ctx.task.pid", 0),
    ],
)
def test_what_was_read_is_not_read_again(body: str, n: int, target: mp.Kernel) -> None:
    world = World(f'p = ctx.arg(0, "struct item *")\n{body}', target)
    world.out(task=world.first, task_btf=world.first)
    assert world.bench.machine.n_reads == n


def test_a_list_is_walked(target: mp.Kernel) -> None:
    body = 'p = ctx.arg(0, "struct item *")\nn = 0\nwhile p is not None:\n    n += p.a\n    p = p.next\nout[0] = n'
    assert World(body, target).out() == 37


def test_pointers_go_through_helpers(target: mp.Kernel) -> None:
    head = "@mp.helper\ndef second(p):\n    if p.next:\n        return p.next\n    return p\n"
    assert World('out[0] = second(ctx.arg(0, "struct item *")).a', target, head).out() == 42
    assert World("out[0] = second(second(item(ctx.arg(0)))).a", target, head).out() == 42


REFUSED = [
    ("x = ⟨p.nxt⟩", "struct item has no member 'nxt'", "next"),
    ("x = ⟨p.a.b⟩", "int has no members, and no 'b'", ""),
    ("x = ⟨p.inner.z⟩", "struct inner has no member 'z'", ""),
    ("x = ⟨p.link.a⟩", "struct item ** has no members", "p.link[0].a"),
    ("x = ⟨p.opaque.a⟩", "void * has no members", "mp.struct"),
    ("x = p.name[⟨16⟩]", "numbered from 0 to 15", ""),
    ("x = p.name[⟨-1⟩]", "numbered from 0 to 15", ""),
    ("x = ⟨p.opaque[0]⟩", "items of type void have no size", ""),
    ("x = ⟨p.a[0]⟩", "'p.a' is not a map", ""),
    ("x = ⟨p + 8⟩", "there is no arithmetic with pointers", "mp.u64(p)"),
    ("⟨p.a⟩ = 1", "only locals, items of maps and ctx.session", ""),
    ('x = ⟨mp.struct("itm")(p)⟩', "this kernel has no struct itm", "item"),
    ('x = ⟨mp.struct("item")⟩', "can't be used as a value", ""),
    ("x = ⟨item⟩", "item is a Struct", ""),
    ('x = ctx.arg(0, ⟨"struct itm *"⟩)', "this kernel has no struct itm", "item"),
    ('x = ctx.arg(0, ⟨"struct *"⟩)', "no type that can be searched for", ""),
    ("x = ctx.arg(0, ⟨4⟩)", "a name in quotes is needed", ""),
    ('x = ⟨ctx.arg(0, "struct item")⟩', "struct item is no type of a value", ""),
    ('x = ⟨mp.cast("int")⟩', "mp.cast takes 2 values", ""),
    ('x = mp.container_of(p, "struct item", ⟨"nxt"⟩)', "no member 'nxt'", "next"),
    ('x = mp.container_of(p, "struct item", ⟨"low"⟩)', "a bit field has no address", ""),
    ('x = mp.container_of(p, ⟨"int"⟩, "low")', "int has no members", ""),
    ("x = mp.address_of(⟨p.low⟩)", "a bit field has no address", ""),
    ("x = mp.address_of(⟨p⟩)", "only members and items", ""),
    ('x = mp.per_cpu(⟨"conter"⟩)', "no per-CPU variable conter", "counter"),
    ('x = ⟨mp.struct("huge")(p).value⟩', "no values of this type: __int128, 16 bytes", ""),
    ("x = ⟨color.GREEN⟩", "enum color has no 'GREEN'", ""),
    ('x = ⟨mp.enum("colour").RED⟩', "this kernel has no enum colour", "color"),
    ("x = 1; y = ⟨x is None⟩", "only pointers can be None", ""),
    ("x = 1; y = ⟨x.a⟩", "a value has no 'a'", ""),
]


@pytest.mark.parametrize(("marked", "message", "hint"), REFUSED, ids=[marked for marked, *_ in REFUSED])
def test_refused_with_a_caret(marked: str, message: str, hint: str, target: mp.Kernel) -> None:
    start, end = marked.index("⟨"), marked.index("⟩") - 1
    line = marked.replace("⟨", "").replace("⟩", "")
    with pytest.raises(CompileError) as caught:
        build(make(f'p = ctx.arg(0, "struct item *")\n{line}'), KernelTypes.of(target))
    error = caught.value
    assert message in error.message
    assert hint in error.hint
    assert (error.file, error.line) == (FILE, 5)
    assert (error.column - 4, (error.end_column or 0) - 4) == (start, end)


def test_a_local_with_two_types_is_a_number(target: mp.Kernel) -> None:
    body = "p = item(ctx.arg(0))\nif ctx.arg(1):\n    p = ctx.task\nout[0] = p.a"
    with pytest.raises(CompileError, match="a value has no 'a'"):
        build(make(body), KernelTypes.of(target))


def test_layouts_in_python(target: mp.Kernel) -> None:
    item = mp.struct("item", kernel=target)
    assert (item.size, item.offset("inner.y"), item.offset("half"), item.offset("wide")) == (ITEM_SIZE, 20, 24, 33)
    by_name = {member.name: member for member in item.members}
    assert by_name["name"].type == "char [16]"
    assert (by_name["high"].bit_offset, by_name["high"].bits) == (261, 5)
    memory = bytearray(ITEM_SIZE)
    for offset, letter, number in VALUES.values():
        put(memory, offset, letter, number)
    put(memory, 72, "H", *range(100, 106))
    row = np.frombuffer(bytes(memory), dtype=item.dtype)[0]
    assert (row["a"], row["b"], row["inner"]["y"], row["half"], row["mood"]) == (-5, -3, 9, 0x9ABC_DEF0, -1)
    assert row["grid"].tolist() == [[100, 101, 102], [103, 104, 105]]
    assert mp.enum("mood", kernel=target).BAD == -1
    with pytest.raises(mp.UsageError, match="no member 'nxt'"):
        item.offset("nxt")
    with pytest.raises(mp.UsageError, match="no struct itm"):
        _ = mp.struct("itm", kernel=target).size
    with pytest.raises(AttributeError, match="has no 'WORSE'"):
        _ = mp.enum("mood", kernel=target).WORSE
    with pytest.raises(mp.UsageError, match="only programs"):
        mp.container_of(1, "struct item", "a")


def test_only_programs_with_types_depend_on_the_kernel() -> None:
    typed = ['x = ctx.arg(0, "int")', "x = ctx.task.pid", "x = item(0).a", 'x = mp.cast("int", 1)', "x = color.RED"]
    typed.append("x = ctx.args.sk")
    for body in typed:
        assert make(body).uses_types, body
    for body in ("x = ctx.arg(0)", "'text'\nx = ctx.arg(0)", "x = ctx.pid"):
        assert not make(body).uses_types, body


def test_the_kernel_is_part_of_the_key(target: mp.Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    program = make("out[0] = item(ctx.arg(0)).a")
    keys = {digest(program, context="kprobe", when="entry", shape=Shape(), kernel_id=name) for name in ("", "1", "2")}
    assert len(keys) == 3
    compiled: list[str] = []
    monkeypatch.setattr(cache, "save", lambda key, code: compiled.append(key))
    compile_program(program, context="kprobe", when="entry", kernel=target)
    assert not compiled, "a kernel without a build id has no code kept for it"
    monkeypatch.setattr(mp.Kernel, "build_id", "abc")
    compile_program(program, context="kprobe", when="entry", kernel=target)
    assert len(compiled) == 1


# Arguments by name


def set_of(tmp_path: Path, *prototypes: tuple[tuple[str, str], ...], returns: str = "int") -> mp.FunctionSet:
    """Functions f0, f1, … whose parameters (name, type) are these."""
    w = BtfWriter()
    types = {"int": w.signed("int", 4), "long": w.signed("long int", 8), "u32": w.integer("unsigned int", 4)}
    item = w.struct("item", 8, ("a", types["int"], 0), ("b", types["int"], 32))
    big = w.struct("big", 16, ("a", types["long"], 0), ("b", types["long"], 64))
    types |= {"item *": w.pointer(item), "const item *": w.pointer(w.add("const", target=item)), "big": big}
    types |= {"huge": w.struct("huge", 24), "unsigned long": w.integer("unsigned long", 8)}
    types |= {"s32": w.add("typedef", "s32", types["int"])}
    for place, params in enumerate(prototypes):
        w.function(f"f{place}", types[returns], *((name, types[kind]) for name, kind in params))
    (tmp_path / "btf").write_bytes(w.data())
    lines = [f"{0xFFFFFFFF81000000 + 64 * place:016x} T f{place}\n" for place in range(len(prototypes))]
    (tmp_path / "kallsyms").write_text("".join(lines))
    kernel = mp.Kernel.from_files(kallsyms=str(tmp_path / "kallsyms"), btf=str(tmp_path / "btf"))
    return kernel.functions("f*")


def named(body: str, functions: mp.FunctionSet) -> Bench:
    program = make(body)
    types = KernelTypes.of(mp.Kernel.of(functions.table))
    shape = Shape(arguments=find_arguments(program, kernel_parameters(functions, types), types))
    return Bench(program, kernel=mp.Kernel.of(functions.table), shape=shape)


def test_arguments_by_name(tmp_path: Path) -> None:
    functions = set_of(
        tmp_path,
        (("p", "item *"), ("both", "big"), ("n", "int")),
        (("p", "const item *"), ("x", "big"), ("n", "s32"), ("more", "long")),
    )
    bench = named("out[0] = ctx.args.p.b\nout[1] = ctx.args.n\nout[2] = ctx.args.n < 0", functions)
    address = bench.machine.allocate(8)
    bench.machine.write(address + 4, 4, 77)
    assert bench.hit(address, 1, 2, 0xDEAD_0000_FFFF_FFF5).array("out")[:3] == [77, -11, 1]


def test_a_struct_returned_in_memory_shifts_arguments(tmp_path: Path) -> None:
    """Register 0 holds the address of the result; `ctx.arg(n)` stays the n-th register."""
    functions = set_of(tmp_path, (("p", "item *"), ("n", "int")), returns="huge")
    assert functions.slots() == bytes([3])
    bench = named("out[0] = ctx.args.p.b\nout[1] = ctx.args.n\nout[2] = ctx.arg(0)", functions)
    address = bench.machine.allocate(8)
    bench.machine.write(address + 4, 4, 77)
    assert bench.hit(0x1234, address, 0xDEAD_0000_FFFF_FFF5).array("out")[:3] == [77, -11, 0x1234]


def test_a_struct_that_does_not_fit_in_registers_is_on_the_stack(tmp_path: Path) -> None:
    """The fifth to sixth register are free, a struct of 16 bytes after five arguments goes to the stack as a whole."""
    functions = set_of(tmp_path, (*((f"a{n}", "long") for n in range(5)), ("both", "big"), ("n", "long")))
    with pytest.raises(CompileError, match="no function has an argument 'n'"):
        named("out[0] = ctx.args.n", functions)
    assert named("out[0] = ctx.args.a4", functions).hit(0, 1, 2, 3, 4).array("out")[0] == 4


@pytest.mark.parametrize(
    ("prototypes", "name", "message"),
    [
        (((("n", "int"),), (("x", "int"), ("n", "int"))), "n", "1 function has it at 0 as int, but f1 has it at 1"),
        (((("n", "int"),), (("n", "int"),), (("n", "u32"),)), "n", "but f2 has it at 0 as unsigned int"),
        (((("n", "int"),), (("n", "int"),), ()), "n", "2 functions have it at 0 as int, but f2 has none"),
        (((("n", "int"),), (("n", "item *"),), ()), "n", "f2 has none"),
        (((("n", "big"),),), "n", "no function has an argument 'n'"),
        (((("n", "int"),),), "m", "no function has an argument 'm'"),
    ],
)
def test_arguments_that_differ_are_listed(tmp_path: Path, prototypes: Any, name: str, message: str) -> None:
    functions = set_of(tmp_path, *prototypes)
    with pytest.raises(CompileError) as caught:
        named(f"out[0] = ctx.args.{name} + 1", functions)
    assert message in caught.value.message
    text = caught.value.source
    assert text[caught.value.column : caught.value.end_column] == f"ctx.args.{name}"


def test_many_that_differ_are_counted(tmp_path: Path) -> None:
    functions = set_of(tmp_path, *[(("n", "int"),)] * 10, *[()] * 8)
    with pytest.raises(CompileError, match=r"f14 has none \(and 3 more\)"):
        named("out[0] = ctx.args.n", functions)


def test_arguments_need_functions() -> None:
    with pytest.raises(mp.NotSupportedError, match="the functions aren't known"):
        compile_program(make("out[0] = ctx.args.n"), context="kprobe", when="entry", is_cached=False)


def test_what_functions_return_is_in_the_table(tmp_path: Path) -> None:
    assert set_of(tmp_path, (), ()).returns() == bytes([0x40 | 32] * 2)
