"""Reads the options that the kernel was built with, if they are available.

Used in messages only: feature probes (`features`) determine what works, because containers and virtual machines often
have the configuration of another kernel.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass

PROC_CONFIG = "proc/config.gz"
_GZIP = zlib.MAX_WBITS | 16  # with gzip's header; the module gzip takes a while to import
#: Where distributions put it, for a release.
PLACES = ("boot/config-{0}", "lib/modules/{0}/config", "usr/lib/modules/{0}/config")


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """The options of one kernel: `y`, `m`, a number or text; what isn't set is missing. `path` is where they stand."""

    path: str
    options: dict[str, str]

    def describe(self, option: str) -> str:
        """`CONFIG_X=y (/proc/config.gz)`, or that it isn't set."""
        state = f"{option}={self.options[option]}" if option in self.options else f"{option} is not set"
        return f"{state} ({self.path})"

    def has(self, option: str) -> bool:
        """Is the option built in or a module?"""
        return self.options.get(option) in ("y", "m")


def parse_config(data: bytes) -> dict[str, str]:
    """The options of a .config file that are set."""
    options = {}
    for line in data.decode("utf-8", "replace").splitlines():
        name, equals, setting = line.strip().partition("=")
        if equals and name.startswith("CONFIG_"):
            options[name] = setting.strip('"')
    return options


def load_config(*, root: str = "/", release: str | None = None) -> KernelConfig | None:
    """The options of the running kernel (or of `release`), or None where they can't be read."""
    for place in (PROC_CONFIG, *(place.format(release or os.uname().release) for place in PLACES)):
        try:
            with open(os.path.join(root, place), "rb") as file:
                data = file.read()
        except OSError:
            continue
        if data.startswith(b"\x1f\x8b"):
            data = _unpack(data)
        if b"CONFIG_" in data:
            return KernelConfig(f"/{place}", parse_config(data))
    return None


def _unpack(data: bytes) -> bytes:
    try:
        return zlib.decompress(data, wbits=_GZIP)
    except zlib.error:
        return b""
