"""What is remembered of functions that budgets dropped: a file of the cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import multiprobe as mp
from fake_kernel import FakeKernel
from multiprobe.instruments.count import count
from multiprobe.links.guard.hottest import MOST, Hottest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTIPROBE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_kernels_and_loads_are_apart() -> None:
    Hottest("aa", "").remember(["vfs_read"])
    Hottest("aa", "make").remember(["vfs_open"])
    assert Hottest("aa", "").labels() == ["vfs_read"]
    assert Hottest("aa", "make").labels() == ["vfs_open"]
    assert Hottest("bb", "").labels() == []


def test_the_last_dropped_come_first_and_the_oldest_are_forgotten() -> None:
    hottest = Hottest("aa", "")
    hottest.remember(f"f{n}" for n in range(MOST))
    hottest.remember(["new", "f7"])
    labels = hottest.labels()
    assert (labels[:3], len(labels)) == (["new", "f7", "f0"], MOST)
    assert f"f{MOST - 1}" not in labels


def test_an_unknown_kernel_is_not_remembered(cache: Path) -> None:
    Hottest("", "").remember(["vfs_read"])
    assert not cache.exists()


def test_any_name_of_a_program_is_a_name_of_a_file(cache: Path) -> None:
    Hottest("aa", "../../ä b\n").remember(["vfs_read"])
    assert len(list(cache.iterdir())) == 1


def test_positions(directory: Path) -> None:
    with FakeKernel(directory):
        functions = mp.Kernel().functions("tcp_ack", "vfs_read", "vfs_write")
        hottest = Hottest.of(functions, os.getpid())
        assert hottest.among(functions) == set()
        hottest.remember(["vfs_write", "no_such_function", "\x00 damaged", "vfs_read [module]"])
        (position,) = hottest.among(functions)
        assert functions[position].name == "vfs_write"
        assert Hottest.of(functions, None).among(functions) == set()


def test_it_is_asked_for_under_a_budget_only(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To find the kernel's build id takes a read of a file: not for each function that a library attaches."""
    asked: list[int | None] = []

    def of(_functions: object, pid: int | None) -> Hottest:
        asked.append(pid)
        return Hottest("", "")

    monkeypatch.setattr(Hottest, "of", of)
    with FakeKernel(directory):
        mp.attach(count, "vfs_read").close()
        assert asked == []
        mp.attach(count, "vfs_read", limits=mp.Limits(budget=0.05)).close()
        assert len(asked) > 0
