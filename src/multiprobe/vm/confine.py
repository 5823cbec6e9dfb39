"""`python -m multiprobe.vm.confine`: becomes another program, which dies with its parent.

    confine --parent PID [--as-root yes] [--read-only-root DIRECTORY --empty DIRECTORY [--secrets shown]]
        -- PROGRAM ARGUMENT…

With --as-root, that program is root: for another user, of a user namespace in which nobody else exists, without any
right to the machine that the user lacks. With --read-only-root, it sees the machine's files through a read-only copy of
the mount tree, in which file systems of the kernel, and files and directories that hold secrets, are covered by the
empty `file` and `directory` of --empty. The kernel enforces all of it, even if the parent is killed, and whatever the
guest does: its root can remount what the guest sees, but not what the file server sees.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

from multiprobe.errors import MultiprobeError, VmError
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
        if "--as-root" in settings and os.geteuid() != 0:
            namespaces.become_root()
        namespaces.set_parent_death_signal(signal.SIGKILL)  # last of what changes credentials, which would clear it
        if os.getppid() != int(settings["--parent"]):
            return 1  # it died before the kernel knew whom to tell
        if root := settings.get("--read-only-root"):
            mount_read_only_root(root, empty=settings["--empty"], has_secrets="--secrets" in settings)
        raise_file_limit()
        os.execv(command[0], command)
    except (MultiprobeError, OSError) as error:
        hint = f"; {error.hint}" if isinstance(error, MultiprobeError) and error.hint else ""
        print(f"confine: {error}{hint}", file=sys.stderr)
        return 1


def mount_read_only_root(at: str, *, empty: str, has_secrets: bool) -> None:
    """Mount the whole tree of this machine once more at `at`, read-only with all that is mounted below.

    What must not be seen is covered by what is in the directory `empty`: in a user namespace it can't be unmounted.
    """
    is_private = namespaces.unshare_mounts()
    namespaces.mount("/", at, namespaces.MS_BIND | namespaces.MS_REC)
    if not is_private and is_mounted(at, pid=os.getppid()):
        namespaces.unmount(at)
        raise VmError(
            "this is a chroot, and what is mounted in it is mounted outside of it too",
            hint="bind its directory to itself before the chroot: mount --bind --make-private DIRECTORY DIRECTORY",
        )
    hidden = [path for name in HIDDEN if os.path.isdir(path := f"/{name}")]
    for path in [*hidden, *(() if has_secrets else secrets.find())]:
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
