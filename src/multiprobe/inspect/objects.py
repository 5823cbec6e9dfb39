"""Reads BPF links and programs from kernel memory, using the kernel's BTF, for what no interface exposes.

It walks the id tables of links and programs, and reads members that link info lacks (whether a link is a session;
cookies on older kernels). Every result may be None: no BTF, no kcore, another layout, an object that was freed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.errors import DataError
from multiprobe.kernel.btf import format as fmt

if TYPE_CHECKING:
    from multiprobe.inspect.memory import KernelMemory
    from multiprobe.inspect.names import Names
    from multiprobe.kernel.btf.types import Btf

_XA_INTERNAL, _XA_MASK = 2, 3  # low bits of an xarray entry (include/linux/xarray.h)
_XA_CHUNK_MASK = 63
_MAX_DEPTH = 11


class Layouts:
    """The offsets of members of the kernel's structures, from its BTF."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._known: dict[tuple[str, str], int | None] = {}

    def offset(self, structure: str, path: str) -> int | None:
        """Bytes from the start of `structure` to the member `path` ("fp.entry_handler"), also of unnamed members."""
        key = (structure, path)
        if key not in self._known:
            try:
                self._known[key] = self._find(structure, path)
            except DataError:
                self._known[key] = None
        return self._known[key]

    def _find(self, structure: str, path: str) -> int | None:
        ids = self._btf.type_ids(structure, fmt.STRUCT)
        if len(ids) != 1:
            return None
        offset, type_id = 0, ids[0]
        for name in path.split("."):
            found = self._member(type_id, name)
            if found is None:
                return None
            offset, type_id = offset + found[0], found[1]
        return offset

    def _member(self, type_id: int, name: str) -> tuple[int, int] | None:
        for member in self._btf.members(type_id):
            if member.name == name:
                return member.bit_offset // 8, member.type_id
            if not member.name:
                inner = self._member(member.type_id, name)
                if inner is not None:
                    return member.bit_offset // 8 + inner[0], inner[1]
        return None


@dataclass(frozen=True, slots=True)
class KprobeState:
    """A single kprobe or kretprobe: its address, and the number of calls that it missed."""

    address: int
    is_return: bool
    missed: int


@dataclass(frozen=True, slots=True)
class Objects:
    """Reads structures of the running kernel."""

    layouts: Layouts
    memory: KernelMemory
    names: Names

    def field(self, address: int | None, structure: str, path: str, *, size: int = 8) -> int | None:
        """The number that is member `path` of the structure at `address`."""
        offset = self.layouts.offset(structure, path) if address else None
        return None if offset is None or not address else self.memory.number(address + offset, size)

    def variable(self, name: str) -> int | None:
        """The pointer in the kernel variable `name`."""
        address = self.names.data(name)
        return self.memory.number(address) if address else None

    def by_id(self, table: str, object_id: int) -> int | None:
        """The address of the object with that id in the IDR `table` ("link_idr", "prog_idr")."""
        idr = self.names.data(table)
        entry = self.field(idr, "idr", "idr_rt.xa_head")
        base = self.field(idr, "idr", "idr_base", size=4)
        slots = self.layouts.offset("xa_node", "slots")
        if entry is None or base is None or slots is None:
            return None
        index = object_id - base
        for _ in range(_MAX_DEPTH):
            if not entry:
                return None
            if entry & _XA_MASK != _XA_INTERNAL:
                return entry
            node = entry - _XA_INTERNAL
            shift = self.field(node, "xa_node", "shift", size=1)
            if shift is None or shift > 60:
                return None
            entry = self.memory.number(node + slots + 8 * ((index >> shift) & _XA_CHUNK_MASK))
            if shift == 0:
                return entry
        return None

    def link(self, link_id: int) -> int | None:
        """The address of a link's struct bpf_link, checked to be the link of that id."""
        address = self.by_id("link_idr", link_id)
        return address if self.field(address, "bpf_link", "id", size=4) == link_id else None

    def is_session(self, link_id: int) -> bool | None:
        """Whether a kprobe.multi link runs at both sides of its functions."""
        # Link info doesn't tell: its flags know returns only.
        link = self.link(link_id)
        handlers = [self.field(link, "bpf_kprobe_multi_link", f"fp.{side}_handler") for side in ("entry", "exit")]
        return None if None in handlers else all(handlers)

    def is_uprobe_session(self, link_id: int) -> bool | None:
        """Whether a uprobe.multi link runs at both sides of its functions."""
        link, link_at = self.link(link_id), self.layouts.offset("bpf_uprobe_multi_link", "link")
        if link is None or link_at is None:
            return None
        first = self.field(link - link_at, "bpf_uprobe_multi_link", "uprobes")
        session = self.field(first, "bpf_uprobe", "session", size=1)
        return None if session is None else bool(session)

    def trampoline_cookie(self, link_id: int) -> int | None:
        """The cookie of a single fentry, fexit or fsession link."""
        link = self.link(link_id)
        for path in ("link.cookie", "link.node.cookie", "cookie"):
            cookie = self.field(link, "bpf_tracing_link", path)
            if cookie is not None:
                return cookie
        return None

    def perf_event(self, link_id: int) -> int | None:
        """The address of the struct perf_event that a link is on."""
        file = self.field(self.link(link_id), "bpf_perf_link", "perf_file")
        return self.field(file, "file", "private_data")

    def perf_cookie(self, link_id: int) -> int | None:
        """The cookie of a link on a perf event."""
        return self.field(self.perf_event(link_id), "perf_event", "bpf_cookie")

    def perf_kprobe(self, link_id: int) -> KprobeState | None:
        """The kprobe that a link is on, None also for links on other perf events: check that it is one."""
        call = self.field(self.perf_event(link_id), "perf_event", "tp_event")
        call_at = self.layouts.offset("trace_probe_event", "call")
        list_at = self.layouts.offset("trace_probe", "list")
        probe_at = self.layouts.offset("trace_kprobe", "tp")
        if not call or call_at is None or list_at is None or probe_at is None:
            return None
        first = self.field(call - call_at, "trace_probe_event", "probes")
        probe = first - list_at - probe_at if first else None
        address = self.field(probe, "trace_kprobe", "rp.kp.addr")
        handler = self.field(probe, "trace_kprobe", "rp.handler")
        missed = self.field(probe, "trace_kprobe", "rp.kp.nmissed")
        late = self.field(probe, "trace_kprobe", "rp.nmissed", size=4)
        if not address or handler is None or missed is None or late is None:
            return None
        return KprobeState(address, bool(handler), missed + (late if handler else 0))
