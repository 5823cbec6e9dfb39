"""USDT probes of a binary, and sets of them. One probe may have many sites in the code.

A program runs at whichever site a process comes to. A site that can't be attached to leaves the others of its probe.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.binaries.mixed import parts_of
from multiprobe.binaries.sets import Sites, UserFunction, UserFunctionSet
from multiprobe.binaries.usdt_sites import SOURCE, UsdtSite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.binaries.usdt_table import UsdtTable

_PAGE = 4096


@dataclass(frozen=True, slots=True)
class UsdtProbe(UserFunction):
    """One USDT probe of a program or library, as it is in the set that it was taken from.

    name, symbol: PROVIDER:NAME; aliases: none; binary: the path of the file; source: ".note.stapsdt"
    address, file_offset: of the first site that can be attached to; size, offset: 0
    sites: all of its sites, by address; verdict: whether one of them can be attached to, or why not
    """

    sites: tuple[UsdtSite, ...] = ()


class UsdtProbeSet(UserFunctionSet):
    """An ordered set of USDT probes of one binary, from `Binary.usdt`; otherwise a UserFunctionSet."""

    __slots__ = ()
    table: UsdtTable

    def sites(self) -> Sites:
        """Every site that can be attached to, by probe."""
        found = [
            (position, site)
            for position, (row, _) in enumerate(self.places)
            for site in self.table.sites[row]
            if site.verdict.is_attachable
        ]
        return Sites(
            [position for position, _ in found],
            array("Q", [site.file_offset for _, site in found]),
            array("Q", [site.semaphore for _, site in found]),
            [site.operands for _, site in found],
        )

    def notes(self) -> list[str]:
        """A sentence for each probe that can be attached to, but not at all of its sites."""
        found = []
        for position, (row, _) in enumerate(self.places):
            sites = self.table.sites[row]
            refused = [site.verdict for site in sites if site.verdict.code]
            if refused and len(refused) < len(sites):
                why = refused[0].reason.removeprefix(f"{self.table.names[row]} ")
                found.append(
                    f"{len(refused)} of {len(sites)} sites of {self.label(position)} can't be attached to: one {why}"
                )
        return found

    def offset_of(self, position: int, address: int) -> int:
        """The offset in the file of what is at `address` of a process: a site of the probe at `position`."""
        sites = self.table.sites[self.places[position][0]]
        in_page = (site.file_offset for site in sites if (site.file_offset ^ address) % _PAGE == 0)
        return next(in_page, sites[0].file_offset)

    def __iter__(self) -> Iterator[UsdtProbe]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, place: int) -> UsdtProbe:
        """The probe at a position."""
        row, offset = self.places[place]
        one = super().__getitem__(place)
        return UsdtProbe(
            one.name, (), one.binary, one.address, one.file_offset, 0, offset, SOURCE, one.verdict, one.symbol,
            sites=self.table.sites[row],
        )  # fmt: skip


def has_returns(functions: AnyFunctionSet) -> bool:
    """Whether there is a function that returns: USDT probes don't."""
    return not all(isinstance(part, UsdtProbeSet) for part in parts_of(functions))
