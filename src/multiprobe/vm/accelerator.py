"""Chooses KVM or TCG. `/dev/kvm` alone proves nothing, so KVM is used after a guest has booted with it.

The answer is cached for this host's kernel and processor, and for this QEMU.
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

from multiprobe.cachedir import read_own, write_own
from multiprobe.vm import cache
from multiprobe.vm.qemu import KVM, TCG

#: A real machine boots the guest in about a second; one that can't must not keep the user waiting.
PROBE_SECONDS = 10.0


def choose(qemu_version: str, probe: Callable[[], bool], *, device: str = "/dev/kvm") -> str:
    """KVM if a guest boots with it (`probe` tries, once per host and QEMU), else TCG."""
    if not os.access(device, os.R_OK | os.W_OK):
        return TCG
    target = _answer_file(qemu_version)
    answer = _load(target)
    if answer is None:
        answer = probe()
        remember(qemu_version, is_usable=answer)
    return KVM if answer else TCG


def describe(*, device: str = "/dev/kvm") -> tuple[str, str]:
    """Which one this user's guests may have, and what to do to have KVM, "" if nothing is known."""
    if os.access(device, os.R_OK | os.W_OK):
        return f"{device} can be used, unless no guest boots with it", ""
    slow = "emulated, some twenty times slower than with KVM"
    try:
        status = os.stat(device)
    except OSError:
        return f"{slow}: there is no {device}", "load the module kvm, if the processor and its firmware offer it"
    why = f"{slow}: user {os.geteuid()} may not open {device}"
    if not status.st_gid or not status.st_mode & stat.S_IWGRP:
        return why, ""
    group = grp.getgrgid(status.st_gid).gr_name
    return why, f"join the group {group}: sudo usermod -aG {group} USER, and log in again"


def remember(qemu_version: str, *, is_usable: bool) -> None:
    """Keep the answer for the next guest."""
    answer = {"kvm": is_usable, "qemu": qemu_version, "host": os.uname().release}
    write_own(str(_answer_file(qemu_version)), json.dumps(answer).encode())


def _load(target: Path) -> bool | None:
    try:
        answer = json.loads(read_own(str(target)) or b"")["kvm"]
    except (ValueError, KeyError, TypeError):
        return None
    return answer if isinstance(answer, bool) else None


def _answer_file(qemu_version: str) -> Path:
    identity = "\n".join((os.uname().release, os.uname().version, processor(), qemu_version))
    return cache.directory("accelerator") / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"


def processor() -> str:
    """The first processor in /proc/cpuinfo, without the lines that vary from read to read."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return "unknown"
    first = text.split("\n\n", 1)[0].splitlines()
    wanted = ("vendor_id", "cpu family", "model", "model name", "stepping", "microcode")
    return "\n".join(line for line in first if line.split(":")[0].strip() in wanted)
