"""Reads the files from which a function table is built: those of the running kernel, or copies from another kernel.

A table is built from the files that can be read; its evidence records those that can't. Used only without a cached
table.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from multiprobe.errors import DataError, MultiprobeError, NotPermittedError, NotSupportedError, UsageError
from multiprobe.functions.build import build_table
from multiprobe.functions.table import FunctionTable
from multiprobe.kernel import symbols, tracing
from multiprobe.kernel.btf import types as btf
from multiprobe.kernel.diagnosis import diagnose_list
from multiprobe.kernel.examine import find_list
from multiprobe.kernel.features import Features
from multiprobe.kernel.limits import load_limits
from multiprobe.kernel.mechanism import Mechanism

if TYPE_CHECKING:
    from typing import TypedDict

    class Copies(TypedDict):
        """The arguments of `Kernel.from_files`."""

        kallsyms: str
        available: str | None
        btf: str | None
        module_btfs: dict[str, str]
        blacklist: str | None
        config: str | None


NO_FTRACE = "this kernel was built without ftrace (CONFIG_DYNAMIC_FTRACE), so that no function can be traced"
COPIES = (
    "copy there, as root on that machine: /proc/kallsyms, /sys/kernel/tracing/available_filter_functions_addrs (or, on "
    "older kernels, available_filter_functions), the directory /sys/kernel/btf, /sys/kernel/debug/kprobes/blacklist"
)
ON_NOTRACE = b"\nCONFIG_KPROBE_EVENTS_ON_NOTRACE=y\n"


class LiveBtf:
    """The BTF of the running kernel and its modules, each read when asked for and kept."""

    def __init__(self, directory: str = btf.BTF_DIRECTORY) -> None:
        self.directory = directory
        self.problem = ""
        self._known: dict[str, btf.Btf | None] = {}

    def get(self, module: str) -> btf.Btf | None:
        """The BTF of a module, or of vmlinux (""); None where there is none or it can't be read."""
        if module not in self._known:
            base = self.get("") if module else None
            self._known[module] = None if module and base is None else self._load(module or "vmlinux", base)
        return self._known[module]

    def _load(self, name: str, base: btf.Btf | None) -> btf.Btf | None:
        try:
            return btf.load_btf(name, base=base, directory=self.directory)
        except (NotSupportedError, NotPermittedError, DataError) as error:
            self.problem = self.problem or _one_line(error)
            return None


class FileBtf(LiveBtf):
    """BTF out of files: vmlinux's, and those of modules by name."""

    def __init__(self, vmlinux: str | None, modules: dict[str, str]) -> None:
        super().__init__()
        self._paths = {**modules, **({"vmlinux": vmlinux} if vmlinux else {})}

    def _load(self, name: str, base: btf.Btf | None) -> btf.Btf | None:
        path = self._paths.get(name)
        if path is None:
            return None
        return btf.Btf.parse(read_file(path), base)


def read_live(types: LiveBtf, *, root: str = "/") -> FunctionTable:
    """The functions of the running kernel. Only kallsyms is indispensable."""
    names = symbols.load_kallsyms(os.path.join(root, "proc/kallsyms"))
    evidence: dict[str, str] = {}
    available = _load_list(root, names, evidence)
    blacklist = tracing.load_blacklist(tracing.find_debugfs(root=root))
    evidence["blacklist"] = "unreadable" if blacklist is None else "read"
    table = build_table(
        names,
        available=available,
        btfs=_types_of(names, types),
        blacklist=blacklist,
        has_kprobes_on_notrace=_has_kprobes_on_notrace(root),
        evidence=evidence,
    )
    if types.problem:
        table.evidence["btf_problem"] = types.problem
    if root == "/":
        table.evidence["offers"] = str(int(_asked(table.offers, Features())))
    return table


def _asked(offers: Mechanism, features: Features) -> Mechanism:
    """The mechanisms offered, where the kernel itself answers instead of its symbols.

    A static symbol is renamed by LTO, and may be a stub on another architecture. Without rights the symbols decide.
    """
    for mechanism, ask in (
        (Mechanism.TRACING_MULTI, features.tracing_multi),
        (Mechanism.KPROBE_MULTI, features.kprobe_multi),
    ):
        answer = ask()
        if answer.is_yes:
            offers |= mechanism
        elif answer.is_no:
            offers &= ~mechanism
    return offers


