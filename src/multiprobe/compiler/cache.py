"""Compiled programs kept on disk, so that a second run never imports LLVM.

Knows the file's form and when it may be believed; the directory's rules are `cachedir`'s. What can't be believed is as
good as absent, and is compiled again.
"""

from __future__ import annotations

import marshal
import os
import re
from zlib import crc32

from multiprobe.cachedir import cache_directory, drop_old, read_own, write_own
from multiprobe.compiler.code import Code, Relocation

MAGIC = b"mpcode\0\2"
KEPT = 256
NAMES = re.compile(r"[0-9a-f]{40}")


def path_of(key: str) -> str:
    """Where the code with this key is kept."""
    return os.path.join(cache_directory(), "programs", key)


def encode(key: str, code: Code) -> bytes:
    """The file's bytes."""
    relocations = tuple((one.insn, one.kind, one.key) for one in code.relocations)
    body = marshal.dumps((key, code.insns, relocations, code.maps, tuple(sorted(code.needs)), code.lines, code.text), 2)
    return MAGIC + crc32(body).to_bytes(4, "little") + body


def decode(key: str, data: bytes) -> Code | None:
    """The code in a file's bytes, or None if it is damaged, or another's."""
    body = data[len(MAGIC) + 4 :]
    if data[: len(MAGIC)] != MAGIC or crc32(body) != int.from_bytes(data[len(MAGIC) : len(MAGIC) + 4], "little"):
        return None
    try:
        found, insns, relocations, maps, needs, lines, text = marshal.loads(body)
    except (ValueError, EOFError, TypeError):
        return None
    if found != key:
        return None
    return Code(insns, tuple(Relocation(*one) for one in relocations), maps, frozenset(needs), lines, text)


def load(key: str) -> Code | None:
    """The code with this key, or None."""
    data = read_own(path_of(key))
    return None if data is None else decode(key, data)


def save(key: str, code: Code) -> None:
    """Keep code for the next time, if the directory allows."""
    path = path_of(key)
    if write_own(path, encode(key, code)):
        drop_old(os.path.dirname(path), NAMES, keep=KEPT)
