"""The targets of `fuzz.py` that read DWARF: a process with limits reads it, and its answer is used here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dwarf_writer import (
    Die,
    base,
    die,
    function,
    inlined,
    make_lines,
    make_program,
    parameter,
    pointer,
    struct,
    unit,
)
from elf_writer import BASE

from fuzzing.target import Target
from multiprobe.binaries.calling import CONVENTIONS, Convention, find_places
from multiprobe.binaries.dwarf.reader import read_types
from multiprobe.binaries.file import BinaryFile
from multiprobe.binaries.inlined import read_places
from multiprobe.binaries.prototypes import Prototype, UserTypes
from multiprobe.compiler.frontend.typed import KernelTypes
from multiprobe.instruments.signatures import prototype_signature
from multiprobe.instruments.trace.members import Behind
from multiprobe.instruments.trace.reads import Planner
from multiprobe.kernel.btf import layout


def _program() -> bytes:
    """DWARF with all that is read: structs, bit fields, circles, declarations, abstract instances, locations."""
    number, text, real = base("int", 4, 5), base("char", 1, 6), base("double", 8, 4)
    node = struct("node", 40, ("value", number, 0))
    link = pointer(node)
    inner = struct("", 8, ("a", number, 0), ("b", real, 0), word="union_type")
    array = die("array_type", die("subrange_type", upper_bound=7), type=text)
    declared = die("structure_type", name="node", declaration=True)
    node.children += [
        die("member", name="next", type=link, data_member_location=8),
        die("member", type=inner, data_member_location=16),
        die("member", name="bits", type=number, bit_size=5, data_bit_offset=200),
        die("member", name="text", type=array, data_member_location=28),
    ]
    color = die("enumeration_type", die("enumerator", name="RED", const_value=-1), name="color", byte_size=4)
    alias, fixed = die("typedef", name="Node", type=node), die("const_type", type=text)
    string, back, to_alias = pointer(fixed), pointer(declared), pointer(alias)
    abstract = die("subprogram", parameter("a", number), name="f1", external=True, type=link)
    concrete = function(1, die("formal_parameter", abstract_origin=abstract.children[0], location=b"\x55"))
    concrete.attributes = {**concrete.attributes, "abstract_origin": abstract, "frame_base": b"\x9c"}
    types: list[Die] = [number, text, real, node, link, inner, array, color, alias, fixed, string, to_alias]
    taken = [parameter("node", to_alias), parameter("text", string), parameter("x", real), parameter("by", node)]
    first = unit(*types, function(0, *taken, parameter("c", color), type=node), abstract, concrete)
    return make_program(first, unit(declared, back, function(2, parameter("a", back, location=b"\x91\x70"))))


def _inlined_program() -> bytes:
    """Functions inlined into one another, in blocks with and without code of their own, and their lines."""
    inner = die("subprogram", name="inner", inline=1, linkage_name="_Z5inneri")
    outer = die("subprogram", name="outer", inline=1)
    deep = inlined(4, 4, inner, line=20)
    block = die("lexical_block", inlined(2, 12, outer, die("lexical_block", deep, low_pc=BASE + 4, high_pc=6), line=10))
    made = unit(inner, outer, function(0, block), function(1, inlined(17, 3, inner, line=30)))
    made.attributes |= {"stmt_list": 0, "comp_dir": "/src"}
    lines = make_lines((0, 1, 1), (2, 1, 5), (4, 2, 7), (8, 2, 9), (16, 1, 40), (32, 1, 41))
    return make_program(made, extra={".debug_line": lines})


def dwarf_targets(directory: Path) -> Iterator[Target]:
    """The targets; `directory` is theirs."""
    path = directory / "dwarf"

    def call(data: bytes) -> object:
        path.write_bytes(data)
        addresses = [0x400000 + 16 * n for n in range(3)]
        with BinaryFile(str(path)) as file:
            found = read_types(file, addresses, [("struct", "Node"), ("enum", "color")])
        types = UserTypes(found.btf, {})
        shown = [_shown(types, one, convention) for one in found.functions.values() for convention in
                 CONVENTIONS.values()]  # fmt: skip
        view, module = KernelTypes.of_program(found.btf)
        for type_id in filter(None, found.names.values()):
            if layout.is_record(found.btf, type_id):
                list(layout.fields(found.btf, found.btf.strip(type_id)))
                spot = Behind(view, Planner(), is_kernel=False).argument(view.ref(module, type_id).pointer)
                assert spot is not None
                Behind(view, Planner(), is_kernel=False).record(0, spot, depth=3)
        return shown

    def read_inlined(data: bytes) -> object:
        path.write_bytes(data)
        with BinaryFile(str(path)) as file:
            return [[*map(str, places)] for places in read_places(file, range(BASE, BASE + 48), []).values()]

    tokens = (b"\0\x01\x01", b"\0\x09\x02", b"\xff\xff\xff\xff", b"\x80", b"inner\0")
    yield Target("inlined functions", (_inlined_program(),), read_inlined, tokens)
    yield Target("dwarf", (_program(),), call, (b"\x0f\0\0\0", b"\x01", b"\xff\xff\xff\xff", b"\x91\x08", b"GNU "))


def _shown(types: UserTypes, evidence: object, convention: Convention) -> object:
    prototype = Prototype(evidence.type_id, *find_places(types.btf, evidence, convention, ["f"]))  # type: ignore[attr-defined,arg-type]
    signature = prototype_signature(types.btf, prototype, most=12)
    raw = [1 << 63] * 12
    return types.btf.signature(prototype.type_id), types.returned(prototype), signature.arguments(raw)
