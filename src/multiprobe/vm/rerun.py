"""Runs the same command line, with the same Python, in a guest: `--vm`."""

from __future__ import annotations

import compileall
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import multiprobe
from multiprobe.errors import UsageError
from multiprobe.output.progress import Progress
from multiprobe.vm import kernels, session
from multiprobe.vm.environment import GUEST_VARIABLE
from multiprobe.vm.requirements import require_guest


def rerun_in_vm(arguments: Sequence[str], series: str | None, prepare: Callable[[], None]) -> int:
    """Run `multiprobe ARGUMENTS` (without its --vm) in a guest, and return its exit status.

    Raises VmError and its subclasses; UsageError inside a guest, which can't contain another one.
    """
    if os.environ.get(GUEST_VARIABLE):
        raise UsageError("--vm in a virtual machine of multiprobe: they can't be nested", hint="leave out --vm")
    require_guest()
    prepare()
    compile_ahead()
    with Progress(is_bytes=True) as progress:
        kernel = kernels.find(series or kernels.DEFAULT_SERIES, on_progress=progress.step)
        return session.run(
            [sys.executable, "-m", "multiprobe", *arguments],
            kernel=kernel,
            on_progress=lambda what: progress.step(what, is_for_terminal=True),
        )


def compile_ahead() -> None:
    """Compile this package to byte code: an emulated processor takes some twenty times as long."""
    compileall.compile_dir(Path(multiprobe.__file__).parent, quiet=2)
