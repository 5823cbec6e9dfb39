"""The files of a fake kernel, written into a directory, and the paths of /proc and /sys that lead there meanwhile."""

from __future__ import annotations

import builtins
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
from fake_kernel.profiles import CAP_SYSLOG, Profile

PMU_TYPE, RETURN_BIT = 8, 0

#: What leads into the fake's directory, whether it has such a file or not; everything else stays as it is.
PREFIXES = (
    "/sys/kernel",
    "/sys/bus/event_source",
    "/sys/devices/system/cpu",
    "/sys/fs/bpf",
    "/proc/kallsyms",
    "/proc/modules",
    "/proc/sys/kernel",
    "/proc/filesystems",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/kcore",
    "/boot/config",
)


def _kallsyms(functions: list[FakeFunction], profile: Profile) -> str:
    text = [one for one in functions if not one.module]
    marks = [(text[0].address, "T", "_stext", ""), (text[-1].address + SIZE, "T", "_etext", "")]
    hides = profile.kptr_restrict > 1 or (profile.kptr_restrict == 1 and not profile.may(CAP_SYSLOG))
    return _lines(sorted([*marks, *((one.address, "T", one.name, one.module) for one in functions)]), hides=hides)


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
    return root


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
        "proc/cmdline": "multiprobe.fake=1\n",
        "proc/sys/kernel/random/boot_id": f"{build_id[:16].hex()}\n",
        "proc/sys/kernel/ftrace_enabled": "1\n",
        "proc/sys/kernel/kptr_restrict": f"{profile.kptr_restrict}\n",
        "sys/kernel/tracing/README": "",
        "sys/kernel/tracing/available_filter_functions": "".join(f"{one.label}\n" for one in listed),
        "sys/kernel/debug/kprobes/blacklist": "".join(
            f"{one.address:#018x}-{one.address + SIZE:#018x}\t{one.name}\n" for one in functions if one.on_blacklist
        ),
        "sys/kernel/debug/kprobes/enabled": "1\n",
        "sys/bus/event_source/devices/kprobe/type": f"{PMU_TYPE}\n",
        "sys/bus/event_source/devices/kprobe/format/retprobe": f"config:{RETURN_BIT}\n",
        "sys/devices/system/cpu/possible": f"0-{n_cpus - 1}\n",
    }
    if profile.lists_addresses:
        texts["sys/kernel/tracing/available_filter_functions_addrs"] = "".join(
            f"{one.call_site:016x} {one.label}\n" for one in listed
        )
    data = {f"sys/kernel/btf/{one.name}": one.data for one in types}
    data["sys/kernel/notes"] = pack("<III4s", 4, len(build_id), 3, b"GNU\0") + build_id
    return data | {name: text.encode() for name, text in texts.items()}


class Redirection(ExitStack):
    """While entered, paths of the kernel's own files lead into `root`."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = str(root)

    def __enter__(self) -> Redirection:
        for module, names in (
            (builtins, ("open",)),
            (io, ("open",)),
            (os, ("open", "stat", "lstat", "access", "listdir", "scandir", "mkdir", "rmdir", "unlink", "statvfs")),
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
                return self._root + text
        return path
