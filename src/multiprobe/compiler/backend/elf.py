"""What is wanted from object files: the machine; of LLVM's, instructions and which line each comes from. Pure."""

from __future__ import annotations

from struct import Struct
from struct import error as StructError  # noqa: N812

from multiprobe.errors import DataError

_HEADER = Struct("<16sHHIQQQIHHHHHH")
_SECTION = Struct("<IIQQQQIIQQ")
_BTF_EXT = Struct("<HBBIIIII")
_BLOCK = Struct("<II")
_LINE = Struct("<IIII")


MACHINE_BPF = 247  # EM_BPF


def machine(data: bytes) -> int:
    """The machine that an object file is for (EM_BPF, …). Raises DataError when it is none, or cut off."""
    sections(data)
    found: int = _HEADER.unpack_from(data)[2]
    return found


def sections(data: bytes) -> dict[str, bytes]:
    """The contents of all sections, by name."""
    try:
        header = _HEADER.unpack_from(data)
        if header[0][:6] != b"\x7fELF\x02\x01":
            raise DataError("not a 64-bit little-endian ELF file")
        table, size, count, names = header[6], header[11], header[12], header[13]
        entries = [_SECTION.unpack_from(data, table + n * size) for n in range(count)]
        entries[names]
    except (StructError, IndexError) as error:
        raise DataError(f"an object file that can't be read: {error}") from error
    text = data[entries[names][4] :]
    return {
        text[entry[0] : text.index(b"\0", entry[0])].decode(): data[entry[4] : entry[4] + entry[5]] for entry in entries
    }


def line_info(data: bytes) -> tuple[tuple[int, int], ...]:
    """Pairs of (instruction, line << 10 | column) from a .BTF.ext section, one for each change."""
    if not data:
        return ()
    _, _, _, header_size, _, _, offset, size = _BTF_EXT.unpack_from(data)
    start = header_size + offset
    end = start + size
    found: list[tuple[int, int]] = []
    at = start + 4
    while at < end:
        _, count = _BLOCK.unpack_from(data, at)
        at += 8
        for _ in range(count):
            insn_offset, _, _, location = _LINE.unpack_from(data, at)
            is_known = location >> 10 > 0  # LLVM writes line 0 for what comes from several
            if is_known and (not found or found[-1][1] != location):
                found.append((insn_offset // 8, location))
            at += _LINE.size
    return tuple(found)
