"""Reads `.note.stapsdt`: where a file has USDT probes, as systemtap's sys/sdt.h puts them there. Pure.

A site is an instruction (a nop) in the code. The note of a site names its probe, and says where the site keeps the
probe's arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING

from multiprobe.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multiprobe.elf import ElfBytes, ElfSection

SECTION, BASE_SECTION = ".note.stapsdt", ".stapsdt.base"
MAX_NOTES = 1 << 17
_OWNER, _KIND = b"stapsdt\0", 3
_HEAD = Struct("<III")
_PLACES = Struct("<QQQ")
_ADDRESSES = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class UsdtNote:
    """A site of a USDT probe.

    location: the address of its instruction; semaphore: that of the counter that says who listens, 0 without one
    arguments: as the compiler wrote them, `8@%rdi -4@$5`
    """

    provider: str
    name: str
    location: int
    semaphore: int
    arguments: str


def read_notes(data: ElfBytes, sections: Sequence[ElfSection]) -> list[UsdtNote]:
    """The sites of a file, in order. Raises DataError if one is cut off or has impossible sizes."""
    base = next((one.address for one in sections if one.name == BASE_SECTION), None)
    found: list[UsdtNote] = []
    for section in sections:
        if section.name == SECTION:
            for desc in _descriptions(data[section.offset : section.offset + section.size]):
                if len(found) == MAX_NOTES:
                    raise DataError(f"{SECTION} has more than {MAX_NOTES:,} notes: they are not read")
                found.append(_parse(desc, base, len(found)))
    return found


def _descriptions(notes: bytes) -> Iterator[bytes]:
    """The descriptions of the notes about USDT probes."""
    at = 0
    while at + _HEAD.size <= len(notes):
        owner_size, desc_size, kind = _HEAD.unpack_from(notes, at)
        desc_at = at + _HEAD.size + _padded(owner_size)
        end = desc_at + desc_size
        if end > len(notes):
            raise DataError(f"{SECTION} is cut off at byte {len(notes):,}: a note reaches to byte {end:,}")
        if kind == _KIND and notes[at + _HEAD.size : at + _HEAD.size + owner_size] == _OWNER:
            yield notes[desc_at:end]
        at = desc_at + _padded(desc_size)


def _padded(size: int) -> int:
    return size + 3 & ~3


def _parse(desc: bytes, base: int | None, n: int) -> UsdtNote:
    """The site that a description is of; `base`: where the file has the section that the linker may have moved."""
    texts = desc[_PLACES.size :].split(b"\0", 3)
    if len(texts) < 4 or not texts[0] or not texts[1]:
        raise DataError(f"note {n} of {SECTION} is damaged: it has no provider, name and arguments, each with an end")
    location, link_base, semaphore = _PLACES.unpack_from(desc)
    moved = 0 if base is None else base - link_base
    provider, name, arguments = (text.decode(errors="surrogateescape") for text in texts[:3])
    return UsdtNote(
        provider,
        name,
        location + moved & _ADDRESSES,
        semaphore + moved & _ADDRESSES if semaphore else 0,
        " ".join(arguments.split()),
    )
