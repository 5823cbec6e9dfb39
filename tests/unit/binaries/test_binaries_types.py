"""Types of functions from DWARF: of DWARF made by hand, and of compiled programs; hostile DWARF."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dwarf_writer import Die, base, die, function, make_program, parameter, pointer, struct, unit

import multiprobe as mp
from multiprobe.binaries import types as binary_types
from multiprobe.binaries.dwarf import reader
from multiprobe.binaries.types import with_types
from multiprobe.errors import DataError, NotSupportedError, UsageError
from multiprobe.instruments.trace.describe import Describer, Wanted
from multiprobe.kernel.btf import layout
from multiprobe.kernel.btf.values import ValueType

pytest.importorskip("elftools", reason="the extra `dwarf` is not installed")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
INT, LONG, CHAR = base("int", 4, 5), base("long", 8, 5), base("char", 1, 6)
DOUBLE, FLOAT, INT128 = base("double", 8, 4), base("float", 4, 4), base("__int128", 16, 5)
LONG_DOUBLE = base("long double", 16, 4)
SCALARS = (INT, LONG, CHAR, DOUBLE, FLOAT, INT128, LONG_DOUBLE)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIPROBE_CACHE", str(tmp_path / "cache"))


def made(tmp_path: Path, *units: Die, extra: dict[str, bytes] | None = None) -> mp.Binary:
    path = tmp_path / "made"
    path.write_bytes(make_program(*units, extra=extra))
    return mp.Binary(path)


def described(binary: mp.Binary, name: str = "f0") -> tuple[str, list[int | str], str]:
    """The prototype, the position of each parameter or why it has none, and why the result can't be read."""
    functions = binary.functions(name, types=True)
    (prototype,) = functions.prototypes()
    assert prototype is not None, binary.problems()
    assert functions.table.types is not None
    places = [place.reason if place.position is None else place.position for place in prototype.places]
    return functions.table.types.btf.signature(prototype.type_id), places, prototype.result.reason


def of_c(tmp_path: Path, *parameters: Die, returned: Die | None = None, more: tuple[Die, ...] = ()) -> list[int | str]:
    named = [parameter(f"p{n}", type_) for n, type_ in enumerate(parameters)]
    result = {} if returned is None else {"type": returned}
    return described(made(tmp_path, unit(*SCALARS, *more, function(0, *named, **result))))[1]


def test_prototype(tmp_path: Path) -> None:
    node = struct("node", 16, ("value", INT, 0))
    node.children.append(die("member", name="next", type=pointer(node), data_member_location=8))
    text = die("const_type", type=CHAR)
    color = die("enumeration_type", die("enumerator", name="RED", const_value=-1), name="color", byte_size=4)
    alias = die("typedef", name="Node", type=node)
    link, string, to_alias = node.children[1].attributes["type"], pointer(text), pointer(alias)
    assert isinstance(link, Die)
    parameters = (parameter("node", to_alias), parameter("name", string), parameter("color", color))
    types = (INT, CHAR, node, text, color, alias, link, string, to_alias)
    binary = made(tmp_path, unit(*types, function(0, *parameters, die("unspecified_parameters"), type=to_alias)))
    assert described(binary) == ("Node *f0(Node *node, const char *name, enum color color, ...)", [0, 1, 2], "")
    (known,) = with_types(binary.functions("f0"))[0].prototypes()  # type: ignore[union-attr]
    assert known is not None
    found = mp.struct("Node", binary=binary)
    assert [(one.name, one.type, one.offset) for one in found.members] == [
        ("value", "int", 0), ("next", "struct node *", 8)
    ]  # fmt: skip
    assert mp.enum("color", binary=binary).RED == -1
    with pytest.raises(UsageError, match="no struct nodes with members"):
        _ = mp.struct("nodes", binary=binary).size


def test_registers_and_stack(tmp_path: Path) -> None:
    assert of_c(tmp_path, INT, DOUBLE, LONG, FLOAT, CHAR) == [0, "double", 1, "float", 2]
    assert of_c(tmp_path, *[LONG] * 8) == [*range(8)]
    assert of_c(tmp_path, LONG, INT128, LONG) == [0, "128 bits", 3]
    assert of_c(tmp_path, *[LONG] * 5, INT128, LONG, LONG) == [*range(5), "128 bits", 5, 8]
    assert of_c(tmp_path, *[LONG] * 7, LONG_DOUBLE, LONG) == [*range(7), "long double", 10]
    assert of_c(tmp_path, *[DOUBLE] * 9, LONG, *[LONG] * 6)[9:] == [*range(6), 7]
    assert of_c(tmp_path, *[LONG] * 14)[11:] == [11, *["beyond the first 12 arguments"] * 2]


