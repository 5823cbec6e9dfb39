"""The children of a measured process are measured: forks of the fake kernel pass a mark on, nothing else does."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import multiprobe as mp
from fake_kernel import LIKE_7_3, FakeKernel
from multiprobe.kernel import tasks
from multiprobe.kernel.tasks import Born, descendants, has_children, load_processes, parse_stat
from multiprobe.links import children
from multiprobe.maps.layout import MAX_PIDS

MECHANISMS = ("kprobe_multi", "tracing_multi", "trampoline", "kprobe")
NAMES = ["vfs_write", "vfs_read"]
NAMESPACE = (4, 4026532999)
ROOT = MAX_PIDS - 100  # no process of this machine

calls = mp.PerFunction(mp.u64)


@mp.program
def count(ctx):
    calls[ctx.function] += 1


def counted(fake: FakeKernel, attachment: mp.Attachment, *pids: int) -> list[int]:
    """Those of the processes whose call is counted."""
    found = []
    for pid in pids:
        before = attachment.totals(calls)[1]
        fake.fire("vfs_read", tgid=pid)
        found += [pid] * (attachment.totals(calls)[1] - before)
    return found


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_children_are_followed_by_their_forks(fake: FakeKernel, mechanism: str) -> None:
    with mp.attach(count, NAMES, mechanisms=mechanism, pid=ROOT) as attachment:
        fake.fork(ROOT, 20)
        fake.fork(20, 21)
        fake.fork(21, 22)  # 20 may have ended by now: a daemon's second fork
        fake.fork(30, 31)
        fake.fork(20, 20)  # a thread
        assert counted(fake, attachment, ROOT, 20, 21, 22, 30, 31, 0) == [ROOT, 20, 21, 22]
        assert attachment.report.processes == 4
    assert attachment.report.processes == 4
    assert attachment.report.to_json()["processes"] == 4
    assert not any(attachment.missed().values())


def test_an_id_that_is_used_again_loses_its_mark(fake: FakeKernel) -> None:
    with mp.attach(count, NAMES, pid=ROOT) as attachment:
        fake.fork(ROOT, 20)
        fake.fork(30, 20)
        assert counted(fake, attachment, 20) == []
        fake.fork(ROOT, 20)
        assert counted(fake, attachment, 20) == [20]


def test_the_process_alone(fake: FakeKernel) -> None:
    with mp.attach(count, NAMES, pid=ROOT, children=False) as attachment:
        assert {link.mechanism for link in fake.links} == {"tracing_multi"}
        fake.fork(ROOT, 20)
        assert counted(fake, attachment, ROOT, 20) == [ROOT]
        assert attachment.report.processes is None


def test_without_a_process_nothing_is_followed(fake: FakeKernel) -> None:
    with mp.attach(count, NAMES) as attachment:
        assert {link.mechanism for link in fake.links} == {"tracing_multi"}
        assert counted(fake, attachment, 1, 2) == [1, 2]
        assert attachment.report.processes is None


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_children_in_a_pid_namespace(fake: FakeKernel, mechanism: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is named by its id there; its children are followed, wherever they go."""
    monkeypatch.setattr(tasks, "load_namespace", lambda: NAMESPACE)
    inside = {NAMESPACE: ROOT << 32 | ROOT}
    with mp.attach(count, NAMES, mechanisms=mechanism, pid=ROOT) as attachment:
        fake.fire("vfs_read", tgid=5077, namespaces=inside)
        fake.fire("vfs_read", tgid=ROOT, namespaces={NAMESPACE: 9 << 32 | 9})
        fake.fire("vfs_read", tgid=ROOT)
        assert list(attachment.totals(calls)) == [0, 1]
        fake.fork(5077, 5078, namespaces=inside)
        fake.fork(5078, 5079)  # in another namespace
        fake.fork(ROOT, 5080, namespaces={NAMESPACE: 9 << 32 | 9})
        fake.fork(ROOT, 5081)
        fake.fire("vfs_read", tgid=5078, namespaces={NAMESPACE: 78 << 32 | 78})
        fake.fire("vfs_read", tgid=5079)
        fake.fire("vfs_read", tgid=5080)
        fake.fire("vfs_read", tgid=5081)
        assert list(attachment.totals(calls)) == [0, 3]
        assert attachment.report.processes == 3


FAMILY = """\
import os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
import os, signal
grandchild = os.fork()
if grandchild:
    print(os.getpid(), grandchild, flush=True)
signal.pause()
'''])
signal.pause()
"""


@pytest.fixture
def family() -> Iterator[list[int]]:
    """A process, its child and its grandchild."""
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [process.pid, *map(int, process.stdout.readline().split())]
        yield pids
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


def test_children_that_are_there_already_are_measured(fake: FakeKernel, family: list[int]) -> None:
    with mp.attach(count, NAMES, pid=family[0]) as attachment:
        assert counted(fake, attachment, *family, os.getpid()) == family
        assert attachment.report.processes == 3
    with mp.attach(count, NAMES, pid=family[1]) as attachment:
        assert counted(fake, attachment, *family) == family[1:]


@pytest.mark.parametrize("own", [True, False])
def test_multiprobe_itself_is_measured_if_wanted(fake: FakeKernel, family: list[int], own: bool) -> None:
    """It may be the process, or a child; its watchdog never counts as one."""
    limits = mp.Limits(watchdog=10)
    with mp.attach(count, NAMES, pid=os.getppid(), own=own, limits=limits) as attachment:
        assert counted(fake, attachment, os.getpid()) == [os.getpid()] * own
    with mp.attach(count, NAMES, pid=os.getpid(), own=own, limits=limits) as attachment:
        assert counted(fake, attachment, os.getpid(), *family) == [os.getpid()] * own + family
        assert attachment._watchdog is not None
        dogs = set(descendants(os.getpid(), load_processes())) - set(family)
        assert dogs
        assert counted(fake, attachment, *dogs) == []


