"""prctl(2), unshare(2) and the mount system calls, as far as confining a helper process takes."""

from __future__ import annotations

import errno
import os

from multiprobe.arch import system_call_number
from multiprobe.errors import KernelError
from multiprobe.syscalls.raw import address_of, c_string, call

CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 1


def _call(name: str, subject: str, *arguments: int) -> None:
    result = call(system_call_number(name), *arguments)
    if result < 0:
        raise KernelError(f"{name}(2)", -result, subject=subject)


def set_parent_death_signal(signal: int) -> None:
    """Have the kernel send `signal` to this process when the thread that started it ends (prctl(2))."""
    _call("prctl", "PR_SET_PDEATHSIG", _PR_SET_PDEATHSIG, signal)


def unshare_mounts() -> bool:
    """Give this process a mount namespace of its own. Returns whether nothing can spread back from it.

    In a chroot whose root directory is no mount point, the mount that it lies in can't be made private.
    """
    _call("unshare", "CLONE_NEWNS", CLONE_NEWNS)
    try:
        mount("none", "/", MS_REC | MS_PRIVATE)
    except KernelError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


def mount(source: str, target: str, flags: int) -> None:
    """mount(2) without a file system: bind mounts and changes of propagation."""
    source_text, target_text = c_string(os.fsencode(source)), c_string(os.fsencode(target))
    _call("mount", f"{source} on {target}", address_of(source_text), address_of(target_text), 0, flags, 0)


def unmount(target: str) -> None:
    """Take a mount and all below it out of sight (MNT_DETACH)."""
    text = c_string(os.fsencode(target))
    _call("umount2", target, address_of(text), MNT_DETACH)


def make_read_only(target: str) -> None:
    """Make the mount at `target` and all below it read-only: mount_setattr(2), Linux 5.12."""
    text = c_string(os.fsencode(target))
    attributes = bytearray(_MOUNT_ATTR_RDONLY.to_bytes(8, "little") + bytes(24))
    _call("mount_setattr", target, _AT_FDCWD, address_of(text), _AT_RECURSIVE, address_of(attributes), len(attributes))
