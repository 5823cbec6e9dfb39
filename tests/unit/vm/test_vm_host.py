"""What the host side decides: environment, accelerator, QEMU's and virtiofsd's command lines, shares, memory."""

from __future__ import annotations

import errno
import grp
import os
from pathlib import Path
from typing import Any

import pytest

from multiprobe.errors import KernelError, NotPermittedError, UsageError, VmError
from multiprobe.vm import accelerator, confine_command, host_files, qemu, requirements, rerun, session
from multiprobe.vm.environment import guest_environment
from multiprobe.vm.qemu import KVM, TCG, Machine
from multiprobe.vm.terminal import Impatience


def test_the_environment_holds_no_secrets() -> None:
    given = {
        "PATH": "/venv/bin",
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "100",
        "MULTIPROBE_CACHE": "/c",
        "A_TOKEN": "secret",
        "SSH_AUTH_SOCK": "/s",
        "LD_PRELOAD": "x.so",
    }
    made = guest_environment(given, release="6.1.0", has_terminal=False, extra={"X": "y"})
    assert made == {
        "PATH": "/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "100",
        "MULTIPROBE_CACHE": "/c",
        "MULTIPROBE_GUEST": "6.1.0",
        "HOME": "/root",
        "X": "y",
    }


def test_a_terminals_size_is_not_a_variable() -> None:
    made = guest_environment({"COLUMNS": "100", "LINES": "9"}, release="6.1.0", has_terminal=True, extra={})
    assert not {"COLUMNS", "LINES"} & set(made)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTIPROBE_CACHE", str(tmp_path))
    device = tmp_path / "kvm"
    device.touch()
    return device


def test_kvm_counts_when_a_guest_booted_with_it_and_is_remembered(store: Path) -> None:
    tried: list[bool] = []

    def probe() -> bool:
        tried.append(True)
        return True

    assert accelerator.choose("7.2", probe, device=str(store)) == KVM
    assert accelerator.choose("7.2", probe, device=str(store)) == KVM
    assert len(tried) == 1
    assert accelerator.choose("9.0", lambda: False, device=str(store)) == TCG
    assert accelerator.choose("9.0", probe, device=str(store)) == TCG


def test_a_damaged_answer_is_asked_for_again(store: Path, tmp_path: Path) -> None:
    accelerator.remember("7.2", is_usable=True)
    (answer,) = (tmp_path / "vm/accelerator").iterdir()
    answer.write_text('{"kvm": "maybe"}')
    assert accelerator.choose("7.2", lambda: False, device=str(store)) == TCG


def test_without_the_device_nothing_is_tried() -> None:
    def probe() -> bool:
        raise AssertionError

    assert accelerator.choose("7.2", probe, device="/nonexistent") == TCG


def machine(kind: str, *, terminal: int | None = None, **options: Any) -> list[str]:
    return Machine(
        image=Path("/k"),
        initramfs_fd=9,
        accelerator=kind,
        cpus=2,
        memory_mib=512,
        console_fd=5,
        port_fds={"stdout": 6},
        files_fds={"host": 7},
        terminal_fd=terminal,
        **options,
    ).arguments("qemu")


def test_tcg_runs_in_one_thread() -> None:
    arguments = machine(TCG)
    assert arguments[arguments.index("-accel") + 1] == "tcg,thread=single"
    model, *flags = arguments[arguments.index("-cpu") + 1].split(",")
    assert model == "max"
    assert {"avx=off", "avx2=off"} <= set(flags), "QEMU 7.2 emulates AVX2 wrongly"
    assert arguments[arguments.index("-smp") + 1] == "2"


def test_clocks_that_count_instructions() -> None:
    arguments = machine(TCG, is_counted=True)
    assert arguments[arguments.index("-icount") + 1] == "shift=0,sleep=off"
    assert "-icount" not in machine(TCG)


def test_string_instructions_are_those_of_real_processors_where_instructions_are_counted() -> None:
    assert "erms=off,fsrm=off" in " ".join(machine(TCG)), "Linux 6.1 does not boot with one of them alone"
    assert "erms=off" not in " ".join(machine(TCG, is_counted=True))


def test_a_network_is_there_only_if_it_was_asked_for() -> None:
    assert "user,id" not in " ".join(machine(TCG))
    text = " ".join(machine(TCG, has_network=True, published=(80, 9435)))
    assert "user,id=network,ipv6=off,hostfwd=tcp:127.0.0.1:80-:80,hostfwd=tcp:127.0.0.1:9435-:9435" in text
    assert "virtio-net-pci,netdev=network" in text


