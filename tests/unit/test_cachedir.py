"""The cache directory: only what this user owns is read, written or deleted, whoever prepared the place."""

from __future__ import annotations

import errno
import os
import re
import threading
from pathlib import Path

import pytest

from multiprobe import cachedir

STRANGER = 12345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to give files away")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "cache"
    monkeypatch.setenv("MULTIPROBE_CACHE", str(place))
    return place


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for own, xdg, found in [
        ("/a", "/b", "/a"),
        ("", "/b", "/b/multiprobe"),
        ("", "relative", "/home/me/.cache/multiprobe"),
        ("", "", "/home/me/.cache/multiprobe"),
    ]:
        monkeypatch.setenv("MULTIPROBE_CACHE", own)
        monkeypatch.setenv("XDG_CACHE_HOME", xdg)
        assert cachedir.cache_directory() == found


def test_what_is_written_is_read(root: Path) -> None:
    path = root / "programs" / "one"
    assert cachedir.write_own(str(path), b"1" * 100_000)
    assert cachedir.write_own(str(path), b"two")
    assert cachedir.read_own(str(path)) == b"two"
    assert [file.stat().st_mode & 0o777 for file in (root, path.parent, path)] == [0o700, 0o700, 0o600]
    assert [file.name for file in path.parent.iterdir()] == ["one"]


def test_links_are_not_followed(root: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("safe")
    root.mkdir(mode=0o700)
    (root / "programs").symlink_to(victim)
    (root / "lock").symlink_to(victim / "file")
    assert not cachedir.write_own(str(root / "programs" / "one"), b"1")
    assert cachedir.read_own(str(root / "programs" / "file")) is None
    assert cachedir.read_own(str(root / "lock")) is None
    cachedir.drop_old(str(root / "programs"), re.compile(".*"), keep=0)
    with pytest.raises(OSError, match="lock"):
        cachedir.open_file(str(root / "lock"), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    assert [(file.name, file.read_text()) for file in victim.iterdir()] == [("file", "safe")]
    assert cachedir.write_own(str(root / "lock"), b"replaces the link")
    assert (victim / "file").read_text() == "safe"


@as_root
@pytest.mark.parametrize("level", ["", "vm", "vm/apt"])
def test_directories_of_others_are_refused(root: Path, level: str) -> None:
    path = root / "vm" / "apt" / "file"
    assert cachedir.write_own(str(path), b"1")
    os.chown(root / level, STRANGER, STRANGER)
    assert cachedir.read_own(str(path)) is None
    assert not cachedir.write_own(str(path), b"2")
    cachedir.drop_old(str(path.parent), re.compile("file"), keep=0)
    with pytest.raises(PermissionError, match="another user"):
        cachedir.open_directory(str(path.parent), make=True)
    assert path.read_bytes() == b"1"


@pytest.mark.parametrize("level", ["", "vm", "vm/file"])
def test_what_others_may_write_to_is_refused(root: Path, level: str) -> None:
    path = root / "vm" / "file"
    assert cachedir.write_own(str(path), b"1")
    (root / level).chmod(0o777)
    assert cachedir.read_own(str(path)) is None


def test_what_is_no_file_is_refused(root: Path) -> None:
    root.mkdir(mode=0o700)
    os.mkfifo(root / "pipe", 0o600)
    (root / "directory").mkdir(0o700)
    assert cachedir.read_own(str(root / "pipe")) is None
    assert cachedir.read_own(str(root / "directory")) is None
    with pytest.raises(OSError, match="not a regular file") as caught:
        cachedir.open_file(str(root / "pipe"), os.O_RDWR)
    assert caught.value.errno == errno.EINVAL


def test_threads_that_write_at_once(root: Path) -> None:
    torn = []

    def write(letter: bytes) -> None:
        for _ in range(50):
            cachedir.write_own(str(root / "file"), letter * 65536)
            found = cachedir.read_own(str(root / "file"))
            if found is None or len(found) != 65536 or len(set(found)) != 1:
                torn.append(found)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not torn
    assert os.listdir(root) == ["file"]


def test_nothing_leaks(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for name in ("a", "b/c", "d/e/f"):
        cachedir.write_own(str(root / name), b"1")
        cachedir.read_own(str(root / name))
        cachedir.read_own(str(root / name / "below"))
        cachedir.drop_old(str(root), re.compile("x"), keep=0)
    assert len(os.listdir("/proc/self/fd")) == before
