"""The flight recorder on the fake kernel: what the rings keep, what stops them, and what is printed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import multiprobe as mp
from fake_kernel import LIKE_7_3, FakeKernel, firing
from multiprobe.cli.main import run
from multiprobe.cli.record_tracks import tracks
from multiprobe.errors import UsageError
from multiprobe.instruments.record import instrument
from multiprobe.instruments.record.instrument import Recording
from multiprobe.instruments.trace.filter import in_nanoseconds
from multiprobe.instruments.trace.instrument import TracedCall
from multiprobe.instruments.workload import Workload

NAMES = ["vfs_read", "vfs_write", "nf_hook_slow"]
MECHANISMS = ("kprobe_multi", "tracing_multi")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fake")


@pytest.fixture
def fake(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKernel]:
    """One whose clock goes on by a microsecond with each program that runs."""
    clock, real = itertools.count(1_000_000, 1_000), firing.Machine.run

    def ticking(machine: firing.Machine, *arguments: Any) -> int:
        machine.facts["time"] = next(clock)
        return real(machine, *arguments)

    monkeypatch.setattr(firing.Machine, "run", ticking)
    with FakeKernel(directory, LIKE_7_3) as fake:
        yield fake
        assert fake.left() == []


def recorded(calls: Callable[[], None], names: list[str] = NAMES, **options: Any) -> Recording:
    with instrument.start(mp.Kernel().functions(*names), **options) as recorder:
        calls()
        recorder.poll()
        return recorder.finish()


def told(found: Recording) -> list[tuple[str, int | None]]:
    return [(call.function.name, call.raw) for call in found.calls]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_calls_with_arguments_results_and_times(fake: FakeKernel, mechanism: str) -> None:
    def calls() -> None:
        fake.fire("vfs_read", 11, 12, returned=5, cpu=2, tgid=77)
        fake.fire("nf_hook_slow", 13, 14, returned=-28, cpu=1, tgid=78)

    found = recorded(calls, mechanisms=mechanism)
    first, second = found.calls
    assert (first.function.name, first.pid, first.cpu, first.comm) == ("vfs_read", 77, 2, "bash")
    assert [number for _, number in first.arguments] == [11, 12]
    assert (first.duration, first.raw) == (1000, 5)
    assert (second.raw, second.returned) == (-28, "-ENOSPC")
    assert (found.held, found.overwritten) == (None, 0)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_condition_stops_the_rings_of_all_cpus(fake: FakeKernel, mechanism: str) -> None:
    def calls() -> None:
        fake.fire("vfs_read", returned=1)
        fake.fire("vfs_write", returned=-28, cpu=1)
        fake.fire("vfs_read", returned=2)
        fake.fire("vfs_write", returned=-28)

    found = recorded(calls, mechanisms=mechanism, until="ret == -ENOSPC")
    assert told(found) == [("vfs_read", 1), ("vfs_write", -28)]
    assert found.held is not None
    assert found.held.begin == found.calls[-1].begin


@pytest.mark.parametrize(
    ("until", "held"),
    [
        ("ret < 0 and arg0 == 3", 3),
        ("arg0 == 4", 4),
        ("ret < 0 and arg0 + ret == -4", 1),
        ("ret < 0 and arg0 + ret == 1", None),
        ("duration > 500ns and arg0 > 1", 2),
        ("duration > 1ms", None),
        ("comm == 'bash' and ret == -5", 1),
        ("comm == 'sh'", None),
    ],
)
def test_conditions_of_entry_and_return(fake: FakeKernel, until: str, held: int | None) -> None:
    def calls() -> None:
        for n in range(1, 5):
            fake.fire("vfs_read", n, returned=-5)

    found = recorded(calls, until=until)
    assert (found.held is None) == (held is None)
    assert len(found.calls) == (held or 4)
    if until == "arg0 == 4":
        assert found.calls[-1].duration is None, "stopped at its entry"


def test_the_oldest_are_overwritten(fake: FakeKernel) -> None:
    def calls() -> None:
        for n in range(10):
            fake.fire("vfs_read", n, returned=n)
        fake.fire("vfs_write", 7, returned=7, cpu=3)

    found = recorded(calls, records=5)  # rounded up to 8: the last four calls of each CPU
    assert told(found) == [("vfs_read", n) for n in (6, 7, 8, 9)] + [("vfs_write", 7)]
    assert found.overwritten == 12


def test_a_return_without_its_entry(fake: FakeKernel) -> None:
    def calls() -> None:
        fake.fire("vfs_read", 1, returned=1)
        fake.fire("vfs_write", 2, returned=2)

    with instrument.start(mp.Kernel().functions(*NAMES), records=2) as recorder:
        calls()
        ring = recorder._attachment.map(recorder._probe.ring)
        ring.memory[:8] = bytes(8)  # as if the entry had been overwritten
        found = recorder.finish()
    assert [(call.function.name, call.arguments, call.raw) for call in found.calls] == [("vfs_write", (), 2)]


def test_only_the_last_seconds(fake: FakeKernel) -> None:
    def calls() -> None:
        for n in range(6):
            fake.fire("vfs_read", n, returned=-28 if n == 5 else n)

    found = recorded(calls, until="ret == -ENOSPC", last=5e-6)
    assert [call.raw for call in found.calls] == [3, 4, -28]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"records": 1}, "invalid records=1"),
        ({"until": "ret =="}, "the filter can't be read"),
        ({"until": "nonsense > 1"}, "nonsense"),
    ],
)
def test_refused(fake: FakeKernel, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recorded(lambda: None, **options)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("duration > 50ms", "duration > 50000000"),
        ("duration > 1.5s or duration < 3us", "duration > 1500000000 or duration < 3000"),
        ("comm == '50ms' and ret == 5", "comm == '50ms' and ret == 5"),
        ('comm == "a 7s" and x5ms > 2ns', 'comm == "a 7s" and x5ms > 2'),
    ],
)
def test_times_with_units(text: str, code: str) -> None:
    assert in_nanoseconds(text) == code


@pytest.fixture
def busy(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workload makes two calls, of which one fails for want of space."""
    release = Workload.release

    def released(workload: Workload) -> None:
        fake.fire("vfs_read", 1, returned=3, tgid=8)
        fake.fire("vfs_write", 1, returned=-28, tgid=9)
        release(workload)

    monkeypatch.setattr(Workload, "release", released)


