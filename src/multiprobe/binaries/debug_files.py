"""Finds symbols that were taken out of a binary: in a separate debug file, or compressed in the binary itself.

The debug file is named by the build id (`/usr/lib/debug/.build-id`), or by .gnu_debuglink with a checksum; mini debug
information is an ELF file, compressed by xz, in .gnu_debugdata.
"""

from __future__ import annotations

import lzma
import os
import re
from typing import TYPE_CHECKING
from zlib import crc32

from multiprobe.binaries.file import BinaryFile
from multiprobe.elf import SHT_NOBITS, parse_sections
from multiprobe.errors import DataError, MultiprobeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multiprobe.elf import ElfBytes, ElfSection

DEBUG_ROOT = "/usr/lib/debug"
MAX_UNPACKED = 1 << 26
_MAX_NOTE, _MAX_LINK, _CHUNK = 1 << 12, 1 << 12, 1 << 20
_PROCESS_ROOT = re.compile(r"/proc/\d+/root(?=/)")


def section_bytes(data: ElfBytes, sections: Sequence[ElfSection], name: str, *, limit: int) -> bytes:
    """The first `limit` bytes of the section called `name`; empty if there is none."""
    found = next((one for one in sections if one.name == name and one.kind != SHT_NOBITS), None)
    return data[found.offset : found.offset + min(found.size, limit)] if found else b""


def build_id(data: ElfBytes, sections: Sequence[ElfSection]) -> str:
    """The build id, as hexadecimal digits, or ""."""
    note = section_bytes(data, sections, ".note.gnu.build-id", limit=_MAX_NOTE)
    size = int.from_bytes(note[4:8], "little")
    return note[16 : 16 + size].hex() if note[12:16] == b"GNU\0" and len(note) >= 16 + size else ""


def unpack_debugdata(data: ElfBytes, sections: Sequence[ElfSection]) -> bytes:
    """The ELF file in .gnu_debugdata, empty without one. Raises DataError if it can't be decompressed."""
    packed = section_bytes(data, sections, ".gnu_debugdata", limit=MAX_UNPACKED)
    if not packed:
        return b""
    try:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_UNPACKED)
        unpacked = unpacker.decompress(packed, MAX_UNPACKED)
    except lzma.LZMAError as error:
        raise DataError(f".gnu_debugdata can't be decompressed: {error}") from error
    if not unpacker.eof:
        raise DataError(f".gnu_debugdata is cut off, or unpacks to more than {MAX_UNPACKED:,} bytes")
    return unpacked


def open_debug_file(file: BinaryFile, sections: Sequence[ElfSection], problems: list[str]) -> BinaryFile | None:
    """The separate debug file of a binary, which the caller closes, or None. `problems` gets files of another build."""
    own = build_id(file, sections)
    link = section_bytes(file, sections, ".gnu_debuglink", limit=_MAX_LINK)
    root = process_root(file.path)
    real = file.path if root else os.path.realpath(file.path)  # which would leave the root of a container
    for path in candidates(real, own, root, _linked_name(link)):
        try:
            found = BinaryFile(path)
        except MultiprobeError:
            continue
        if found.key[:2] != file.key[:2] and _belongs(found, own, link):
            return found
        if found.key[:2] != file.key[:2]:
            problems.append(f"{path} is of another build than {file.path}, and was not used")
        found.close()
    return None


def open_dwarf_file(file: BinaryFile, problems: list[str]) -> BinaryFile | None:
    """The file with the DWARF of a binary, which the caller closes: the file itself, opened again, or its debug file.

    None if there is none. `problems` gets debug files of another build. Raises DataError for a damaged file.
    """
    if _has_dwarf(file):
        again = BinaryFile(f"/proc/self/fd/{file.fileno()}")
        again.path = file.path
        return again
    found = open_debug_file(file, parse_sections(file), problems)
    if found is None or _has_dwarf(found):
        return found
    found.close()
    return None


def _has_dwarf(file: BinaryFile) -> bool:
    wanted = (".debug_info", ".zdebug_info")
    return any(one.name in wanted and one.kind != SHT_NOBITS for one in parse_sections(file))


def open_shared_file(file: BinaryFile) -> BinaryFile | None:
    """The file that shares types with this one, to which dwz moved them (.gnu_debugaltlink); None if there is none.

    The caller closes it. Raises DataError if it is not installed.
    """
    link = section_bytes(file, parse_sections(file), ".gnu_debugaltlink", limit=_MAX_LINK)
    if not link:
        return None
    name, _, wanted = link.partition(b"\0")
    path, digits, root = os.fsdecode(name), wanted.hex(), process_root(file.path)
    beside = os.path.join(os.path.dirname(os.path.realpath(file.path)), path)
    places = [f"{base}{DEBUG_ROOT}/.build-id/{digits[:2]}/{digits[2:]}.debug" for base in dict.fromkeys((root, ""))]
    for place in (beside, *places):
        try:
            found = BinaryFile(place)
        except MultiprobeError:
            continue
        if build_id(found, parse_sections(found)) == digits:
            return found
        found.close()
    raise DataError(f"{file.path}: the types that it shares with other files (dwz) are in {path}, which is not there")


def candidates(path: str, own_id: str, root: str, linked: str) -> Iterator[str]:
    """Where the debug file of the binary at `path` may be. `root`: /proc/PID/root of a container, or ""."""
    for base in dict.fromkeys((f"{root}{DEBUG_ROOT}", DEBUG_ROOT)):
        if own_id:
            yield f"{base}/.build-id/{own_id[:2]}/{own_id[2:]}.debug"
    if linked:
        folder = os.path.dirname(path)
        yield f"{folder}/{linked}"
        yield f"{folder}/.debug/{linked}"
        yield f"{root}{DEBUG_ROOT}{folder.removeprefix(root)}/{linked}"


def process_root(path: str) -> str:
    """The `/proc/PID/root` that a path begins with, or ""."""
    found = _PROCESS_ROOT.match(path)
    return found[0] if found else ""


def _linked_name(link: bytes) -> str:
    """The file name in .gnu_debuglink; "" for one that leads to other folders."""
    name = os.fsdecode(link.partition(b"\0")[0])
    return "" if "/" in name or name in (".", "..") else name


def _belongs(found: BinaryFile, own_id: str, link: bytes) -> bool:
    """Was this debug file made with the binary? By the build id, or the checksum if there is none."""
    try:
        other = build_id(found, parse_sections(found))
    except DataError:
        return False
    if own_id and other:
        return own_id == other
    return bool(link) and _checksum(found) == int.from_bytes(link[-4:], "little")


def _checksum(found: BinaryFile) -> int:
    total = 0
    for start in range(0, len(found), _CHUNK):
        total = crc32(found[start : start + _CHUNK], total)
    return total