def test_kvm_shows_the_real_processor() -> None:
    arguments = machine(KVM)
    assert arguments[arguments.index("-accel") + 1] == "kvm"
    assert arguments[arguments.index("-cpu") + 1] == "host"


def test_sockets_memory_and_terminal() -> None:
    text = " ".join(machine(TCG, terminal=8))
    assert "memory-backend-memfd,id=memory,size=512M,share=on" in text
    assert "vhost-user-fs-pci,chardev=files-host,tag=host" in text
    assert "virtserialport,chardev=port-stdout,name=stdout" in text
    assert "virtconsole,chardev=terminal" in text
    assert "virtconsole" not in " ".join(machine(TCG))
    assert "-initrd /proc/self/fd/9" in text


C_HELP = "    -o source=PATH             shared directory tree\n    --fd=FDNUM"
RUST_HELP = "      --shared-dir <SHARED_DIR>\n      --sandbox <SANDBOX>\n"


def test_both_file_servers() -> None:
    old = host_files.describe("/v", C_HELP).arguments(Path("/d"), fd=3, is_read_only=True)
    assert "source=/d" in old
    assert "cache=always" in old
    new = host_files.describe("/v", RUST_HELP).arguments(Path("/d"), fd=3, is_read_only=True)
    assert {"--shared-dir=/d", "--cache=always", "--fd=3"} <= set(new)
    assert "--readonly" not in new
    newest = host_files.describe("/v", RUST_HELP + "      --readonly\n      --no-announce-submounts\n")
    assert "--no-announce-submounts" in newest.arguments(Path("/d"), fd=3, is_read_only=False)
    assert "--readonly" in newest.arguments(Path("/d"), fd=3, is_read_only=True)
    assert "--readonly" not in newest.arguments(Path("/d"), fd=3, is_read_only=False)
    assert "--cache=auto" in newest.arguments(Path("/d"), fd=3, is_read_only=False)


def test_a_server_that_may_not_says_what_to_do() -> None:
    error = host_files.error("confine: unshare(2) (CLONE_NEWNS): EPERM")
    assert isinstance(error, NotPermittedError)
    assert "root" in error.hint
    assert isinstance(host_files.error("something else"), VmError)


def test_programs_that_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(host_files, "PLACES", ())
    with pytest.raises(VmError) as caught:
        qemu.find_qemu()
    assert "apt-get install qemu-system-x86" in caught.value.hint
    with pytest.raises(VmError) as caught:
        host_files.find_server()
    assert "virtiofsd" in caught.value.hint


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(host_files, "PLACES", ())
    monkeypatch.setattr(requirements, "find_obstacle", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tmp_path / "apt-get").symlink_to("/bin/true")
    for release, server in (("bookworm", "qemu-system-common "), ("trixie", "qemu-system-common virtiofsd ")):
        monkeypatch.setattr(requirements, "_read", lambda _, release=release: f"NAME=x\nVERSION_CODENAME={release}\n")
        with pytest.raises(VmError) as caught:
            requirements.require_guest()
        assert "qemu-system-x86_64; virtiofsd; busybox" in str(caught.value)
        assert caught.value.hint == f"sudo apt-get install qemu-system-x86 {server}busybox-static"
    (tmp_path / "apt-get").unlink()
    with pytest.raises(VmError) as caught:
        requirements.require_guest()
    assert caught.value.hint.startswith("install them; on Debian: apt-get")


def test_what_forbids_user_namespaces_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "/proc/sys/kernel/unprivileged_userns_clone": "0\n",
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
        "/proc/sys/user/max_user_namespaces": "0\n",
    }
    error = KernelError("unshare(2)", errno.EPERM)
    monkeypatch.setattr(requirements, "find_missing", list)
    monkeypatch.setattr(requirements, "why_no_mounts", lambda: error)
    monkeypatch.setattr(requirements, "_read", lambda path: settings.get(path, ""))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NotPermittedError, match=r"user namespaces.*unshare\(2\): EPERM") as caught:
        requirements.require_guest()
    assert caught.value.hint == (
        "as root: sysctl kernel.unprivileged_userns_clone=1; "
        "or as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0; "
        "or as root: sysctl user.max_user_namespaces=10000; or run as root"
    )
    settings.clear()
    assert "chroot" in (requirements.find_obstacle() or ("", ""))[1]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "CAP_SYS_ADMIN" in (requirements.find_obstacle() or ("", ""))[1]
    monkeypatch.setattr(requirements, "why_no_mounts", lambda: None)
    requirements.require_guest()


