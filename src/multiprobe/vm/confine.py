"""`python -m multiprobe.vm.confine`: becomes another program, which dies with its parent.

    confine --parent PID [--read-only-root DIRECTORY [--without-secrets DIRECTORY]] -- PROGRAM ARGUMENT…

With --read-only-root, that program sees the machine's files through a read-only copy of the mount tree, in which
--without-secrets covers files and directories that hold secrets by the empty `file` and `directory` there. The kernel
enforces all of it, even if the parent is killed, and whatever the guest does: its root can remount what the guest sees,
but not what the file server sees.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

from multiprobe.errors import KernelError, MultiprobeError, VmError
from multiprobe.syscalls import namespaces
from multiprobe.vm import secrets

#: Kernel file systems make no sense in another kernel, and reading some of their files has effects here.
HIDDEN = ("proc", "sys", "dev")
_MANY_FILES = 1 << 20


def main(arguments: list[str]) -> int:
    """Prepare this process and become the program; returns only on failure."""
    at = arguments.index("--")
    options, command = arguments[:at], arguments[at + 1 :]
    settings = dict(zip(options[::2], options[1::2], strict=True))
    try:
        namespaces.set_parent_death_signal(signal.SIGKILL)
        if os.getppid() != int(settings["--parent"]):
            return 1  # it died before the kernel knew whom to tell
        if root := settings.get("--read-only-root"):
            mount_read_only_root(root, empty=settings.get("--without-secrets", ""))
        raise_file_limit()
        os.execv(command[0], command)
    except (MultiprobeError, OSError) as error:
        hint = f"; {error.hint}" if isinstance(error, MultiprobeError) and error.hint else ""
        print(f"confine: {error}{hint}", file=sys.stderr)
        return 1


def mount_read_only_root(at: str, *, empty: str = "") -> None:
    """Mount the whole tree of this machine once more at `at`, read-only with all that is mounted below.

    Secrets are covered by what is in the directory `empty`, if one is given.
    """
    is_private = namespaces.unshare_mounts()
    namespaces.mount("/", at, namespaces.MS_BIND | namespaces.MS_REC)
    if not is_private and is_mounted(at, pid=os.getppid()):
        namespaces.unmount(at)
        raise VmError(
            "this is a chroot, and what is mounted in it is mounted outside of it too",
            hint="bind its directory to itself before the chroot: mount --bind --make-private DIRECTORY DIRECTORY",
        )
    for name in HIDDEN:
        try:
            namespaces.unmount(os.path.join(at, name))
        except KernelError:  # not a mount here
            continue
    for path in secrets.find() if empty else ():
        cover(at + path, empty)
    namespaces.make_read_only(at)


def is_mounted(at: str, *, pid: int) -> bool:
    """Does another process see a mount at this path?"""
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        return any(os.fsdecode(line.split()[4]) == at for line in file)


def cover(path: str, empty: str) -> None:
    """Mount an empty file or directory over `path`. Raises KernelError: what can't be covered isn't served."""
    kind = "directory" if os.path.isdir(path) else "file"
    namespaces.mount(os.path.join(empty, kind), path, namespaces.MS_BIND)


def raise_file_limit() -> None:
    """A file server holds a descriptor for every file that the guest knows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in ((_MANY_FILES, max(hard, _MANY_FILES)), (hard, hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        except (ValueError, PermissionError):
            continue
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
