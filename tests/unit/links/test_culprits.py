"""Refused functions are remembered for the next run; transient errors and damaged files are ignored."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms.culprits import Culprits


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTIPROBE_CACHE", str(tmp_path))
    return tmp_path


class Functions:
    """As much of a FunctionSet as Culprits asks for."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.rows = range(len(names))
        self.table = self

    def label(self, place: int) -> str:
        return self.names[place]

    def rows_of_name(self, name: str) -> list[int]:
        return [row for row, label in enumerate(self.names) if label.split(" ")[0] == name]


def test_nothing_is_known_at_first() -> None:
    assert not Culprits.load("build")
    assert not Culprits.load("")


def test_remembered_for_the_mechanism_and_the_build() -> None:
    Culprits.remember(
        "build", Mechanism.TRACING_MULTI, {"bad": errno.EINVAL, "worse [mod]": errno.ENOENT}, when="entry"
    )
    Culprits.remember("build", Mechanism.KPROBE_MULTI, {"bad": errno.ENOENT}, when="entry")
    Culprits.remember("build", Mechanism.KPROBE, {"bad": errno.EINVAL}, when="return")
    functions = Functions(["good", "bad", "worse [mod]"])
    known = Culprits.load("build")
    masks = known.without_known(bytes([15, 15, 15]), functions, when="entry")  # type: ignore[arg-type]
    assert list(masks) == [15, 15 & ~3, 15 & ~1]
    reason = known.reason(functions, 1)  # type: ignore[arg-type]
    assert "EINVAL from tracing_multi" in reason
    assert "culprits-*" in reason
    assert not Culprits.load("another build")


def test_damaged_lines_are_skipped(cache: Path) -> None:
    Culprits.remember("build", Mechanism.KPROBE_MULTI, {"bad": errno.EINVAL}, when="entry")
    file = cache / "culprits-build"
    file.write_bytes(
        b"\xff\xfe nonsense\nkprobe_multi 22 bad\nkprobe_multi:entry x y\nkprobe_multi:entry 22\n" + file.read_bytes()
    )
    known = Culprits.load("build")
    assert list(known.without_known(bytes([15]), Functions(["bad"]), when="entry")) == [15 & ~2]  # type: ignore[arg-type]
