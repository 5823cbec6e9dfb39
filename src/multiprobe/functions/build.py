"""Builds a `FunctionTable` from kallsyms, ftrace's function list and BTF.

It decides which symbols are functions, joins the lists by address and name, and records facts about each function;
`verdict` interprets the facts. Pure: `sources` reads the files. Imports NumPy, so it runs only without a cached table.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from multiprobe.functions import verdict
from multiprobe.functions.table import COLUMNS, NO_SLOTS, FunctionTable
from multiprobe.functions.unsafe import EXACT, PREFIXES
from multiprobe.kernel.btf.format import RETURNS_UNKNOWN
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.kernel.return_nodes import find_return_nodes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from multiprobe.functions.table import Code
    from multiprobe.kernel.btf.types import Btf
    from multiprobe.kernel.symbols import Symbols
    from multiprobe.kernel.tracing import Available, KprobeRange

    Rows = NDArray[np.int64]
    Flags = NDArray[np.bool_]
    Facts = NDArray[np.uint32]

# Offsets of ftrace's call site in a function: after ENDBR64 (x86: 4) or BTI and saved registers (aarch64: 4 or 8).
MAX_CALL_OFFSET = 15
MAX_ARGUMENTS = 12  # MAX_BPF_FUNC_ARGS of include/linux/bpf.h

ARTEFACT_PREFIXES = (b"__pfx_", b"__cfi_", b"__SCT__", b"__SCK__", b".L")
MARKER_SUFFIXES = (b"_text_start", b"_text_end", b"text_begin", b"_stext", b"_etext", b"_sinittext", b"_einittext")
MARKERS = (b"_text", b"__pi__text")
COLD = b".cold"

# Evidence in the kernel's own symbols that a mechanism was built in: the static ones exist only with their option.
BUILT_IN = {
    Mechanism.TRACING_MULTI: b"bpf_multi_func",
    Mechanism.KPROBE_MULTI: b"kprobe_multi_link_handler",
    Mechanism.TRAMPOLINE: b"bpf_trampoline_link_prog",
    Mechanism.KPROBE: b"perf_kprobe_init",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """The functions found among the symbols, sorted by address."""

    symbols: Rows  # the index of each among the symbols
    names: list[bytes]
    addresses: NDArray[np.uint64]
    modules: NDArray[np.uint16]
    is_init: Flags
    group: Rows  # the first row with the same address


def build_table(
    symbols: Symbols,
    *,
    available: Available | None,
    btfs: Mapping[str, Btf],
    blacklist: Sequence[KprobeRange] | None = None,
    has_kprobes_on_notrace: bool = False,
    evidence: Mapping[str, str] | None = None,
) -> FunctionTable:
    """Put everything that is known about every function into one table.

    `available` is None where the list could not be read; `btfs` holds the BTF of each module by name, vmlinux's as "".
    """
    all_names = symbols.names[:-1].split(b"\n") if len(symbols) else []
    rows = _find_functions(symbols, all_names, available)
    n = len(rows.names)
    facts = np.zeros(n, dtype=np.uint32)
    facts[rows.is_init] |= verdict.INIT_SECTION
    facts[1:][rows.group[1:] != np.arange(1, n)] |= verdict.ALIAS
    if symbols.is_zeroed:
        facts |= np.uint32(verdict.ADDRESS_HIDDEN)
    calls = _mark_traceable(facts, rows, available, symbols)
    _mark_duplicates(facts, rows, symbols, all_names)
    _mark_special_names(facts, rows)
    btf_ids, slots, returns = _mark_types(facts, rows, symbols.module_names, btfs)
    _mark_blacklist(facts, rows, blacklist, has_kprobes_on_notrace=has_kprobes_on_notrace)
    order, aliases = _aliases_last(rows.group)
    names = [rows.names[row] for row in order.tolist()]
    columns: dict[str, NDArray[Any]] = {
        "addresses": rows.addresses[order],
        "facts": facts[order],
        "btf_ids": btf_ids[order],
        "modules": rows.modules[order],
        "call_offsets": calls[order],
        "slots": slots[order],
        "returns": returns[order],
        "name_offsets": _offsets(names),
        "by_name": np.array(sorted(range(n), key=names.__getitem__), dtype=np.uint32),
        "aliases": aliases,
        **_judge(facts[order]),
    }
    return FunctionTable(
        names=b"".join([name + b"\n" for name in names]),
        module_names=tuple(symbols.module_names),
        columns={name: _view(columns[name], code) for name, code in COLUMNS},
        evidence={
            "addresses": "hidden" if symbols.is_zeroed else "shown",
            "offers": str(_offers(all_names)),
            "return_nodes": str(find_return_nodes(btfs.get(""), set(all_names)) or ""),
            "list": "unreadable" if available is None else "names" if available.addresses is None else "addresses",
            **(evidence or {}),
        },
    )


def _aliases_last(group: Rows) -> tuple[Rows, Rows]:
    """The order of rows in the table, and for each alias at its end the row that it is another name of."""
    is_alias = group != np.arange(len(group))
    order = np.concatenate((np.flatnonzero(~is_alias), np.flatnonzero(is_alias)))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return order, place[group[is_alias]]


def _view(column: NDArray[Any], code: Code) -> memoryview:
    """A column as a read-only memoryview of its format."""
    dtype = {"Q": np.uint64, "I": np.uint32, "H": np.uint16, "B": np.uint8}[code]
    return memoryview(np.ascontiguousarray(column, dtype=dtype).tobytes()).cast(code)


def _offsets(names: list[bytes]) -> NDArray[np.uint32]:
    offsets = np.zeros(len(names) + 1, dtype=np.uint32)
    np.cumsum(np.fromiter(map(len, names), dtype=np.uint32, count=len(names)) + 1, out=offsets[1:])
    return offsets


def _offers(all_names: list[bytes]) -> int:
    """Which mechanisms this kernel was built with, by the symbols that only they bring."""
    present = set(BUILT_IN.values()).intersection(all_names)
    return sum(bit for bit, name in BUILT_IN.items() if name in present)


# -- what is a function ------------------------------------------------------------------------------------------------


def _find_functions(symbols: Symbols, all_names: list[bytes], available: Available | None) -> _Rows:
    """The symbols that are functions, sorted by address; of several names for one address ftrace's own comes first."""
    kept = np.flatnonzero(symbols.is_text() & ~symbols.is_generated() & ~_is_artefact(symbols))
    place: NDArray[Any] = np.arange(len(symbols)) if symbols.is_zeroed else symbols.addresses
    marks = {name: place[row] for name in _SECTION_MARKS if (row := _find(symbols, name)) is not None}
    in_vmlinux = symbols.modules[kept] == 0
    is_init = in_vmlinux & _between(place[kept], marks, b"_sinittext", b"_einittext")
    if b"_stext" in marks and b"_etext" in marks:
        is_function = ~in_vmlinux | is_init | _between(place[kept], marks, b"_stext", b"_etext")
        kept, is_init = kept[is_function], is_init[is_function]
    order = np.argsort(symbols.addresses[kept], kind="stable")
    kept, is_init = kept[order], is_init[order]
    addresses = symbols.addresses[kept]
    group = np.arange(len(kept))
    if len(kept) and not symbols.is_zeroed:
        group = np.searchsorted(addresses, addresses, side="left")
        kept = _put_listed_name_first(kept, group, all_names, available)
    names = [all_names[row] for row in kept.tolist()]
    return _Rows(kept, names, addresses, symbols.modules[kept], is_init, group)


