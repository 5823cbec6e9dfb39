"""BTF: what a small file means, how it is broken, and that bpftool reads the same out of a big one."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from btf_writer import KINDS, BtfWriter

from multiprobe.errors import DataError, NotSupportedError, UsageError
from multiprobe.kernel.btf import format as btf_format
from multiprobe.kernel.btf.records import BtfMember, BtfParam
from multiprobe.kernel.btf.spelling import integer_name, parse_spelling
from multiprobe.kernel.btf.types import Btf, load_btf

VMLINUX = Path("/sys/kernel/btf/vmlinux")


class World:
    """A small BTF with the ids of what is in it."""

    def __init__(self) -> None:
        w = self.writer = BtfWriter()
        self.int = w.integer("int", 4)
        self.ulong = w.integer("long unsigned int", 8)
        self.char = w.integer("char", 1)
        self.sock = w.struct("sock", 16, ("a", self.int, 0), ("b", self.ulong, 64))
        self.sock_p = w.pointer(self.sock)
        self.const_sock_p = w.pointer(w.add("const", target=self.sock))
        self.sock_pp = w.pointer(self.sock_p)
        self.const_char_p = w.pointer(w.add("const", target=self.char))
        self.big = w.struct("big", 24)
        self.union = w.struct("u", 8, ("x", self.int, 0), kind="union")
        self.pid_t = w.add("typedef", "pid_t", self.int)
        self.big_t = w.add("typedef", "big_t", w.add("volatile", target=self.big))
        self.array = w.add("array", extra=(self.int, self.ulong, 6))
        self.void_p = w.pointer(0)
        self.callback = w.pointer(w.prototype(self.int, ("", self.void_p), ("n", self.ulong)))
        self.tagged = w.pointer(w.add("type_tag", "user", self.char))
        self.fwd = w.add("fwd", "hidden", flag=True)
        self.plain = w.function("plain", self.int, ("sk", self.sock_p), ("len", self.ulong))
        self.quiet = w.function("quiet", 0)
        self.printk = w.function("printk", self.int, ("fmt", self.const_char_p), ("", 0))
        self.by_value = w.function("by_value", self.sock, ("s", self.sock), ("t", self.big_t), ("u", self.union))
        self.odd = w.function("odd", self.big_t, ("p", self.pid_t), ("h", self.fwd), ("cb", self.callback))
        self.second = w.function("second", self.const_sock_p, ("n", self.int), ("sk", self.const_sock_p))
        self.data = w.data()
        self.btf = Btf.parse(self.data)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def columns(btf: Btf, name: str) -> dict[str, Any]:
    functions = btf.functions
    row = [functions.name(row) for row in range(len(functions))].index(name)
    names = ("n_params", "n_slots", "is_variadic", "has_big_struct_arg", "has_void_arg")
    return {column: getattr(functions, column)[row].item() for column in (*names, "return_size", "has_struct_return")}


def test_function_columns(world: World) -> None:
    functions = world.btf.functions
    assert functions.names == b"plain\nquiet\nprintk\nby_value\nodd\nsecond\n"
    assert functions.type_ids.tolist()[0] == world.plain
    assert len(functions) == 6
    quiet = dict.fromkeys(columns(world.btf, "quiet"), 0)
    assert columns(world.btf, "quiet") == quiet
    assert columns(world.btf, "plain") == quiet | {"n_params": 2, "n_slots": 2, "return_size": 4}
    assert columns(world.btf, "printk") == quiet | {"n_params": 1, "n_slots": 1, "is_variadic": 1, "return_size": 4}
    by_value = {"n_params": 3, "n_slots": 6, "has_big_struct_arg": 1}
    assert columns(world.btf, "by_value") == quiet | by_value | {"return_size": 16, "has_struct_return": 1}
    odd = {"n_params": 3, "n_slots": 2, "has_void_arg": 1, "return_size": 24, "has_struct_return": 1}
    assert columns(world.btf, "odd") == quiet | odd


def test_names_of_several_functions_are_ambiguous_when_their_types_differ() -> None:
    w = BtfWriter()
    number, long = w.integer("int", 4), w.integer("long", 8)
    w.function("copy_array", number, ("from", number), ("to", number), ("n", number))
    w.function("single", number, ("a", number))
    w.function("alike", number, ("a", number), ("b", long))
    w.function("copy_array", number, *((name, number) for name in "abcde"))
    w.function("alike", number, ("x", number), ("y", long))
    w.function("other_result", number)
    w.function("other_result", long)
    functions = Btf.parse(w.data()).functions
    names = [functions.name(row) for row in np.flatnonzero(functions.is_ambiguous).tolist()]
    assert names == ["copy_array", "copy_array", "other_result", "other_result"]


def test_spelling(world: World) -> None:
    spelled = {
        world.sock_p: "struct sock *",
        world.sock_pp: "struct sock **",
        world.const_sock_p: "const struct sock *",
        world.const_char_p: "const char *",
        world.ulong: "unsigned long",
        world.pid_t: "pid_t",
        world.void_p: "void *",
        world.array: "int [6]",
        world.callback: "int (*)(void *, unsigned long n)",
        world.tagged: "char *",
        world.fwd: "union hidden",
        0: "void",
    }
    assert {type_id: world.btf.type_name(type_id) for type_id in spelled} == spelled
    assert world.btf.signature(world.plain) == "int plain(struct sock *sk, unsigned long len)"
    assert world.btf.signature(world.quiet) == "void quiet(void)"
    assert world.btf.signature(world.printk) == "int printk(const char *fmt, ...)"


def test_spelling_of_pointers_that_are_qualified_and_point_to_arrays() -> None:
    w = BtfWriter()
    char = w.integer("char", 1)
    const_pointer = w.add("const", target=w.pointer(char))
    to_array = w.pointer(w.add("array", extra=(const_pointer, char, 3)))
    btf = Btf.parse(w.data())
    assert btf.type_name(const_pointer) == "char *const"
    assert btf.type_name(to_array) == "char *const (*)[3]"


@pytest.mark.parametrize(
    ("spelling", "position", "expected"),
    [
        ("struct sock *", None, "plain second"),
        ("struct sock *", 0, "plain"),
        ("struct sock*", 1, "second"),
        ("const struct sock *", None, "second"),
        ("struct sock", None, "by_value"),
        ("struct sock **", None, ""),
        ("unsigned long", None, "plain"),
        ("long unsigned int", 1, "plain"),
        ("int", None, "second"),
        ("pid_t", 0, "odd"),
        ("void", None, ""),
        ("char *", None, "printk"),
        ("big_t", None, "by_value"),
        ("union u", None, "by_value"),
        ("struct nowhere *", None, ""),
    ],
)
def test_functions_taking(world: World, spelling: str, position: int | None, expected: str) -> None:
    functions = world.btf.functions
    taking = world.btf.functions_taking(spelling, position=position)
    assert [functions.name(row) for row in taking.nonzero()[0]] == expected.split()


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [("int", "plain printk"), ("void", "quiet"), ("struct sock", "by_value"), ("const struct sock*", "second")],
)
def test_functions_returning(world: World, spelling: str, expected: str) -> None:
    functions = world.btf.functions
    returning = world.btf.functions_returning(spelling)
    assert [functions.name(row) for row in returning.nonzero()[0]] == expected.split()


@pytest.mark.parametrize(
    "text", ["", "*", "struct", "struct sock * sk", "sock[3]", "a b", "struct a b", "const", "int(*)(void)"]
)
def test_spelling_that_cannot_be_read(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_spelling(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("long unsigned int", "unsigned long"),
        ("unsigned", "unsigned int"),
        ("short int", "short"),
        ("long long int", "long long"),
        ("signed char", "signed char"),
        ("signed", "int"),
        ("__int128 unsigned", "unsigned __int128"),
        ("_Bool", "_Bool"),
        ("internal_t", "internal_t"),
    ],
)
def test_integer_name(name: str, canonical: str) -> None:
    assert integer_name(name) == canonical


def test_one_type(world: World) -> None:
    btf = world.btf
    assert btf.members(world.sock) == [BtfMember("a", world.int, 0, 0), BtfMember("b", world.ulong, 64, 0)]
    assert btf.parameters(world.plain) == [BtfParam("sk", world.sock_p), BtfParam("len", world.ulong)]
    assert btf.array(world.array) == (world.int, 6)
    assert [btf.size(i) for i in (world.sock, world.array, world.big_t, world.sock_p, 0)] == [16, 24, 24, 8, 0]
    assert btf.type_ids("sock") == [world.sock]
    assert btf.type_ids("sock", KINDS["union"]) == []
    assert btf.type_ids("plain", KINDS["func"]) == [world.plain]
    assert btf.type_ids("") == []
    assert btf.strip(world.big_t) == world.big


def test_one_function_without_numpy(world: World) -> None:
    sections = btf_format.parse_sections(world.data, is_split=False)
    for name in ("plain", "second", "odd"):
        assert btf_format.find_function(sections, name) == world.btf.type_ids(name, KINDS["func"])[0]
    for name in ("sock", "nowhere", "", "lain"):
        assert btf_format.find_function(sections, name) is None
    damaged = bytearray(world.data)
    struct.pack_into("<I", damaged, 28, 99 << 24)
    assert btf_format.find_function(btf_format.parse_sections(bytes(damaged), is_split=False), "plain") is None


def test_bit_fields_and_enums() -> None:
    w = BtfWriter()
    number = w.integer("int", 4)
    bits = w.struct("bits", 4, ("low", number, 3 << 24), ("high", number, 5 << 24 | 3), flag=True)
    small = w.enum("small", ("minus", -1), ("two", 2), flag=True)
    unsigned = w.enum("unsigned", ("top", 0xFFFFFFFF))
    big = w.enum64("big", ("huge", 1 << 40), ("less", -(1 << 40)), flag=True)
    btf = Btf.parse(w.data())
    assert btf.members(bits) == [BtfMember("low", number, 0, 3), BtfMember("high", number, 3, 5)]
    assert btf.enumerators(small) == {"minus": -1, "two": 2}
    assert btf.enumerators(unsigned) == {"top": 0xFFFFFFFF}
    assert btf.enumerators(big) == {"huge": 1 << 40, "less": -(1 << 40)}


def test_module_on_top_of_a_base(world: World) -> None:
    w = BtfWriter(first_id=len(world.btf), string_base=world.btf.string_end)
    own = w.struct("own", 8, ("sk", world.sock_p, 0))
    own_p = w.pointer(own)
    const = w.add("const", target=own)
    function = w.function("mod_func", world.int, ("own", own_p), ("sk", world.sock_p), ("c", w.pointer(const)))
    borrowed = w.add("func", "mod_borrows", world.btf.target(world.plain), vlen=1)
    module = Btf.parse(w.data(), world.btf)
    assert module.functions.names == b"mod_func\nmod_borrows\n"
    assert module.functions.type_ids.tolist() == [function, borrowed]
    assert module.functions.n_params.tolist() == [3, 2]
    assert module.functions_taking("struct sock *").tolist() == [True, True]
    assert module.functions_taking("struct own *").tolist() == [True, False]
    assert module.functions_taking("const struct own *").tolist() == [True, False]
    assert module.functions_returning("int").tolist() == [True, True]
    assert module.signature(function) == "int mod_func(struct own *own, struct sock *sk, const struct own *c)"
    assert module.signature(borrowed) == "int mod_borrows(struct sock *sk, unsigned long len)"
    assert module.type_ids("sock") == [world.sock]
    assert module.type_name(world.sock_p) == "struct sock *"
    assert world.btf.type_ids("own") == []


def test_a_kind_that_is_not_known_is_skipped_by_the_files_own_layout() -> None:
    w = BtfWriter()
    first = w.integer("int", 4)
    data = w.data()
    types = (
        data[24 : 24 + 16] + struct.pack("<III3I", 0, 2 | 20 << 24, 0, 7, 8, 9) + struct.pack("<III", 0, 2 << 24, first)
    )
    layout = bytes(4 * 20) + bytes([4, 4, 0, 0])  # kind 20: 4 bytes, then 4 for each element
    strings = b"\0int\0"
    sizes = (0, len(types), len(types), len(strings), len(types) + len(strings), len(layout))
    header = struct.pack("<HBBIIIIIII", 0xEB9F, 1, 0, 32, *sizes)
    assert Btf.parse(header + types + strings + layout).type_name(3) == "int *"
    with pytest.raises(DataError, match="byte 48: a type of unknown kind 20"):
        Btf.parse(header + types + strings + bytes(len(layout)).replace(b"\0", b"\1"))


def broken(*changes: tuple[int, str, int]) -> bytes:
    data = bytearray(World().data)
    for offset, form, number in changes:
        struct.pack_into(form, data, offset, number)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "cut off at byte 0"),
        (broken((0, "<H", 0x1234)), "byte 0: magic number 0x1234"),
        (broken((0, ">H", 0xEB9F)), "other byte order"),
        (broken((2, "<B", 9)), "byte 2: version 9"),
        (broken((4, "<I", 8)), "byte 4: header length 8"),
        (broken((12, "<I", 1 << 30)), "the section of types reaches"),
        (broken((8, "<I", 2)), "aligned"),
        (broken((24, "<I", 1 << 20)), "byte 24, type 1: its name lies beyond"),
        (broken((28, "<I", 99 << 24)), "byte 24: a type of unknown kind 99"),
        (broken((28, "<I", 4 << 24 | 0xFFFFFF)), "byte 24: a struct of 16777215 elements reaches over the end"),
        (broken((116, "<I", 5000)), "byte 108, type 5: it refers to a type beyond"),
    ],
)
def test_broken_files(data: bytes, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        Btf.parse(data)


def test_a_circle_of_typedefs_is_an_error_and_no_endless_loop() -> None:
    w = BtfWriter()
    w.add("typedef", "a", 2)
    w.add("typedef", "b", 1)
    w.function("f", 1)
    btf = Btf.parse(w.data())
    with pytest.raises(DataError, match="byte 24, type 1: more than 32 typedefs"):
        _ = btf.functions
    with pytest.raises(DataError, match="typedefs"):
        btf.size(1)


def test_endless_declarations_are_errors() -> None:
    w = BtfWriter()
    w.pointer(1)
    w.prototype(2, *[("p", 2)] * 8)
    w.add("const", target=3)
    w.prototype(0, ("f", 5), ("g", 0))
    w.pointer(4)
    btf = Btf.parse(w.data())
    for type_id in (1, 2, 3, 4, 5):
        with pytest.raises(DataError, match=r"without end|circle"):
            btf.type_name(type_id)


def test_an_array_of_itself_has_no_size() -> None:
    w = BtfWriter()
    w.add("array", extra=(1, 0, 2))
    btf = Btf.parse(w.data())
    for question in (btf.size, btf.type_name):
        with pytest.raises(DataError, match="without end"):
            question(1)


def test_ids_beyond_the_last_one(world: World) -> None:
    for question in (world.btf.kind, world.btf.type_name, world.btf.members, world.btf.name, world.btf.size):
        with pytest.raises(DataError, match="has no type 9999"):
            question(9999)
    with pytest.raises(DataError, match="is no struct or union"):
        world.btf.members(world.int)


def test_function_without_a_prototype() -> None:
    w = BtfWriter()
    w.add("func", "f", w.integer("int", 4))
    with pytest.raises(DataError, match="type 2: it has no prototype"):
        _ = Btf.parse(w.data()).functions


def test_load_btf_says_what_is_missing(tmp_path: Path, world: World) -> None:
    with pytest.raises(NotSupportedError) as caught:
        load_btf(directory=str(tmp_path))
    assert "CONFIG_DEBUG_INFO_BTF" in caught.value.hint
    (tmp_path / "vmlinux").write_bytes(world.data)
    assert len(load_btf(directory=str(tmp_path))) == len(world.btf)


@pytest.mark.skipif(
    shutil.which("bpftool") is None or not os.access(VMLINUX, os.R_OK), reason="needs bpftool and this kernel's BTF"
)
def test_bpftool_reads_the_same_types() -> None:
    shown = subprocess.run(
        ["bpftool", "btf", "dump", "-j", "file", str(VMLINUX)], capture_output=True, check=True
    ).stdout
    types = json.loads(shown)["types"]
    btf = Btf.parse(VMLINUX.read_bytes())
    assert len(types) == len(btf) - 1
    assert [item["kind"].lower() for item in types] == [btf_format.KIND_NAMES[kind] for kind in btf.kinds[1:]]
    functions = [item for item in types if item["kind"] == "FUNC"]
    assert "".join(f"{item['name']}\n" for item in functions).encode() == btf.functions.names
    by_id = {item["id"]: item for item in types}
    for item in functions[::50]:
        params = by_id[item["type_id"]]["params"]
        assert [("(anon)" if not p.name else p.name, p.type_id) for p in btf.parameters(item["id"])] == [
            (param["name"], param["type_id"]) for param in params
        ]
    for item in types[::100]:
        if item["kind"] in ("STRUCT", "UNION"):
            expected = [(m["name"], m["type_id"], m["bits_offset"], m.get("bitfield_size", 0)) for m in item["members"]]
            found = [(m.name or "(anon)", m.type_id, m.bit_offset, m.bits) for m in btf.members(item["id"])]
            assert found == expected
            assert btf.size(item["id"]) == item["size"]
