"""The very same command line, run by the same Python, in a guest: what `--vm` does."""

from __future__ import annotations

import compileall
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import multiprobe
from multiprobe.errors import UsageError
from multiprobe.vm import kernels, progress, session
from multiprobe.vm.environment import GUEST_VARIABLE


def rerun_in_vm(arguments: Sequence[str], series: str | None = None) -> int:
    """Run `multiprobe ARGUMENTS` (without its --vm) in a guest, and return its exit status.

    Raises VmError and its children; UsageError inside a guest, which can't hold another one.
    """
    if os.environ.get(GUEST_VARIABLE):
        raise UsageError("this is a virtual machine already", hint="leave out --vm")
    compile_ahead()
    with progress.shown() as on_progress:
        kernel = kernels.find(series or kernels.DEFAULT_SERIES, on_progress=on_progress)
        return session.run(
            [sys.executable, "-m", "multiprobe", *arguments],
            kernel=kernel,
            on_progress=lambda what: on_progress(what, 0, 0),
        )


def compile_ahead() -> None:
    """Compile this package to byte code: an emulated processor takes some twenty times as long."""
    compileall.compile_dir(Path(multiprobe.__file__).parent, quiet=2)