_SECTION_MARKS = (b"_stext", b"_etext", b"_sinittext", b"_einittext")


def _between(place: NDArray[Any], marks: Mapping[bytes, Any], start: bytes, end: bytes) -> Flags:
    if start not in marks or end not in marks:
        return np.zeros(len(place), dtype=np.bool_)
    inside: Flags = (place >= marks[start]) & (place < marks[end])
    return inside


def _find(symbols: Symbols, name: bytes) -> int | None:
    """The index of the first symbol called `name`."""
    if symbols.names.startswith(name + b"\n"):
        return 0
    position = symbols.names.find(b"\n" + name + b"\n")
    return None if position < 0 else int(np.searchsorted(symbols.name_offsets, position, side="right"))


def _is_artefact(symbols: Symbols) -> Flags:
    """For each symbol: did compiler, linker or objtool make it, and is it no function?

    That are the padding before functions, jump slots, marks of sections, and the part of a function that the compiler
    moved out of the way (`.cold`, `.cold.1`).
    """
    text = np.frombuffer(symbols.names, dtype=np.uint8)
    starts = symbols.name_offsets[:-1].astype(np.int64)
    ends = symbols.name_offsets[1:].astype(np.int64) - 1
    flags = np.zeros(len(symbols), dtype=np.bool_)
    for prefix in ARTEFACT_PREFIXES:
        flags[_rows_with(text, starts, ends, prefix)] = True
    for suffix in MARKER_SUFFIXES:
        flags[_rows_with(text, ends - len(suffix), ends, suffix)] = True
    for name in MARKERS:
        row = _find(symbols, name)
        flags[[] if row is None else row] = True
    position = symbols.names.find(COLD)
    while position >= 0:
        flags[np.searchsorted(starts, position, side="right") - 1] = True
        position = symbols.names.find(COLD, position + 1)
    return flags


