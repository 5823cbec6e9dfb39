"""Where the tests run."""

from __future__ import annotations

from pathlib import Path

IS_GUEST = "multiprobe.guest=1" in Path("/proc/cmdline").read_text().split()
"""Whether this is a virtual machine. Of what depends on compilers and not on the kernel, guests try a sample."""
