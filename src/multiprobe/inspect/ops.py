"""Finds the ftrace_ops on a function, from ftrace's list and hashes in kernel memory.

tracefs names an ops only if it is the only one on a function. Every result may be None: see `objects`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprobe.inspect.objects import Objects

_MAX_OPS = 10_000
_MAX_CHAIN = 1_000_000
_GOLDEN_RATIO = 0x61C8864680B583EB  # GOLDEN_RATIO_64 (include/linux/hash.h)
_MASK = (1 << 64) - 1

#: What the functions of well-known ftrace_ops belong to.
OWNERS = {
    "fprobe_handler": "kprobe.multi, or an fprobe",
    "fprobe_kprobe_handler": "kprobe.multi, or an fprobe",
    "fprobe_ftrace_entry": "kprobe.multi at entry, or an fprobe",
    "ftrace_graph_func": "the function graph tracer; kprobe.multi at return and sessions go through it",
    "kprobe_ftrace_handler": "single kprobes",
    "call_direct_funcs": "BPF trampolines",
    "function_trace_call": "the function tracer",
    "klp_ftrace_handler": "live patching",
}


@dataclass(frozen=True, slots=True)
class Ops:
    """One struct ftrace_ops: its function, by name where known, and the trampoline of its own, if it has one."""

    address: int
    function: str
    trampoline: int

    @property
    def owner(self) -> str:
        """What it belongs to, or ""."""
        return OWNERS.get(self.function, "")


def all_ops(objects: Objects) -> tuple[Ops, ...] | None:
    """Every ftrace_ops that is registered."""
    here, end = objects.variable("ftrace_ops_list"), objects.names.data("ftrace_list_end")
    if here is None or end is None:
        return None
    found: list[Ops] = []
    while here and here != end and len(found) < _MAX_OPS:
        function = objects.field(here, "ftrace_ops", "func")
        if function is None:
            return None
        symbol = objects.names.at(function)
        trampoline = objects.field(here, "ftrace_ops", "trampoline") or 0
        found.append(Ops(here, symbol.name if symbol else hex(function), trampoline))
        here = objects.field(here, "ftrace_ops", "next") or 0
    return tuple(found)


def ops_on(objects: Objects, site: int) -> tuple[Ops, ...] | None:
    """The ftrace_ops that trace the call site at this address."""
    registered = all_ops(objects)
    return None if registered is None else tuple(ops for ops in registered if traces(objects, ops, site))


def traces(objects: Objects, ops: Ops, site: int) -> bool:
    """Whether an ftrace_ops is on a call site: in its filter (or that is empty), and not in its notrace hash."""
    hashes = objects.field(ops.address, "ftrace_ops", "func_hash")
    wanted = objects.field(hashes, "ftrace_ops_hash", "filter_hash")
    unwanted = objects.field(hashes, "ftrace_ops_hash", "notrace_hash")
    if not _count(objects, wanted):
        return not _has(objects, unwanted, site)
    return _has(objects, wanted, site) and not _has(objects, unwanted, site)


def direct_target(objects: Objects, site: int) -> int | None:
    """Where the direct call of a call site leads (its trampoline), or None."""
    direct_offset = objects.layouts.offset("ftrace_func_entry", "direct")
    for entry in _entries(objects, objects.variable("direct_functions"), site):
        if direct_offset is not None:
            return objects.memory.number(entry + direct_offset) or None
    return None


def _count(objects: Objects, table: int | None) -> int:
    return objects.field(table, "ftrace_hash", "count") or 0


def _has(objects: Objects, table: int | None, site: int) -> bool:
    return any(True for _ in _entries(objects, table, site))


def _entries(objects: Objects, table: int | None, site: int) -> Iterator[int]:
    """The struct ftrace_func_entry of a call site in a struct ftrace_hash."""
    if not _count(objects, table):
        return
    bits = objects.field(table, "ftrace_hash", "size_bits")
    buckets = objects.field(table, "ftrace_hash", "buckets")
    if bits is None or not buckets or bits > 32:
        return
    key = ((site * _GOLDEN_RATIO) & _MASK) >> (64 - bits) if bits else 0
    entry = objects.memory.number(buckets + 8 * key)
    for _ in range(_MAX_CHAIN):
        if not entry:
            return
        if objects.field(entry, "ftrace_func_entry", "ip") == site:
            yield entry
        entry = objects.memory.number(entry)
