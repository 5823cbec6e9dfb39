"""The debug information that a program is loaded with: its name, and the Python line behind each instruction.

With it the verifier's log and `bpftool prog dump` quote the Python source. Knows Code; must not read files or load
anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from multiprobe.uapi import btf

if TYPE_CHECKING:
    from multiprobe.compiler.code import Code

_MAX_LINE = (1 << 22) - 1


class DebugInfo(NamedTuple):
    """BTF, and the records of PROG_LOAD that refer to it."""

    btf: bytes
    func_info: bytes
    line_info: bytes


def debug_info(code: Code, *, name: str, file: str, first_line: int) -> DebugInfo:
    """For the program `name` whose source starts at line `first_line` of `file`."""
    strings = btf.Strings()
    at_file = strings.offset(file)
    records = []
    for insn, location in _from_the_start(code.lines):
        line, column = location >> 10, location & 1023
        text = code.text[line].strip() if line < len(code.text) else ""
        number = min(first_line + line, _MAX_LINE)
        records.append((insn, at_file, strings.offset(text), number << 10 | column))
    return DebugInfo(
        btf=btf.one_function(name, strings), func_info=btf.func_info(0, btf.FUNC_ID), line_info=btf.line_info(records)
    )


def _from_the_start(lines: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    """The same with ascending instructions and one for instruction 0, as the kernel demands."""
    found: dict[int, int] = {0: 0}
    for insn, location in lines:
        found[insn] = max(location, 0)
    return sorted(found.items())
