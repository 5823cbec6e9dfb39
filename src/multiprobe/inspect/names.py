"""Finds the symbol at an address and the address of a symbol, for functions, BPF programs and trampolines.

An index over kallsyms (`kernel.symbols`); pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from multiprobe.names import encode_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from multiprobe.kernel.symbols import Symbols

_ARTEFACTS = ("__pfx_", "__cfi_")
_MAX_GAP = 1 << 20  # no function is larger: an address further from the symbol before it belongs to none


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol of text: [address, end), where `end` is the next symbol's address. `module` is "" for vmlinux."""

    name: str
    module: str
    address: int
    end: int

    def __str__(self) -> str:
        return f"{self.name} [{self.module}]" if self.module else self.name


class Names:
    """All text symbols, found by address or by name."""

    def __init__(self, symbols: Symbols) -> None:
        self._symbols = symbols
        rows = np.flatnonzero(symbols.is_text() & (symbols.addresses != 0))
        self._rows = rows[np.argsort(symbols.addresses[rows], kind="stable")]
        # Symbols at the same address lie together: `_firsts` is where each group begins in `_rows`.
        self._starts, firsts = np.unique(symbols.addresses[self._rows], return_index=True)
        self._firsts = np.append(firsts, len(self._rows))

    def at(self, address: int) -> Symbol | None:
        """The symbol that `address` lies in, or None."""
        return self.each_at([address])[0]

    def each_at(self, addresses: Sequence[int]) -> list[Symbol | None]:
        """The symbol for each of many addresses."""
        wanted = np.asarray(addresses, dtype=np.uint64)
        if not len(self._starts):
            return [None] * len(wanted)
        groups = np.maximum(np.searchsorted(self._starts, wanted, side="right") - 1, 0)
        starts = self._starts[groups]
        is_in = (starts <= wanted) & (wanted - starts <= _MAX_GAP)
        columns = (is_in.tolist(), starts.tolist(), self._ends(groups).tolist(), groups.tolist())
        return [
            self._symbol(group, start, end) if is_known else None
            for is_known, start, end, group in zip(*columns, strict=True)
        ]

    def _ends(self, groups: NDArray[np.intp]) -> NDArray[np.uint64]:
        last = self._starts[-1:] + np.uint64(_MAX_GAP)
        return np.append(self._starts[1:], last)[groups]

    def _symbol(self, group: int, start: int, end: int) -> Symbol:
        rows = self._rows[self._firsts[group] : self._firsts[group + 1]].tolist()
        row = rows[0]
        name = self._symbols.name(row)
        if len(rows) > 1 and name.startswith(_ARTEFACTS):
            row = next((other for other in rows if not self._symbols.name(other).startswith(_ARTEFACTS)), row)
            name = self._symbols.name(row)
        return Symbol(name, self._symbols.module_names[self._symbols.modules[row]], start, end)

    def named(self, name: str, module: str | None = None) -> list[Symbol]:
        """All text symbols of that name (of one module: "" is vmlinux), by address."""
        found = []
        for row in self._rows_named(encode_name(name)):
            address = int(self._symbols.addresses[row])
            home = self._symbols.module_names[self._symbols.modules[row]]
            if self._symbols.types[row] in b"tTwW" and address and module in (None, home):
                group = np.searchsorted(self._starts, np.array([address], dtype=np.uint64))
                found.append(Symbol(name, home, address, int(self._ends(group)[0])))
        return sorted(found, key=lambda symbol: symbol.address)

    def data(self, name: str) -> int | None:
        """The address of the one symbol of that name, of any type (data too), or None."""
        addresses = {int(self._symbols.addresses[row]) for row in self._rows_named(encode_name(name))} - {0}
        return addresses.pop() if len(addresses) == 1 else None

    def _rows_named(self, name: bytes) -> list[int]:
        rows, text = [], self._symbols.names
        at = text.find(name + b"\n")
        while at >= 0:
            if at == 0 or text[at - 1] == 10:
                rows.append(int(np.searchsorted(self._symbols.name_offsets, np.uint32(at))))
            at = text.find(name + b"\n", at + 1)
        return rows