@pytest.mark.parametrize(
    ("size", "members", "registers", "words"),
    [
        (8, [("a", INT, 0), ("b", FLOAT, 4)], 1, 0),
        (8, [("a", FLOAT, 0), ("b", FLOAT, 4)], 0, 0),
        (16, [("a", LONG, 0), ("b", DOUBLE, 8)], 1, 0),
        (16, [("a", LONG, 0), ("b", LONG, 8)], 2, 0),
        (16, [("a", DOUBLE, 0), ("b", DOUBLE, 8)], 0, 0),
        (24, [("a", LONG, 0), ("b", LONG, 8), ("c", LONG, 16)], 0, 3),
        (5, [("a", CHAR, 0), ("b", INT, 1)], 0, 1),
        (16, [("a", LONG_DOUBLE, 0)], 0, 2),
    ],
)
def test_structs_by_value(
    tmp_path: Path, size: int, members: list[tuple[str, Die, int]], registers: int, words: int
) -> None:
    one = struct("one", size, *members)
    assert of_c(tmp_path, one, LONG, more=(one,)) == ["struct", registers]
    after = of_c(tmp_path, one, *[LONG] * 7, more=(one,))
    assert after[7] == 6 + words + registers
    as_result = 1 if words in (1, 3) else 0
    assert of_c(tmp_path, LONG, returned=one, more=(one,)) == [as_result]


def test_words_of_structs_by_value_and_their_members(tmp_path: Path) -> None:
    """In two registers, in one of them and a vector register, on the stack, and partly beyond what can be read."""
    longs = struct("longs", 16, ("a", LONG, 0), ("b", LONG, 8))
    mixed = struct("mixed", 16, ("a", DOUBLE, 0), ("b", INT, 8), ("c", INT, 12))
    big = struct("big", 24, ("a", LONG, 0), ("b", LONG, 8), ("c", LONG, 16))
    types = (longs, mixed, big, big, big)
    named = [parameter(f"p{n}", one) for n, one in enumerate(types)]
    binary = made(tmp_path, unit(*SCALARS, longs, mixed, big, function(0, *named)))
    functions = binary.functions("f0", types=True)
    (prototype,) = functions.prototypes()
    assert prototype is not None
    assert [one.words for one in prototype.places] == [(0, 1), (None, 2), (6, 7, 8), (9, 10, 11), ()]
    assert prototype.places[4].reason == "beyond the first 12 arguments"
    decode = Describer(mp.Kernel(), Wanted()).describe(functions)[0].decoder()
    raw = [11, 12, 13 | 14 << 32, 0, 0, 0, 16, 17, 18, 19, 20, 21]
    assert dict(decode(raw, {})[0]) == {
        "p0": {"a": 11, "b": 12},
        "p1": {"b": 13, "c": 14},
        "p2": {"a": 16, "b": 17, "c": 18},
        "p3": {"a": 19, "b": 20, "c": 21},
        "p4": "<not readable: beyond the first 12 arguments>",
    }
    assert dict(decode(raw[:6], {})[0])["p2"] == "<not readable: struct>"


def test_a_struct_that_does_not_fit_leaves_the_register(tmp_path: Path) -> None:
    longs = struct("longs", 16, ("a", LONG, 0), ("b", LONG, 8))
    assert of_c(tmp_path, *[LONG] * 5, longs, LONG, LONG, more=(longs,)) == [*range(5), "struct", 5, 8]


def test_location_at_the_entry_is_believed(tmp_path: Path) -> None:
    """What DWARF says of the first instruction contradicts the convention: nothing else is taken from that."""
    first = parameter("a", LONG, location=b"\x91\x08")  # on the stack, of a function called as on another system
    binary = made(tmp_path, unit(*SCALARS, function(0, first, parameter("b", LONG), frame_base=b"\x9c")))
    assert described(binary)[1] == [7, "its place is not certain"]


