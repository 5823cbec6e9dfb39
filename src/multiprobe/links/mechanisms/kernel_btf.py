"""Finding the kernel's own object for a module's BTF, which a program for that module must name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.errors import NotSupportedError
from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import Cmd

if TYPE_CHECKING:
    from multiprobe.syscalls.fd import FileDescriptor


class ModuleGoneError(NotSupportedError):
    """A module has no types in the kernel, or not any more."""


def open_kernel_btf(module: str) -> FileDescriptor:
    """The BTF object of a loaded module. Raises ModuleGoneError when there is none (or no longer)."""
    found = 0
    while (found := bpf.next_id(Cmd.BTF_GET_NEXT_ID, found) or 0) != 0:
        btf = bpf.open_by_id(Cmd.BTF_GET_FD_BY_ID, found, "BTF")
        if btf is None:
            continue
        try:
            if bpf.kernel_btf_name(btf) == module:
                return btf
        except BaseException:
            btf.close()
            raise
        btf.close()
    raise ModuleGoneError(f"module {module} has no BTF, or was unloaded", hint="choose its functions again")
