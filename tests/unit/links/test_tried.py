"""What was tried of a file is found again; a damaged memory is none."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
import pytest

from multiprobe.links.mechanisms import tried
from multiprobe.links.mechanisms.tried import Tried, format_tried, parse_tried

KEY = (1, 2, 3, 4)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTIPROBE_CACHE", str(tmp_path))
    return tmp_path


def test_it_is_found_again_for_the_same_file() -> None:
    known = Tried.load(KEY)
    assert (len(known.good), len(known.refused)) == (0, 0)
    known.add([1, 5], [7])
    known.add([1 << 40], [])
    again = Tried.load(KEY)
    assert (again.good.tolist(), again.refused.tolist()) == ([1, 5, 1 << 40], [7])
    assert again.look_up(array("Q", [7, 1, 9, 7])) == ([0, 3], [2])
    assert not len(Tried.load((*KEY[:3], 5)).good)


def test_only_the_newest_are_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tried, "KEPT", 3)
    for number in range(5):
        Tried.load((number,)).add([1], [])
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize(
    "damage", [slice(0, 0), slice(0, 15), slice(0, -1), slice(8, None), slice(0, 24), slice(16, None)]
)
def test_damaged_memories_are_none(damage: slice) -> None:
    data = format_tried(np.array([1, 2], "u8"), np.array([3], "u8"))
    assert [part.tolist() for part in parse_tried(data)] == [[1, 2], [3]]
    assert [part.tolist() for part in parse_tried(data[damage])] == [[], []]
