"""Refuses a user who may not attach, before anything that takes time, with the command line that has the rights."""

from __future__ import annotations

import os
import shlex
import sys

from multiprobe.errors import NotPermittedError, UsageError
from multiprobe.instruments.workload import find_program

_NEEDED = {"CAP_BPF", "CAP_PERFMON"}


def require_rights() -> None:
    """Raise NotPermittedError for a user without the capabilities that every mechanism needs."""
    if os.geteuid() == 0:
        return
    from multiprobe.kernel.limits import load_capabilities, may_run_guests

    held = load_capabilities()
    lacking = sorted(_NEEDED - held)
    if lacking and "CAP_SYS_ADMIN" not in held:
        in_vm = ["or, in a virtual machine: add --vm"] if may_run_guests() else []
        raise NotPermittedError(
            f"attaching takes root, or CAP_BPF and CAP_PERFMON: user {os.geteuid()} lacks {' and '.join(lacking)}",
            hint="; ".join([as_root(sys.argv), *in_vm]),
        )


def as_root(argv: list[str]) -> str:
    """The command line that runs `argv` as root; by its path, since root's PATH lacks what a user has installed."""
    path, *words = argv
    is_module = os.path.basename(path) == "__main__.py"
    program = [sys.executable, "-m", "multiprobe"] if is_module else [os.path.abspath(path)]
    try:
        how = os.path.basename(find_program("sudo"))
    except UsageError:
        how = "as root:"
    return f"{how} {shlex.join([*program, *words])}"
