"""Directories of modules, from depmod's list."""

from __future__ import annotations

from pathlib import Path

from multiprobe.kernel.capabilities import capability_name
from multiprobe.kernel.module_directories import load_module_directories, parse_dependencies

TEXT = """\
kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz kernel/fs/jbd2/jbd2.ko.xz
kernel/drivers/net/virtio-net.ko:
updates/dkms/zfs.ko.zst: kernel/a.ko
top.ko:
"""


def test_paths_become_directories() -> None:
    assert parse_dependencies(TEXT) == {
        "ext4": "fs/ext4",
        "virtio_net": "drivers/net",
        "zfs": "updates/dkms",
        "top": "",
    }
    assert parse_dependencies("") == {}


def test_a_kernel_without_a_list(tmp_path: Path) -> None:
    assert load_module_directories("6.12", root=str(tmp_path)) == {}
    folder = tmp_path / "lib/modules/6.12"
    folder.mkdir(parents=True)
    (folder / "modules.dep").write_text(TEXT)
    assert load_module_directories("6.12", root=str(tmp_path))["ext4"] == "fs/ext4"


def test_names_of_capabilities() -> None:
    assert [capability_name(number) for number in (0, 21, 39, 40, 63)] == [
        "CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_BPF", "CAP_CHECKPOINT_RESTORE", "CAP_63",
    ]  # fmt: skip
