"""The helper's system calls, on a kernel that only writes them down."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from pathlib import Path

import pytest

from multiprobe import arch
from multiprobe.errors import KernelError
from multiprobe.syscalls import namespaces, raw
from multiprobe.vm import confine, secrets

EMPTY = ("--empty", "/empty")


class Kernel:
    """Notes each call and answers `answers.get(number, 0)`."""

    def __init__(self, **answers: int) -> None:
        numbers = arch.native().system_calls
        self.answers = {numbers[name]: answer for name, answer in answers.items()}
        self.names = {number: name for name, number in numbers.items()}
        self.calls: list[tuple[object, ...]] = []

    def __call__(self, number: int, *arguments: int) -> int:
        name = self.names[number]
        texts = {"mount": (0, 1), "umount2": (0,), "mount_setattr": (1,)}.get(name, ())
        words = [ctypes.string_at(a).decode() if i in texts else a for i, a in enumerate(arguments)]
        if name == "mount_setattr":
            words[3] = int.from_bytes(ctypes.string_at(arguments[3], 8), "little")
        self.calls.append((name, *words))
        return self.answers.get(number, 0)


def test_the_tree_is_copied_covered_and_locked() -> None:
    """What the kernel mounted in it is covered, not unmounted: in a user namespace that can't be unmounted."""
    kernel = Kernel(umount2=-22)
    with raw.using(kernel):
        confine.mount_read_only_root("/at", empty="/empty", has_secrets=True)
    assert kernel.calls == [
        ("unshare", namespaces.CLONE_NEWNS),
        ("mount", "none", "/", 0, namespaces.MS_REC | namespaces.MS_PRIVATE, 0),
        ("mount", "/", "/at", 0, namespaces.MS_BIND | namespaces.MS_REC, 0),
        *(("mount", "/empty/file", f"/at/{name}", 0, namespaces.MS_BIND, 0) for name in confine.HIDDEN),
        ("mount_setattr", -100, "/at", 0x8000, 1, 32),
    ]


class Chroot(Kernel):
    """A kernel on which / is no mount point, and can't be made private."""

    def __call__(self, number: int, *arguments: int) -> int:
        answer = super().__call__(number, *arguments)
        return -errno.EINVAL if self.calls[-1][:3] == ("mount", "none", "/") else answer


def test_a_chroot_is_served_if_its_mounts_stay_inside() -> None:
    kernel = Chroot()
    with raw.using(kernel):
        confine.mount_read_only_root("/at", empty="/empty", has_secrets=True)
    assert kernel.calls[-1] == ("mount_setattr", -100, "/at", 0x8000, 1, 32)


def test_a_mount_that_is_seen_outside_is_taken_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(confine, "is_mounted", lambda at, pid: (at, pid) == ("/at", os.getppid()))
    kernel = Chroot()
    with raw.using(kernel):
        assert confine.main(["--parent", str(os.getppid()), "--read-only-root", "/at", *EMPTY, "--", "/bin/true"]) == 1
    assert kernel.calls[-1] == ("umount2", "/at", namespaces.MNT_DETACH)
    assert "mount --bind" in capsys.readouterr().err


def test_mounts_of_a_process_are_seen() -> None:
    assert confine.is_mounted("/proc", pid=os.getpid())
    assert not confine.is_mounted("/nowhere", pid=os.getpid())


@pytest.mark.parametrize("call", ["unshare", "mount", "mount_setattr"])
def test_nothing_is_served_when_a_step_fails(call: str, capsys: pytest.CaptureFixture[str]) -> None:
    with raw.using(Kernel(**{call: -1})):
        status = confine.main(["--parent", str(os.getppid()), "--read-only-root", "/at", *EMPTY, "--", "/bin/true"])
    assert status == 1
    assert "EPERM" in capsys.readouterr().err


def test_an_orphan_does_not_start() -> None:
    kernel = Kernel()
    with raw.using(kernel):
        assert confine.main(["--parent", "1", "--", "/nonexistent"]) == 1
    assert kernel.calls == [("prctl", 1, signal.SIGKILL)]


def test_errors_name_the_mount() -> None:
    with raw.using(Kernel(mount=-13)), pytest.raises(KernelError, match="/a on /b"):
        namespaces.mount("/a", "/b", namespaces.MS_BIND)


def test_secrets_are_covered_before_the_tree_is_locked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key, directory = tmp_path / "at/etc/key", tmp_path / "at/root/.ssh"
    directory.mkdir(parents=True)
    key.parent.mkdir()
    key.touch()
    monkeypatch.setattr(secrets, "find", lambda: ["/etc/key", "/root/.ssh"])
    kernel = Kernel()
    with raw.using(kernel):
        confine.mount_read_only_root(f"{tmp_path}/at", empty="/empty", has_secrets=False)
    covers = [call for call in kernel.calls if call[1] in ("/empty/file", "/empty/directory")]
    assert covers[len(confine.HIDDEN) :] == [
        ("mount", "/empty/file", f"{tmp_path}/at/etc/key", 0, namespaces.MS_BIND, 0),
        ("mount", "/empty/directory", f"{tmp_path}/at/root/.ssh", 0, namespaces.MS_BIND, 0),
    ]
    assert kernel.calls[-6:-1] == covers


