"""The guest's first file system: read back by busybox's cpio, and by the shell where it is shell."""

from __future__ import annotations

import lzma
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from multiprobe.errors import VmError
from multiprobe.vm import initramfs
from multiprobe.vm.initramfs import (
    MODULES,
    NETWORK_MODULES,
    Entry,
    GuestJob,
    command_script,
    find_modules,
    is_static,
    load_module,
    newc,
    settings,
)

JOB = GuestJob(command=("echo", "it's"), directory="/a dir", environment={"A": "b c"}, end_mark="ff")


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


@needs("busybox")
def test_the_archive_is_what_cpio_reads(tmp_path: Path) -> None:
    entries = [
        Entry("d", stat.S_IFDIR | 0o755),
        Entry("d/odd", stat.S_IFREG | 0o644, b"12345"),
        Entry("d/empty", stat.S_IFREG | 0o600),
        Entry("link", stat.S_IFLNK | 0o777, b"d/odd"),
        Entry("runs", stat.S_IFREG | 0o755, b"\0" * 4096),
    ]
    subprocess.run(["busybox", "cpio", "-i"], input=newc(entries), cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "d/odd").read_bytes() == b"12345"
    assert (tmp_path / "d/empty").stat().st_size == 0
    assert (tmp_path / "link").readlink() == Path("d/odd")
    assert (tmp_path / "runs").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "runs").read_bytes() == bytes(4096)


def test_every_member_starts_at_a_multiple_of_four() -> None:
    for length in range(1, 9):
        archive = newc([Entry("x" * length, stat.S_IFREG, b"y" * length)])
        assert len(archive) % 4 == 0
        assert archive.index(b"070701", 1) % 4 == 0


def test_the_settings_survive_the_shell() -> None:
    job = replace(JOB, shares={"share0": "/with 'quotes' and $dollar"}, on_terminal=frozenset(("stdout", "stderr")))
    script = (
        settings(job)
        + 'printf "%s|" "$end_mark" "$terminal" "$shares" "$has_stdin" "$rows" "$columns" "$served_by_root"'
    )
    out = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert out == "ff|stderr stdout|share0 /with 'quotes' and $dollar|yes|24|80|yes|"
    assert "served_by_root=''\n" in settings(replace(job, served_by_root=False))
    assert "has_network=''\n" in settings(job)
    assert "has_network=yes\n" in settings(replace(job, has_network=True))


def run_at_root(script: str, **options: Any) -> str:
    """The output of a script that runs, as in a guest, in the root directory."""
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, cwd="/", **options)
    return done.stdout


def test_the_command_runs_in_its_directory_with_its_variables_only(tmp_path: Path) -> None:
    job = replace(JOB, command=("sh", "-c", 'echo "$PWD|$A|$HOME|$1"', "sh", "it's"), directory=str(tmp_path))
    script = command_script(job).replace("/bin/busybox chroot . ", "")
    assert run_at_root(script, env={"HOME": "/x"}) == f"{tmp_path}|b c||it's\n"


def test_a_directory_that_the_guest_lacks_is_made(tmp_path: Path) -> None:
    missing = tmp_path / "not here" / "yet"
    made = command_script(replace(JOB, directory=str(missing))).splitlines()[0]
    run_at_root(made.replace("/bin/busybox ", ""))
    assert missing.is_dir()


def test_a_command_whose_name_looks_like_a_variable(tmp_path: Path) -> None:
    program = tmp_path / "a=b"
    program.write_text("#!/bin/sh\necho ran $1\n")
    program.chmod(0o755)
    script = command_script(replace(JOB, command=(str(program), "x"), directory="/")).replace(
        "/bin/busybox chroot . ", ""
    )
    assert run_at_root(script) == "ran x\n"


@needs("busybox")
def test_init_is_shell_that_busybox_can_read() -> None:
    path = Path(initramfs.__file__).with_name("guest_init.sh")
    subprocess.run(["busybox", "sh", "-n", path], check=True)


def test_modules_come_in_the_order_to_load_them(tmp_path: Path) -> None:
    for name in ("kernel/fs/fuse/virtiofs.ko.xz", "kernel/fs/fuse/fuse.ko", "kernel/drivers/virtio.ko", "kernel/x.ko"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert [path.name for path in find_modules(tmp_path)] == ["virtio.ko", "fuse.ko", "virtiofs.ko.xz"]


def test_the_driver_of_a_network_comes_after_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "kernel").mkdir()
    for name in ("virtio_net", "failover", "net_failover", "virtio"):
        (tmp_path / f"kernel/{name}.ko").write_bytes(b"")
    assert [path.stem for path in find_modules(tmp_path)] == ["virtio"]
    with_network = find_modules(tmp_path, MODULES + NETWORK_MODULES)
    assert [path.stem for path in with_network] == ["virtio", "failover", "net_failover", "virtio_net"]


def test_modules_are_decompressed(tmp_path: Path) -> None:
    (tmp_path / "a.ko.xz").write_bytes(lzma.compress(b"module"))
    (tmp_path / "b.ko").write_bytes(b"plain")
    assert load_module(tmp_path / "a.ko.xz") == b"module"
    assert load_module(tmp_path / "b.ko") == b"plain"


def elf(*segments: int) -> bytes:
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    header[32:40] = (64).to_bytes(8, "little")
    header[54:56] = (56).to_bytes(2, "little")
    header[56:58] = len(segments).to_bytes(2, "little")
    return bytes(header) + b"".join(kind.to_bytes(4, "little") + bytes(52) for kind in segments)


def test_static_programs_are_told_from_dynamic_ones() -> None:
    assert is_static(elf(1, 2, 6))
    assert not is_static(elf(6, 3, 1))
    assert not is_static(b"#!/bin/sh\n")


def test_without_busybox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VmError) as caught:
        initramfs.busybox()
    assert caught.value.hint == "apt-get install busybox-static"
    (tmp_path / "busybox").write_bytes(elf(3))
    (tmp_path / "busybox").chmod(0o755)
    with pytest.raises(VmError, match="dynamically linked"):
        initramfs.busybox()
