"""Feature probes, against fake kernels behind the system-call funnel."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from btf_writer import BtfWriter

from multiprobe.errors import KernelError
from multiprobe.functions import sources
from multiprobe.kernel.evidence import Evidence
from multiprobe.kernel.features import FEATURES, INCONCLUSIVE, NO, YES, Answer, Features, forbidden, no, yes
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.syscalls import bpf, raw
from multiprobe.syscalls.fd import NewDescriptor
from multiprobe.uapi.bpf import AttachType, Cmd, ProgType

PERF = raw.PERF_EVENT_OPEN


def memory(address: int, size: int) -> bytes:
    import ctypes

    return ctypes.string_at(address, size)


class FakeKernel:
    """Answers bpf(2) and perf_event_open(2): 0-errno from a table of what it was asked, or a fresh descriptor."""

    def __init__(self, **answers: int) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.opened: list[int] = []

    def __call__(self, number: int, *arguments: int) -> int:
        what = "perf" if number == PERF else self._what(arguments[0], memory(arguments[1], arguments[2]))
        self.asked.append(what)
        answer = self.answers.get(what, self.answers.get(what.split(":")[0], 0))
        if answer:
            return -answer
        fd = os.open(os.devnull, os.O_RDONLY)
        self.opened.append(fd)
        return fd

    @staticmethod
    def _what(command: int, attr: bytes) -> str:
        if command == Cmd.PROG_LOAD:
            kind, expected = struct.unpack_from("<I", attr)[0], struct.unpack_from("<I", attr, 68)[0]
            return f"load:{kind}:{expected}"
        if command == Cmd.LINK_CREATE:
            return f"link:{struct.unpack_from('<I', attr, 8)[0]}"
        return {Cmd.MAP_CREATE: "map"}.get(command, f"cmd {command}")

    def is_clean(self) -> bool:
        """Was every descriptor closed again?"""
        return not any(os.path.exists(f"/proc/self/fd/{fd}") and _is_null(fd) for fd in self.opened)


def _is_null(fd: int) -> bool:
    return os.readlink(f"/proc/self/fd/{fd}") == os.devnull


@pytest.fixture
def root(tmp_path: Path) -> Path:
    w = BtfWriter()
    w.function("bpf_fentry_test1", w.integer("int", 4))
    (tmp_path / "sys/kernel/btf").mkdir(parents=True)
    (tmp_path / "sys/kernel/btf/vmlinux").write_bytes(w.data())
    pmu = tmp_path / "sys/bus/event_source/devices/kprobe"
    pmu.mkdir(parents=True)
    (pmu / "type").write_text("6\n")
    (tmp_path / "proc").mkdir()
    names = ("register_ftrace_direct", "bpf_trampoline_link_prog", "register_kprobe", "perf_kprobe_init")
    (tmp_path / "proc/kallsyms").write_text("".join(f"ffffffff81000000 T {name}\n" for name in names))
    return tmp_path


LINKS = {f"link:{attach_type}": errno.EFAULT for attach_type in (42, 48, 56, 57, 59, 61)}


def probe(root: Path, feature: str, **answers: int) -> tuple[str, str]:
    kernel = FakeKernel(**{"perf": errno.EILSEQ, **LINKS, **answers})
    with raw.using(kernel):
        answer = Features(root=str(root)).probe(feature)
    assert kernel.is_clean()
    return answer.verdict, answer.evidence


@pytest.mark.parametrize("feature", FEATURES)
def test_a_kernel_that_has_everything(root: Path, feature: str) -> None:
    assert probe(root, feature)[0] == YES


@pytest.mark.parametrize("feature", sorted(set(FEATURES) - {"btf"}))
def test_without_rights_nothing_is_concluded(root: Path, feature: str) -> None:
    kernel = FakeKernel(load=errno.EPERM, link=errno.EPERM, map=errno.EPERM, perf=errno.EACCES)
    with raw.using(kernel):
        features = Features(root=str(root))
        answer = features.probe(feature)
        assert answer.verdict == INCONCLUSIVE
        assert answer.is_forbidden
        n_asked = len(kernel.asked)
        features.probe(feature)
    assert len(kernel.asked) > n_asked, "an inconclusive answer must not be remembered"


def test_yes_and_no_are_remembered(root: Path) -> None:
    kernel = FakeKernel(**LINKS | {"link:56": errno.EINVAL})
    with raw.using(kernel):
        features = Features(root=str(root))
        assert features.probe("kprobe_multi").is_yes
        assert features.probe("kprobe_session").is_no
        n_asked = len(kernel.asked)
        features.probe("kprobe_multi")
        features.probe("kprobe_session")
    assert len(kernel.asked) == n_asked


@pytest.mark.parametrize(
    ("feature", "answers", "verdict", "evidence"),
    [
        ("kprobe_multi", {"link:42": errno.EOPNOTSUPP}, NO, "EOPNOTSUPP"),
        ("kprobe_multi", {"link:42": errno.EINVAL}, NO, "EINVAL"),
        ("kprobe_multi", {"link:42": errno.ENOMEM}, INCONCLUSIVE, "ENOMEM"),
        ("kprobe_multi", {"link:42": 0}, INCONCLUSIVE, "with a link"),
        ("kprobe_multi", {"load:2:42": errno.EINVAL}, NO, "loading its program: EINVAL"),
        ("kprobe_session", {"link:56": errno.EINVAL}, NO, "EINVAL"),
        ("tracing_multi", {"load:26:59": errno.EINVAL}, NO, "loading its program"),
        ("tracing_multi", {"link:59": errno.EOPNOTSUPP}, NO, "EOPNOTSUPP"),
        ("trampoline", {"load:26:24": errno.ENOTSUP}, NO, "EOPNOTSUPP"),
        ("trampoline", {"load:26:24": errno.ENOMEM}, INCONCLUSIVE, "ENOMEM"),
        ("fsession", {"load:26:58": errno.EINVAL}, NO, "fsession"),
        ("kprobe", {"perf": errno.EPERM}, INCONCLUSIVE, "permits none"),
        ("kprobe", {"perf": errno.ENOENT}, INCONCLUSIVE, "ENOENT"),
        ("kprobe", {"perf": 0}, INCONCLUSIVE, "inside"),
        ("bpf", {"load:1:0": errno.ENOSYS}, NO, "ENOSYS"),
        ("ring_buffer", {"map": errno.EINVAL}, NO, "EINVAL"),
        ("read_kernel", {"load:2:0": errno.EINVAL}, NO, "bpf_probe_read_kernel"),
    ],
)
def test_what_the_kernel_answers(
    root: Path, feature: str, answers: dict[str, int], verdict: str, evidence: str
) -> None:
    found = probe(root, feature, **answers)
    assert found[0] == verdict
    assert evidence in found[1]


def test_no_pmu_is_no_kprobe(root: Path) -> None:
    devices = root / "sys/bus/event_source/devices"
    (devices / "kprobe/type").unlink()
    assert probe(root, "kprobe")[0] == NO
    (devices / "kprobe").rmdir()
    devices.rmdir()
    assert probe(root, "kprobe")[0] == INCONCLUSIVE


def test_without_types_there_is_no_trampoline(root: Path) -> None:
    (root / "sys/kernel/btf/vmlinux").unlink()
    assert probe(root, "trampoline")[0] == NO
    assert probe(root, "btf")[0] == NO


def test_no_function_to_ask_for_is_inconclusive(root: Path) -> None:
    w = BtfWriter()
    w.integer("int", 4)
    (root / "sys/kernel/btf/vmlinux").write_bytes(w.data())
    assert probe(root, "trampoline")[0] == INCONCLUSIVE


def test_a_kernel_without_direct_calls_is_not_sure(root: Path) -> None:
    (root / "proc/kallsyms").write_text("ffffffff81000000 T other\n")
    assert probe(root, "trampoline")[0] == INCONCLUSIVE


def test_what_is_built_in_is_told_without_rights(root: Path) -> None:
    with raw.using(FakeKernel(load=errno.EPERM)):
        features = Features(root=str(root))
        assert features.probe("trampoline").is_built_in is True
        assert features.probe("kprobe_multi").is_built_in is False


def test_nothing_is_ever_attached(root: Path) -> None:
    """No link is asked for with a list that a kernel could read, no kprobe at the start of an instruction."""
    seen: list[tuple[int, bytes]] = []
    answer = FakeKernel(perf=errno.EILSEQ, **LINKS)

    def watch(number: int, *arguments: int) -> int:
        if number == PERF:
            assert struct.unpack_from("<Q", memory(arguments[0], 112), 64)[0] == 1  # config2: the offset
        elif arguments[0] == Cmd.LINK_CREATE:
            seen.append((arguments[0], memory(arguments[1], arguments[2])))
        else:
            assert arguments[0] in (Cmd.PROG_LOAD, Cmd.MAP_CREATE)
        return answer(number, *arguments)

    ask: Callable[..., int] = watch
    with raw.using(ask):
        features = Features(root=str(root))
        for feature in FEATURES:
            features.probe(feature)
    assert len(seen) == 6
    for _, attr in seen:
        attach_type = struct.unpack_from("<I", attr, 8)[0]
        is_kprobe = attach_type in (AttachType.TRACE_KPROBE_MULTI, AttachType.TRACE_KPROBE_SESSION)
        assert struct.unpack_from("<Q", attr, 32 if is_kprobe else 16)[0] == 8
    assert ProgType.KPROBE == 2


def test_evidence(tmp_path: Path) -> None:
    nothing = Evidence(root=str(tmp_path))
    assert nothing.has_symbol("f") is None
    assert nothing.hides_addresses() is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/kallsyms").write_text("0000000000000000 A x\nffffffff81000000 T f\nffffffffc0000000 t g\t[m]\n")
    evidence = Evidence(root=str(tmp_path))
    assert [evidence.has_symbol(name) for name in ("f", "g", "x", "nope")] == [True, True, True, False]
    assert evidence.hides_addresses() is False
    (tmp_path / "proc/kallsyms").write_text("0000000000000000 A x\n0000000000000000 T f\n")
    assert Evidence(root=str(tmp_path)).hides_addresses() is True


def test_types_that_load_at_the_second_try_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second try is for the log; when it succeeds (memory is back), its descriptor is the result."""
    answers = iter([-errno.ENOMEM, NewDescriptor(os.open("/dev/null", os.O_RDONLY))])
    monkeypatch.setattr(bpf, "_open", lambda _cmd, _attr: next(answers))
    with bpf.btf_load(b"btf") as made:
        assert os.fstat(made.fileno())
    assert made.is_closed


