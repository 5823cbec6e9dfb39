"""The binary format of BTF: header, sections, kinds and the sizes of their records, without NumPy.

Format: Documentation/bpf/btf.rst, include/uapi/linux/btf.h. Any violation is a `DataError` that names the byte.
`columns` does the same in bulk.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from multiprobe.errors import DataError
from multiprobe.names import encode_name

MAGIC = 0xEB9F
HEADER = struct.Struct("<HBBIIIII")
LAYOUT = struct.Struct("<II")
MAX_TYPE = 0xFFFFF

VOID, INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT = range(12)
FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(12, 20)

KIND_NAMES = (
    *("void", "int", "ptr", "array", "struct", "union", "enum", "fwd", "typedef", "volatile", "const", "restrict"),
    *("func", "func_proto", "var", "datasec", "float", "decl_tag", "type_tag", "enum64"),
)
QUALIFIERS = (CONST, VOLATILE, RESTRICT, TYPE_TAG)
MODIFIERS = (TYPEDEF, *QUALIFIERS)
REFERENCES = (PTR, *MODIFIERS, FUNC, FUNC_PROTO, VAR, DECL_TAG)

RECORD_WORDS = 3
# Words that follow a record of each kind: a fixed number, and so many for each of its `vlen` elements.
FIXED_WORDS = {INT: 1, ARRAY: 3, VAR: 1, DECL_TAG: 1}
ELEMENT_WORDS = {STRUCT: 3, UNION: 3, ENUM: 2, FUNC_PROTO: 2, DATASEC: 3, ENUM64: 3}
N_KINDS = 128
RETURNS_BITS, RETURNS_SIGNED, RETURNS_NOTHING = 0x3F, 0x40, 0x80
"""What the register that returns a value holds: how many of its upper bits mean nothing, whether the rest has a sign,
and whether the function returns nothing."""
RETURNS_UNKNOWN = RETURNS_SIGNED  # without types: all 64 bits, with a sign
BIG_STRUCT = 16  # a larger struct is passed and returned in memory (System V ABI for x86-64, 3.2.3)
MAX_DEPTH = 32  # of typedefs and qualifiers, as in the kernel (MAX_RESOLVE_DEPTH of kernel/bpf/btf.c)


class Sections(NamedTuple):
    """A BTF file taken apart: the type section and where it starts, the strings, and the sizes of records.

    record_words: for each known kind, how many 32-bit words follow a record, and how many more for each element
    """

    types: memoryview
    type_start: int
    strings: bytes
    record_words: dict[int, tuple[int, int]]


def parse_sections(data: bytes, *, is_split: bool) -> Sections:
    """Check the header and cut the file into its sections."""
    if len(data) < HEADER.size:
        raise DataError(f"BTF is cut off at byte {len(data)}: its header takes {HEADER.size} bytes")
    magic, version, _flags, header_length, type_off, type_len, str_off, str_len = HEADER.unpack_from(data)
    if magic == int.from_bytes(MAGIC.to_bytes(2, "little"), "big"):
        raise DataError("BTF at byte 0: it was written on a machine of the other byte order")
    if magic != MAGIC:
        raise DataError(f"BTF at byte 0: magic number {magic:#06x} instead of {MAGIC:#06x}")
    if version != 1:
        raise DataError(f"BTF at byte 2: version {version} is not known, only 1")
    if header_length < HEADER.size or header_length > len(data):
        raise DataError(f"BTF at byte 4: header length {header_length} doesn't fit a file of {len(data)} bytes")
    type_start = _section(data, "types", header_length, type_off, type_len)
    string_start = _section(data, "strings", header_length, str_off, str_len)
    if type_off % 4 or type_len % 4:
        raise DataError(f"BTF at byte 8: the type section ({type_off}, {type_len}) isn't aligned to 4 bytes")
    strings = data[string_start : string_start + str_len]
    if not is_split and not strings.startswith(b"\0"):
        raise DataError(f"BTF at byte {string_start}: the string section doesn't begin with an empty string")
    if strings and not strings.endswith(b"\0"):
        raise DataError(f"BTF at byte {string_start + str_len - 1}: the last string doesn't end")
    types = memoryview(data)[type_start : type_start + type_len]
    return Sections(types, type_start, strings, _record_words(data, header_length))


def _section(data: bytes, what: str, header_length: int, offset: int, length: int) -> int:
    start = header_length + offset
    if start + length > len(data):
        raise DataError(
            f"BTF is cut off at byte {len(data)}: the section of {what} reaches from {start} to {start + length}",
            hint="copy the whole file again and retry",
        )
    return start


def _record_words(data: bytes, header_length: int) -> dict[int, tuple[int, int]]:
    """The sizes of records: for kinds that we don't know, from the file's own layout section, where it has one."""
    sizes = {kind: (FIXED_WORDS.get(kind, 0), ELEMENT_WORDS.get(kind, 0)) for kind in range(1, len(KIND_NAMES))}
    if header_length >= HEADER.size + LAYOUT.size:
        offset, length = LAYOUT.unpack_from(data, HEADER.size)
        start = _section(data, "layouts", header_length, offset, length)
        for kind in range(len(KIND_NAMES), min(N_KINDS, length // 4)):
            n_fixed, n_element = data[start + 4 * kind], data[start + 4 * kind + 1]
            if n_fixed % 4 == 0 and n_element % 4 == 0:
                sizes[kind] = n_fixed // 4, n_element // 4
    return sizes


def find_function(sections: Sections, name: str) -> int | None:
    """The type id of the function `name` in a file without a base, or None; stops at the first broken record.

    One walk in plain Python: for a single function that is faster than importing NumPy.
    """
    wanted = sections.strings.find(b"\0" + encode_name(name) + b"\0") + 1
    words = sections.types.cast("I")
    sizes = sections.record_words
    at, last, type_id = 0, len(words) - RECORD_WORDS if wanted else -1, 1
    while at <= last:
        info = words[at + 1]
        kind = info >> 24 & 0x7F
        if kind == FUNC and words[at] == wanted:
            return type_id
        if kind not in sizes:
            return None
        fixed, element = sizes[kind]
        at += RECORD_WORDS + fixed + element * (info & 0xFFFFFF)
        type_id += 1
    return None
