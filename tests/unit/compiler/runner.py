"""Compiling a program and running it on the test machine, with maps laid out as in the kernel."""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import unpack_from
from typing import TYPE_CHECKING

import numpy as np
from machine import Machine, Ring, words

from multiprobe.compiler.code import Code
from multiprobe.compiler.compiling import compile_program
from multiprobe.compiler.program import Program
from multiprobe.compiler.shape import Shape
from multiprobe.functions.kernel import Kernel
from multiprobe.maps import Array, PerFunction
from multiprobe.maps.index import FunctionIndex, build_index
from multiprobe.maps.layout import CACHE_LINE, CONTROL_SIZE, LOSSES, SESSIONS_SIZE, constants, layout
from multiprobe.maps.maps import as_integers
from multiprobe.maps.set_spec import HITS
from multiprobe.maps.specs import RowArray

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONTROL_FD, INDEX_FD, COOKIES_FD, COUNTS_FD, SWITCH_FD, HITS_FD, SESSIONS_FD, RETURNS_FD, FIRST_MAP_FD = range(3, 12)
LOST_FD = 100
GENERATION = 5
ARG_LIMITS_FD = 99
KFUNCS = {"kfunc:bpf_session_is_return": 901, "kfunc:bpf_session_cookie": 902}


@dataclass
class Bench:
    """One program with its maps on a machine, ready to be hit. Two of one program can share a machine and its maps."""

    program: Program
    context: str = "raw_tracepoint"
    when: str = "entry"
    shape: Shape = field(default_factory=Shape)
    addresses: tuple[int, ...] = ()
    n_cpus: int = 1
    cookies: tuple[int, ...] = ()
    machine: Machine = field(default_factory=Machine)
    kernel: Kernel | None = None
    returns: bytes = b""
    arg_limits: bytes = b""

    def __post_init__(self) -> None:
        self.code: Code = compile_program(
            self.program,
            context=self.context,
            when=self.when,
            shape=self.shape,
            is_cached=False,
            kernel=self.kernel,
        )
        self.control = self.machine.add_array(CONTROL_FD, CONTROL_SIZE)
        self.machine.write(self.control, 8, 1)
        self.values = {"control": CONTROL_FD, "n_functions": len(self.addresses), "pid": 77, **KFUNCS}
        self.machine.kfuncs = {number: name for name, number in KFUNCS.items()}
        self._add_index()
        self._add_bytes(
            "cookies", COOKIES_FD, bytes(8) + b"".join(cookie.to_bytes(8, "little") for cookie in self.cookies), 8
        )
        self._add_bytes("arg_counts", COUNTS_FD, bytes(range(len(self.addresses) + 1)), 1)
        self._add_bytes("arg_limits", ARG_LIMITS_FD, b"\xff" + self.arg_limits, 1)
        self._add_bytes("returns", RETURNS_FD, bytes(1) + self.returns, 1)
        if self.shape.has_gate:
            self._add_gate()
        self.machine.add_array(SESSIONS_FD, SESSIONS_SIZE)
        self.values["sessions"] = SESSIONS_FD
        self.layouts = {}
        for place, name in enumerate(self.code.maps):
            self._add_map(place, name)
        self.insns = self.code.link(self.values)

    def _add_index(self) -> None:
        self.index: FunctionIndex = build_index(self.addresses)
        self._add_bytes("index", INDEX_FD, self.index.table.tobytes(), 4)

    def _add_bytes(self, name: str, fd: int, content: bytes, last: int) -> None:
        address = self.machine.add_array(fd, len(content))
        memory, _ = self.machine.find(address, len(content))
        memory[:] = content
        self.values |= {name: fd, f"{name}.limit": len(content) - last}

    def _add_gate(self) -> None:
        self._add_bytes("switch", SWITCH_FD, bytes(CACHE_LINE * self.n_cpus), 8)
        made = layout(HITS, len(self.addresses), self.n_cpus)
        self._add_bytes("hits", HITS_FD, bytes(made.value_size), 8)
        self.values |= {"generation": GENERATION} | constants(HITS, made, "hits", n_functions=len(self.addresses))

    def turn(self, cpu: int, generation: int) -> None:
        """Say whose turn it is on a CPU."""
        self.machine.write(self.machine.arrays[SWITCH_FD] + CACHE_LINE * cpu, 8, generation)

    def hits(self) -> list[list[int]]:
        """What the gate counted: for each CPU, one for each function; slot 0 (unknown) first."""
        made = layout(HITS, len(self.addresses), self.n_cpus)
        memory, _ = self.machine.find(self.machine.arrays[HITS_FD], made.value_size)
        rows = [bytes(memory[row * made.row_size :][: made.slots * 8]) for row in range(made.rows)]
        return [list(as_integers(row, HITS.value)) for row in rows]

    def _add_map(self, place: int, name: str) -> None:
        spec, fd = self.program.maps[name], FIRST_MAP_FD + place
        made = layout(spec, len(self.addresses), self.n_cpus)
        self.layouts[name] = made
        if spec.kind in ("hash", "lru_hash"):
            self.machine.add_table(fd, made.key_size, made.value_size, made.max_entries)
        elif spec.kind == "per_task":
            self.machine.add_storage(fd, made.value_size)
        elif spec.kind == "ring_buffer":
            self.machine.add_ring(fd, made.max_entries)
            self._add_bytes(f"map{place}.lost", LOST_FD + place, bytes(64), 8)
            self.values[f"map{place}.wake"] = made.max_entries // 4
        elif spec.kind == "stack_traces":
            self.machine.add_stacks(fd)
            self._add_bytes(f"map{place}.lost", LOST_FD + place, bytes(64), 8)
        else:
            self.machine.add_array(fd, made.value_size)
        self.values |= {f"map{place}": fd} | constants(spec, made, f"map{place}", n_functions=len(self.addresses))

    def hit(self, *arguments: int, context: bytes | None = None, at: int = 0, **facts: int) -> Bench:
        """One hit; `facts` are what helpers answer (ip, cookie, cpu, pid_tgid, time, ret); `at` is the context's
        address."""
        self.machine.facts = {"cpu": 0, "pid_tgid": (77 << 32) | 78, "time": 1000} | facts
        self.machine.arguments = list(arguments)
        padded = [*arguments, *[0] * (12 - len(arguments))]
        assert self.machine.run(self.insns, words(*padded) if context is None else context, at=at) == 0
        return self

    def _fd(self, name: str) -> int:
        return FIRST_MAP_FD + self.code.maps.index(name)

    def array(self, name: str) -> list[int]:
        """An Array's values."""
        spec, made = self.program.maps[name], self.layouts[name]
        assert isinstance(spec, Array)
        memory, _ = self.machine.find(self.machine.arrays[self._fd(name)], made.value_size)
        return list(as_integers(bytes(memory[: made.slots * spec.value.size]), spec.value))

    def per_function(self, name: str) -> list[list[int]]:
        """A PerFunction's values: for each row, one for each function; slot 0 (unknown) first."""
        spec, made = self.program.maps[name], self.layouts[name]
        assert isinstance(spec, PerFunction)
        memory, _ = self.machine.find(self.machine.arrays[self._fd(name)], made.value_size)
        used = made.slots * spec.value.size
        return [list(as_integers(bytes(memory[row * made.row_size :][:used]), spec.value)) for row in range(made.rows)]

    def rows(self, name: str) -> list[list[int]]:
        """The rows of a RowArray of 8-byte values whose first value isn't 0."""
        every = self.all_rows(name)
        used: list[list[int]] = every[every[:, 0] != 0].tolist()
        return used

    def all_rows(self, name: str) -> NDArray[np.uint64]:
        """All rows of a RowArray of 8-byte values, shape (rows, width)."""
        spec, made = self.program.maps[name], self.layouts[name]
        assert isinstance(spec, RowArray)
        memory, _ = self.machine.find(self.machine.arrays[self._fd(name)], made.value_size)
        return np.frombuffer(memory, np.uint64, count=spec.n_rows * spec.width).reshape(spec.n_rows, spec.width)

    def table(self, name: str) -> dict[bytes, int]:
        """A Hash's contents."""
        return self.machine.contents(self._fd(name))

    def ring(self, name: str) -> Ring:
        """A RingBuffer's ring."""
        return self.machine.rings[self._fd(name)]

    def lost(self, name: str) -> list[int]:
        """What a map of its own lost: its counters."""
        memory, _ = self.machine.find(self.machine.arrays[LOST_FD + self.code.maps.index(name)], 64)
        return list(unpack_from("<8Q", memory))

    def histogram(self, name: str) -> list[list[int]]:
        """A Histogram's counts: for each CPU, those of all functions (unknown first) in a row."""
        spec, made = self.program.maps[name], self.layouts[name]
        memory, _ = self.machine.find(self.machine.arrays[self._fd(name)], made.value_size)
        used = made.slots * spec.value.size
        return [list(as_integers(bytes(memory[row * made.row_size :][:used]), spec.value)) for row in range(made.rows)]

    def losses(self) -> dict[str, int]:
        """What the program could not do."""
        memory, _ = self.machine.find(self.control, CONTROL_SIZE)
        counted = {name: unpack_from("<Q", memory, offset)[0] for name, offset in LOSSES.items()}
        return {name: n for name, n in counted.items() if n}
