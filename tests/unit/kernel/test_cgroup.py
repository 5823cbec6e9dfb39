"""How much memory cgroups leave: the least of all that this process is in."""

from __future__ import annotations

from pathlib import Path

import pytest

from multiprobe.kernel import cgroup

MIB = 1 << 20


def make(directory: Path, limit: str, used: int = 0, cached: int = 0) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    directory.joinpath("memory.max").write_text(f"{limit}\n")
    directory.joinpath("memory.current").write_text(f"{used}\n")
    directory.joinpath("memory.stat").write_text(f"anon {used - cached}\nfile {cached}\nkernel 0\n")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    own = tmp_path / "cgroup"
    own.write_text("1:name=systemd:/other\n0::/system.slice/a.service\n")
    monkeypatch.setattr(cgroup, "ROOT", str(tmp_path / "fs"))
    monkeypatch.setattr(cgroup, "OWN", str(own))
    tmp_path.joinpath("fs").mkdir()
    return tmp_path / "fs"


def test_the_least_of_all_limits_counts(root: Path) -> None:
    make(root / "system.slice", str(64 * MIB), used=20 * MIB, cached=5 * MIB)
    make(root / "system.slice/a.service", str(80 * MIB), used=10 * MIB)
    assert cgroup.load_bytes_left() == 49 * MIB


def test_no_limit_is_none(root: Path) -> None:
    make(root / "system.slice/a.service", "max", used=10 * MIB)
    assert cgroup.load_bytes_left() is None


def test_beyond_the_limit_is_nothing_left(root: Path) -> None:
    make(root / "system.slice/a.service", str(MIB), used=3 * MIB)
    assert cgroup.load_bytes_left() == 0


def test_a_container_sees_its_own_cgroup_as_the_root(root: Path, tmp_path: Path) -> None:
    tmp_path.joinpath("cgroup").write_text("0::/\n")
    make(root, str(32 * MIB), used=MIB)
    assert cgroup.load_bytes_left() == 31 * MIB


@pytest.mark.parametrize("text", ["", "0::/../../elsewhere\n", "4:memory:/v1\n"])
def test_a_cgroup_that_is_not_seen_has_no_limit(root: Path, tmp_path: Path, text: str) -> None:
    tmp_path.joinpath("cgroup").write_text(text)
    assert cgroup.load_bytes_left() is None


def test_contents_that_are_none_are_no_limit(root: Path, tmp_path: Path) -> None:
    make(root / "system.slice/a.service", "lots")
    assert cgroup.load_bytes_left() is None
    tmp_path.joinpath("cgroup").unlink()
    assert cgroup.load_bytes_left() is None
