"""The types of a binary's functions: from DWARF, in the file or in its debug file."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from multiprobe.binaries.calling import CONVENTIONS, Place, find_places
from multiprobe.binaries.dwarf.reader import has_pyelftools, open_types, read_types
from multiprobe.binaries.file import BinaryFile
from multiprobe.binaries.mixed import MixedFunctionSet, parts_of
from multiprobe.binaries.sets import UserFunctionSet
from multiprobe.errors import DataError, MultiprobeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multiprobe.binaries.mixed import AnyFunctionSet, Target
    from multiprobe.kernel.btf.types import Btf

HINT = "pip install 'multiprobe[dwarf]'"


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


def with_types(functions: AnyFunctionSet) -> tuple[AnyFunctionSet, list[str]]:
    """The functions, those of binaries with their types where they are known; and why not, a sentence each."""
    problems: list[str] = []
    parts = [_typed(part, problems) for part in parts_of(functions)]
    return (MixedFunctionSet(parts) if isinstance(functions, MixedFunctionSet) else parts[0]), problems


def _typed(part: Target, problems: list[str]) -> Target:
    if not isinstance(part, UserFunctionSet) or part.table.types is not None or not len(part):
        return part
    try:
        types = load_types(part, problems)
    except MultiprobeError as error:
        problems.append(f"no types are known of the functions of {part.table.path}: {error.message}")
        return part
    if types is None:
        return part
    table = replace(part.table, types=types)
    return UserFunctionSet(table, part.places, unresolved=part.unresolved)


def load_types(functions: UserFunctionSet, problems: list[str]) -> UserTypes | None:
    """The types of functions of one binary; None if it has none. Raises DataError for damaged DWARF, and for a file
    that has changed.
    """
    table, convention = functions.table, CONVENTIONS.get(os.uname().machine)
    rows = sorted({row for row, offset in functions.places if not offset})
    addresses = {int(table.addresses[row]): row for row in rows}
    with BinaryFile(table.path) as file:
        if file.key != table.key:
            raise DataError(f"{table.path} has changed since it was read", hint="make another mp.Binary")
        source = open_types(file, problems)
    if source is None or convention is None:
        return None
    with source:
        if not has_pyelftools():
            problems.append(f"{table.path} has types of its functions (DWARF), which need pyelftools: {HINT}")
            return None
        found = read_types(source, addresses)
    prototypes = {}
    for address, evidence in found.functions.items():
        symbols = [table.names[row] for row in table.family(addresses[address])]
        prototypes[address] = Prototype(
            evidence.type_id, *find_places(found.btf, evidence, convention, symbols)
        )
    return UserTypes(found.btf, prototypes)
