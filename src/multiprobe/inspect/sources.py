"""Provides the data sources of `inspect`: symbols, BTF, kernel memory, ftrace's files; each is read once, when needed.

A source that can't be read is None; `missing` has the reason and a hint.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from multiprobe.errors import MultiprobeError, NotPermittedError, NotSupportedError
from multiprobe.inspect import owners, tracefs
from multiprobe.inspect.memory import KCORE, KernelMemory
from multiprobe.inspect.names import Names
from multiprobe.inspect.objects import Layouts, Objects
from multiprobe.kernel.symbols import load_kallsyms
from multiprobe.kernel.tracing import find_debugfs, find_tracefs
from multiprobe.syscalls import bpf
from multiprobe.syscalls.fd import Closing
from multiprobe.uapi.bpf import Cmd

if TYPE_CHECKING:
    from collections.abc import Callable

    from multiprobe.kernel.btf.types import Btf

T = TypeVar("T")

#: What is missing when `Sources.names` is None.
NAMES = "names and addresses of functions"


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that could not be read. what: the thing; why: the reason; advice: what to do, "" if nothing helps."""

    what: str
    why: str
    advice: str = ""


class Sources(Closing):
    """The data sources of this system, each read when first needed. Close it, or leave its `with` block.

    kcore: the file for the kernel's memory, /proc/kcore by default; "" for none
    """

    def __init__(self, *, kcore: str = KCORE) -> None:
        self.missing: list[Missing] = []
        self._kcore = kcore
        self._memory: KernelMemory | None = None
        self._btfs: dict[int, Btf | None] = {}

    def miss(self, what: str, why: str, advice: str = "") -> None:
        """Add to `missing`, once, that `what` can't be shown, with `why` and `advice`."""
        missing = Missing(what, why, advice)
        if missing not in self.missing:
            self.missing.append(missing)

    def attempt(self, what: str, read: Callable[[], T]) -> T | None:
        """The result of `read()`, or None if it raises an error; then `missing` gets `what` with that reason."""
        try:
            return read()
        except MultiprobeError as error:
            self.miss(what, str(error), error.hint)
        except OSError as error:
            self.miss(what, f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return None

    @cached_property
    def names(self) -> Names | None:
        """Names and addresses of functions, programs and trampolines, from /proc/kallsyms."""
        return self.attempt(NAMES, self._load_names)

    def _load_names(self) -> Names:
        symbols = load_kallsyms()
        if symbols.is_zeroed:
            raise NotPermittedError(
                "/proc/kallsyms shows no addresses to this user",
                hint="run as root, or with CAP_SYSLOG; kernel.kptr_restrict=2 hides them from everyone",
            )
        return Names(symbols)

    @cached_property
    def btf(self) -> Btf | None:
        """The types of vmlinux, from its BTF."""
        return self.attempt("type information", _load_types)

    @cached_property
    def layouts(self) -> Layouts | None:
        """The offsets of members of the kernel's structures, from BTF."""
        return None if self.btf is None else Layouts(self.btf)

    def btf_object(self, object_id: int) -> Btf | None:
        """The types of a BTF object of the kernel: vmlinux or a module."""
        if object_id not in self._btfs:
            self._btfs[object_id] = self.attempt(
                f"names of the functions of BTF object {object_id}", lambda: self._load_btf(object_id)
            )
        return self._btfs[object_id]

    def _load_btf(self, object_id: int) -> Btf | None:
        fd = bpf.open_by_id(Cmd.BTF_GET_FD_BY_ID, object_id, "BTF object")
        if fd is None:
            return None
        with fd:
            name = bpf.kernel_btf_name(fd)
        if name == "vmlinux":
            return self.btf
        return _load_types(name, base=self.btf) if name else None

    @cached_property
    def memory(self) -> KernelMemory | None:
        """The kernel's memory, from /proc/kcore."""
        if not self._kcore:
            return None
        self._memory = self.attempt("the kernel's memory (call sites, images)", lambda: KernelMemory(self._kcore))
        return self._memory

    @cached_property
    def objects(self) -> Objects | None:
        """The kernel's structures; None unless symbols, types and memory can all be read."""
        if self.layouts is None or self.memory is None or self.names is None:
            return None
        return Objects(self.layouts, self.memory, self.names)

    @cached_property
    def enabled(self) -> str | None:
        """The text of tracefs' enabled_functions: the functions that ftrace has patched."""
        return self.attempt("the list of patched functions (enabled_functions)", _read_enabled)

    @cached_property
    def probes(self) -> tuple[tracefs.TracefsProbe, ...]:
        """All kprobes, from debugfs' kprobes/list; empty where it can't be read."""
        return tuple(self.attempt("the list of kprobes", _read_probes) or ())

    @cached_property
    def holders(self) -> owners.Holders:
        """The processes that hold links and perf events, from /proc/*/fdinfo."""
        found = owners.find_holders()
        if found.n_hidden:
            self.miss(
                "owners of some links",
                f"the descriptors of {found.n_hidden} process{'es' * (found.n_hidden != 1)} can't be read",
                "run as root, with CAP_SYS_PTRACE",
            )
        return found

    def close(self) -> None:
        """Close the files that were opened."""
        if self._memory is not None:
            self._memory.close()


def _read_enabled() -> str:
    mount = find_tracefs()
    if mount is None:
        raise NotSupportedError("tracefs isn't mounted", hint="mount -t tracefs tracefs /sys/kernel/tracing")
    return _read_text(f"{mount}/enabled_functions")


def _read_probes() -> list[tracefs.TracefsProbe]:
    mount = find_debugfs()
    if mount is None:
        raise NotSupportedError("debugfs isn't mounted", hint="mount -t debugfs debugfs /sys/kernel/debug")
    return tracefs.parse_probes(_read_text(f"{mount}/kprobes/list"))


def _read_text(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return file.readall().decode(errors="replace")


def _load_types(name: str = "vmlinux", *, base: Btf | None = None) -> Btf:
    from multiprobe.kernel.btf.types import load_btf

    return load_btf(name, base=base)


def entry_or_session(sources: Sources, kind: str, *, is_session: bool | None) -> str:
    """The side of a link of this kind that runs at entries; "" if it isn't known (`is_session` is None)."""
    if is_session is None:
        why = "bpf_link_info doesn't say, and kernel memory can't be read"
        sources.miss(f"whether a {kind} link is a session", why)
        return ""
    return "session" if is_session else "entry"
