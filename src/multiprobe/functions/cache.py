"""Reads and writes the cached function table, which saves parsing kallsyms, tracefs and BTF in later runs.

A file is used only if it has the expected key and is intact; any other file is ignored, never an error. The file is
read as a whole, because a mapped file could be truncated while in use; the columns are views of it.

Layout, little-endian, everything 8-byte aligned: magic, length of the file, CRC-32 of the remainder, then position and
length of each section; the sections are the key, the module names, the evidence, the names, and the columns.
"""

from __future__ import annotations

import os
import re
from array import array
from zlib import crc32

from multiprobe.cachedir import cache_directory, drop_old, read_own, write_own
from multiprobe.functions.table import COLUMNS, FunctionTable

FORMAT = 4
MAGIC = int.from_bytes(b"mpfunc\0\x02", "little")
TEXTS = ("key", "module_names", "evidence", "names")
N_SECTIONS = len(TEXTS) + len(COLUMNS)
N_HEADER = 3 + 2 * N_SECTIONS
CHECKED_FROM = 3 * 8
PREFIX = "functions-"
NAMES = re.compile(PREFIX + r"[0-9a-f-]+-\d+")
KEPT = 8
SIZES = {"Q": 8, "I": 4, "H": 2, "B": 1}


def make_key(*, boot_id: str, modules: bytes, uid: int) -> bytes:
    """What a table depends on: this boot, the reading user, and the addresses of modules (from /proc/modules)."""
    loaded = []
    for line in modules.splitlines():
        fields = line.split()
        if len(fields) > 5:
            loaded.append(b" ".join((fields[0], fields[4], fields[5])))
    return b"\n".join((str(FORMAT).encode(), boot_id.encode(), str(uid).encode(), *loaded))


def table_path(key: bytes) -> str:
    """Where the table of a boot and user is kept; when modules come and go it is written anew."""
    _, boot_id, uid = key.split(b"\n", 3)[:3]
    return os.path.join(cache_directory(), f"{PREFIX}{boot_id.decode('ascii', 'replace')}-{uid.decode()}")


def encode(table: FunctionTable, key: bytes) -> bytes:
    """The file for a table."""
    evidence = "\n".join(f"{name}={text}" for name, text in table.evidence.items() if "\n" not in text)
    sections: list[bytes] = [key, "\n".join(table.module_names).encode(), evidence.encode(), table.names]
    sections += [getattr(table, name).tobytes() for name, _ in COLUMNS]
    position = 8 * N_HEADER
    places, parts = array("Q"), []
    for section in sections:
        places.extend((position, len(section)))
        padded = section + bytes(-len(section) % 8)
        parts.append(padded)
        position += len(padded)
    body = b"".join((places.tobytes(), *parts))
    return array("Q", (MAGIC, position, crc32(body))).tobytes() + body


def decode(data: bytes, key: bytes) -> FunctionTable | None:
    """The table in a file's bytes, or None if the file is another's, cut off, damaged, or of another key."""
    if len(data) < 8 * N_HEADER or len(data) % 8:
        return None
    whole = memoryview(data)
    header = whole[: 8 * N_HEADER].cast("Q")
    if header[0] != MAGIC or header[1] != len(data) or header[2] != crc32(whole[CHECKED_FROM:]):
        return None
    if not _fits(header[3::2].tolist(), header[4::2].tolist(), len(data)):
        return None
    sections = [whole[start : start + length] for start, length in zip(header[3::2], header[4::2], strict=True)]
    if sections[0] != key:
        return None
    module_names, evidence, names = (bytes(section) for section in sections[1:4])
    columns = {name: section.cast(code) for (name, code), section in zip(COLUMNS, sections[4:], strict=True)}
    lines = [line.partition("=") for line in evidence.decode(errors="replace").split("\n")]
    return FunctionTable(
        names=names,
        module_names=tuple(module_names.decode(errors="replace").split("\n")),
        columns=columns,
        evidence={name: text for name, _, text in lines if name},
    )


def _fits(starts: list[int], lengths: list[int], n_bytes: int) -> bool:
    """Do the sections follow one another as `encode` writes them, with columns as long as a table's must be?"""
    position = 8 * N_HEADER
    for start, length in zip(starts, lengths, strict=True):
        if start != position or length > n_bytes:
            return False
        position += length + (-length % 8)
    columns = dict(zip((name for name, _ in COLUMNS), lengths[len(TEXTS) :], strict=True))
    n = columns["addresses"] // 8
    rows = {"name_offsets": n + 1, "aliases": min(n, columns["aliases"] // 4)}
    is_right = all(columns[name] == SIZES[code] * rows.get(name, n) for name, code in COLUMNS)
    return is_right and position == n_bytes


def load_table(path: str, key: bytes) -> FunctionTable | None:
    """The table in a file, if it can be believed."""
    data = read_own(path)
    return None if data is None else decode(data, key)


def save_table(path: str, key: bytes, table: FunctionTable) -> bool:
    """Keep a table; tables of hidden addresses, and of lists that could not be read, are not kept."""
    if table.is_zeroed or table.evidence.get("list") == "unreadable":
        return False
    return write_own(path, encode(table, key))


def drop_old_tables(directory: str) -> None:
    """Delete all but the newest tables: those of boots long past are of no use."""
    drop_old(directory, NAMES, keep=KEPT)
