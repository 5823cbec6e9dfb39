"""What `multiprobe count` imports until its first link: nothing that only some of its options need, nothing heavy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fake_kernel import LIKE_6_12, FakeKernel

FIRST_LINK = Path(__file__).parents[3] / "bench/first_link.py"
UNNEEDED = {
    "numpy": "reading what the caches hold",
    "llvmlite": "compiling",
    "rich": "a table that is redrawn, and progress",
    "textual": "--live",
    "pyarrow": "--parquet",
    "html": "--html, and notebooks",
    "shutil": "advice about a command line",
    "traceback": "--debug",
    "multiprobe.cli.live": "--live",
    "multiprobe.output.frame": "--live",
    "multiprobe.cli.metrics": "--metrics",
    "multiprobe.cli.following": "--metrics",
    "multiprobe.output.metrics": "--metrics",
    "multiprobe.output.page": "--html",
    "multiprobe.output.perfetto": "--perfetto, of other commands",
    "multiprobe.runs.this_run": "--save",
    "multiprobe.links.plan.preview": "--dry-run",
    "multiprobe.kernel.limits": "refusing a user without rights",
    "multiprobe.binaries.locating": "--pid",
    "multiprobe.binaries.usdt": "functions of binaries",
    "multiprobe.links.mechanisms.harm": "functions of binaries",
    "multiprobe.links.mechanisms.uprobe_multi": "functions of binaries",
}
"""Modules, and what needs them."""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The modules of a process that has come to its first link, with the caches filled by one before."""
    with FakeKernel(tmp_path_factory.mktemp("kernel"), LIKE_6_12) as fake:
        command = [sys.executable, str(FIRST_LINK), str(fake.root), str(fake.cache), "count", "*"]
        for _ in range(2):
            told = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=True).stdout
    return set(json.loads(told)["modules"])


def test_the_way_is_gone_to_its_end(imported: set[str]) -> None:
    assert {"multiprobe.instruments.count", "multiprobe.links.mechanisms.kprobe_multi"} <= imported


@pytest.mark.parametrize("module", UNNEEDED)
def test_what_only_options_need_is_not_imported(module: str, imported: set[str]) -> None:
    assert module not in imported, f"it is for {UNNEEDED[module]}"
