"""Makes DWARF by hand, as a tree of entries: also what no compiler makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import pack

from elf_writer import BASE, Made, make_elf

TAGS = {
    "array_type": 0x01, "enumeration_type": 0x04, "formal_parameter": 0x05, "member": 0x0D, "pointer_type": 0x0F,
    "compile_unit": 0x11, "structure_type": 0x13, "subroutine_type": 0x15, "typedef": 0x16, "union_type": 0x17,
    "unspecified_parameters": 0x18, "inheritance": 0x1C, "subrange_type": 0x21, "base_type": 0x24, "const_type": 0x26,
    "enumerator": 0x28, "inlined_subroutine": 0x1D, "lexical_block": 0x0B, "subprogram": 0x2E, "namespace": 0x39,
    "imported_unit": 0x3D, "partial_unit": 0x3C,
}  # fmt: skip
ATTRIBUTES = {
    "sibling": 0x01, "location": 0x02, "name": 0x03, "byte_size": 0x0B, "low_pc": 0x11, "high_pc": 0x12,
    "language": 0x13, "const_value": 0x1C, "upper_bound": 0x2F, "producer": 0x25, "abstract_origin": 0x31,
    "calling_convention": 0x36, "data_member_location": 0x38, "declaration": 0x3C, "encoding": 0x3E, "external": 0x3F,
    "frame_base": 0x40, "specification": 0x47, "type": 0x49, "bit_size": 0x0D, "data_bit_offset": 0x6B,
    "import": 0x18, "linkage_name": 0x6E, "comp_dir": 0x1B, "stmt_list": 0x10, "call_file": 0x58, "call_line": 0x59,
    "ranges": 0x55, "inline": 0x20,
}  # fmt: skip
ADDR, DATA4, STRING, FLAG, SDATA, REF_ADDR, EXPRLOC = 0x01, 0x06, 0x08, 0x0C, 0x0D, 0x10, 0x18


@dataclass(eq=False)
class Die:
    """An entry. Values: int, str, bool (a flag), bytes (an expression), another Die (a reference)."""

    tag: str
    attributes: dict[str, object] = field(default_factory=dict)
    children: list[Die] = field(default_factory=list)
    at: int = 0


def die(tag: str, *children: Die, **attributes: object) -> Die:
    """An entry with children."""
    return Die(tag, attributes, list(children))


def _form(name: str, value: object) -> int:
    if name == "low_pc":
        return ADDR
    if isinstance(value, bool):
        return FLAG
    if isinstance(value, int):
        return SDATA if value < 0 or name == "const_value" else DATA4
    return {str: STRING, bytes: EXPRLOC, Die: REF_ADDR}[type(value)]


def _sleb(number: int) -> bytes:
    made = b""
    while True:
        byte, number = number & 0x7F, number >> 7
        if (number, byte & 0x40) in ((0, 0), (-1, 0x40)):
            return made + bytes([byte])
        made += bytes([byte | 0x80])


def _packed(name: str, value: object) -> bytes:
    form = _form(name, value)
    if form == ADDR:
        return pack("<Q", value)
    if form == FLAG:
        return pack("<B", value)
    if form == SDATA:
        return _sleb(value)  # type: ignore[arg-type]
    if form == DATA4:
        return pack("<I", value)
    if isinstance(value, str):
        return value.encode() + b"\0"
    if isinstance(value, bytes):
        return bytes([len(value)]) + value
    assert isinstance(value, Die)
    return pack("<I", value.at)


class _Writer:
    """Writes units; entries get their offsets in a first pass."""

    def __init__(self) -> None:
        self.abbrevs: dict[tuple[object, ...], int] = {}

    def entry(self, one: Die, at: int) -> bytes:
        one.at = at
        shape = (one.tag, bool(one.children), *((name, _form(name, value)) for name, value in one.attributes.items()))
        number = self.abbrevs.setdefault(shape, len(self.abbrevs) + 1)
        made = bytes([number]) + b"".join(_packed(name, value) for name, value in one.attributes.items())
        for child in one.children:
            made += self.entry(child, at + len(made))
        return made + (b"\0" if one.children else b"")

    def unit(self, top: Die, at: int) -> bytes:
        body = self.entry(top, at + 11)
        return pack("<IHIB", len(body) + 7, 4, 0, 8) + body

    def abbreviations(self) -> bytes:
        made = b""
        for (tag, has_children, *forms), number in self.abbrevs.items():
            made += bytes([number, TAGS[str(tag)], bool(has_children)])
            for name, form in forms:  # type: ignore[misc]
                made += bytes([ATTRIBUTES[name], form])
            made += b"\0\0"
        return made + b"\0"


def make_dwarf(*units: Die) -> dict[str, bytes]:
    """The sections of DWARF 4 with these units. At most 127 shapes of entries."""
    writer = _Writer()
    made = b""
    for _ in range(2):  # the second time, all offsets are known
        made = b""
        for unit in units:
            made += writer.unit(unit, len(made))
    return {".debug_info": made, ".debug_abbrev": writer.abbreviations()}


def make_program(*units: Die, extra: dict[str, bytes] | None = None) -> bytes:
    """A file whose functions, of 16 bytes, are called f0, f1, …, with this DWARF."""
    return make_elf([Made(f"f{n}", n) for n in range(16)], extra={**make_dwarf(*units), **(extra or {})})


def unit(*children: Die, language: int = 0x0C, producer: str = "GNU C17") -> Die:
    """A unit with all functions of the file."""
    return die("compile_unit", *children, producer=producer, language=language, name="x.c", low_pc=BASE, high_pc=256)


def function(n: int, *children: Die, **attributes: object) -> Die:
    """The function fn, which other files can call."""
    return die("subprogram", *children, **{"name": f"f{n}", "external": True, "low_pc": BASE + 16 * n, "high_pc": 16,
                                           **attributes})  # fmt: skip


def parameter(name: str, type_: Die | None, **attributes: object) -> Die:
    """A parameter."""
    return die("formal_parameter", name=name, **({} if type_ is None else {"type": type_}), **attributes)


def inlined(n: int, size: int, origin: Die, *children: Die, line: int, **attributes: object) -> Die:
    """An instance of `origin` at the n-th byte of the file's code, called in this line of the second file."""
    return die("inlined_subroutine", *children, abstract_origin=origin, low_pc=BASE + n, high_pc=size, call_file=2,
               call_line=line, **attributes)  # fmt: skip


