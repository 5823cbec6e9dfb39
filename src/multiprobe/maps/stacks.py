"""Stack traces, which the kernel stores once each, under an id that programs can keep or send: the spec and the map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.errors import UsageError
from multiprobe.maps.layout import LOST_SIZE, Layout
from multiprobe.maps.maps import OwnMap, SharedArray
from multiprobe.maps.specs import MapSpec
from multiprobe.maps.types import u64
from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import MapType

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DEPTH = 127
"""PERF_MAX_STACK_DEPTH: what kernel.perf_event_max_stack is unless it was changed."""
COLLISIONS, FAILED = 0, 8


class StackTraces(MapSpec):
    """Stacks by id: equal stacks have equal ids.

    >>> stacks = StackTraces()

    depth: frames of a stack at most (1 to 127)
    max_entries: room for so many stacks. Their hashes choose among places, of which there are the next power of two:
        with one entry more than a power of two, every second place stays free.

    In a program, `stacks.id(ctx)` is the id of the kernel's stack, `stacks.id(ctx, user=True)` that of the process's. A
    negative id is an errno: the hash of a stack chooses its place, which the first stack keeps; another one with that
    hash is counted (stack_collisions), and so is one for which there is no room (failed_stacks). Raises UsageError for
    numbers out of range.
    """

    __slots__ = ("depth", "max_entries")
    kind = "stack_traces"

    def __init__(self, *, depth: int = MAX_DEPTH, max_entries: int = 1 << 14) -> None:
        super().__init__(u64)
        for number, name, most in ((depth, "depth", MAX_DEPTH), (max_entries, "max_entries", 1 << 20)):
            if not isinstance(number, int) or isinstance(number, bool) or not 0 < number <= most:
                raise UsageError(f"invalid {name}={number!r}: expected 1 to {most}")
        self.depth = depth
        self.max_entries = max_entries

    @property
    def n_places(self) -> int:
        """Places for stacks in the kernel: a power of two."""
        return 1 << (self.max_entries - 1).bit_length()

    def shape(self) -> tuple[object, ...]:
        return (self.kind,)

    def layout(self, n_functions: int, n_cpus: int) -> Layout:
        return Layout(4, 8 * self.depth, self.max_entries, False)

    def id(self, ctx: object, *, user: bool = False) -> int:
        """In a program: the id of the current stack of `ctx`, the process's with `user`.

        In Python it raises UsageError.
        """
        raise UsageError("stacks are taken by programs", hint="attach one that calls id(ctx)")

    def __repr__(self) -> str:
        return f"StackTraces(depth={self.depth}, max_entries={self.max_entries})"


class StackTracesMap(OwnMap):
    """The open map of a StackTraces (BPF_MAP_TYPE_STACK_TRACE)."""

    def __init__(self, spec: StackTraces, made: Layout, *, name: str) -> None:
        self.spec: StackTraces = spec
        self.layout = made
        self._lost = SharedArray(LOST_SIZE, name=f"{name}_lost")
        try:
            self.fd = bpf.map_create(MapType.STACK_TRACE, made.key_size, made.value_size, made.max_entries, name=name)
        except BaseException:
            self._lost.close()
            raise

    def constants(self, key: str) -> dict[str, int]:
        return {f"{key}.lost": self._lost.fd.fileno()}

    def losses(self) -> dict[str, int]:
        """stack_collisions: stacks whose entry held another one; failed_stacks: those that the kernel couldn't take."""
        if self._lost.fd.is_closed:
            return {"stack_collisions": 0, "failed_stacks": 0}
        numbers = self._lost.memory.cast("Q")
        return {"stack_collisions": numbers[COLLISIONS // 8], "failed_stacks": numbers[FAILED // 8]}

    def addresses(self, stack: int) -> list[int]:
        """The addresses of the stack with an id, innermost first; empty for an errno and an id not in the map."""
        if stack < 0:
            return []
        found = bpf.map_lookup(self.fd, stack.to_bytes(4, "little"), self.layout.value_size)
        numbers = memoryview(found or b"").cast("Q").tolist()
        while numbers and not numbers[-1]:
            numbers.pop()
        return numbers

    def read(self, stacks: Iterable[int]) -> dict[int, list[int]]:
        """The addresses of several stacks by id, innermost first."""
        return {stack: self.addresses(stack) for stack in dict.fromkeys(map(int, stacks))}

    def clear(self) -> None:
        """Remove all stacks; ids from before become invalid."""
        key = None
        while (key := bpf.map_next_key(self.fd, None, 4)) is not None:
            bpf.map_delete(self.fd, key)

    def close(self) -> None:
        """Close the map's descriptors."""
        if not self.fd.is_closed:
            self._lost.close()
            self.fd.close()