def _rows_with(text: NDArray[np.uint8], places: Rows, ends: Rows, part: bytes) -> Rows:
    """The rows whose name (up to `ends`) reads `part` at `places`."""
    rows = np.flatnonzero((places >= 0) & (places + len(part) <= ends))
    for at, byte in enumerate(part):
        rows = rows[text[places[rows] + at] == byte]
    return rows


def _put_listed_name_first(kept: Rows, group: Rows, all_names: list[bytes], available: Available | None) -> Rows:
    """Where several symbols share an address, put the one that ftrace lists before the others."""
    aliases = np.flatnonzero(group != np.arange(len(group)))
    if available is None or not len(aliases):
        return kept
    listed = set(available.names.split(b"\n"))
    kept = kept.copy()
    for row in aliases.tolist():
        first = int(group[row])
        if all_names[kept[first]] not in listed and all_names[kept[row]] in listed:
            kept[[first, row]] = kept[[row, first]]
    return kept


# -- facts -------------------------------------------------------------------------------------------------------------


def _mark_traceable(facts: Facts, rows: _Rows, available: Available | None, symbols: Symbols) -> NDArray[np.uint8]:
    """Mark what ftrace can't reach; returns the offset of each call site from its symbol."""
    calls = np.zeros(len(facts), dtype=np.uint8)
    if available is None:
        facts |= np.uint32(verdict.LIST_UNREADABLE)
        return calls
    if available.addresses is None or symbols.is_zeroed:
        traceable = _traceable_by_name(facts, rows, available, symbols.module_names)
    else:
        traceable = np.zeros(len(facts), dtype=np.bool_)
        around = np.searchsorted(rows.addresses, available.addresses, side="right") - 1
        known = around >= 0
        offset = available.addresses[known] - rows.addresses[around[known]]
        near = offset <= MAX_CALL_OFFSET
        first = rows.group[around[known][near]]
        traceable[first] = True
        calls[first] = offset[near]
    traceable, calls = traceable[rows.group], calls[rows.group]
    facts[~traceable & (facts & verdict.INSTANCE_UNKNOWN == 0)] |= verdict.NOT_TRACEABLE
    return calls


def _traceable_by_name(facts: Facts, rows: _Rows, available: Available, module_names: Sequence[str]) -> Flags:
    """Match by name and module, where the list has no addresses: all namesakes if as many are listed as there are."""
    own = [module_names[module] for module in rows.modules.tolist()]
    theirs = [available.module_names[module] for module in available.modules.tolist()]
    listed = Counter(zip(theirs, available.names[:-1].split(b"\n"), strict=True)) if theirs else Counter()
    present = Counter(zip(own, rows.names, strict=True))
    traceable = np.zeros(len(facts), dtype=np.bool_)
    for row, key in enumerate(zip(own, rows.names, strict=True)):
        n_listed = listed.get(key)
        if n_listed is None:
            continue
        if n_listed >= present[key]:
            traceable[rows.group[row]] = True
        else:
            facts[row] |= verdict.INSTANCE_UNKNOWN
    return traceable


def _mark_duplicates(facts: Facts, rows: _Rows, symbols: Symbols, all_names: list[bytes]) -> None:
    """Mark names of more than one symbol in their module: the kernel finds only the first, of any type."""
    own = _keys(rows.names, rows.modules)
    seen: set[bytes] = set()
    repeated: set[bytes] = set()
    for key in own:
        (repeated if key in seen else seen).add(key)
    others = np.ones(len(symbols), dtype=np.bool_)
    others[rows.symbols] = False
    others &= ~_is_artefact(symbols) & ~symbols.is_generated()
    kept = np.flatnonzero(others)
    repeated |= seen.intersection(_keys([all_names[row] for row in kept.tolist()], symbols.modules[kept]))
    facts[[row for row, key in enumerate(own) if key in repeated]] |= verdict.DUPLICATE_NAME


def _keys(names: list[bytes], modules: NDArray[np.uint16]) -> list[bytes]:
    """Names that differ where the modules do."""
    if not modules.any():
        return names
    return [b"%s %d" % (name, module) if module else name for name, module in zip(names, modules.tolist(), strict=True)]


