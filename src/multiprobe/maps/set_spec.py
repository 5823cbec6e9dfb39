"""Describes all maps of one attachment before any is created: what a `MapSet` opens, and what it will take. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.maps.layout import CONTROL_SIZE, SESSIONS_SIZE, Layout, eights, layout
from multiprobe.maps.specs import MapSpec, PerFunction
from multiprobe.maps.types import u64

if TYPE_CHECKING:
    from array import array

    from multiprobe.maps.index import FunctionIndex

HITS = PerFunction(u64)


@dataclass(frozen=True, slots=True)
class MapSetSpec:
    """The maps that programs declare (`specs`), and the tables of the programs' own; each table is a map of one value.

    index: finds functions by address (programs with function_from="ip")
    cookies (array 'Q'), arg_counts, arg_limits and returns (a byte each): by function index, for programs whose links
        can't carry them
    has_hits: programs have a gate, where they count how often each function was hit
    has_sessions: with a table of calls under way, for sessions that two programs make together
    """

    specs: tuple[MapSpec, ...]
    n_functions: int
    n_cpus: int
    index: FunctionIndex | None = None
    cookies: array[int] | None = None
    arg_counts: bytes | None = None
    arg_limits: bytes | None = None
    returns: bytes | None = None
    has_hits: bool = False
    has_sessions: bool = False

    def layouts(self) -> dict[MapSpec, Layout]:
        """The layout of each declared map. Raises UsageError for one that is too large for programs."""
        return {spec: layout(spec, self.n_functions, self.n_cpus) for spec in self.specs}

    def hits_layout(self) -> Layout:
        """The layout of the table of hits."""
        return layout(HITS, self.n_functions, self.n_cpus)

    def contents(self) -> dict[str, memoryview[int]]:
        """What is in the tables that are filled when they are made, by name; the first entry is no function's."""
        found: dict[str, bytes | array[int]] = {}
        if self.index is not None:
            found["index"] = self.index.table
        if self.cookies is not None:
            found["cookies"] = bytes(8) + self.cookies.tobytes()
        if self.arg_counts is not None:
            found["arg_counts"] = bytes(1) + self.arg_counts
        if self.arg_limits is not None:
            found["arg_limits"] = b"\xff" + self.arg_limits
        if self.returns is not None:
            found["returns"] = bytes(1) + self.returns
        return {name: memoryview(content).cast("B") for name, content in found.items()}

    def table_sizes(self) -> dict[str, int]:
        """The bytes of every table, by name."""
        found = {"control": CONTROL_SIZE}
        if self.has_hits:
            found["hits"] = self.hits_layout().value_size
        found |= {name: eights(len(content)) for name, content in self.contents().items()}
        if self.has_sessions:
            found["sessions"] = SESSIONS_SIZE
        return found
