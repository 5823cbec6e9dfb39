"""Coverage on the fake kernel: what calls of its functions leave behind, run by run; from Python, and the command."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import multiprobe as mp
from fake_kernel import LIKE_7_3, FakeKernel
from fake_kernel.functions import FUNCTIONS, FakeFunction
from multiprobe.cli.main import run as command
from multiprobe.errors import UsageError
from multiprobe.instruments.coverage import instrument, program
from multiprobe.instruments.coverage.covered import CheckedCapability, by_module
from multiprobe.instruments.coverage.instrument import CoverageCollector
from multiprobe.instruments.workload import Workload

CAPABLE = FakeFunction("security_capable", parameters=("long", "long", "int", "int"), returns="int")
MORE = (CAPABLE, FakeFunction("security_file_open"), FakeFunction("__x64_sys_openat"))
NAMES = ["vfs_read", "vfs_write", "nf_hook_slow", "security_capable", "security_file_open", "__x64_sys_openat"]
CAP_SYS_ADMIN, CAP_BPF = 21, 39

Calls = Callable[[FakeKernel, int, int], None]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fake")


@pytest.fixture
def fake(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKernel]:
    monkeypatch.setattr(instrument, "_SETTLE", 0.0)
    with FakeKernel(directory, LIKE_7_3, functions=(*FUNCTIONS, *MORE)) as fake:
        yield fake
        assert fake.left() == []


@pytest.fixture
def calling(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> Callable[[Calls], None]:
    """Has every command call functions once it is let go: `calls(kernel, its id, number of the run from 0)`."""
    release, n = Workload.release, iter(range(1000))

    def let(calls: Calls) -> None:
        def released(workload: Workload) -> None:
            calls(fake, workload.pid, next(n))
            release(workload)

        monkeypatch.setattr(Workload, "release", released)

    return let


def names(covered: list[mp.CoveredFunction]) -> list[str]:
    return [one.function.name for one in covered]


def collector(fake: FakeKernel, **options: Any) -> CoverageCollector:
    return instrument.start(mp.Kernel().functions(*NAMES), **options)


@pytest.mark.parametrize("mechanism", ["kprobe_multi", "tracing_multi", "trampoline", "kprobe"])
def test_what_was_called_is_covered_and_nothing_else(fake: FakeKernel, mechanism: str) -> None:
    with collector(fake, mechanisms=mechanism) as running:
        fake.fire("vfs_read", cpu=1, tgid=77)
        fake.fire("vfs_read", cpu=1, tgid=78)
        fake.fire("nf_hook_slow", cpu=2, tgid=79)
        found = running.finish()
    assert [(one.function.name, one.n_runs) for one in found.covered] == [("vfs_read", 1), ("nf_hook_slow", 1)]
    assert [one.first.process for one in found.covered if one.first] == [77, 79]
    assert found.n_runs == 1
    assert {(row.module, row.attached, row.covered) for row in by_module(found)} == {("", 5, 1), ("nf_tables", 1, 1)}


def test_a_function_tells_of_its_first_call_on_each_cpu_only(fake: FakeKernel) -> None:
    with collector(fake) as running:
        for cpu in (0, 0, 1, 1, 0):
            fake.fire("vfs_read", cpu=cpu)
        assert running._attachment.map(program.hits).sent == 2


def test_calls_before_a_run_and_between_runs_do_not_count(fake: FakeKernel) -> None:
    with collector(fake) as running:
        fake.fire("vfs_read")
        running.begin_run()
        fake.fire("vfs_write", tgid=5)
        running.end_run()
        fake.fire("nf_hook_slow")
        running.begin_run()
        fake.fire("vfs_write", tgid=6)
        fake.fire("__x64_sys_openat", tgid=6)
        running.end_run()
        found = running.finish()
    assert found.n_runs == 2
    assert (names(found.always), names(found.sometimes)) == (["vfs_write"], ["__x64_sys_openat"])
    assert [(one.first.run, one.first.process) for one in found.covered if one.first] == [(1, 5), (2, 6)]


@pytest.mark.parametrize("mechanism", ["kprobe_multi", "tracing_multi", "trampoline"])
def test_what_has_run_is_detached_until_the_next_run(
    fake: FakeKernel, mechanism: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instrument, "RELEASE_AFTER", 0.0)
    monkeypatch.setattr(instrument, "RELEASE_SHARE", float("inf"))
    with collector(fake, mechanisms=mechanism) as running:
        everything = fake.attached()
        fake.fire("vfs_read", tgid=5)
        running.poll()
        fake.fire("vfs_read", tgid=6)
        fake.fire("vfs_write", tgid=6)
        assert everything - fake.attached() == (set() if mechanism == "trampoline" else {"vfs_read"})
        running.begin_run()
        assert fake.attached() == everything
        fake.fire("vfs_read", tgid=7)
        found = running.finish()
        assert found.n_runs == 1
        assert [(one.function.name, one.first.process) for one in found.covered if one.first] == [("vfs_read", 5)]
        assert running.report.dropped == ()


def test_every_run_sees_what_was_detached_in_the_one_before(
    fake: FakeKernel, calling: Callable[[Calls], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instrument, "RELEASE_AFTER", 0.0)
    calling(lambda kernel, pid, run: kernel.fire("vfs_read", tgid=pid))
    found = mp.coverage(["sleep", "0.3"], NAMES, runs=3)
    assert (names(found.always), names(found.sometimes)) == (["vfs_read"], [])
    assert found.report is not None
    assert found.report.dropped == ()
    assert fake.calls.count("LINK_CREATE") > len(NAMES)


def test_a_link_that_cannot_be_replaced_stays(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instrument, "RELEASE_AFTER", 0.0)
    with collector(fake, mechanisms="kprobe_multi") as running:
        everything = fake.attached()
        fake.fire("vfs_read")
        refused = fake.fault(errno.ENOMEM, command="LINK_CREATE", times=100)
        running.poll()
        assert refused.n_made
        assert fake.attached() == everything
        assert names(list(running.finish().covered)) == ["vfs_read"]


def test_a_sample_while_it_runs(fake: FakeKernel) -> None:
    with collector(fake) as running:
        fake.fire("vfs_read")
        assert names(list(running.sample().covered)) == ["vfs_read"]
        assert names(list(running.sample().covered)) == ["vfs_read"]


def test_a_lost_event_loses_only_who_was_first(fake: FakeKernel) -> None:
    with collector(fake) as running:
        fake.fire("vfs_read")
        running._attachment.events(program.hits).read()  # as if the ring buffer had been full
        fake.fire("vfs_write")
        found = running.finish()
    assert [(one.function.name, one.first is None) for one in found.covered] == [
        ("vfs_write", False),
        ("vfs_read", True),
    ]


def test_names_tell_system_calls_and_hooks(fake: FakeKernel) -> None:
    with collector(fake) as running:
        for name in NAMES:
            fake.fire(name)
        found = running.finish()
    assert found.system_calls == ["openat"]
    assert found.lsm_hooks == ["security_capable", "security_file_open"]


def test_capabilities_and_their_answers(fake: FakeKernel) -> None:
    with collector(fake) as running:
        running.begin_run()
        for capability, answer in ((CAP_SYS_ADMIN, 0), (CAP_SYS_ADMIN, -1), (CAP_BPF, 0), (CAP_SYS_ADMIN, -1)):
            fake.fire("security_capable", 1, 2, capability | 0xABCD << 32, 0, returned=answer)
        found = running.finish()
    assert found.capabilities == [CheckedCapability("CAP_SYS_ADMIN", 1, 2), CheckedCapability("CAP_BPF", 1, 0)]


def test_without_the_function_that_is_asked_capabilities_are_not_known(fake: FakeKernel) -> None:
    with instrument.start(mp.Kernel().functions("vfs_read")) as running:
        assert running.finish().capabilities is None
    assert len(fake.calls) > 0


def test_coverage_of_a_command(fake: FakeKernel, calling: Callable[[Calls], None]) -> None:
    def calls(kernel: FakeKernel, pid: int, run: int) -> None:
        kernel.fork(pid, 20)
        kernel.fire("vfs_read", tgid=20)
        kernel.fire("vfs_write", tgid=21)  # another process
        if run == 1:
            kernel.fire("nf_hook_slow", tgid=pid)

    calling(calls)
    found = mp.coverage(["sh", "-c", "exit 3"], NAMES, runs=3)
    assert (names(found.always), names(found.sometimes)) == (["vfs_read"], ["nf_hook_slow"])
    assert found.statuses == (3, 3, 3)
    assert found.report is not None
    assert (found.report.attached, found.report.processes) == (6, 6)


def test_no_run_and_no_program(fake: FakeKernel) -> None:
    with pytest.raises(UsageError, match="invalid runs=0"):
        mp.coverage(["true"], NAMES, runs=0)
    with pytest.raises(UsageError, match="no such program"):
        mp.coverage(["no-such-program"], NAMES)


def test_another_process_can_be_followed_only_beside_one(fake: FakeKernel) -> None:
    with mp.attach(program.cover, NAMES) as attachment, pytest.raises(UsageError, match="follows no process"):
        attachment.follow(1)


# The command


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def read(kernel: FakeKernel, pid: int, run: int) -> None:
    kernel.fire("__x64_sys_openat", tgid=pid)
    kernel.fire("security_capable", 1, 2, CAP_SYS_ADMIN, 0, returned=-1, tgid=pid)
    kernel.fire("vfs_read" if run == 0 else "nf_hook_slow", tgid=pid)


def test_json(calling: Callable[[Calls], None], capsys: pytest.CaptureFixture[str]) -> None:
    calling(read)
    assert command(["coverage", *NAMES, "--json", "--runs", "2", "--", "true"]) == 0
    *rows, report = lines(capsys)
    assert [(row["function"], row["runs"], row["first_run"]) for row in rows] == [
        ("__x64_sys_openat", 2, 1), ("security_capable", 2, 1), ("vfs_read", 1, 1), ("nf_hook_slow", 1, 2),
    ]  # fmt: skip
    assert rows[3]["module"] == "nf_tables"
    assert rows[0]["process"] == rows[0]["thread"] == rows[2]["process"] != rows[3]["process"]
    assert (report["runs"], report["covered"], report["always"]) == (2, 4, 2)
    assert report["system_calls"] == ["openat"]
    assert report["capabilities"] == [{"name": "CAP_SYS_ADMIN", "granted": 0, "denied": 2}]
    assert report["command"]["status"] == 0


def test_text(calling: Callable[[Calls], None], capsys: pytest.CaptureFixture[str]) -> None:
    calling(read)
    assert command(["coverage", *NAMES, "--", "true"]) == 0
    text = capsys.readouterr().out
    assert "FIRST AT" in text
    assert "system calls (1): openat" in text
    assert "LSM hooks (1): security_capable" in text
    assert "capabilities (1): CAP_SYS_ADMIN (denied 1 of 1)" in text
    assert "3 of 6 functions ran in " in text


def test_against_a_saved_run(
    calling: Callable[[Calls], None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    calling(read)
    path = str(tmp_path / "before.gz")
    assert command(["coverage", *NAMES, "--save", path, "--", "true"]) == 0
    run = mp.Run.load(path)
    assert [row["function"] for row in run.rows] == ["__x64_sys_openat", "security_capable", "vfs_read"]
    capsys.readouterr()
    assert command(["coverage", *NAMES, "--against", path, "--json", "--", "true"]) == 0
    assert lines(capsys)[-1]["against"] == {
        "new": [{"module": "nf_tables", "function": "nf_hook_slow"}],
        "gone": [{"module": "", "function": "vfs_read"}],
        "not_compared": 0,
    }
    assert command(["coverage", *NAMES[2:], "--against", path, "--", "true"]) == 0
    text = capsys.readouterr().out
    assert f"new against {path} (1): nf_hook_slow [nf_tables]" in text.replace("\n  ", " ")
    assert "1 function not compared" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--runs", "2"], "--runs needs a COMMAND"),
        (["--runs", "2", "--no-children", "--", "true"], "--runs and --no-children exclude"),
        (["--against", "count.json", "--", "true"], "is a run of count, not of coverage"),
    ],
)
def test_refused(
    fake: FakeKernel, words: list[str], message: str, capsys: pytest.CaptureFixture[str],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert command(["count", "vfs_read", "-d", "0", "--save", "count.json"]) == 0
    assert command(["coverage", "vfs_read", *words]) == 2
    assert message in capsys.readouterr().err


def test_runs_of_coverage_are_not_added_up(
    calling: Callable[[Calls], None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    calling(read)
    assert command(["coverage", *NAMES, "--save", str(tmp_path / "a"), "--", "true"]) == 0
    assert command(["merge", str(tmp_path / "a")]) == 2
    assert "coverage --against" in capsys.readouterr().err
