"""`UsdtSite`: a place in the code at which a USDT probe is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprobe.binaries.rules import UserVerdict

SOURCE = ".note.stapsdt"
"""The section that names probes, as `UserFunction.source`."""


@dataclass(frozen=True, slots=True)
class UsdtSite:
    """A site of a USDT probe.

    address, file_offset: of its instruction (the offset is 0 for a site without code)
    semaphore: the offset in the file of the counter that tells the program that somebody listens, 0 without one
    arguments: where the arguments are, as the file says: `8@%rdi -4@$5 4@counter(%rip)`
    operands: the same, with variables by their distance from the site, `4@512(%site)`, if the file has their symbols
    verdict: whether it can be attached to, or why not
    """

    address: int
    file_offset: int
    semaphore: int
    arguments: str
    operands: str
    verdict: UserVerdict
