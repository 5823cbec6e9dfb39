"""Serves this machine's files to the guest by virtiofsd, the one in C (Debian 12) or the one in Rust (later).

The machine's tree is served from a read-only copy of the mount tree in a mount namespace of its own (see `confine`):
the guest cannot write to it, and files that hold secrets are empty there. Directories that the user shares are served
as they are.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from multiprobe.errors import NotPermittedError, VmError
from multiprobe.vm import cache
from multiprobe.vm.confine_command import confined

PLACES = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd")


@dataclass(frozen=True, slots=True)
class Server:
    """A virtiofsd: the program, and the options that its `--help` names."""

    path: str
    options: frozenset[str]

    def arguments(self, directory: Path, *, fd: int, is_read_only: bool) -> list[str]:
        """The command line to serve `directory` on the listening socket `fd`.

        A read-only tree can be cached for good by the guest, which makes everything some three times faster.
        """
        cache_mode = "always" if is_read_only else "auto"
        common = [self.path, f"--fd={fd}", "--rlimit-nofile=0"]
        if "--shared-dir" not in self.options:  # the one in C
            options = [f"source={directory}", f"cache={cache_mode}", "sandbox=chroot", "modcaps=-sys_resource"]
            return [*common, *(word for option in options for word in ("-o", option))]
        wanted = ["--no-announce-submounts"]  # overlayfs refuses a lower tree with automounts in it
        if is_read_only:
            wanted.append("--readonly")
        return [
            *common,
            *(f"--shared-dir={directory}", f"--cache={cache_mode}", "--sandbox=chroot", "--modcaps=-sys_resource"),
            *(option for option in wanted if option in self.options),
        ]


def find_server() -> Server:
    """The machine's virtiofsd."""
    found = next((path for path in PLACES if os.access(path, os.X_OK)), None) or shutil.which("virtiofsd")
    if not found:
        raise VmError(
            "virtiofsd, which serves this machine's files to the guest, is not installed",
            hint="apt-get install virtiofsd (Debian 12: qemu-system-common)",
        )
    return describe(found, subprocess.run([found, "--help"], capture_output=True, text=True, check=False).stdout)


def describe(path: str, help_text: str) -> Server:
    """Which virtiofsd it is, by the output of its `--help`."""
    return Server(path, frozenset(re.findall(r"--[a-z][a-z-]*", help_text)))


@dataclass(frozen=True, slots=True)
class Serving:
    """A running server: `tag` is its name in the guest, `socket` QEMU's end of the connection."""

    tag: str
    socket: socket.socket
    process: subprocess.Popen[bytes]
    log_fd: int

    def failure(self) -> str:
        """Its error output if it failed, or ""."""
        if self.process.poll() in (None, 0):
            return ""
        return os.pread(self.log_fd, 1 << 14, 0).decode(errors="replace").strip() or "virtiofsd failed"

    def close(self) -> None:
        """Kill it; the connection belongs to QEMU."""
        self.process.kill()
        self.process.wait()
        self.socket.close()
        os.close(self.log_fd)


def error(message: str) -> VmError | NotPermittedError:
    """The error for a file server that failed with `message`."""
    last = message.splitlines()[-1]
    if "EPERM" in message or "Operation not permitted" in message:
        return NotPermittedError(
            f"serving this machine's files read-only to the guest: {last}",
            hint="run as root; in a container, with CAP_SYS_ADMIN; `multiprobe doctor` shows what this user lacks",
        )
    return VmError(f"serving this machine's files to the guest: {last}")


def serve_machine(server: Server, tag: str, *, with_secrets: bool) -> Serving:
    """Serve all files of this machine, read-only; those that hold secrets (`vm.secrets`) only if asked to."""
    root, empty = cache.directory("root"), cache.directory("empty")
    cache.directory("empty", "directory")
    (empty / "file").touch()
    options = ["--read-only-root", str(root), "--empty", str(empty), *(("--secrets", "shown") if with_secrets else ())]
    return _serve(server, tag, root, options)


def serve_share(server: Server, tag: str, directory: Path) -> Serving:
    """Serve a directory that the guest may write to."""
    return _serve(server, tag, directory, [])


def _serve(server: Server, tag: str, directory: Path, confinement: Sequence[str]) -> Serving:
    log_fd = os.memfd_create("virtiofsd-log")
    with socket.socket(socket.AF_UNIX) as listening:
        ours = _connected(listening)
        arguments = server.arguments(directory, fd=listening.fileno(), is_read_only=bool(confinement))
        process = subprocess.Popen(
            confined(arguments, ["--as-root", "yes", *confinement]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log_fd,
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )
    return Serving(tag, ours, process, log_fd)


def _connected(listening: socket.socket) -> socket.socket:
    """Bind, connect, unlink: the path is never seen by anyone else."""
    with tempfile.TemporaryDirectory(prefix="multiprobe-") as directory:
        path = os.path.join(directory, "socket")
        listening.bind(path)
        listening.listen(1)
        ours = socket.socket(socket.AF_UNIX)
        ours.connect(path)
    return ours
