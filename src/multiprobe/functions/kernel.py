"""`Kernel`: the functions of one kernel, the running one or another, selected by pattern, type, symbol or address.

With a table in the cache, selecting functions imports neither NumPy nor any parser.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from multiprobe.cachedir import path_of
from multiprobe.errors import NoMatchError, NotSupportedError, UsageError
from multiprobe.functions import cache, request
from multiprobe.functions.pattern import in_modules, in_order, match, parse_pattern
from multiprobe.functions.sets import Function, FunctionSet
from multiprobe.functions.table import Origin
from multiprobe.kernel.evidence import hides_addresses
from multiprobe.kernel.mechanism import Mechanism, parse_mechanism
from multiprobe.kernel.modules import parse_modules
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multiprobe.functions.pattern import Pattern
    from multiprobe.functions.sources import LiveBtf
    from multiprobe.functions.table import FunctionTable
    from multiprobe.kernel.btf.types import Btf

BOOT_ID = "proc/sys/kernel/random/boot_id"
MODULES = "proc/modules"


class Kernel:
    """A kernel's functions and types, each read once, when first needed.

    `Kernel()` is the running kernel: /proc/kallsyms, /sys/kernel/btf, tracefs and debugfs. `Kernel.from_files(…)` and
    `Kernel.from_directory(…)` read copies of another kernel's files, and need no root.

    root: the directory below which these files are (for tests); use_cache: keep the function table in the cache
        directory
    """

    def __init__(self, *, root: str = "/", use_cache: bool = True) -> None:
        """`root` is where the system's files stand (tests); without `use_cache` everything is read afresh."""
        self._origin = Origin(root=root)
        self._use_cache = use_cache
        self._table: FunctionTable | None = None
        self._types: LiveBtf | None = None

    @classmethod
    def of(cls, table: FunctionTable) -> Kernel:
        """The kernel that `table` was read from, always the same object: its types are read once."""
        if isinstance(table.kernel, Kernel):
            return table.kernel
        kernel = cls()
        kernel._origin = table.origin
        kernel._adopt(table)
        return kernel

    def _adopt(self, table: FunctionTable) -> FunctionTable:
        table.origin = self._origin
        self._table = table
        table.kernel = self
        return table

    @classmethod
    def from_files(
        cls,
        *,
        kallsyms: str,
        available: str | None = None,
        btf: str | None = None,
        module_btfs: Mapping[str, str] | None = None,
        blacklist: str | None = None,
        config: str | None = None,
        release: str = "",
    ) -> Kernel:
        """Another kernel, from paths of copies of its files, all made in one boot.

        kallsyms: its /proc/kallsyms, with addresses
        available: available_filter_functions_addrs, or available_filter_functions, of its tracefs
        btf: its /sys/kernel/btf/vmlinux; module_btfs: those of its modules, by name
        blacklist: kprobes/blacklist of its debugfs; config: its configuration; release: as `uname -r` prints it

        Raises DataError when a file can't be read or decoded, at the first use of what it holds.
        """
        kernel = cls(use_cache=False)
        files = {"kallsyms": kallsyms, "available": available, "btf": btf, "blacklist": blacklist, "config": config}
        kernel._origin = Origin(files=files, module_btfs=dict(module_btfs or {}), release=release)
        return kernel

    @classmethod
    def from_directory(cls, directory: str, *, release: str = "") -> Kernel:
        """Another kernel, from a `directory` with copies of its files under their own names.

        Read are: kallsyms; available_filter_functions_addrs, or available_filter_functions; btf/vmlinux (or vmlinux)
            and
        btf/MODULE; blacklist (of its debugfs' kprobes); config-`release` (or config). Only kallsyms is required:
        `problems()` and the verdicts on functions say what is missing. Raises DataError as `from_files` does.
        """
        from multiprobe.functions.sources import find_files

        return cls.from_files(release=release, **find_files(path_of(directory)))

    # -- facts -----------------------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether this is the running kernel, and not one read from copies of files."""
        return self._origin.files is None

    @property
    def table(self) -> FunctionTable:
        """The table of all functions, a row each. Raises DataError when kallsyms can't be decoded."""
        if self._table is None:
            return self._adopt(self._read() if self.is_running else self._read_files())
        return self._table

    @property
    def release(self) -> str:
        """The kernel's release, as `uname -r` prints it; "" for a kernel from files of which it wasn't given."""
        return os.uname().release if self.is_running else self._origin.release

    @property
    def boot_id(self) -> str:
        """The random id of this boot, from /proc/sys/kernel/random/boot_id; "" for a kernel from files."""
        return self._read_file(BOOT_ID).decode().strip() if self.is_running else ""

    @property
    def build_id(self) -> str:
        """The build id of the running kernel's image, in hexadecimal, from /sys/kernel/notes; "" if it has none."""
        return parse_build_id(self._read_file("sys/kernel/notes")) if self.is_running else ""

    @property
    def btf(self) -> Btf:
        """The types of vmlinux, from its BTF. Raises NotSupportedError if the kernel has none."""
        found = self.btf_of("")
        if found is None:
            raise NotSupportedError(
                f"no types: {self._type_source().problem or 'no BTF file was given'}",
                hint="the kernel needs CONFIG_DEBUG_INFO_BTF=y",
            )
        return found

    def btf_of(self, module: str) -> Btf | None:
        """The types of `module`, or of vmlinux (""), from its BTF; None if it has none."""
        return self._type_source().get(module)

    def _type_source(self) -> LiveBtf:
        if self._types is None:
            from multiprobe.functions.sources import FileBtf, LiveBtf

            origin = self._origin
            self._types = (
                LiveBtf(os.path.join(origin.root, "sys/kernel/btf"))
                if origin.files is None
                else FileBtf(origin.files["btf"], dict(origin.module_btfs))
            )
        return self._types

    def has(self, mechanism: str | int) -> bool:
        """Whether the kernel was built with `mechanism`, according to its symbols.

        `mp.features()` probes whether it works.
        """
        bit = mechanism if isinstance(mechanism, int) else parse_mechanism(mechanism)
        return bool(self.offers & bit)

    @property
    def offers(self) -> Mechanism:
        """The mechanisms that the kernel was built with, according to its symbols, as a mask."""
        return self.table.offers

    def gone_modules(self, names: Iterable[str]) -> set[str]:
        """The modules of `names` that were unloaded or loaded anew since the functions were read (/proc/modules)."""
        wanted, known = set(names) - {""}, self._origin.modules
        if not wanted or not known:
            return set()
        now = parse_modules(self._read_file(MODULES))
        return {name for name in wanted if name in known and now.get(name) != known[name]}

    def problems(self) -> list[str]:
        """A sentence for each thing that the table lacks (addresses, types, the list of traceable functions)."""
        evidence = self.table.evidence
        found = []
        if "list_problem" in evidence:
            found.append(f"which functions are traceable is not known: {evidence['list_problem']}")
        if self.table.is_zeroed:
            found.append(
                "the kernel hides its addresses: run as root, or with CAP_SYSLOG, and kernel.kptr_restrict at most 1"
            )
        if "btf_problem" in evidence:
            found.append(f"types are missing: {evidence['btf_problem']}")
        return found

    # -- choosing --------------------------------------------------------------------------------------------------

    def functions(
        self,
        *patterns: str,
        takes: str | None = None,
        position: int | None = None,
        returns: str | None = None,
        n_args: int | None = None,
        module: str | None = None,
        unsafe: bool = False,
    ) -> FunctionSet:
        """The functions that match any of `patterns` and all other conditions; without patterns, all that meet them.

        patterns: `tcp_*`, `/tcp_v[46]_.*/`, `module:pattern`, `syscall:openat`, an exact symbol, `0xffffffff81000000`,
            `symbol+0x10`; `!pattern` excludes its matches, at any position
        takes: the C type of a parameter, `struct sk_buff *`; of any, or of the one at `position` (from 0)
        returns: the C type of the return value; n_args: the number of parameters; both from BTF
        module: a glob of module names; `vmlinux` is the kernel itself
        unsafe: also functions that are known to hang machines

        The order is that of addresses, or of the request if each pattern names one function. Requests without a match
        are in the set's `unresolved`. Raises PatternError for an invalid pattern, UsageError for `position` without
        `takes`, NotSupportedError for a condition on types if the kernel has no BTF.
        """
        if position is not None and takes is None:
            raise UsageError("position= says where a type stands: give takes= with it")
        parsed = [parse_pattern(text) for text in patterns]
        chosen = self._choose([pattern for pattern in parsed if not pattern.is_exclusion], unsafe=unsafe)
        for pattern in parsed:
            if pattern.is_exclusion:
                chosen = self._keep(chosen, set(match(self.table, pattern)), wanted=False)
        if module is not None:
            chosen = self._keep(chosen, set(in_modules(self.table, range(self.table.n), module)))
        if takes is not None or returns is not None or n_args is not None:
            from multiprobe.functions.types import TypeQuery, rows_with_types

            _ = self.btf  # a kernel without types says so, where an empty answer would mislead
            wanted = TypeQuery(takes=takes, position=position, returns=returns, n_args=n_args)
            fitting = rows_with_types(self.table, self.btf_of, wanted)
            chosen = self._keep(chosen, fitting)
        return chosen

    def _choose(self, patterns: list[Pattern], *, unsafe: bool) -> FunctionSet:
        table = self.table
        if not patterns:
            return FunctionSet(table, in_order(table, range(table.n)), unsafe=unsafe, is_head=True)
        if all(pattern.names_one for pattern in patterns):
            return request.resolve(self.table, patterns, unsafe=unsafe)
        if len(patterns) == 1:
            found = match(table, patterns[0])
            return FunctionSet(table, in_order(table, found), unsafe=unsafe, is_head=isinstance(found, range))
        single = request.resolve(table, [pattern for pattern in patterns if pattern.names_one], unsafe=unsafe)
        rows = {row for pattern in patterns if not pattern.names_one for row in match(table, pattern)}
        if single.offsets is None:
            rows.update(single.rows)
            return FunctionSet(table, in_order(table, rows), unresolved=single.unresolved, unsafe=unsafe)
        return FunctionSet(table, in_order(table, rows), unsafe=unsafe) | single

    def _keep(self, chosen: FunctionSet, rows: set[int], *, wanted: bool = True) -> FunctionSet:
        """Those functions of a set that are (or aren't) among `rows`, under whatever name."""
        functions = set(self.table.distinct_rows(list(rows)))
        selectors = bytes((row in functions) == wanted for row in self.table.distinct_rows(chosen.rows))
        return chosen.where(selectors, unresolved=chosen.unresolved)

    def function(self, name_or_address: str | int, *, unsafe: bool = False) -> Function:
        """One function, by `name_or_address`: a name, `symbol+offset` or an int. `unsafe`: as for `functions`.

        Raises NoMatchError, with the reason, if there is none, UsageError for a pattern.
        """
        if isinstance(name_or_address, int):
            chosen = self.by_addresses([name_or_address], unsafe=unsafe)
        else:
            chosen = self.by_symbols([name_or_address], unsafe=unsafe)
        if not len(chosen):
            refusal = chosen.unresolved[0]
            raise NoMatchError(str(refusal), hint="multiprobe functions PATTERN lists what there is")
        return chosen[0]

    def by_symbols(self, symbols: Iterable[str], *, unsafe: bool = False) -> FunctionSet:
        """The functions with these names, in this order; `positions` and `unresolved` of the set cover every request.

        symbols: `name`, `module:name` where several have the name, `name+0x10`, or an address in hexadecimal
        unsafe: also functions that are known to hang machines

        Raises UsageError for a pattern.
        """
        if isinstance(symbols, bytes) or not isinstance(symbols, Iterable):
            raise UsageError(f"invalid symbols {symbols!r}: expected a list of names")
        patterns = []
        for text in symbols:
            pattern = parse_pattern(text)
            if pattern.is_exclusion or not pattern.names_one:
                raise UsageError(f"{text!r} is a pattern, not a symbol", hint="use kernel.functions() for patterns")
            patterns.append(pattern)
        return request.resolve(self.table, patterns, unsafe=unsafe)

    def by_addresses(self, addresses: Iterable[int], *, unsafe: bool = False) -> FunctionSet:
        """The functions at these addresses, in this order; `positions` and `unresolved` of the set cover every request.

        addresses: ints, of the symbol or of its ftrace call site (4 bytes on after an ENDBR, as tracefs lists it)
        unsafe: also functions that are known to hang machines

        Raises UsageError for other values than addresses.
        """
        given = list(addresses) if isinstance(addresses, Iterable) else [addresses]
        if wrong := [one for one in given if not isinstance(one, int) or isinstance(one, bool)]:
            raise UsageError(f"invalid address {wrong[0]!r}: expected a list of integers")
        return request.resolve_addresses(self.table, given, unsafe=unsafe)

    def __repr__(self) -> str:
        state = plural_text(self._table.n, "function") if self._table is not None else "not read yet"
        return f"<Kernel {self.release or 'out of files'}: {state}>"

    # -- reading ---------------------------------------------------------------------------------------------------

    def _read(self) -> FunctionTable:
        modules = self._read_file(MODULES)
        self._origin = replace(self._origin, modules=parse_modules(modules))
        key = cache.make_key(boot_id=self.boot_id, modules=modules, uid=os.geteuid())
        path = cache.table_path(key)
        # A process may have fewer capabilities than the one of the same user that saved the addresses.
        is_cached = self._use_cache and not hides_addresses(root=self._origin.root)
        table = cache.load_table(path, key) if is_cached else None
        if table is None:
            from multiprobe.functions.sources import read_live

            table = read_live(self._type_source(), root=self._origin.root)
            if is_cached and cache.save_table(path, key, table):
                cache.drop_old_tables(os.path.dirname(path))
        return table

    def _read_files(self) -> FunctionTable:
        from multiprobe.functions.sources import read_files

        files = self._origin.files or {}
        return read_files(
            kallsyms=str(files["kallsyms"]),
            available=files["available"],
            types=self._type_source(),
            blacklist=files["blacklist"],
            config=files["config"],
        )

    def _read_file(self, name: str) -> bytes:
        try:
            with open(os.path.join(self._origin.root, name), "rb", buffering=0) as file:
                return file.read()
        except OSError:
            return b""


def parse_build_id(notes: bytes) -> str:
    """The GNU build id among ELF notes: (name size, size, type 3), the name `GNU`, the id."""
    position = 0
    while position + 12 <= len(notes):
        name_size, size, kind = (int.from_bytes(notes[position + at : position + at + 4], "little") for at in (0, 4, 8))
        start = position + 12 + (name_size + 3 & ~3)
        if kind == 3 and notes[position + 12 : position + 16] == b"GNU\0":
            return notes[start : start + size].hex()
        position = start + (size + 3 & ~3)
    return ""
