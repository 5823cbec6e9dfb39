"""Parses /etc/ld.so.cache, in which the loader looks up libraries (glibc: sysdeps/generic/dl-cache.h). Pure."""

from __future__ import annotations

import os
import re
from itertools import takewhile
from struct import Struct, iter_unpack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = Struct("<20sII4xI12x")
_EXTENSION = Struct("<II")
_PART = Struct("<IIII")
_ENTRY = Struct("<iIIIQ")
#: FLAG_ELF_LIBC6 with FLAG_X8664_LIB64 or FLAG_AARCH64_LIB64.
_FLAGS = {"x86_64": 0x0303, "aarch64": 0x0A03}
_KNOWN_FLAGS = 0xFFFF
_EXTENSION_MAGIC, _HARDWARE_PART = 0xEAA42174, 1
_IS_NAMED = 1 << 62
#: The features that each level of x86-64 adds, as /proc/cpuinfo calls them (psABI); the best last.
_LEVELS = (
    ("x86-64-v2", "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3"),
    ("x86-64-v3", "abm avx avx2 bmi1 bmi2 f16c fma movbe xsave"),
    ("x86-64-v4", "avx512bw avx512cd avx512dq avx512f avx512vl"),
)


def parse_levels(cpuinfo: str) -> list[str]:
    """The levels of x86-64 that a processor has, by /proc/cpuinfo, the best last; empty for other processors."""
    line = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    flags = set(line[1].split()) if line else set()
    return [name for name, _ in takewhile(lambda level: flags.issuperset(level[1].split()), _LEVELS)]


def parse_loader_cache(data: bytes, machine: str, levels: Sequence[str] = ()) -> dict[str, str]:
    """The path of each library by its soname, for `machine` (as in os.uname()); empty for anything but a cache.

    levels: of the processor, from `parse_levels`: of a library's variants (glibc-hwcaps) the best is taken
    """
    start = data.find(_MAGIC)
    if start < 0 or len(data) < start + _HEADER.size:
        return {}
    _, n_entries, _, extension = _HEADER.unpack_from(data, start)
    variants = _variants(data, start, extension)
    begin = start + _HEADER.size
    entries = data[begin : begin + n_entries * _ENTRY.size]
    entries = entries[: len(entries) // _ENTRY.size * _ENTRY.size]
    found: dict[str, tuple[int, str]] = {}
    for flags, name, path, _, hardware in _ENTRY.iter_unpack(entries):
        rank = _rank(hardware, variants, levels)
        soname = _text(data, start + name)
        if flags & _KNOWN_FLAGS == _FLAGS.get(machine) and rank > found.get(soname, (-1, ""))[0]:
            found[soname] = (rank, _text(data, start + path))
    return {soname: path for soname, (_, path) in found.items()}


def _variants(data: bytes, start: int, extension: int) -> list[str]:
    """The names of the variants that entries refer to by number."""
    at = start + extension
    if not extension or len(data) < at + _EXTENSION.size:
        return []
    magic, n_parts = _EXTENSION.unpack_from(data, at)
    parts = data[at + _EXTENSION.size :][: n_parts * _PART.size]
    if magic != _EXTENSION_MAGIC or len(parts) % _PART.size:
        return []
    wanted = next(
        ((place, size) for kind, _, place, size in _PART.iter_unpack(parts) if kind == _HARDWARE_PART), (0, 0)
    )
    numbers = data[start + wanted[0] :][: wanted[1]]
    return [_text(data, start + place) for (place,) in iter_unpack("<I", numbers[: len(numbers) // 4 * 4])]


def _rank(hardware: int, variants: Sequence[str], levels: Sequence[str]) -> int:
    """0 for a library for all processors, more for a better variant, -1 for one that this processor can't run."""
    if not hardware:
        return 0
    number = hardware & 0xFFFFFFFF
    name = variants[number] if hardware & _IS_NAMED and number < len(variants) else ""
    return levels.index(name) + 1 if name in levels else -1


def _text(data: bytes, at: int) -> str:
    end = data.find(b"\0", at)
    return os.fsdecode(data[at:end]) if end > at else ""


def find_soname(name: str, libraries: dict[str, str]) -> str:
    """The path of a library called `libc`, `libc.so` or `libc.so.6`, or "": the newest of several versions."""
    stem = name.removesuffix(".so")
    if name in libraries:
        return libraries[name]
    fitting = [soname for soname in libraries if soname == f"{stem}.so" or soname.startswith(f"{stem}.so.")]
    newest = max(fitting, key=_version, default="")
    return libraries.get(newest, "")


def _version(soname: str) -> list[tuple[int, str]]:
    parts = soname.partition(".so")[2].split(".")
    return [(int(part) if part.isascii() and part.isdecimal() and len(part) < 20 else -1, part) for part in parts]
