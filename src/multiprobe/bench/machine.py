"""Describes the machine that is measured, and the versions of the tools that it is measured with."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import multiprobe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ICOUNT_VARIABLE = "MULTIPROBE_ICOUNT"
"""Set in a guest whose clocks count instructions, one each nanosecond (`multiprobe vm --icount`)."""
VERSIONS = {
    "trace-cmd": ("trace-cmd", "-h"),
    "perf": ("perf", "--version"),
    "libbpf": ("pkg-config", "--modversion", "libbpf"),
}


def peer_texts(machine: Mapping[str, object]) -> list[str]:
    """Names and versions of the peers in what `describe` returned."""
    peers = machine["peers"]
    assert isinstance(peers, dict)
    return [name if found in name.split() else f"{name} {found}" for name, found in peers.items()]


def counts_instructions() -> bool:
    """Whether a nanosecond of this machine's clocks is one instruction."""
    return bool(os.environ.get(ICOUNT_VARIABLE))


def describe(peers: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """The object that comes before the figures (docs/json.md). `peers`: command lines that tell versions, by name."""
    lines = {**peers, **VERSIONS}
    return {
        "type": "machine",
        "schema": 1,
        "kernel": os.uname().release,
        "architecture": os.uname().machine,
        "cpu": _processor(),
        "cpus": os.cpu_count() or 0,
        "virtualisation": _virtualisation(),
        "clock": "instructions" if counts_instructions() else "time",
        "load": round(os.getloadavg()[0], 2),
        "multiprobe": multiprobe.__version__,
        "python": platform.python_version(),
        "peers": {name: found for name, line in lines.items() if (found := version(line))},
    }


def _cpuinfo() -> str:
    with suppress(OSError):
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    return ""


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", _cpuinfo(), re.MULTILINE)
    return found[1] if found else "unknown"


def _virtualisation() -> str:
    """What the machine runs on, in words."""
    info = _cpuinfo()
    if "QEMU TCG" in info or "QEMU Virtual" in info:
        return "emulated: QEMU without hardware virtualisation"
    if re.search(r"^flags\s*:.*\bhypervisor\b", info, re.MULTILINE):
        return "a virtual machine, with hardware virtualisation"
    return "none known"


def version(line: Sequence[str]) -> str:
    """The version that a command line tells, or "" if its program isn't there or can't be run."""
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    found = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
    return found[0] if found else "unknown"
