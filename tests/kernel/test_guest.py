"""The environment that a guest provides to programs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_release_is_in_the_environment() -> None:
    assert os.environ["MULTIPROBE_GUEST"] == os.uname().release


@pytest.mark.parametrize(
    "path",
    [
        "/sys/kernel/tracing/available_filter_functions",
        "/sys/kernel/debug/kprobes/blacklist",
        "/sys/kernel/btf/vmlinux",
        "/sys/fs/bpf",
        "/sys/kernel/security/lockdown",
        "/dev/pts/ptmx",
        "/proc/kcore",
    ],
)
def test_what_tracing_takes_is_mounted(path: str) -> None:
    assert os.path.exists(path)


def test_files_can_be_written_and_are_this_guests_own() -> None:
    place = ROOT / "written-by-a-guest"
    place.write_text("gone tomorrow")
    assert place.read_text() == "gone tomorrow"
    kind = subprocess.run(["stat", "-f", "-c", "%T", ROOT], capture_output=True, text=True, check=True).stdout
    assert kind == "overlayfs\n"


def test_the_machines_files_are_read_only_even_for_root(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "virtiofs", "host", tmp_path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,rw", tmp_path], check=True)
        with pytest.raises(OSError, match="Read-only file system"):
            (tmp_path / "tmp" / "written-by-a-guest").write_text("")
        assert not list((tmp_path / "proc").iterdir())
        assert not list((tmp_path / "sys").iterdir())
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_modules_can_be_loaded_by_name() -> None:
    subprocess.run(["modprobe", "dummy"], check=True)
    assert "dummy " in Path("/proc/modules").read_text()
    subprocess.run(["modprobe", "-r", "dummy"], check=True)


def test_there_is_no_network_card() -> None:
    cards = [path for path in Path("/sys/class/net").iterdir() if (path / "device").exists()]
    assert not cards


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("unshare --user --map-root-user id -u", "0"),
        ("mount --bind / /mnt && cd /mnt && pivot_root . mnt && ls -d /mnt/proc", "/mnt/proc"),
    ],
)
def test_commands_are_not_chrooted(script: str, answer: str) -> None:
    """The kernel lets no chrooted process enter a user namespace, and none whose root isn't a mount change its root."""
    ran = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert (ran.stdout.strip(), ran.stderr) == (answer, "")
