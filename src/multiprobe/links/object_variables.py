"""The global variables of an object file, by name: their types from the object's BTF, their values in its maps."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from multiprobe.errors import DataError, UsageError
from multiprobe.kernel.btf import format as fmt
from multiprobe.kernel.btf.layout import Scalar, scalar
from multiprobe.kernel.btf.records import POINTER_SIZE, TypeRecords
from multiprobe.syscalls import bpf

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multiprobe.maps.foreign import ForeignMap

    Value = int | bool | bytes

_SECTIONS = (".bss", ".data", ".rodata")
_CONSTANT = ".rodata"
_KEY = bytes(4)


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable: `size` bytes at `offset` in a section; `scalar` is None for what is neither number nor pointer."""

    name: str
    section: str
    offset: int
    size: int
    scalar: Scalar | None

    def decode(self, data: bytes) -> Value:
        """The value of these bytes: a number, or the bytes themselves."""
        if self.scalar is None:
            return data
        number = int.from_bytes(data, "little", signed=self.scalar.is_signed)
        return bool(number) if self.scalar.is_bool else number

    def encode(self, value: object) -> bytes:
        """The bytes of a value. Raises UsageError for one that does not fit."""
        if isinstance(value, bytes | bytearray) and len(value) == self.size:
            return bytes(value)
        if self.scalar is None or not isinstance(value, int):
            what = f"{self.size} bytes" if self.scalar is None else "a number"
            raise UsageError(f"invalid value {value!r} of variable {self.name!r}: expected {what}")
        try:
            return value.to_bytes(self.size, "little", signed=self.scalar.is_signed)
        except OverflowError:
            sign = "signed" if self.scalar.is_signed else "unsigned"
            raise UsageError(
                f"invalid value {value!r} of variable {self.name!r}: expected {8 * self.size} bits, {sign}"
            ) from None


def find_variables(types: bytes) -> list[Variable]:
    """The variables in .data, .bss and .rodata, from an object's BTF. Raises DataError for BTF that is damaged."""
    if not types:
        return []
    btf = TypeRecords(fmt.parse_sections(types, is_split=False), None)
    return [
        Variable(one.name, btf.name(section), one.offset, one.size, _scalar(btf, one.type_id, one.size))
        for section in range(1, btf.n_types)
        if btf.kind(section) == fmt.DATASEC and btf.name(section).startswith(_SECTIONS)
        for one in btf.variables(section)
    ]


def _scalar(btf: TypeRecords, type_id: int, size: int) -> Scalar | None:
    is_pointer = btf.kind(btf.strip(type_id)) == fmt.PTR
    found = Scalar(POINTER_SIZE, is_signed=False) if is_pointer else scalar(btf, type_id)
    return found if found and found.size == size else None


def named(variables: Sequence[Variable], name: object) -> Variable:
    """The variable of that name. Raises UsageError if there is none, or more than one."""
    found = [one for one in variables if one.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        sections = ", ".join(one.section for one in found)
        raise UsageError(f"{len(found)} variables are called {name!r} ({sections})", hint="use obj.maps")
    names = ", ".join(sorted({one.name for one in variables})) or "none"
    raise UsageError(f"the object has no variable {name!r}", hint=f"its variables: {names}")


class Variables(Mapping[str, "Value"]):
    """The variables of a loaded object: `variables[name]` reads one, `variables[name] = value` writes it.

    Integers, enums, pointers and bool are numbers, everything else is bytes. Only the variable's own bytes are
    written, while programs run. A constant (.rodata) can only be set before loading.
    """

    def __init__(self, types: bytes, maps: Mapping[str, ForeignMap]) -> None:
        self._types = types
        self._maps = [one for one in maps.values() if one.is_internal]

    @cached_property
    def _variables(self) -> list[Variable]:
        return find_variables(self._types)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(one.name for one in self._variables))

    def __len__(self) -> int:
        return len({one.name for one in self._variables})

    def __contains__(self, name: object) -> bool:
        return any(one.name == name for one in self._variables)

    def __getitem__(self, name: str) -> Value:
        """The value now. Raises KeyError for an unknown name."""
        variable = self._known(name)
        return variable.decode(self._read(variable)[variable.offset : variable.offset + variable.size])

    def __setitem__(self, name: str, value: Value) -> None:
        """Write it. Raises KeyError for an unknown name, UsageError for a constant or a value that does not fit."""
        variable = self._known(name)
        data = variable.encode(value)
        if variable.section.startswith(_CONSTANT):
            raise UsageError(
                f"variable {name!r} is a constant ({variable.section})",
                hint=f"set it before loading: mp.load_object(…, variables={{{name!r}: …}})",
            )
        whole, found = self._read(variable), self._map(variable)
        end = variable.offset + variable.size
        try:
            with mmap.mmap(found.fd.fileno(), len(whole)) as memory:
                memory[variable.offset : end] = data
        except OSError:  # not a map that can be mapped
            bpf.map_update(found.fd, _KEY, whole[: variable.offset] + data + whole[end:])

    def _known(self, name: str) -> Variable:
        if name not in self:
            raise KeyError(name)
        return named(self._variables, name)

    def _map(self, variable: Variable) -> ForeignMap:
        for one in self._maps:
            if one.name.endswith(variable.section):
                return one
        raise DataError(f"the object has no map of section {variable.section}, where {variable.name!r} is")

    def _read(self, variable: Variable) -> bytes:
        found = self._map(variable)
        data = bpf.map_lookup(found.fd, _KEY, found.value_size)
        if data is None or variable.offset + variable.size > len(data):
            raise DataError(f"the object is damaged: {variable.name!r} is not within {variable.section}")
        return data

    def __repr__(self) -> str:
        return f"<variables {', '.join(self)}>"
