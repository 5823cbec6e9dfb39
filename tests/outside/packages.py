"""Debian's packages, fetched and unpacked; installed they aren't."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def unpack(folder: Path, *packages: str) -> Path:
    """The root folder of the packages' files, below `folder`. Skips the test where they can't be had."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("needs apt-get and dpkg-deb")
    folder.chmod(0o777)  # apt downloads as a user of its own
    done = subprocess.run(["apt-get", "download", *packages], cwd=folder, capture_output=True, text=True, check=False)
    files = list(folder.glob("*.deb"))
    if len(files) < len(packages):
        pytest.skip(f"Debian's packages can't be had: {done.stderr[-200:]}")
    for file in files:
        subprocess.run(["dpkg-deb", "-x", file, folder / "tree"], check=True)
    return folder / "tree"
