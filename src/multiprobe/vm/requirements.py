"""Checks what a guest needs of this machine before anything is fetched or compiled: programs, and the right to mount.

All that is missing is named at once, with the packages of Debian and Ubuntu that have it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from multiprobe.arch import native
from multiprobe.errors import NotPermittedError, VmError
from multiprobe.syscalls.namespaces import why_no_mounts
from multiprobe.vm import host_files, initramfs, qemu

#: Releases in which virtiofsd has no package of its own.
_BEFORE_VIRTIOFSD = re.compile(r"^VERSION_CODENAME=\"?(bookworm|jammy)\b", re.MULTILINE)
_FORBIDDING = {
    "kernel/unprivileged_userns_clone": "1",
    "kernel/apparmor_restrict_unprivileged_userns": "0",
}


@dataclass(frozen=True, slots=True)
class Requirement:
    """A program that is not installed, and the packages of Debian that have it."""

    program: str
    packages: tuple[str, ...]


def find_missing() -> list[Requirement]:
    """The programs that are needed to run a guest, as far as they are not installed."""
    guest = native().guest
    server = "qemu-system-common" if _BEFORE_VIRTIOFSD.search(_read("/etc/os-release")) else "virtiofsd"
    needed: tuple[tuple[Callable[[], object], Requirement], ...] = (
        (qemu.find_qemu, Requirement(guest.qemu, (guest.qemu_package, "qemu-system-common"))),
        (host_files.find_server, Requirement("virtiofsd", (server,))),
        (initramfs.busybox, Requirement("busybox, statically linked", ("busybox-static",))),
    )
    return [missing for find, missing in needed if not _is_there(find)]


def require_guest() -> None:
    """Raise VmError naming all programs that are missing, or NotPermittedError if this user may not run guests."""
    missing = find_missing()
    if missing:
        programs = "; ".join(one.program for one in missing)
        raise VmError(f"the virtual machine needs programs that are not installed: {programs}", hint=install(missing))
    obstacle = find_obstacle()
    if obstacle is not None:
        raise NotPermittedError(obstacle[0], hint=obstacle[1])


def install(missing: list[Requirement]) -> str:
    """The command that installs what is missing."""
    packages = dict.fromkeys(package for one in missing for package in one.packages)
    command = f"apt-get install {' '.join(packages)}"
    if not shutil.which("apt-get"):
        return f"install them; on Debian: {command}"
    return command if os.geteuid() == 0 else f"sudo {command}"


def find_obstacle() -> tuple[str, str] | None:
    """Why this user can't serve this machine's files to a guest, and what to do about it; None if that can be done."""
    error = why_no_mounts()
    if error is None:
        return None
    if os.geteuid() == 0:
        return f"root has no right to mount here: {error}", "in a container, run with CAP_SYS_ADMIN"
    return f"user namespaces, which the virtual machine needs without root, can't be used here: {error}", _remedy()


def _remedy() -> str:
    advice = [f"as root: {text}" for text in _forbidding()]
    return "; or ".join([*advice, "run as root" if advice else "run as root: a chroot or a container may forbid them"])


def _forbidding() -> Iterator[str]:
    """The settings of this machine that forbid user namespaces, as commands that change them."""
    for name, allowed in _FORBIDDING.items():
        if _read(f"/proc/sys/{name}").strip() not in ("", allowed):
            yield f"sysctl {name.replace('/', '.')}={allowed}"
    if _read("/proc/sys/user/max_user_namespaces").strip() == "0":
        yield "sysctl user.max_user_namespaces=10000"


def _is_there(find: Callable[[], object]) -> bool:
    try:
        find()
    except VmError:
        return False
    return True


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
