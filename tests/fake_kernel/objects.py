"""What a fake kernel keeps: maps, programs, links, perf events and types, each alive while something refers to it."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from fake_kernel.btf import Types
from fake_kernel.functions import FakeFunction
from multiprobe.uapi.bpf import MapType

RINGS, ARRAYS = {MapType.RINGBUF}, {MapType.ARRAY, MapType.PERCPU_ARRAY}
F_MMAPABLE = 1 << 10


@dataclass(eq=False)
class Object:
    """`number` is its id; `n_references`: descriptors, pins and other objects that refer to it; it `holds` others."""

    number: int = 0
    n_references: int = 0
    holds: list[Object] = field(default_factory=list)

    def open(self) -> int:
        """A new descriptor; of a memory file, so that what is mapped or leaked is real."""
        return os.memfd_create(type(self).__name__, os.MFD_CLOEXEC)

    def release(self) -> None:
        """Nothing refers to it any more."""


@dataclass(eq=False)
class Map(Object):
    kind: int = 0
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    flags: int = 0
    name: str = ""
    items: dict[bytes, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.file = -1
        self._wake = -1
        if self.kind == MapType.RINGBUF:
            self.file = self._file(2 * mmap.PAGESIZE + 2 * self.max_entries)
            try:
                self._readable, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                os.close(self.file)
                raise
        elif self.kind == MapType.ARRAY:
            self.file = self._file(self.max_entries * -(-self.value_size // 8) * 8)

    def _file(self, size: int) -> int:
        file = os.memfd_create(f"map {self.name}", os.MFD_CLOEXEC)
        os.ftruncate(file, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        return file

    def open(self) -> int:
        if self.kind == MapType.RINGBUF:  # memory files can't be waited for: `mapped` says what to map instead
            return os.dup(self._readable)
        return os.dup(self.file) if self.file >= 0 else super().open()

    def check_mapping(self, options: Mapping[str, int]) -> None:
        """array_map_mmap, ringbuf_map_mmap_kern"""
        may = self.kind == MapType.RINGBUF or self.flags & F_MMAPABLE
        is_read_only = options.get("prot", mmap.PROT_WRITE) & mmap.PROT_WRITE == 0
        if not may:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if self.kind == MapType.RINGBUF and options.get("offset", 0) and not is_read_only:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def wake(self) -> None:
        """Make a ring buffer's descriptor readable, once more."""
        os.write(self._wake, b"!")

    def release(self) -> None:
        if self.kind == MapType.RINGBUF:
            os.close(self._readable)
            os.close(self._wake)
        if self.file >= 0:
            os.close(self.file)


@dataclass(eq=False)
class Program(Object):
    kind: int = 0
    name: str = ""
    insns: bytes = b""
    attach_type: int = 0
    btf: Btf | None = None
    target: FakeFunction | None = None
    target_id: int = 0
    debug: Btf | None = None
    descriptors: dict[int, Map] = field(default_factory=dict)
    run_count: int = 0
    run_time: int = 0
    recursion_misses: int = 0
    is_sleepable: bool = False

    @property
    def maps(self) -> list[Map]:
        return [one for one in self.holds if isinstance(one, Map)]


@dataclass(eq=False)
class Btf(Object):
    types: Types | None = None
    data: bytes = b""

    @property
    def name(self) -> str:
        return self.types.name if self.types else ""


@dataclass(eq=False)
class Event(Object):
    """A perf event that is a kprobe; its program comes with a link."""

    function: FakeFunction | None = None
    offset: int = 0
    symbol: str = ""
    is_return: bool = False


@dataclass(frozen=True)
class Probe:
    """One function of a link, with its cookie."""

    function: FakeFunction
    cookie: int


@dataclass(eq=False)
class Link(Object):
    """`mechanism`: "kprobe_multi", "tracing_multi", "trampoline" or "kprobe"; `when`: "entry", "return", "session"."""

    kind: int = 0
    mechanism: str = ""
    when: str = ""
    program: Program | None = None
    probes: list[Probe] = field(default_factory=list)
    event: Event | None = None
    missed: int = 0


@dataclass(eq=False)
class Stats(Object):
    """BPF statistics are on."""
