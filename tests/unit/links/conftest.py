"""A fake kernel for tests of links; modules that boot others of their own have fixtures of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_kernel import LIKE_7_3, FakeKernel


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests of a module: files are written and programs compiled once."""
    return tmp_path_factory.mktemp("fake")


@pytest.fixture
def fake(directory: Path) -> Iterator[FakeKernel]:
    """One that must be left as it was."""
    with FakeKernel(directory, LIKE_7_3) as fake:
        yield fake
        assert fake.left() == []
