"""The process that reads types from DWARF, with limits on memory and time: this module as a program.

It is given the descriptors of the file and of the one that it shares types with (-1: none), and reads what is asked for
from standard input, as JSON. It writes a line of JSON, and then BTF.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from multiprobe.binaries.dwarf.conversion import Converter
from multiprobe.binaries.dwarf.functions import read_function
from multiprobe.binaries.dwarf.limited import limit
from multiprobe.binaries.dwarf.units import Units

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multiprobe.binaries.dwarf.entries import DwarfData, DwarfEntry


class DwarfFile(Protocol):
    """An ELF file."""

    def get_dwarf_info(self, *, relocate_dwarf_sections: bool, follow_links: bool) -> DwarfData:
        """Its DWARF."""
        ...


def main(fd: int, shared_fd: int, max_memory: int, max_seconds: int) -> None:
    """Answer what standard input asks of the file."""
    limit(max_memory, max_seconds)
    asked = json.load(sys.stdin)
    with open_shared(fd, shared_fd) as dwarf:
        header, types = read(dwarf, asked["addresses"], [tuple(one) for one in asked["names"]])
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + types)


@contextmanager
def open_shared(fd: int, shared_fd: int) -> Iterator[DwarfData]:
    """The DWARF of an ELF file, and of the file that it shares entries with (-1: none)."""
    with os.fdopen(fd, "rb") as stream:
        dwarf = open_dwarf(stream)
        if shared_fd >= 0:
            dwarf.supplementary_dwarfinfo = open_dwarf(os.fdopen(shared_fd, "rb"))
        yield dwarf


def open_dwarf(stream: object) -> DwarfData:
    """The DWARF of an ELF file."""
    elf: DwarfFile = import_module("elftools.elf.elffile").ELFFile(stream)
    return elf.get_dwarf_info(relocate_dwarf_sections=False, follow_links=False)


def read(dwarf: DwarfData, addresses: list[int], names: list[tuple[str, str]]) -> tuple[dict[str, object], bytes]:
    """What is known of the functions at these addresses, by address, and of types, (word, name) each; and the BTF.

    Nothing is known of functions in units that have line tables only: there, every one looks as if it took nothing and
    returned nothing. The name of a typedef is taken for that of a struct, union or enum, too.
    """
    units = Units(dwarf)
    converter = Converter(units)
    functions = {
        str(address): read_function(dwarf, converter, entry, address).to_json()
        for address, entry in sorted(units.functions(addresses).items())
        if units.has_types(entry.cu)
    }
    types = [(word, name, converter.type_id(_named(units, word, name))) for word, name in names]
    return {"functions": functions, "types": types}, converter.finish()


def _named(units: Units, word: str, name: str) -> DwarfEntry | None:
    return units.type((word, "typedef"), name)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:5]))
