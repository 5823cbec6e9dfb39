"""The descriptions of traced functions, made one by one: most functions of a kernel are never called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from multiprobe.instruments.trace.arguments import Described

if TYPE_CHECKING:
    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.instruments.trace.describe import Describer


class Descriptions(Sequence[Described]):
    """The descriptions of functions in order, each made when it is first asked for."""

    def __init__(self, describer: Describer, functions: AnyFunctionSet) -> None:
        self._describer = describer
        self._functions = functions
        self._known: dict[int, Described] = {}

    def __len__(self) -> int:
        return len(self._functions)

    @overload
    def __getitem__(self, index: int) -> Described: ...
    @overload
    def __getitem__(self, index: slice) -> list[Described]: ...
    def __getitem__(self, index: int | slice) -> Described | list[Described]:
        """The description of the function with this index."""
        if isinstance(index, slice):
            return [self[n] for n in range(len(self))[index]]
        if index not in self._known:
            (self._known[index],) = self._describer.describe(self._functions.take([index]))
        return self._known[index]
