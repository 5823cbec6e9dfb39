"""Rights, settings, configuration: read from files that are put there for it."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from multiprobe.kernel.config import KernelConfig, load_config, parse_config
from multiprobe.kernel.limits import Lockdown, capability_names, load_limits, parse_lockdown, parse_status

STATUS = "Name:\tcat\nUid:\t1000\t1001\t1000\t1000\nCapEff:\t000001fffeffffff\nSeccomp:\t2\n"


def put(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_everything_that_can_be_read(tmp_path: Path) -> None:
    put(
        tmp_path,
        proc__self__status=STATUS,
        proc__self__uid_map="         0          0 4294967295\n",
        proc__sys__kernel__kptr_restrict="2\n",
        proc__sys__kernel__ftrace_enabled="0\n",
        proc__sys__net__core__bpf_jit_enable="nonsense\n",
        sys__kernel__security__lockdown="none [integrity] confidentiality\n",
        sys__kernel__debug__kprobes__enabled="0\n",
    )
    limits = load_limits(root=str(tmp_path))
    assert limits.uid == 1001
    assert limits.capabilities >= {"CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG", "CAP_SYS_ADMIN"}
    assert "CAP_SYS_RESOURCE" not in limits.capabilities
    assert limits.is_initial_user_namespace is True
    assert limits.has_seccomp_filter is True
    assert limits.lockdown == Lockdown("integrity", "/sys/kernel/security/lockdown")
    assert limits.sysctls["kptr_restrict"] == 2
    assert limits.sysctls["ftrace_enabled"] == 0
    assert limits.sysctls["bpf_jit_enable"] is None
    assert limits.sysctls["perf_event_paranoid"] is None
    assert limits.kprobes_enabled is False


def test_nothing_can_be_read(tmp_path: Path) -> None:
    limits = load_limits(root=str(tmp_path))
    assert limits.uid == os.geteuid()
    assert limits.capabilities == frozenset()
    assert limits.is_initial_user_namespace is None
    assert limits.lockdown is None
    assert limits.has_seccomp_filter is None
    assert limits.kprobes_enabled is None
    assert limits.container == ""
    assert set(limits.sysctls.values()) == {None}


def test_a_user_namespace(tmp_path: Path) -> None:
    put(tmp_path, proc__self__uid_map="         0       1000          1\n")
    assert load_limits(root=str(tmp_path)).is_initial_user_namespace is False


def test_capabilities() -> None:
    assert capability_names(0) == frozenset()
    assert capability_names(1 << 39 | 1 << 38) == {"CAP_BPF", "CAP_PERFMON"}


def test_status_with_broken_lines() -> None:
    assert parse_status("Uid:\nCapEff:\tnothex\nSeccomp:\tx\n") == {}


@pytest.mark.parametrize(
    ("text", "level"),
    [("[none] integrity confidentiality", "none"), ("none integrity [confidentiality]", "confidentiality"), ("", None)],
)
def test_lockdown_levels(text: str, level: str | None) -> None:
    assert parse_lockdown(text) == level


def test_lockdown_where_securityfs_is_not_mounted(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    options = b"CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY=y\n"
    (tmp_path / "proc/config.gz").write_bytes(gzip.compress(options))
    found = load_limits(root=str(tmp_path)).lockdown
    assert found == Lockdown("integrity", "CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY=y (/proc/config.gz)")
    put(tmp_path, proc__cmdline="quiet lockdown=confidentiality root=/dev/vda\n")
    assert load_limits(root=str(tmp_path)).lockdown == Lockdown("confidentiality", "/proc/cmdline")


def namespace(root: Path, kind: str, inode: int) -> None:
    (root / "proc/self/ns").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/ns" / kind).symlink_to(f"{kind}:[{inode}]")


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({".dockerenv": ""}, "docker"),
        ({"run__.containerenv": ""}, "podman"),
        ({"run__systemd__container": "systemd-nspawn\n"}, "systemd-nspawn"),
        ({"proc__self__cgroup": "0::/kubepods/pod1\n"}, "kubernetes"),
        ({}, "unknown"),
    ],
)
def test_containers(tmp_path: Path, files: dict[str, str], name: str) -> None:
    put(tmp_path, **files)
    namespace(tmp_path, "pid", 4026532299)
    assert load_limits(root=str(tmp_path)).container == name


def test_files_of_a_container_in_the_first_namespaces_are_leftovers_of_an_image(tmp_path: Path) -> None:
    put(tmp_path, **{".dockerenv": ""})
    namespace(tmp_path, "pid", 4026531836)
    namespace(tmp_path, "uts", 4026531838)
    assert load_limits(root=str(tmp_path)).container == ""


def test_config(tmp_path: Path) -> None:
    text = '# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=m\nCONFIG_LSM="lockdown,bpf"\n'
    assert parse_config(text.encode()) == {"CONFIG_B": "y", "CONFIG_C": "m", "CONFIG_LSM": "lockdown,bpf"}
    assert load_config(root=str(tmp_path), release="1.2") is None
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/config-1.2").write_text(text)
    config = load_config(root=str(tmp_path), release="1.2")
    assert config == KernelConfig("/boot/config-1.2", parse_config(text.encode()))
    assert config.has("CONFIG_C")
    assert not config.has("CONFIG_A")
    assert config.describe("CONFIG_A") == "CONFIG_A is not set (/boot/config-1.2)"
    assert config.describe("CONFIG_B") == "CONFIG_B=y (/boot/config-1.2)"


def test_a_damaged_config_is_none(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    for data in (b"\x1f\x8b\x08 damaged", gzip.compress(b"CONFIG_B=y\n" * 100)[:-9], b"no config"):
        (tmp_path / "proc/config.gz").write_bytes(data)
        assert load_config(root=str(tmp_path), release="1.2") is None