class Family:
    """What /proc shows, one answer for each look."""

    def __init__(self, *looks: dict[int, tuple[int, int]]) -> None:
        self.looks = iter(looks)

    def processes(self) -> dict[int, Born]:
        return {pid: Born(*born) for pid, born in next(self.looks).items()}


def test_children_are_looked_for_until_there_are_no_new_ones(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when one ends meanwhile, and when its id is another process's then."""
    shown = Family(
        {ROOT: (1, 5), 20: (ROOT, 6), 30: (1, 6)},
        {ROOT: (1, 5), 20: (1, 9), 21: (ROOT, 7)},
        {ROOT: (1, 5), 22: (21, 8), 21: (1, 7)},
        {ROOT: (1, 5), 21: (ROOT, 7), 22: (1, 8)},
    )
    monkeypatch.setattr(children, "load_processes", shown.processes)
    monkeypatch.setattr(children, "has_children", lambda _: True)
    with mp.attach(count, NAMES, pid=ROOT) as attachment:
        assert next(shown.looks, None) is not None, "the third look found nothing new"
        assert counted(fake, attachment, ROOT, 20, 21, 22, 30) == [ROOT, 21]


@pytest.mark.parametrize("why", ["tracepoint", "types"])
def test_a_kernel_that_cannot_follow(directory: Path, why: str) -> None:
    """The process is measured, and the report says that its children are not."""
    with FakeKernel(directory / why, LIKE_7_3) as fake:
        if why == "tracepoint":
            fake.tracepoints.clear()
        else:
            (fake.root / "sys/kernel/btf/vmlinux").unlink()
        with mp.attach(count, NAMES, pid=ROOT, mechanisms="kprobe_multi") as attachment:
            fake.fork(ROOT, 20)
            assert counted(fake, attachment, ROOT, 20) == [ROOT]
            assert attachment.report.processes is None
            (note,) = attachment.report.notes
            assert note.startswith(f"only process {ROOT} was measured, none of its children: they can't be followed (")
            assert ("ENOENT" if why == "tracepoint" else "BTF") in note
        assert fake.left() == []


@pytest.mark.parametrize("command", ["MAP_CREATE", "PROG_LOAD", "RAW_TRACEPOINT_OPEN"])
def test_what_fails_for_another_reason_is_an_error(fake: FakeKernel, command: str) -> None:
    fake.fault(errno.ENOMEM, command=command, times=2)
    with pytest.raises(mp.KernelError, match="ENOMEM"):
        mp.attach(count, NAMES, pid=ROOT)


def test_what_is_attached_to_nothing_leaves_nothing(fake: FakeKernel) -> None:
    fake.refused_programs["count"] = "it is refused"
    with pytest.raises(mp.VerifierError):
        mp.attach(count, NAMES, pid=ROOT)


def test_children_that_were_lost_are_reported(fake: FakeKernel) -> None:
    with mp.attach(count, NAMES, pid=ROOT) as attachment:
        (program,) = (one for one in fake.programs if one.name == "follow")
        program.recursion_misses = 3
        assert attachment.missed()["unfollowed_children"] == 3
    (gap,) = attachment.report.gaps
    assert (gap.cause, gap.n) == ("unfollowed_children", 3)


def test_children_of_a_pinned_attachment_are_followed_on(fake: FakeKernel) -> None:
    directory = "/sys/fs/bpf/children"
    with mp.attach(count, NAMES, pid=ROOT) as attachment:
        fake.fork(ROOT, 20)
        attachment.pin(directory)
    fake.fork(20, 21)
    fake.fork(30, 31)
    with mp.Attachment.from_pins(directory, count) as again:
        assert counted(fake, again, ROOT, 20, 21, 30, 31) == [ROOT, 20, 21]
        again.unpin(directory)


def test_functions_that_are_added_again_know_the_children(fake: FakeKernel) -> None:
    with mp.attach(count, NAMES, pid=ROOT, replaceable=True) as attachment:
        fake.fork(ROOT, 20)
        attachment.drop(["vfs_read"])
        fake.fork(20, 21)
        attachment.add(["vfs_read"])
        assert counted(fake, attachment, ROOT, 20, 21, 30) == [ROOT, 20, 21]


@pytest.mark.parametrize("given", [None, 1, "yes"])
def test_a_wrong_type(given: Any) -> None:
    with pytest.raises(mp.UsageError, match=f"invalid children={given!r}: expected True or False"):
        mp.attach(count, NAMES, pid=1, children=given)


def test_processes_of_proc(tmp_path: Path) -> None:
    assert parse_stat(b"7 (a) b) (c) R 3 7 7 0 -1 4194304 86 0 0 0 0 0 0 0 20 0 1 0 5112 2 3") == Born(3, 5112)
    found = load_processes()
    assert found[os.getpid()].parent == os.getppid()
    processes = {1: Born(0, 0), 2: Born(1, 0), 3: Born(2, 0), 4: Born(1, 0), 5: Born(3, 0)}
    assert descendants(2, processes) == {3, 5}
    assert descendants(1, processes) == {2, 3, 4, 5}
    assert descendants(0, {0: Born(0, 0)}) == set()


def test_who_has_children(family: list[int], tmp_path: Path) -> None:
    assert [has_children(pid) for pid in family] == [True, True, False]
    assert has_children(7, proc=str(tmp_path)), "it may have: the kernel has no list"