@pytest.mark.parametrize(
    ("attributes", "language", "producer"),
    [
        ({"calling_convention": 3}, 0x0C, "GNU C17"),
        ({"external": False}, 0x0C, "clang version 15"),
        ({}, 0x16, "Go cmd/compile"),
        ({}, 0x08, "GNU Fortran"),
    ],
)
def test_other_conventions(tmp_path: Path, attributes: dict[str, object], language: int, producer: str) -> None:
    one = function(0, parameter("a", LONG), type=LONG, **attributes)
    binary = made(tmp_path, unit(*SCALARS, one, language=language, producer=producer))
    assert described(binary)[1:] == (["its place is not certain"], "its place is not certain")


def test_code_that_is_not_optimised_keeps_the_convention(tmp_path: Path) -> None:
    one = function(0, parameter("a", LONG, location=b"\x91\x70"), external=False)
    assert described(made(tmp_path, unit(*SCALARS, one, producer="clang version 15")))[1] == [0]


def test_classes_that_may_be_passed_by_reference(tmp_path: Path) -> None:
    plain = struct("plain", 8, ("a", LONG, 0))
    copied = struct("copied", 8, ("a", LONG, 0))
    copied.children.append(die("subprogram", name="~copied", declaration=True, external=True))
    referred = struct("referred", 8, ("a", LONG, 0))
    referred.attributes["calling_convention"] = 4
    functions = [
        function(n, parameter("a", one), parameter("b", LONG)) for n, one in enumerate((plain, copied, referred))
    ]
    binary = made(tmp_path, unit(*SCALARS, plain, copied, referred, *functions, language=0x1A))
    assert described(binary, "f0")[1] == ["struct", 1]
    assert described(binary, "f1")[1] == ["struct", "its place is not certain"]
    assert described(binary, "f2")[1] == ["struct, passed by reference", 1]


def test_clones_of_gcc(tmp_path: Path) -> None:
    path = tmp_path / "made"
    content = make_program(unit(*SCALARS, function(0, parameter("a", LONG))))
    assert described(made(tmp_path, unit(*SCALARS, function(0, parameter("a", LONG)))))[1] == [0]
    path.write_bytes(content.replace(b"\0f0\0f1\0f2\0f3\0f4\0", b"\0f0.isra\0f4\0f4\0\0"))
    names = [one.name for one in mp.Binary(path).functions("*.isra*")]
    assert names == ["f0.isra"]
    assert described(mp.Binary(path), "f0.isra")[1] == ["its place is not certain"]


def test_abstract_origin_and_specification(tmp_path: Path) -> None:
    abstract = die("subprogram", parameter("a", LONG), parameter("b", INT), name="f0", external=True, type=INT)
    second = die("formal_parameter", abstract_origin=abstract.children[1])
    concrete = function(0, second, abstract_origin=abstract)
    del concrete.attributes["name"], concrete.attributes["external"]
    declared = die("subprogram", name="area", declaration=True, external=True, type=LONG)
    defined = function(1, parameter("this", LONG), specification=declared)
    del defined.attributes["name"]
    scope = die("namespace", declared, name="geometry")
    binary = made(tmp_path, unit(*SCALARS, abstract, concrete, scope, defined))
    assert described(binary, "f0")[:2] == ("int f0(long a, int b)", [0, 1])
    assert described(binary, "f1")[:2] == ("long area(long this)", [0])


def test_declaration_is_found_in_another_unit(tmp_path: Path) -> None:
    declared = die("structure_type", name="node", declaration=True)
    link = pointer(declared)
    other = die("compile_unit", LONG, struct("node", 8, ("value", LONG, 0)), language=0x0C, producer="GNU C17")
    first = unit(declared, link, function(0, parameter("a", link)))
    functions = made(tmp_path, first, other).functions("f0", types=True)
    types = functions.table.types
    assert types is not None
    (prototype,) = functions.prototypes()
    assert prototype is not None
    target = types.btf.target(types.btf.parameters(prototype.type_id)[0].type_id)
    assert [one.name for one in layout.fields(types.btf, target)] == ["value"]


