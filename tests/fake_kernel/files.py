"""The files of a fake kernel, written into a directory, and the paths of /proc and /sys that lead there meanwhile."""

from __future__ import annotations

import builtins
import errno
import hashlib
import io
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from struct import pack
from unittest.mock import patch

from fake_kernel.btf import Types
from fake_kernel.functions import SIZE, FakeFunction
from fake_kernel.profiles import Profile
from multiprobe.kernel.limits import CAPABILITIES, INITIAL_NAMESPACES

PMU_TYPE, RETURN_BIT = 8, 0
TRACEFS = "/sys/kernel/tracing"
LOCKDOWN = "none integrity confidentiality\n"

#: What leads into the fake's directory, whether it has such a file or not; everything else stays as it is.
PREFIXES = (
    "/sys/kernel",
    "/sys/bus/event_source",
    "/sys/devices/system/cpu",
    "/sys/fs/bpf",
    "/sys/fs/cgroup",
    "/proc/kallsyms",
    "/proc/modules",
    "/proc/sys/kernel",
    "/proc/self/status",
    "/proc/self/cgroup",
    "/proc/self/uid_map",
    "/proc/self/mountinfo",
    "/proc/self/ns",
    "/proc/filesystems",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/kcore",
    "/proc/meminfo",
    "/boot/config",
)


LISTS_OF_FUNCTIONS = (
    "proc/kallsyms",
    "proc/modules",
    "sys/kernel/tracing/available_filter_functions",
    "sys/kernel/tracing/available_filter_functions_addrs",
)


def _kallsyms(functions: list[FakeFunction], profile: Profile) -> str:
    text = [one for one in functions if not one.module]
    marks = [(text[0].address, "T", "_stext", ""), (text[-1].address + SIZE, "T", "_etext", "")]
    symbols = [*marks, *((one.address, "T", one.name, one.module) for one in functions)]
    return _lines(sorted(symbols), hides=profile.hides_addresses)


def _lines(symbols: Iterable[tuple[int, str, str, str]], *, hides: bool) -> str:
    lines = []
    for address, letter, name, module in symbols:
        suffix = f"\t[{module}]" if module else ""
        lines.append(f"{0 if hides else address:016x} {letter} {name}{suffix}\n")
    return "".join(lines)


def write_files(
    directory: Path, functions: list[FakeFunction], types: list[Types], profile: Profile, n_cpus: int
) -> Path:
    """Write everything that multiprobe reads of a kernel, unless one like it was written here before; where it is."""
    facts = repr((functions, sorted(profile.rights), replace(profile, rights=frozenset()), n_cpus))
    build_id = hashlib.sha1(facts.encode()).digest()
    root = directory / f"fake-{build_id.hex()}"
    if not root.exists():
        for name, content in _contents(functions, types, profile, n_cpus, build_id).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        (root / "sys/fs/bpf").mkdir(parents=True)
        (root / "sys/kernel/tracing").mkdir(exist_ok=True)
        (root / "proc/self/ns").mkdir()
        for kind, name in INITIAL_NAMESPACES.items():
            (root / "proc/self/ns" / kind).symlink_to(name)
    return root


def _mask(profile: Profile) -> int:
    return sum(1 << bit for bit, name in CAPABILITIES.items() if name in profile.rights)


