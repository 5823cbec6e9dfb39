"""The table of the USDT probes of a file, made of its notes. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from multiprobe.arch.operands import SITE
from multiprobe.binaries import rules
from multiprobe.binaries.table import UserTable, file_offsets
from multiprobe.binaries.usdt_sites import SOURCE, UsdtSite
from multiprobe.elf import PF_W, PT_LOAD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from multiprobe.binaries.usdt_notes import UsdtNote
    from multiprobe.elf import Segment


@dataclass(frozen=True)
class UsdtTable(UserTable):
    """A row for each probe, by name; `sites` has those of each."""

    sites: tuple[tuple[UsdtSite, ...], ...] = ()
    kind = "USDT probe"

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells the table from others, also from that of the file's functions."""
        return (*self.key, self.kind)

    @cached_property
    def has_mangled(self) -> bool:
        """No name of a probe is."""
        return False

    @cached_property
    def _rows_by_bare_name(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for row, name in enumerate(self.names):
            found.setdefault(name.partition(":")[2], []).append(row)
        return found

    def rows_demangled(self, glob: str, fits: Callable[[str], object]) -> list[int]:
        """The rows whose names fit without the provider."""
        return [row for name, rows in self._rows_by_bare_name.items() if fits(name) for row in rows]


_VARIABLE = re.compile(r"(?:([-+]?\d{1,18})\+)?([A-Za-z_.$][\w.$]*)([-+]\d{1,18})?\(%rip\)")


def variables_of(notes: Iterable[UsdtNote]) -> set[str]:
    """The variables that arguments of sites are in."""
    return {found[2] for note in notes for found in _VARIABLE.finditer(note.arguments)}


def _operands(note: UsdtNote, variables: Mapping[str, int]) -> str:
    """The arguments of a site, with known variables by their distance from it."""

    def replace(found: re.Match[str]) -> str:
        address = variables.get(found[2])
        if address is None:
            return found[0]
        return f"{address + int(found[1] or 0) + int(found[3] or 0) - note.location}({SITE})"

    return _VARIABLE.sub(replace, note.arguments)


NONE: Mapping[str, int] = {}


def build_usdt_table(
    notes: Iterable[UsdtNote],
    segments: Sequence[Segment],
    *,
    path: str,
    key: tuple[int, ...],
    build_id: str,
    variables: Mapping[str, int] = NONE,
) -> UsdtTable:
    """The table of the probes that have these sites. `variables`: the addresses of those that arguments are in."""
    each = {(note.provider, note.name, note.location): note for note in notes}  # twice there, it would run twice
    found = [each[place] for place in sorted(each)]
    locations = np.array([note.location for note in found], np.uint64)
    offsets, has_code = file_offsets(locations, segments)
    counters = {address: _counter(address, segments) for address in {note.semaphore for note in found}}
    by_offset: dict[int, int] = {}
    sites: dict[str, list[UsdtSite]] = {}
    for note, offset, is_code in zip(found, offsets.tolist(), has_code.tolist(), strict=True):
        name = f"{note.provider}:{note.name}"
        counter = counters[note.semaphore]
        of_site = by_offset.setdefault(offset, counter) if is_code else counter
        verdict = rules.judge_site(name, has_code=is_code, has_counter=counter >= 0, is_only=of_site == counter)
        operands = _operands(note, variables)
        site = UsdtSite(note.location, offset, max(counter, 0), note.arguments, operands, verdict)
        sites.setdefault(name, []).append(site)
    return _table(sites, path=path, key=key, build_id=build_id)


def _counter(address: int, segments: Iterable[Segment]) -> int:
    """Where the file has the counter at this address, which the kernel changes: 0 without one, -1 if nowhere."""
    if not address:
        return 0
    for one in segments:
        if one.kind == PT_LOAD and one.flags & PF_W and one.address <= address <= one.address + one.size - 2:
            return address - one.address + one.offset
    return -1


def _table(sites: dict[str, list[UsdtSite]], *, path: str, key: tuple[int, ...], build_id: str) -> UsdtTable:
    rows = [tuple(found) for found in sites.values()]
    shown = [next((site for site in found if site.verdict.is_attachable), found[0]) for found in rows]
    n = len(rows)
    return UsdtTable(
        path,
        key,
        build_id,
        (SOURCE,),
        list(sites),
        np.zeros(n, np.uint8),
        np.array([site.address for site in shown], np.uint64),
        np.array([site.file_offset for site in shown], np.uint64),
        np.zeros(n, np.uint64),
        np.array([rules.USDT | rules.SITE_FACTS.get(site.verdict.code, 0) for site in shown], np.uint16),
        np.arange(n),
        frozenset(),
        sites=tuple(rows),
    )