def test_members(tmp_path: Path) -> None:
    """Anonymous members, bit fields of both kinds of encoding, base classes, arrays."""
    inner = struct("", 8, ("a", INT, 0), ("b", INT, 0), word="union_type")
    array = die("array_type", die("subrange_type", upper_bound=3), type=CHAR)
    outer = struct("outer", 24, ("text", array, 12))
    outer.children += [
        die("member", type=inner, data_member_location=0),
        die("member", name="bits", type=INT, bit_size=5, data_bit_offset=67),
    ]
    derived = die("structure_type", die("inheritance", type=outer, data_member_location=8), name="derived",
                  byte_size=32)  # fmt: skip
    binary = made(tmp_path, unit(INT, CHAR, inner, array, outer, derived))
    found = [(one.name, one.type, one.bit_offset, one.bits) for one in mp.struct("derived", binary=binary).members]
    assert found == [("text", "char [4]", 160, 0), ("a", "int", 64, 0), ("b", "int", 64, 0), ("bits", "int", 131, 5)]


def test_without_dwarf_or_pyelftools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = made(tmp_path, unit(*SCALARS, function(0, parameter("a", LONG))))
    monkeypatch.setattr(binary_types, "has_pyelftools", lambda: False)
    functions, problems = with_types(binary.functions("f0", "f1"))
    assert problems == [
        f"{binary.path} has types of its functions (DWARF), which need pyelftools: pip install 'multiprobe[dwarf]'"
    ]
    assert functions.prototypes() == [None, None]  # type: ignore[union-attr]
    with pytest.raises(NotSupportedError, match="need pyelftools"):
        binary.find_type("struct", "x")
    stripped = mp.Binary(shutil.copy("/bin/true", tmp_path / "true"))
    with pytest.raises(NotSupportedError, match=r"tells no types \(DWARF\)"):
        stripped.find_type("struct", "x")


def test_types_shared_by_dwz_that_are_not_there(tmp_path: Path) -> None:
    link = b"../.dwz/x.debug\0" + bytes(range(20))
    binary = made(tmp_path, unit(*SCALARS, function(0)), extra={".gnu_debugaltlink": link})
    (problem,) = with_types(binary.functions("f0"))[1]
    assert "the types that it shares with other files (dwz) are in ../.dwz/x.debug, which is not there" in problem


def test_a_changed_file_is_not_read(tmp_path: Path) -> None:
    binary = made(tmp_path, unit(*SCALARS, function(0)))
    Path(binary.path).write_bytes(make_program(unit(*SCALARS, function(0, parameter("a", INT)))))
    (problem,) = with_types(binary.functions("f0"))[1]
    assert "has changed since it was read" in problem


def test_the_answer_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = made(tmp_path, unit(*SCALARS, function(0, parameter("a", LONG))))
    assert described(binary)[1] == [0]
    monkeypatch.setattr(reader, "_ask", lambda *_: pytest.fail("asked again"))
    assert described(binary)[1] == [0]
    (kept,) = (tmp_path / "cache/types").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    with pytest.raises(pytest.fail.Exception, match="asked again"):
        described(binary)


# Hostile


def test_types_in_circles(tmp_path: Path) -> None:
    alias = die("typedef", name="self")
    alias.attributes["type"] = pointer(alias)
    link = alias.attributes["type"]
    assert isinstance(link, Die)
    itself = struct("itself", 8)
    itself.children.append(die("member", type=itself, data_member_location=0))
    functions = [function(0, parameter("a", alias)), function(1, parameter("a", itself), parameter("b", LONG))]
    binary = made(tmp_path, unit(LONG, alias, link, itself, *functions))
    assert described(binary, "f0")[0] == "void f0(self a)"
    assert described(binary, "f1")[1] == ["of an unknown type", "its place is not certain"]
    origin = function(2)
    origin.attributes["abstract_origin"] = origin
    with_types(made(tmp_path, unit(origin)).functions("f2"))


def test_unnamed_members_that_multiply(tmp_path: Path) -> None:
    level = struct("", 8, ("a", LONG, 0), word="union_type")
    levels = [level]
    for _ in range(20):
        level = die("union_type", *(die("member", type=level) for _ in range(8)), byte_size=8)
        levels.append(level)
    level.attributes["name"] = "all"
    binary = made(tmp_path, unit(LONG, *levels, function(0, parameter("a", level), parameter("b", LONG))))
    assert described(binary)[1] == ["of an unknown type", "its place is not certain"]