def test_kvm_by_its_group(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    assert "can be used" in accelerator.describe(device=str(store))[0]
    assert "there is no /nonexistent" in accelerator.describe(device="/nonexistent")[0]
    monkeypatch.setattr(os, "access", lambda *_: False)
    group = grp.getgrall()[1]
    mode = os.stat_result((0o20660, 0, 0, 1, 0, group.gr_gid, 0, 0, 0, 0))
    monkeypatch.setattr(os, "stat", lambda _: mode)
    assert f"usermod -aG {group.gr_name} " in accelerator.describe(device=str(store))[1]
    mode = os.stat_result((0o20600, 0, 0, 1, 0, group.gr_gid, 0, 0, 0, 0))
    assert accelerator.describe(device=str(store))[1] == "", "its group may not open it either"


def test_what_is_started_is_told_its_parent() -> None:
    words = confine_command.confined(["/bin/true"], ["--read-only-root", "/r"])
    assert words[words.index("--parent") + 1] == str(os.getpid())
    assert words[-2:] == ["--", "/bin/true"]


def test_what_can_be_shared(tmp_path: Path) -> None:
    assert session.checked_share(tmp_path) == tmp_path.resolve()
    with pytest.raises(UsageError, match="not a directory"):
        session.checked_share(tmp_path / "none")
    with pytest.raises(UsageError, match="whole machine"):
        session.checked_share(Path("/"))


@pytest.mark.parametrize(("available", "expected"), [(64 << 20, 3072), (3 << 20, 2048), (100, 768)])
def test_memory_leaves_the_machine_some(tmp_path: Path, available: int, expected: int) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable:   {available} kB\n")
    assert session.default_memory(tmp_path / "meminfo") == expected


def test_streams_that_are_no_terminal(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    controlling, terminal = os.openpty()
    try:
        assert session.Streams(reading, writing, writing).on_terminal() == set()
        assert session.Streams(terminal, terminal, writing).on_terminal() == {"stdin", "stdout"}
        assert session.Streams(terminal, writing, terminal).on_terminal() == {"stderr"}
        assert session.Streams(None, terminal, terminal).on_terminal() == {"stdout", "stderr"}
    finally:
        for fd in (reading, writing, controlling, terminal):
            os.close(fd)


def test_no_guest_in_a_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIPROBE_GUEST", "6.1.0")
    with pytest.raises(UsageError, match="nested"):
        rerun.rerun_in_vm(["count", "*"], None, pytest.fail)


def test_an_impatient_user() -> None:
    now, answered = [0.0], [0]
    impatience = Impatience(lambda: answered[0], clock=lambda: now[0])
    assert not impatience.feed(b"\3\3\3\3")  # a key that is held down
    now[0] = 2
    assert impatience.feed(b"\3")
    answered[0] = 1
    now[0] = 4
    assert not impatience.feed(b"x\3")


def test_words_for_the_kernels_command_line() -> None:
    arguments = machine(TCG, append="lockdown=integrity quiet=no")
    assert arguments[arguments.index("-append") + 1].endswith(" multiprobe.guest=1 lockdown=integrity quiet=no")
    assert machine(TCG)[-1].endswith(" multiprobe.guest=1")


@pytest.mark.parametrize("with_secrets", [True, False])
def test_secrets_are_served_only_if_asked_for(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_secrets: bool
) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr(host_files, "_serve", lambda server, tag, root, options: given.append(options))
    host_files.serve_machine(host_files.Server("/v", frozenset()), "host", with_secrets=with_secrets)
    empty = tmp_path / "vm/empty"
    root = ["--read-only-root", str(tmp_path / "vm/root"), "--empty", str(empty)]
    assert given == [[*root, "--secrets", "shown"] if with_secrets else root]
    assert (empty / "file").read_bytes() == b""
    assert list((empty / "directory").iterdir()) == []


def test_what_is_missing_is_found_before_anything_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise VmError("QEMU is missing")

    monkeypatch.delenv("MULTIPROBE_GUEST", raising=False)
    monkeypatch.setattr(rerun, "require_guest", refuse)
    with pytest.raises(VmError, match="QEMU is missing"):
        rerun.rerun_in_vm(["count", "*"], None, pytest.fail)
