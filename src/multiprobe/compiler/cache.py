"""Compiled programs kept on disk, so that a second run never imports LLVM.

A file holds a checksum and JSON. One that is damaged counts as absent: the program is compiled again. `cachedir` says
which directories are used.
"""

from __future__ import annotations

import json
import os
import re
from zlib import crc32

from multiprobe.cachedir import cache_directory, drop_old, read_own, write_own
from multiprobe.compiler.code import Code, Relocation

MAGIC = b"mpcode\0\3"
KEPT = 256
NAMES = re.compile(r"[0-9a-f]{40}")


def path_of(key: str) -> str:
    """Where the code with this key is kept."""
    return os.path.join(cache_directory(), "programs", key)


def encode(key: str, code: Code) -> bytes:
    """The file's bytes."""
    relocations = [(one.insn, one.kind, one.key) for one in code.relocations]
    fields = (key, code.insns.hex(), relocations, code.maps, sorted(code.needs), code.lines, code.text)
    body = json.dumps(fields, separators=(",", ":")).encode()
    return MAGIC + crc32(body).to_bytes(4, "little") + body


def decode(key: str, data: bytes) -> Code | None:
    """The code in a file's bytes, or None if it is damaged, or another's."""
    body = data[len(MAGIC) + 4 :]
    if data[: len(MAGIC)] != MAGIC or crc32(body) != int.from_bytes(data[len(MAGIC) : len(MAGIC) + 4], "little"):
        return None
    try:
        found, insns, relocations, maps, needs, lines, text = json.loads(body)
        code = Code(
            bytes.fromhex(insns),
            tuple(Relocation(int(insn), str(kind), str(name)) for insn, kind, name in relocations),
            tuple(map(str, maps)),
            frozenset(map(str, needs)),
            tuple((int(insn), int(place)) for insn, place in lines),
            tuple(map(str, text)),
        )
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return code if found == key else None


def load(key: str) -> Code | None:
    """The code with this key, or None."""
    data = read_own(path_of(key))
    return None if data is None else decode(key, data)


def save(key: str, code: Code) -> None:
    """Keep code for the next time, if the directory allows."""
    path = path_of(key)
    if write_own(path, encode(key, code)):
        drop_old(os.path.dirname(path), NAMES, keep=KEPT)
