"""Makes small ELF files of x86-64 or another machine, without a compiler: one executable segment, tables of symbols."""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack

BASE = 0x400000
GLOBAL, WEAK, LOCAL = 1 << 4, 2 << 4, 0
FUNC, IFUNC, OBJECT = 2, 10, 1
#: push %rbp; mov %rsp,%rbp; pop %rbp; ret; nops
CODE = bytes.fromhex("554889e55dc3") + b"\x90" * 10
N_FUNCTIONS = 16


@dataclass(frozen=True)
class Made:
    """A symbol. `place`: which of the 16-byte functions of the code it names; None for one of another file."""

    name: str
    place: int | None = 0
    info: int = GLOBAL | FUNC
    size: int = 16
    value: int | None = None

    def packed(self, name_at: int) -> bytes:
        value = self.value if self.value is not None else 0 if self.place is None else BASE + 16 * self.place
        return pack("<IBBHQQ", name_at, self.info, 0, 0 if self.place is None else 1, value, self.size)


def make_elf(
    symtab: list[Made] | None = None,
    dynsym: list[Made] | None = None,
    *,
    extra: dict[str, bytes] | None = None,
    machine: int = 62,
    kind: int = 3,
    plt: int | None = None,
    has_sections: bool = True,
) -> bytes:
    """An ELF file. `extra`: other sections by name; `plt`: the place of the function that is a section .plt."""
    code = CODE * N_FUNCTIONS
    contents: list[tuple[str, int, bytes, int, int]] = [(".text", 1, code, 0, BASE)]
    for name, number, symbols in ((".symtab", 2, symtab), (".dynsym", 11, dynsym)):
        if symbols is not None:
            table, strings = _table(symbols)
            contents.append((name, number, table, len(contents) + 2, 0))
            contents.append((f"{name}.names", 3, strings, 0, 0))
    contents += [(name, 1, data, 0, 0) for name, data in (extra or {}).items()]
    return _assemble(contents, code, machine=machine, kind=kind, plt=plt, has_sections=has_sections)


def _table(symbols: list[Made]) -> tuple[bytes, bytes]:
    table, strings = bytes(24), b"\0"
    for symbol in symbols:
        table += symbol.packed(len(strings))
        strings += symbol.name.encode() + b"\0"
    return table, strings


def _assemble(
    contents: list[tuple[str, int, bytes, int, int]],
    code: bytes,
    *,
    machine: int,
    kind: int,
    plt: int | None,
    has_sections: bool,
) -> bytes:
    body, names, headers = b"", b"\0", [bytes(64)]
    begin = 64 + 56
    for name, number, data, link, address in contents:
        place = begin + len(body)
        entry = 24 if number in (2, 11) else 0
        headers.append(pack("<IIQQQQIIQQ", len(names), number, 0, address, place, len(data), link, 0, 0, entry))
        names += name.encode() + b"\0"
        body += data
    if plt is not None:
        headers.append(pack("<IIQQQQIIQQ", len(names), 1, 0, BASE + 16 * plt, begin + 16 * plt, 16, 0, 0, 0, 0))
        names += b".plt\0"
    headers.append(pack("<IIQQQQIIQQ", 0, 3, 0, 0, begin + len(body), len(names), 0, 0, 0, 0))
    table_at = begin + len(body) + len(names) if has_sections else 0
    n = len(headers) if has_sections else 0
    header = pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        kind,
        machine,
        1,
        0,
        64,
        table_at,
        0,
        64,
        56,
        1,
        64,
        n,
        max(0, n - 1),
    )
    segment = pack("<IIQQQQQQ", 1, 5, begin, BASE, 0, len(code), len(code), 4096)
    return header + segment + body + names + (b"".join(headers) if has_sections else b"")


def build_id_note(digest: bytes) -> bytes:
    """The contents of .note.gnu.build-id."""
    return pack("<III", 4, len(digest), 3) + b"GNU\0" + digest
