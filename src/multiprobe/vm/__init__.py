"""Runs any command in a virtual machine that is thrown away afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def rerun_in_vm(arguments: Sequence[str], series: str | None, prepare: Callable[[], None]) -> int:
    """Run `multiprobe ARGUMENTS` in a guest with a kernel of `series` (None: the default) and return its status.

    `prepare` is called before that, if a guest can run here.
    """
    from multiprobe.vm import rerun  # apt, QEMU, sockets: every command imports this package, and few of them need it

    return rerun.rerun_in_vm(arguments, series, prepare)