def make_lines(*rows: tuple[int, int, int]) -> bytes:
    """.debug_line with rows (bytes from the start of the code, number of the file, line), and an end.

    The files are 1, x.c, in the folder of the unit, and 2, y.h, in its folder "include".
    """
    operands = bytes([0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1])
    tables = bytes([1, 1, 1, 0xFB, 14, 13]) + operands + b"include\0\0x.c\0\0\0\0y.h\0\x01\0\0\0"
    program, line = b"", 1
    for n, file, new in rows:
        program += b"\0\x09\x02" + pack("<Q", BASE + n) + bytes([4, file, 3]) + _sleb(new - line) + b"\x01"
        line = new
    body = pack("<I", len(tables)) + tables + program + b"\0\x01\x01"
    return pack("<IH", len(body) + 2, 4) + body


def base(name: str, size: int, encoding: int) -> Die:
    """A base type."""
    return die("base_type", name=name, byte_size=size, encoding=encoding)


def pointer(target: Die | None) -> Die:
    """A pointer."""
    return die("pointer_type", byte_size=8, **({} if target is None else {"type": target}))


def struct(name: str, size: int, *members: tuple[str, Die, int], word: str = "structure_type") -> Die:
    """A struct with members: (name, type, offset)."""
    made = [die("member", name=text, type=type_, data_member_location=at) for text, type_, at in members]
    return die(word, *made, **({"name": name} if name else {}), byte_size=size)