def test_a_secret_that_can_not_be_covered_is_not_served(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = namespaces.mount

    def mount(source: str, target: str, flags: int) -> None:
        if target.endswith("/etc/shadow"):
            raise KernelError("mount(2)", errno.EINVAL, subject=target)
        real(source, target, flags)

    monkeypatch.setattr(secrets, "find", lambda: ["/etc/shadow"])
    monkeypatch.setattr(namespaces, "mount", mount)
    options = ["--parent", str(os.getppid()), "--read-only-root", "/at", *EMPTY]
    with raw.using(Kernel()):
        assert confine.main([*options, "--", "/bin/true"]) == 1
    assert "/at/etc/shadow" in capsys.readouterr().err


def test_known_secrets_are_found_wherever_they_really_are(tmp_path: Path) -> None:
    for name in ("etc/shadow", "etc/shadow-", "etc/passwd", "etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("home/a/.ssh", "home/a/src", "srv/keys"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/ssl").mkdir()
    (tmp_path / "etc/ssl/private").symlink_to(tmp_path / "srv/keys")
    (tmp_path / "home/a/.netrc").symlink_to("nowhere")
    found = secrets.find(tmp_path, ["/home/a", "/home/b"])
    names = ["etc/shadow", "etc/shadow-", "etc/ssh/ssh_host_rsa_key", "home/a/.ssh", "srv/keys"]
    assert found == [str(tmp_path / name) for name in names]


def test_what_the_user_may_not_look_at_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home/a/.ssh").mkdir(parents=True)
    real = os.stat

    def refuse(path: object, *arguments: object, **options: object) -> object:
        if str(path).endswith(".ssh"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "stat", refuse)
    assert secrets.find(tmp_path, ["/home/a"]) == []


IS_ROOT = os.geteuid() == 0


def in_child(*calls: str, uid: int = 65534) -> str:
    """What a child of this process, as another user if this one is root, prints after these statements."""
    become = [f"os.setgroups([{uid}, {uid - 1}]); os.setresgid({uid}, {uid}, {uid}); os.setresuid({uid}, {uid}, {uid})"]
    become.append("namespaces._call('prctl', 'PR_SET_DUMPABLE', 4, 1)")  # exec would: /proc/self is the user's again
    script = ["import os", "from multiprobe.syscalls import namespaces", *(become if IS_ROOT else ()), *calls]
    child, out = os.pipe()
    pid = os.fork()
    if not pid:
        os.dup2(out, 1)
        try:
            exec("\n".join(script), {})
        except BaseException as error:
            os.write(1, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(out)
    with open(child) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return text


@pytest.fixture
def has_user_namespaces() -> None:
    """Skips where the machine forbids them (a chroot, a container, a sysctl)."""
    told = in_child("error = namespaces.why_no_mounts(); os.write(1, str(error).encode())")
    if told != "None":
        pytest.skip(f"no user namespaces: {told}")


@pytest.mark.usefixtures("has_user_namespaces")
def test_a_user_becomes_root_of_a_namespace_and_may_mount() -> None:
    """It keeps its groups, which setgroups(2) says it dropped: virtiofsd would end otherwise."""
    told = in_child(
        "groups = len(os.getgroups())",
        "namespaces.become_root()",
        "os.setgroups([])",
        "private = namespaces.unshare_mounts()",
        "namespaces.mount('/usr', '/usr', namespaces.MS_BIND | namespaces.MS_REC)",
        "text = f'{os.geteuid()} {os.getegid()} {len(os.getgroups()) == groups} {private}'",
        "os.write(1, text.encode())",
    )
    assert told == "0 0 True True"


def test_what_forbids_mounts_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with raw.using(Kernel(unshare=-errno.EPERM)):
        error = namespaces.why_no_mounts()
    assert error is not None
    assert str(error) == "unshare(2): EPERM"
    assert error.errno == errno.EPERM


def test_root_needs_no_user_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(namespaces, "become_root", lambda: os._exit(1))
    with raw.using(Kernel()):
        assert namespaces.why_no_mounts() is None
    with raw.using(Kernel(mount=-errno.EACCES)):
        assert "EACCES" in str(namespaces.why_no_mounts())


@pytest.mark.parametrize(("uid", "is_asked"), [(0, False), (1000, True)])
def test_file_servers_become_root_where_the_user_is_not(
    uid: int, is_asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(namespaces, "become_root", lambda: asked.append(True))
    monkeypatch.setattr(os, "execv", lambda *_: None)
    with raw.using(Kernel()):
        for options in (["--as-root", "yes"], []):
            confine.main(["--parent", str(os.getppid()), *options, "--", "/bin/true"])
    assert asked == [True] * is_asked