def _types_of(names: symbols.Symbols, types: LiveBtf) -> dict[str, btf.Btf]:
    """The BTF of vmlinux and of every module that has some."""
    modules = [module for module in names.module_names if not symbols.is_generated(module)]
    return {module: found for module in modules if (found := types.get(module)) is not None}


def _load_list(root: str, names: symbols.Symbols, evidence: dict[str, str]) -> tracing.Available | None:
    """The list of traceable functions; where it can't be read, the `evidence` has why, as `multiprobe doctor` says."""
    tracefs = tracing.find_tracefs(root=root)
    try:
        if tracefs:
            return tracing.load_available(tracefs)
        problem = NO_FTRACE
    except MultiprobeError as error:
        problem = _one_line(error)
    if tracefs or b"\nftrace_location\n" in names.names:
        finding = diagnose_list(find_list(root=root), load_limits(root=root))
        problem = problem if finding.usable else f"{finding.why}: {finding.advice}"
    evidence["list_problem"] = problem
    return None


def _has_kprobes_on_notrace(root: str) -> bool:
    """Does the kernel's configuration, where it can be read, allow single kprobes on what ftrace can't reach?"""
    path = os.path.join(root, f"boot/config-{os.uname().release}")
    try:
        with open(path, "rb") as file:
            return ON_NOTRACE in file.read()
    except OSError:
        return False


def find_files(directory: str) -> Copies:
    """The arguments of `Kernel.from_files` for a directory of copies. UsageError if there is nothing to begin with."""
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise UsageError(f"{directory} can't be read: {error.strerror}", hint=COPIES) from error
    if "kallsyms" not in names:
        raise UsageError(f"{directory} has no kallsyms", hint=COPIES)
    places = {name: os.path.join(directory, name) for name in names}
    types = os.path.join(directory, "btf")
    modules = {name: os.path.join(types, name) for name in os.listdir(types)} if os.path.isdir(types) else {}
    config = next((name for name in names if name == "config" or name.startswith("config-")), "")
    return {
        "kallsyms": places["kallsyms"],
        "available": places.get("available_filter_functions_addrs", places.get("available_filter_functions")),
        "btf": modules.pop("vmlinux", places.get("vmlinux")),
        "module_btfs": modules,
        "blacklist": places.get("blacklist"),
        "config": places.get(config),
    }


def read_files(
    *, kallsyms: str, available: str | None, types: LiveBtf, blacklist: str | None, config: str | None
) -> FunctionTable:
    """The functions of a kernel known by copies of its files; what isn't given counts as unreadable."""
    names = symbols.parse_kallsyms(read_file(kallsyms))
    listed = None
    if available is not None:
        data = read_file(available)
        listed = tracing.parse_available(data, with_addresses=_starts_with_address(data))
    return build_table(
        names,
        available=listed,
        btfs=_types_of(names, types),
        blacklist=tracing.parse_blacklist(read_file(blacklist)) if blacklist is not None else None,
        has_kprobes_on_notrace=config is not None and ON_NOTRACE in read_file(config),
        evidence={"list_problem": "no list of traceable functions was given (available=)"} if listed is None else {},
    )


def _starts_with_address(data: bytes) -> bool:
    """Does a list of traceable functions begin with an address, as available_filter_functions_addrs does?"""
    head, space, rest = data[: data.find(b"\n") + 1].partition(b" ")
    return bool(space) and len(head) in (8, 16) and not rest.startswith(b"[") and not head.strip(b"0123456789abcdef")


def read_file(path: str) -> bytes:
    """A file's bytes; a missing or closed one as an error of ours."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except PermissionError as error:
        raise NotPermittedError(f"{path} can't be read: {error.strerror}") from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}", hint="give the path of a copied file") from error


def _one_line(error: MultiprobeError) -> str:
    return " ".join(f"{error}{'; ' + error.hint if error.hint else ''}".split())
