"""Reads enabled_functions and kprobes/list: the functions patched by ftrace and kprobes. The parsers are pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: The letters of enabled_functions.
FLAGS = {
    "R": "saves all registers",
    "I": "may change where the function goes (live patching)",
    "D": "has a direct call",
    "O": "calls its ops without a list",
    "M": "was called by several ops, or directly, at some time",
}
_FIRST_LINE = re.compile(r"(?P<name>\S+)(?: \[(?P<module>[^\]]+)\])? \((?P<count>[0-9]{1,19})\)(?P<rest>.*)")
_FIRST_WORD = re.compile(r"^[^\s#]", re.MULTILINE)
_INDENTS = ("\t", " ")
_TRAMPOLINE = re.compile(r"tramp: (?P<trampoline>\S+) \((?P<function>[^)+]+)")
_DIRECT = re.compile(r"\s*direct(?:\((?P<how>\w+)\))?-->(?P<symbol>[^\s+]+)(?:\+\S+/(?P<size>0x[0-9a-f]+))?")
_STATE = re.compile(r"\[([A-Z]+)\]")
_CALLED = re.compile(r"->(?P<function>[^\s+]+)\+")


@dataclass(frozen=True, slots=True)
class Enabled:
    """A function that ftrace has patched.

    n_ops: how many ftrace_ops are on it
    flags: letters, see `FLAGS`
    ops: functions of its ops by name, those that the file names
    called: the function that its trampoline or ftrace's own stub calls
    direct: the symbol of its direct trampoline, "" for none; `direct_size` in bytes, 0 where unknown
    is_jump: the direct trampoline is jumped to, not called
    lines: its lines in the file, unchanged
    """

    name: str
    module: str
    n_ops: int
    flags: str
    ops: tuple[str, ...]
    called: str
    direct: str
    direct_size: int
    is_jump: bool
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TracefsProbe:
    """A kprobe ('k') or kretprobe ('r') of kprobes/list; `state` is e.g. "FTRACE", "OPTIMIZED", "DISABLED"."""

    address: int
    kind: str
    symbol: str
    offset: int
    state: tuple[str, ...]


def parse_enabled(text: str, name: str | None = None) -> list[Enabled]:
    """Parse enabled_functions, only the entries of function `name` if given; indented lines belong to the one above."""
    starts = _FIRST_WORD.finditer(text) if name is None else re.finditer(rf"^{re.escape(name)} ", text, re.MULTILINE)
    entries = (_entry(text[match.start() : _entry_end(text, match.start())].splitlines()) for match in starts)
    return [entry for entry in entries if entry is not None]


def _entry_end(text: str, start: int) -> int:
    """Where the entry that starts here ends: before the next line that isn't indented."""
    end = text.find("\n", start)
    while end >= 0 and text[end + 1 : end + 2] in _INDENTS:
        end = text.find("\n", end + 1)
    return len(text) if end < 0 else end


def _entry(lines: list[str]) -> Enabled | None:
    first = _FIRST_LINE.match(lines[0])
    if first is None:
        return None
    flags = first["rest"].partition("\t")[0].partition("->")[0]
    everything = "\n".join([first["rest"], *lines[1:]])
    direct = next((match for match in map(_DIRECT.match, lines[1:]) if match), None)
    called = _CALLED.search(first["rest"])
    return Enabled(
        name=first["name"],
        module=first["module"] or "",
        n_ops=int(first["count"]),
        flags="".join(letter for letter in FLAGS if letter in flags),
        ops=tuple(match["function"] for match in _TRAMPOLINE.finditer(everything)),
        called=called["function"] if called else "",
        direct=direct["symbol"] if direct else "",
        direct_size=int(direct["size"] or "0", 16) if direct else 0,
        is_jump=bool(direct and direct["how"] == "jmp"),
        lines=tuple(lines),
    )


def parse_probes(text: str) -> list[TracefsProbe]:
    """Parse kprobes/list: lines of `address  k|r  symbol+offset  [module] [STATE]`."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 3 or fields[1] not in ("k", "r"):
            continue
        symbol, _, offset = fields[2].partition("+")
        state = tuple(_STATE.findall(line))
        try:
            found.append(TracefsProbe(int(fields[0], 16), fields[1], symbol, int(offset or "0", 16), state))
        except ValueError:
            continue
    return found
