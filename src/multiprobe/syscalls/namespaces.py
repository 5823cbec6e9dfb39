"""prctl(2), unshare(2) and the mount system calls, as far as confining a helper process takes."""

from __future__ import annotations

import errno
import os
import warnings
from struct import pack

from multiprobe.arch import system_call_number
from multiprobe.errors import KernelError
from multiprobe.syscalls.raw import address_of, c_string, call

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP = 1, 22
_SECCOMP_MODE_FILTER = 2
#: Classic BPF on struct seccomp_data: load `nr`; skip one instruction unless equal; return an errno; return "allow".
_LOAD_NUMBER, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_RET_ERRNO, _RET_ALLOW = 0x00050000, 0x7FFF0000
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


def become_root() -> None:
    """Make this process root of a user namespace of its own, in which only this user exists.

    setgroups(2) does nothing from now on: it is forbidden there (user_namespaces(7)), and virtiofsd ends when it can't
    drop its groups, which are the user's own.
    """
    uid, gid = os.geteuid(), os.getegid()
    _call("unshare", "CLONE_NEWUSER", CLONE_NEWUSER)
    for name, line in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)
    _answer_zero("setgroups")


def _answer_zero(name: str) -> None:
    """Have the kernel answer 0 to a system call without making it, here and in what is executed (seccomp(2))."""
    steps = (
        (_LOAD_NUMBER, 0, 0, 0),
        (_JUMP_IF_EQUAL, 0, 1, system_call_number(name)),
        (_RETURN, 0, 0, _RET_ERRNO),
        (_RETURN, 0, 0, _RET_ALLOW),
    )
    code = bytearray(b"".join(pack("<HBBI", *step) for step in steps))
    program = bytearray(pack("<HxxxxxxQ", len(steps), address_of(code)))
    _call("prctl", "PR_SET_SECCOMP", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, address_of(program))


def why_no_mounts() -> KernelError | None:
    """Why a child of this process can't have mounts of its own, as root or by a user namespace; None if it can.

    Tried in a child: what forbids it (a sysctl, AppArmor, a chroot, a container) can't be listed.
    """
    out, into = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads: the child makes system calls, and ends
        child = os.fork()
    if child == 0:
        os.write(into, f"{_try_mounts()}".encode())
        os._exit(0)
    os.close(into)
    with open(out, "rb") as file:
        operation, _, number = file.read().decode().partition(" ")
    os.waitpid(child, 0)
    return KernelError(operation, int(number)) if number else None


def _try_mounts() -> str:
    """ "OPERATION ERRNO" of what fails, or ""."""
    try:
        if os.geteuid() != 0:
            become_root()
        unshare_mounts()
    except KernelError as error:
        return f"{error.operation} {error.errno}"
    except OSError as error:
        return f"{error.filename} {error.errno}"
    return ""


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