def test_gigabytes(tmp_path: Path) -> None:
    array = die("array_type", die("subrange_type", upper_bound=(1 << 32) - 2), type=LONG)
    huge = struct("huge", (1 << 32) - 1, ("a", array, 0))
    binary = made(tmp_path, unit(LONG, array, huge, function(0, parameter("a", huge), parameter("b", LONG))))
    assert described(binary)[1] == ["struct", 0]
    info = (
        Path(binary.path)
        .read_bytes()
        .replace(b"\x04\0\0\0\0\0\x08\x01GNU C17", b"\x04\0\xff\xff\xff\x7f\x08\x01GNU C17")
    )
    path = tmp_path / "claims"
    path.write_bytes(info)
    (problem,) = with_types(mp.Binary(path).functions("f0"))[1]
    assert "its DWARF can't be read" in problem


def test_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry whose sibling is itself: pyelftools goes round without end."""
    endless = struct("endless", 8, ("a", LONG, 0))
    endless.attributes["sibling"] = endless
    binary = made(tmp_path, unit(LONG, endless, function(0)))
    monkeypatch.setattr(reader, "MAX_SECONDS", 1)
    functions, (problem,) = with_types(binary.functions("f0"))
    assert "takes longer than 1 seconds to read" in problem
    assert functions.prototypes() == [None]  # type: ignore[union-attr]


def test_damaged_dwarf(tmp_path: Path) -> None:
    content = make_program(unit(*SCALARS, function(0, parameter("a", LONG))))
    info = content.index(b"GNU C17") - 16
    path = tmp_path / "damaged"
    for at in range(info, info + 24, 3):
        path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
        functions, _ = with_types(mp.Binary(path).functions("f0"))
        assert len(functions) == 1


def test_an_answer_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = made(tmp_path, unit(*SCALARS, function(0, parameter("a", LONG))))
    for answer in (b"", b"[]\n", b'{"functions": {"1": {}}, "types": []}\n', b'{"functions": {}, "types": []}\nx'):
        monkeypatch.setattr(reader, "_ask", lambda *_, answer=answer: answer)
        with pytest.raises(DataError):
            binary.find_type("struct", "x")


def test_unreadable_values_say_why() -> None:
    value = ValueType("unreadable", reason="float", is_kernel=False)
    assert value.read(5) == value.read_returned(5) == value.reader()(5) == "<not readable: float>"
    assert ValueType("int", 32, is_kernel=False).read_returned((1 << 32) - 2) == -2


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler here: the test needs gcc")
@pytest.mark.parametrize(
    "flags", [("-g1",), ("-gdwarf-4", "-gsplit-dwarf"), ("-gdwarf-5", "-gsplit-dwarf")], ids="".join
)
def test_lines_without_types(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Functions look there as if they took and returned nothing."""
    (tmp_path / "x.c").write_text("int f(int n) { return n - 1; }\nint main(void) { return f(1); }\n")
    subprocess.run(["gcc", *flags, "-o", "x", "x.c"], cwd=tmp_path, check=True)
    binary = mp.Binary(tmp_path / "x")
    assert binary.functions("f", "main", types=True).prototypes() == [None, None]
    assert "with -g1 there are lines only, and types in .dwo files" in binary.problems()[-1]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler here: the test needs gcc")
@pytest.mark.parametrize("version", [4, 5])
def test_compiled(tmp_path: Path, version: int) -> None:
    source = "typedef struct { int a : 3; unsigned char b; } S;\n"
    source += "int work(const S *s, unsigned n) { return s->a + n; }\nint main(void) { return 0; }\n"
    (tmp_path / "x.c").write_text(source)
    for flags in (("-O0",), ("-O2",)):
        command = ["gcc", f"-gdwarf-{version}", *flags, "-o", "x", "x.c"]
        subprocess.run(command, check=True, cwd=tmp_path)
        assert described(mp.Binary(tmp_path / "x"), "work") == ("int work(const S *s, unsigned int n)", [0, 1], "")
    subprocess.run(["objcopy", "--only-keep-debug", "x", "x.debug"], check=True, cwd=tmp_path)
    subprocess.run(["objcopy", "--strip-debug", "--add-gnu-debuglink=x.debug", "x"], check=True, cwd=tmp_path)
    assert described(mp.Binary(tmp_path / "x"), "work")[1] == [0, 1]