def _contents(
    functions: list[FakeFunction], types: list[Types], profile: Profile, n_cpus: int, build_id: bytes
) -> dict[str, bytes]:
    listed = [one for one in functions if one.is_traceable]
    modules = dict.fromkeys(one.module for one in functions if one.module)
    texts = {
        "proc/kallsyms": _kallsyms(functions, profile),
        "proc/modules": "".join(
            f"{module} 4096 1 - Live {next(f.address for f in functions if f.module == module):#x}\n"
            for module in modules
        ),
        "proc/filesystems": "nodev\ttracefs\n",
        "proc/meminfo": "MemAvailable: 8000000 kB\nVmallocUsed: 20000 kB\nSUnreclaim: 50000 kB\nPercpu: 3000 kB\n",
        "proc/cmdline": "multiprobe.fake=1\n",
        "proc/sys/kernel/random/boot_id": f"{build_id[:16].hex()}\n",
        "proc/sys/kernel/ftrace_enabled": f"{profile.ftrace_enabled}\n",
        "proc/sys/kernel/perf_event_paranoid": f"{profile.perf_event_paranoid}\n",
        "proc/self/status": f"Uid:\t0\t{profile.uid}\nCapEff:\t{_mask(profile):016x}\nSeccomp:\t0\n",
        "proc/self/uid_map": "0 0 4294967295\n",
        "proc/self/mountinfo": f"1 0 0:1 / {TRACEFS} rw - tracefs tracefs rw\n" if profile.has_tracefs else "",
        "sys/kernel/security/lockdown": LOCKDOWN.replace(profile.lockdown, f"[{profile.lockdown}]"),
        "proc/sys/kernel/kptr_restrict": f"{profile.kptr_restrict}\n",
        "sys/kernel/tracing/README": "",
        "sys/kernel/tracing/available_filter_functions": "".join(f"{one.label}\n" for one in listed),
        "sys/kernel/debug/kprobes/blacklist": "".join(
            f"{one.address:#018x}-{one.address + SIZE:#018x}\t{one.name}\n" for one in functions if one.on_blacklist
        ),
        "sys/kernel/debug/kprobes/enabled": f"{profile.kprobes_enabled}\n",
        "sys/bus/event_source/devices/kprobe/type": f"{PMU_TYPE}\n",
        "sys/bus/event_source/devices/kprobe/format/retprobe": f"config:{RETURN_BIT}\n",
        "sys/devices/system/cpu/possible": f"0-{n_cpus - 1}\n",
    }
    if profile.lists_addresses:
        texts["sys/kernel/tracing/available_filter_functions_addrs"] = "".join(
            f"{one.call_site:016x} {one.label}\n" for one in listed
        )
    is_empty = profile.lockdown == "confidentiality" and profile.lockdown_since_boot
    if is_empty or not profile.has_tracefs:
        texts = {name: content for name, content in texts.items() if not name.startswith(TRACEFS[1:])}
    data = {f"sys/kernel/btf/{one.name}": one.data for one in types if profile.shows_types}
    data["sys/kernel/notes"] = pack("<III4s", 4, len(build_id), 3, b"GNU\0") + build_id
    return data | {name: text.encode() for name, text in texts.items()}


class Redirection(ExitStack):
    """While entered, paths of the kernel's own files lead into `root`; what `profile` forbids is refused."""

    def __init__(self, root: Path, profile: Profile) -> None:
        super().__init__()
        self._root = str(root)
        self._refused: dict[tuple[str, ...], int] = {}
        if profile.uid:
            self._refused[f"{TRACEFS}/", "/sys/kernel/debug/"] = errno.EACCES
        if profile.lockdown == "confidentiality":
            self._refused[f"{TRACEFS}/available", "/sys/kernel/debug/"] = errno.EPERM

    def __enter__(self) -> Redirection:
        for module, names in (
            (builtins, ("open",)),
            (io, ("open",)),
            (
                os,
                (
                    "open",
                    "stat",
                    "lstat",
                    "access",
                    "listdir",
                    "scandir",
                    "readlink",
                    "mkdir",
                    "rmdir",
                    "unlink",
                    "statvfs",
                ),
            ),
        ):
            for name in names:
                self.enter_context(patch.object(module, name, self._led(getattr(module, name))))
        return self

    def _led(self, function: Callable[..., object]) -> Callable[..., object]:
        def led(path: object = ".", *arguments: object, **options: object) -> object:
            return function(self.path(path), *arguments, **options)

        return led

    def path(self, path: object) -> object:
        """Where a path leads."""
        if isinstance(path, str | os.PathLike):
            text = os.fspath(path)
            if isinstance(text, str) and text.startswith(PREFIXES):
                for refused, number in self._refused.items():
                    if text.startswith(refused):
                        raise OSError(number, os.strerror(number), text)
                return self._root + text
        return path