def _mark_special_names(facts: Facts, rows: _Rows) -> None:
    """Mark what is known by name: unsafe functions, the kernel's deny list, functions that never return."""
    exact = {name.encode() for name in EXACT}
    prefixes = tuple(prefix.encode() for prefix in PREFIXES)
    special = exact | verdict.DENIED_NAMES | verdict.NORETURN_NAMES
    found = [row for row, name in enumerate(rows.names) if name in special or name.startswith(prefixes)]
    for row in found:
        name = rows.names[row]
        if name in verdict.NORETURN_NAMES:
            facts[row] |= verdict.NORETURN
        else:
            facts[row] |= verdict.UNSAFE | (verdict.DENY_LISTED if name in verdict.DENIED_NAMES else 0)
    # An unsafe function is unsafe under its other names too.
    groups = np.zeros(len(facts), dtype=np.bool_)
    groups[rows.group[facts & verdict.UNSAFE != 0]] = True
    facts[groups[rows.group]] |= verdict.UNSAFE


def _mark_types(
    facts: Facts, rows: _Rows, module_names: Sequence[str], btfs: Mapping[str, Btf]
) -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint8]]:
    """Mark what the functions' types rule out; returns their BTF ids, argument slots and what they return."""
    btf_ids = np.zeros(len(facts), dtype=np.uint32)
    slots = np.full(len(facts), NO_SLOTS, dtype=np.uint8)
    returns = np.full(len(facts), RETURNS_UNKNOWN, dtype=np.uint8)
    for index, module in enumerate(module_names):
        btf = btfs.get(module)
        own = np.flatnonzero(rows.modules == index)
        if btf is None or not len(own):
            continue
        functions = btf.functions
        # Of several functions with one name and the same types the first is used, as by the kernel.
        known = dict(zip(reversed(functions.names[:-1].split(b"\n")), range(len(functions) - 1, -1, -1), strict=False))
        names = rows.names if len(own) == len(facts) else [rows.names[row] for row in own.tolist()]
        found = np.fromiter(map(known.get, names, repeat(-1)), dtype=np.int64, count=len(names))
        own, found = own[found >= 0], found[found >= 0]
        type_facts = np.zeros(len(functions), dtype=np.uint32)
        type_facts[(functions.n_params > MAX_ARGUMENTS) | (functions.n_slots > MAX_ARGUMENTS)] |= (
            verdict.TOO_MANY_ARGUMENTS
        )
        type_facts[functions.is_variadic] |= verdict.VARIADIC
        type_facts[functions.has_big_struct_arg] |= verdict.BIG_STRUCT
        type_facts[functions.has_void_arg] |= verdict.VOID_ARGUMENT
        type_facts[functions.has_struct_return] |= verdict.STRUCT_RETURN
        type_facts[functions.return_size > 8] |= verdict.RETURN_TOO_LARGE
        is_ambiguous = functions.is_ambiguous[found]
        facts[own[is_ambiguous]] |= verdict.AMBIGUOUS_TYPE
        own, found = own[~is_ambiguous], found[~is_ambiguous]
        facts[own] |= type_facts[found]
        btf_ids[own] = functions.type_ids[found]
        slots[own] = np.minimum(functions.n_slots[found] + functions.returns_in_memory[found], NO_SLOTS - 1)
        returns[own] = functions.returns[found]
    facts[(btf_ids == 0) & (facts & verdict.AMBIGUOUS_TYPE == 0)] |= verdict.NO_BTF
    return btf_ids, slots, returns


def _mark_blacklist(
    facts: Facts, rows: _Rows, blacklist: Sequence[KprobeRange] | None, *, has_kprobes_on_notrace: bool
) -> None:
    """Mark where single kprobes may not go."""
    if not has_kprobes_on_notrace:
        facts[facts & verdict.NOT_TRACEABLE != 0] |= verdict.NO_KPROBE
    if not blacklist:
        return
    if not any(item.start for item in blacklist) or (facts & verdict.ADDRESS_HIDDEN).any():
        listed = {item.name.encode() for item in blacklist}
        facts[[row for row, name in enumerate(rows.names) if name in listed]] |= verdict.NO_KPROBE
        return
    starts = np.searchsorted(rows.addresses, np.array([item.start for item in blacklist], dtype=np.uint64))
    ends = np.searchsorted(rows.addresses, np.array([item.end for item in blacklist], dtype=np.uint64))
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        facts[start:end] |= verdict.NO_KPROBE


def _judge(facts: Facts) -> dict[str, NDArray[np.uint8]]:
    """The two masks of each function, from all rules."""
    entry = np.full(len(facts), Mechanism.KERNEL, dtype=np.uint8)
    leave = entry.copy()
    for rule in verdict.RULES:
        hit = facts & rule.fact != 0
        entry[hit] &= np.uint8(Mechanism.KERNEL & ~rule.entry)
        leave[hit] &= np.uint8(Mechanism.KERNEL & ~rule.exit)
    return {"mechanisms": entry, "return_mechanisms": leave}
