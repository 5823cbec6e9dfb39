"""Parses the .BTF.ext section of LLVM's object files: the line of source that each instruction comes from. Pure."""

from __future__ import annotations

from struct import Struct

_BTF_EXT = Struct("<HBBIIIII")
_BLOCK = Struct("<II")
_LINE = Struct("<IIII")


def parse_line_info(data: bytes) -> tuple[tuple[int, int], ...]:
    """Pairs of (instruction, line << 10 | column), one for each change; none without a section."""
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
