"""Fixtures: a small kernel made of files."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernel_files import Files

from multiprobe.functions.kernel import Kernel


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def kernel(files: Files) -> Kernel:
    return files.kernel()
