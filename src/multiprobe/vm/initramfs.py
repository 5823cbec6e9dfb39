"""Builds the guest's initramfs in memory, a cpio archive in "newc" format.

It contains busybox, the modules that the guest needs to reach the machine's files, `init`, and the job (`/job`).
"""

from __future__ import annotations

import lzma
import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from multiprobe.elf import PT_INTERP, parse_segments
from multiprobe.errors import DataError, VmError

#: In the order in which they have to be loaded; those that a kernel has built in are not there as files.
MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "fuse",
    "virtiofs",
    "virtio_console",
    "overlay",
)
NETWORK_MODULES = ("failover", "net_failover", "virtio_net")
DIRECTORIES = ("bin", "dev", "job", "lower", "modules", "newroot", "proc", "sys", "upper")
_INIT = Path(__file__).with_name("guest_init.sh")


@dataclass(frozen=True, slots=True)
class Entry:
    """A member of the archive: `mode` as in stat(2), with the type of file."""

    name: str
    mode: int
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class GuestJob:
    """The command to run in the guest: its directory, variables and streams.

    `shares` maps virtiofs tags to directories; `on_terminal` names those of stdin, stdout and stderr that are the
    guest's terminal (the others are ports); `end_mark` follows the last byte of each stream; `served_by_root` is false
    where the machine's files are served by an ordinary user.
    """

    command: Sequence[str]
    directory: str
    environment: Mapping[str, str]
    end_mark: str
    shares: Mapping[str, str] = field(default_factory=dict)
    on_terminal: frozenset[str] = frozenset()
    window: tuple[int, int] = (24, 80)
    has_stdin: bool = True
    modules: str = ""
    served_by_root: bool = True
    has_network: bool = False


def newc(entries: Iterable[Entry]) -> bytes:
    """The archive: for each member a header of 110 characters, its name and its content, padded to 4 bytes."""
    parts = []
    for number, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], start=1):
        name = os.fsencode(entry.name) + b"\0"
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        fields = (number, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, 0, 0, len(name), 0)
        header = b"070701" + b"".join(b"%08X" % number for number in fields)
        parts += [_padded(header + name), _padded(entry.content)]
    return b"".join(parts)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def build(job: GuestJob, *, modules: Path | None) -> bytes:
    """The whole archive for a kernel whose modules lie in `modules` (lib/modules/RELEASE; None: all built in)."""
    entries = [Entry(name, stat.S_IFDIR | 0o755) for name in DIRECTORIES]
    entries += [
        Entry("bin/busybox", stat.S_IFREG | 0o755, busybox().read_bytes()),
        Entry("bin/sh", stat.S_IFLNK | 0o777, b"busybox"),
        Entry("init", stat.S_IFREG | 0o755, _INIT.read_bytes()),
        Entry("job/settings", stat.S_IFREG | 0o644, settings(job).encode()),
        Entry("job/command", stat.S_IFREG | 0o755, command_script(job).encode("utf-8", "surrogateescape")),
    ]
    names = MODULES + (NETWORK_MODULES if job.has_network else ())
    for number, path in enumerate(find_modules(modules, names) if modules else ()):
        entries.append(Entry(f"modules/{number:02}.ko", stat.S_IFREG | 0o644, load_module(path)))
    return newc(entries)


def settings(job: GuestJob) -> str:
    """Shell variables for `init`."""
    rows, columns = job.window
    values = {
        "end_mark": job.end_mark,
        "rows": str(rows),
        "columns": str(columns),
        "terminal": " ".join(sorted(job.on_terminal)),
        "has_stdin": "yes" if job.has_stdin else "",
        "host_modules": job.modules,
        "served_by_root": "yes" if job.served_by_root else "",
        "has_network": "yes" if job.has_network else "",
        "shares": "\n".join(f"{tag} {directory}" for tag, directory in job.shares.items()),
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def _directory_there(directory: str) -> str:
    """Makes the directory if the guest lacks it: one in /tmp where the kernel has no overlayfs, and /tmp is empty."""
    within = shlex.quote(f".{directory}")
    return f"[ -d {within} ] || /bin/busybox mkdir -p {within} 2>/dev/null"


def command_script(job: GuestJob) -> str:
    """A shell script that becomes the command, in the right directory and with these variables only."""
    command = list(job.command)
    if "=" in command[0]:  # env(1) would take it for a variable
        command = ["/bin/sh", "-c", 'exec "$@"', "sh", *command]
    variables = [f"{name}={value}" for name, value in job.environment.items()]
    words = ["/bin/busybox", "chroot", ".", "/usr/bin/env", "-i", "-C", job.directory, *variables, *command]
    return f"{_directory_there(job.directory)}\nexec {shlex.join(words)}\n"


def busybox() -> Path:
    """The statically linked busybox of this machine."""
    found = shutil.which("busybox")
    if not found:
        raise VmError("busybox, with which the guest starts, is not installed", hint="apt-get install busybox-static")
    path = Path(found)
    if not is_static(path.read_bytes()):
        raise VmError(
            f"{path} is dynamically linked, and the guest starts without libraries",
            hint="apt-get install busybox-static",
        )
    return path


def is_static(elf: bytes) -> bool:
    """Whether a file is an ELF program that needs no interpreter (it has no PT_INTERP segment)."""
    try:
        return all(segment.kind != PT_INTERP for segment in parse_segments(elf))
    except DataError:
        return False


def find_modules(directory: Path, names: Sequence[str] = MODULES) -> list[Path]:
    """The files of the modules `names` that are there, in the order to load them."""
    found = {}
    for path in (directory / "kernel").rglob("*.ko*"):
        name = path.name.split(".")[0].replace("-", "_")
        if name in names:
            found[name] = path
    return [found[name] for name in names if name in found]


def load_module(path: Path) -> bytes:
    """A module's file, decompressed."""
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".zst":
        return _unzstd(path)
    return data


def _unzstd(path: Path) -> bytes:
    if not shutil.which("zstd"):
        raise VmError(f"cannot decompress {path.name}: zstd is not installed", hint="apt-get install zstd")
    return subprocess.run(["zstd", "-dcq", path], check=True, capture_output=True).stdout