@pytest.mark.parametrize(
    ("multi", "offers"),
    [
        ((yes("f"), no("f")), Mechanism.TRACING_MULTI | Mechanism.KPROBE),
        ((no("f"), yes("f")), Mechanism.KPROBE_MULTI | Mechanism.KPROBE),
        ((forbidden("f"), forbidden("f")), Mechanism.TRACING_MULTI | Mechanism.KPROBE),
    ],
)
def test_what_the_kernel_answers_counts_more_than_its_symbols(
    multi: tuple[Answer, Answer], offers: Mechanism, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = Features()
    monkeypatch.setattr(features, "tracing_multi", lambda: multi[0])
    monkeypatch.setattr(features, "kprobe_multi", lambda: multi[1])
    assert sources._asked(Mechanism.TRACING_MULTI | Mechanism.KPROBE, features) == offers


@pytest.mark.parametrize(
    ("number", "verdict"), [(errno.ENOMEM, INCONCLUSIVE), (errno.EMFILE, INCONCLUSIVE), (errno.EINVAL, NO)]
)
def test_a_shortage_says_nothing_about_the_kernel(number: int, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `Kernel` offers is kept for the whole boot: a shortage must not take a mechanism away for that long."""

    def refuse(*_: object, **__: object) -> None:
        raise KernelError("loading program", number)

    monkeypatch.setattr(bpf, "prog_load", refuse)
    assert Features().tracing_multi().verdict == verdict