@pytest.mark.usefixtures("busy")
def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["record", *NAMES, "--until", "ret == -ENOSPC"]
    assert run([*words, "--save", str(tmp_path / "run"), "--", "sleep", "60"]) == 0  # ends before the command does
    text = capsys.readouterr().out
    assert "vfs_read(" in text
    assert "= -28 (ENOSPC)  [1.00 µs]" in text
    assert "ret == -ENOSPC: in the call of vfs_write at " in text
    assert "2 calls recorded, after " in text
    assert [row["function"] for row in mp.Run.load(tmp_path / "run").rows] == ["vfs_read", "vfs_write"]
    assert run([*words, "--json", "--", "true"]) == 0
    *rows, report = map(json.loads, capsys.readouterr().out.splitlines())
    assert [row["returned"] for row in rows] == [3, "-ENOSPC"]
    assert (report["held"]["function"], report["calls"]) == ("vfs_write", 2)
    assert run(["record", *NAMES, "--until", "ret == 99", "--", "true"]) == 0
    assert "ret == 99: never" in capsys.readouterr().out


@pytest.mark.usefixtures("busy")
def test_a_trace_for_perfetto(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["record", *NAMES, "--perfetto", str(tmp_path / "trace"), "--", "true"]) == 0
    trace = (tmp_path / "trace").read_bytes()
    assert all(trace.count(word) == 1 for word in (b"vfs_read", b"vfs_write", b"-ENOSPC"))
    assert run(["record", *NAMES, "--perfetto", "/dev/full", "--", "true"]) == 1
    assert "/dev/full: No space left on device" in capsys.readouterr().err


def test_what_was_in_progress_is_around_what_it_called(fake: FakeKernel) -> None:
    (any_function,) = mp.Kernel().functions("vfs_read")

    def call(name: str, begin: int, duration: int | None, *, tid: int = 5, cpu: int = 0) -> TracedCall:
        function = replace(any_function, name=name)
        return TracedCall(0.0, begin, cpu, 5, tid, "dd", function, (), duration=duration)

    made = [
        call("inner", 20, 10), call("outer", 10, None), call("after", 30, 5), call("leaf", 30, 2),
        call("idle", 10, 5, tid=0), call("idle", 11, 5, tid=0, cpu=1),
    ]  # fmt: skip
    found = {(track.thread.tid, track.thread.cpu): track.slices for track in tracks(made)}
    assert sorted(found) == [(0, 0), (0, 1), (5, -1)]
    assert [(one.name, one.depth) for one in found[5, -1]] == [("outer", 0), ("inner", 1), ("after", 1), ("leaf", 2)]


def test_recording_from_python(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(_seconds: float) -> None:
        fake.fire("vfs_read", returned=1)
        fake.fire("vfs_write", 3, returned=-28, cpu=1, tgid=77)

    monkeypatch.setattr(instrument.time, "sleep", sleep)
    found = mp.record(NAMES, until="ret == -ENOSPC")
    assert told(found) == [("vfs_read", 1), ("vfs_write", -28)]
    assert found.held_call is not None
    assert (found.held_call.function.name, found.held_call.pid, found.held_call.raw) == ("vfs_write", 77, -28)


def test_recording_from_python_ends_by_time(fake: FakeKernel) -> None:
    found = mp.record(NAMES, until="ret == -ENOSPC", duration=0)
    assert (list(found.calls), found.held, found.held_call) == ([], None, None)


@pytest.mark.parametrize("options", [{}, {"duration": -1.0}, {"duration": float("nan")}])
def test_recording_from_python_needs_an_end(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected a condition or seconds"):
        mp.record(NAMES, **options)
