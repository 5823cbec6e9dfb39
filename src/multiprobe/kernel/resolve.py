"""Finds the symbol that contains an address of kernel code, for stacks. Pure over a snapshot of kallsyms.

A symbol extends to the next one, because kallsyms contains no sizes.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.kernel.symbols import is_generated, load_kallsyms

if TYPE_CHECKING:
    from multiprobe.kernel.symbols import Symbols

_FARTHEST = 1 << 20
"""No function is larger than this: what lies farther behind a symbol isn't in it."""


@dataclass(frozen=True, slots=True)
class ResolvedAddress:
    """An address as symbol and offset; `module` is "" for the kernel itself, "bpf" or "__builtin__…" for code that was
    made at run time. `name` is "" where no symbol is known."""

    address: int
    name: str
    offset: int
    module: str

    @property
    def is_generated(self) -> bool:
        """Is it code made at run time: a BPF program, a trampoline?"""
        return is_generated(self.module)

    @property
    def label(self) -> str:
        """How a frame of a stack reads: `name`, `name [module]`, or the address."""
        if not self.name:
            return f"{self.address:#x}"
        return f"{self.name} [{self.module}]" if self.module else self.name


class Resolver:
    """Symbols by address. Of several at one address the first in kallsyms counts, a global name before local ones."""

    def __init__(self, symbols: Symbols) -> None:
        import numpy as np

        rows = np.flatnonzero(symbols.is_text())
        letters = np.frombuffer(symbols.types, dtype=np.uint8)[rows]
        addresses = symbols.addresses[rows]
        order = np.lexsort((letters != ord("T"), addresses))
        rows, addresses = rows[order], addresses[order]
        first = np.ones(len(rows), dtype=np.bool_)
        first[1:] = addresses[1:] != addresses[:-1]
        self._rows = rows[first].tolist()
        self._addresses: list[int] = addresses[first].tolist()
        self._symbols = symbols
        self._known: dict[int, ResolvedAddress] = {}

    @classmethod
    def load(cls) -> Resolver:
        """The running kernel's, now. Raises NotPermittedError and NotSupportedError as `load_kallsyms` does."""
        return cls(load_kallsyms())

    def resolve(self, address: int) -> ResolvedAddress:
        """The symbol that `address` lies in."""
        found = self._known.get(address)
        if found is None:
            found = self._known[address] = self._find(address)
        return found

    def caller(self, address: int) -> ResolvedAddress:
        """The symbol that calls, given the address to return to: a call may be a function's last instruction."""
        found = self.resolve(address - 1)
        return (
            ResolvedAddress(address, found.name, found.offset + 1, found.module)
            if found.name
            else self.resolve(address)
        )

    def _find(self, address: int) -> ResolvedAddress:
        at = bisect_right(self._addresses, address) - 1
        if at < 0 or self._symbols.is_zeroed or address - self._addresses[at] > _FARTHEST:
            return ResolvedAddress(address, "", 0, "")
        row = self._rows[at]
        module = self._symbols.module_names[self._symbols.modules[row]]
        return ResolvedAddress(address, self._symbols.name(row), address - self._addresses[at], module)
