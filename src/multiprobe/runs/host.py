"""`Host` and `Moment`: where and when a run was measured."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from multiprobe.functions.kernel import Kernel

_KEY = b"multiprobe saved run"


@dataclass(frozen=True, slots=True)
class Host:
    """A machine with the kernel that it ran.

    name: of the machine, as `uname -n` prints it
    machine: tells machines of the same name apart: a hash of /etc/machine-id, which itself is confidential; "" without
    kernel: the kernel's release; build_id: of its image, in hexadecimal, "" if unknown; boot_id: random, of this boot
    architecture: of the processor, as `uname -m` prints it; cpus: their number
    """

    name: str = ""
    machine: str = ""
    kernel: str = ""
    build_id: str = ""
    boot_id: str = ""
    architecture: str = ""
    cpus: int = 0

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """Equal for two runs on the same machine with the same kernel: what `merge` counts as one host."""
        return (self.machine, self.name, self.kernel, self.build_id)

    def to_json(self) -> dict[str, object]:
        """The host as in a saved run (docs/runs.md)."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.name or self.machine[:8] or 'unknown host'} ({self.kernel or 'unknown kernel'})"


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment on two clocks: wall_ns since 1970 (CLOCK_REALTIME), monotonic_ns since the boot (CLOCK_MONOTONIC)."""

    wall_ns: int
    monotonic_ns: int

    @classmethod
    def now(cls) -> Moment:
        """This moment."""
        return cls(time.time_ns(), time.monotonic_ns())

    def to_json(self) -> dict[str, object]:
        """The moment as in a saved run (docs/runs.md)."""
        return asdict(self)


def this_host() -> Host:
    """The machine that this process runs on; what can't be read stays empty."""
    system, kernel = os.uname(), Kernel()
    host = Host(system.nodename, hash_machine_id(_machine_id()), system.release)
    host = replace(host, architecture=system.machine, cpus=os.cpu_count() or 0)
    with suppress(OSError):
        host = replace(host, build_id=kernel.build_id)
    with suppress(OSError):
        host = replace(host, boot_id=kernel.boot_id)
    return host


def hash_machine_id(machine_id: str) -> str:
    """A hash that tells machines apart without giving their id away, as machine-id(5) asks; "" for ""."""
    return hmac.new(machine_id.encode(), _KEY, hashlib.sha256).hexdigest()[:32] if machine_id else ""


def _machine_id() -> str:
    with suppress(OSError, UnicodeDecodeError):
        return Path("/etc/machine-id").read_text(encoding="ascii").strip()
    return ""
