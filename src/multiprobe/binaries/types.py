"""The types of a binary's functions: from DWARF, in the file or in its debug file."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from multiprobe.binaries.calling import CONVENTIONS, find_places
from multiprobe.binaries.debug_files import open_dwarf_file
from multiprobe.binaries.dwarf.limited import HINT, has_pyelftools
from multiprobe.binaries.dwarf.reader import read_types
from multiprobe.binaries.file import BinaryFile
from multiprobe.binaries.mixed import MixedFunctionSet, parts_of
from multiprobe.binaries.prototypes import Prototype, UserTypes
from multiprobe.binaries.sets import UserFunctionSet
from multiprobe.errors import DataError, MultiprobeError, NotSupportedError, UsageError
from multiprobe.kernel.btf import format as fmt
from multiprobe.kernel.btf.types import Btf
from multiprobe.kernel.btf.writer import BtfWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multiprobe.binaries.mixed import AnyFunctionSet

_KINDS = {"struct": fmt.STRUCT, "union": fmt.UNION, "enum": fmt.ENUM}


def find_type(path: str, key: tuple[int, ...], word: str, name: str) -> tuple[Btf, int]:
    """As `Binary.find_type`; `key`: of the file as it was read."""
    problems: list[str] = []
    with _open(path, key, problems) as source:
        if source is None:
            raise NotSupportedError(
                "; ".join([f"{path} tells no types (DWARF)", *problems]),
                hint="compile it with -g, or install the package with its debug information (-dbgsym, -debuginfo)",
            )
        if not has_pyelftools():
            raise NotSupportedError("types of programs need pyelftools", hint=HINT)
        found = read_types(source, (), [(word, name)])
    type_id = found.names[word, name]
    btf = found.btf
    kind = btf.kind(btf.strip(type_id))
    if _KINDS[word] != (fmt.ENUM if kind == fmt.ENUM64 else kind):
        raise UsageError(f"{path} has no {word} {name} with members in its DWARF")
    return btf, type_id


@contextmanager
def _open(path: str, key: tuple[int, ...], problems: list[str]) -> Iterator[BinaryFile | None]:
    """The file with the types of the binary, or None. Raises DataError if it is not the file that was read before."""
    with BinaryFile(path) as file:
        if file.key != key:
            raise DataError(f"{path} has changed since it was read", hint="make another mp.Binary")
        source = open_dwarf_file(file, problems)
    try:
        yield source
    finally:
        if source is not None:
            source.close()


def with_types(functions: AnyFunctionSet) -> tuple[AnyFunctionSet, list[str]]:
    """The functions, those of binaries with their types where they are known; and why not, a sentence each."""
    problems: list[str] = []
    parts = [typed(part, problems) if isinstance(part, UserFunctionSet) else part for part in parts_of(functions)]
    return (MixedFunctionSet(parts) if isinstance(functions, MixedFunctionSet) else parts[0]), problems


def typed(part: UserFunctionSet, problems: list[str]) -> UserFunctionSet:
    """The functions with their types, if these are not read yet; `problems` gets the reasons why some have none.

    USDT probes have none: their sites say what their arguments are.
    """
    if part.table.kind != "function" or part.table.types is not None or not len(part):
        return part
    try:
        types = load_types(part, problems)
    except MultiprobeError as error:
        problems.append(f"no types are known of the functions of {part.table.path}: {error.message}")
        types = None
    if types is None:  # not asked for again
        types = UserTypes(Btf.parse(bytes(BtfWriter())), {})
    table = replace(part.table, types=types)
    return UserFunctionSet(table, part.places, unresolved=part.unresolved)


def load_types(functions: UserFunctionSet, problems: list[str]) -> UserTypes | None:
    """The types of functions of one binary; None if it has none. Raises DataError for damaged DWARF, and for a file
    that has changed.
    """
    table, convention = functions.table, CONVENTIONS.get(os.uname().machine)
    rows = sorted({row for row, offset in functions.places if not offset})
    addresses = {int(table.addresses[row]): row for row in rows}
    with _open(table.path, table.key, problems) as source:
        if source is None or convention is None:
            return None
        if not has_pyelftools():
            problems.append(f"{table.path} has types of its functions (DWARF), which need pyelftools: {HINT}")
            return None
        found = read_types(source, addresses)
    if addresses and not found.functions:
        problems.append(
            f"{table.path} has no types of its functions in its DWARF: with -g1 there are lines only, and types in "
            ".dwo files (-gsplit-dwarf) are not read"
        )
        return None
    prototypes = {}
    for address, evidence in found.functions.items():
        symbols = [table.names[row] for row in table.family(addresses[address])]
        prototypes[address] = Prototype(evidence.type_id, *find_places(found.btf, evidence, convention, symbols))
    return UserTypes(found.btf, prototypes)
