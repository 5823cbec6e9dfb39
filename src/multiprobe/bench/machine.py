"""Describes the machine that is measured, and the versions of the tools that it is measured with."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import multiprobe

ICOUNT_VARIABLE = "MULTIPROBE_ICOUNT"
"""Set in a guest whose clocks count instructions, one each nanosecond (`multiprobe vm --icount`)."""
VERSIONS = {
    "bpftrace": ("bpftrace", "--version"),
    "trace-cmd": ("trace-cmd", "-h"),
    "perf": ("perf", "--version"),
    "libbpf": ("pkg-config", "--modversion", "libbpf"),
}


def counts_instructions() -> bool:
    """Whether a nanosecond of this machine's clocks is one instruction."""
    return bool(os.environ.get(ICOUNT_VARIABLE))


def describe() -> dict[str, object]:
    """The object that comes before the figures (docs/json.md)."""
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
        "peers": {name: found for name, line in VERSIONS.items() if (found := _version(line))},
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


def _version(line: tuple[str, ...]) -> str:
    """The version that a tool tells, or "" if it isn't installed."""
    if shutil.which(line[0]) is None:
        return ""
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
    return found[0] if found else "unknown"
