"""Asks the process that reads types from DWARF, and remembers its answers in the cache."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING
from zlib import crc32

from multiprobe.binaries.debug_files import build_id, open_shared_file
from multiprobe.binaries.dwarf import limited
from multiprobe.binaries.dwarf.functions import FunctionEvidence
from multiprobe.cachedir import cache_directory, drop_old, read_own, write_own
from multiprobe.elf import parse_sections
from multiprobe.errors import DataError
from multiprobe.kernel.btf.types import Btf

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from multiprobe.binaries.file import BinaryFile

    Name = tuple[str, str]

MAX_MEMORY = 1 << 32
"""The most bytes of memory for a file, unpacked."""
MAX_SECONDS = 60
"""The most processor time for a file: 2,000 functions of Python take 5 seconds."""
VERSION = 2
"""Raised whenever the same DWARF gives another answer than before."""
KEPT = 64
_NAMES = re.compile(r"[0-9a-f]{40}")
_CHILD = "multiprobe.binaries.dwarf.child"


@dataclass(frozen=True, slots=True, eq=False)
class DwarfTypes:
    """What the DWARF of a file says. functions: by address; names: the type id of each name asked for, 0 if unknown"""

    btf: Btf
    functions: Mapping[int, FunctionEvidence]
    names: Mapping[Name, int]


def read_types(file: BinaryFile, addresses: Collection[int], names: Collection[Name] = ()) -> DwarfTypes:
    """The types of the functions at these addresses, as in the file's symbols; and those of some names.

    names: (word, name) each: ("struct", "_object"). Raises DataError for a file that is damaged, or takes too long.
    """
    asked = json.dumps({"addresses": sorted(addresses), "names": sorted(names)}).encode()
    shared = open_shared_file(file)
    try:
        key = _key(file, shared, asked)
        path = os.path.join(cache_directory(), "types", key)
        kept = read_own(path)
        answer = None if kept is None else _intact(kept)
        if answer is not None:
            return _decode(file, answer)
        answer = _ask(file, shared, asked)
        found = _decode(file, answer)
    finally:
        if shared is not None:
            shared.close()
    if write_own(path, crc32(answer).to_bytes(4, "little") + answer):
        drop_old(os.path.dirname(path), _NAMES, keep=KEPT)
    return found


def _key(file: BinaryFile, shared: BinaryFile | None, asked: bytes) -> str:
    """What an answer depends on: the file, not only its build id, which anybody may write into another one."""
    keys = [(one.key, build_id(one, parse_sections(one))) for one in (file, shared) if one is not None]
    return blake2b(repr((VERSION, keys)).encode() + asked, digest_size=20).hexdigest()


def _intact(kept: bytes) -> bytes | None:
    return kept[4:] if crc32(kept[4:]) == int.from_bytes(kept[:4], "little") else None


def _ask(file: BinaryFile, shared: BinaryFile | None, asked: bytes) -> bytes:
    others = [-1 if shared is None else shared.fileno()]
    return limited.ask(_CHILD, file, asked, max_memory=MAX_MEMORY, max_seconds=MAX_SECONDS, others=others)


def _decode(file: BinaryFile, answer: bytes) -> DwarfTypes:
    """Raises DataError for an answer that can't be one."""
    header, _, types = answer.partition(b"\n")
    try:
        found = json.loads(header)
        functions = {int(address): FunctionEvidence.of_json(one) for address, one in found["functions"].items()}
        names = {(word, name): int(type_id) for word, name, type_id in found["types"]}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f"{file.path}: its DWARF can't be read: {error}") from error
    return DwarfTypes(Btf.parse(types), functions, names)
