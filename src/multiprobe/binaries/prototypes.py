"""What is known of the types of a binary's functions, as values; `binaries.types` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.kernel.btf.format import RETURNS_UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multiprobe.binaries.calling import Place
    from multiprobe.kernel.btf.types import Btf


@dataclass(frozen=True, slots=True)
class Prototype:
    """A function's type in the BTF, where its parameters are when it begins, and whether its result can be read."""

    type_id: int
    places: tuple[Place, ...]
    result: Place


@dataclass(frozen=True, slots=True, eq=False)
class UserTypes:
    """The types of functions of a binary, by their addresses there; functions without types are left out."""

    btf: Btf
    prototypes: Mapping[int, Prototype]

    def returned(self, prototype: Prototype) -> int:
        """What the return register holds, coded as in `kernel.btf.format`."""
        if prototype.result.reason:
            return RETURNS_UNKNOWN
        return int(self.btf.prototypes.returns[self.btf.target(prototype.type_id)])
