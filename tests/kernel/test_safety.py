"""A front end that hangs, a machine that suffers, results that are incomplete: what is done about it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_count import count, wait_until_attached

import forked
import multiprobe as mp
from forked import TIME_LIMIT
from multiprobe.instruments.count import count as program
from multiprobe.instruments.known_calls import verify
from multiprobe.links.guard import wakeups as latency
from multiprobe.links.guard.wakeups import WakeupLatency

ENABLED = Path("/sys/kernel/tracing/enabled_functions")


@pytest.mark.once("7.3")
def test_a_stopped_front_end_is_detached_in_time(tmp_path: Path) -> None:
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    counting = forked.Popen(
        ["count", "--watchdog", "2", "__x64_sys_getppid", "vfs_open"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    wait_until_attached(counting)
    counting.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    _, err = counting.communicate(timeout=TIME_LIMIT)  # its stderr is the watchdog's as well
    assert counting.returncode == -signal.SIGKILL
    assert ENABLED.read_text() == ""
    assert time.monotonic() - stopped < 60
    assert "watchdog: the front end of count on 2 functions" in err
    assert "did not answer for 2 s and was ended (SIGKILL): the kernel has detached its probes" in err
    (event,) = [json.loads(line) for line in next(tmp_path.rglob("watchdog.jsonl")).read_text().splitlines()]
    assert (event["type"], event["detached"]) == ("watchdog", True)


@pytest.mark.once("7.3")
def test_a_front_end_that_works_is_left_alone() -> None:
    _, report = count("__x64_sys_getppid", "--watchdog", "1", "-d", "3")
    assert [note for note in report["notes"] if "watchdog" in note or "watched" in note] == []


@pytest.mark.once("6.12")
def test_a_budget_from_the_command_line() -> None:
    hot = f"import os\nfor _ in range({300_000}): os.getppid()"
    calls, report = count("__x64_sys_getppid", "--budget", "0.1%", "--", sys.executable, "-c", hot)
    assert report["budget"]["budget"] == 0.001
    if [drop["function"] for drop in report["dropped"]] == ["__x64_sys_getppid"]:
        assert calls["__x64_sys_getppid"] < 300_000
        assert report["dropped"][0]["rate"] > 0
        assert {gap["cause"] for gap in report["missing"]} >= {"dropped"}
    else:  # the command was over before the first look
        assert calls["__x64_sys_getppid"] == 300_000


def suffering(monkeypatch: pytest.MonkeyPatch, bad: list[int]) -> None:
    """Have the measurements with these numbers (the first is that before attaching) find a machine that suffers."""
    n = -1

    def measure(*_: object, **__: object) -> WakeupLatency:
        nonlocal n
        n += 1
        time.sleep(0.01)
        return WakeupLatency(10, 0.001, 0.5 if n in bad else 0.001, 0.5)

    monkeypatch.setattr(latency, "measure", measure)


@pytest.fixture
def many(kernel: mp.Kernel) -> mp.FunctionSet:
    """Functions for three waves: of 10, of 100, and a rest; fewer where each of them has a link of its own."""
    pattern, n = ("tcp_*", 130) if kernel.has("kprobe_multi") else ("vfs_*", 16)
    return kernel.functions(pattern).attachable().take(range(n))


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


def test_care_attaches_everything_where_the_machine_is_well(kernel: mp.Kernel, many: mp.FunctionSet) -> None:
    with mp.attach(program, many, limits=mp.Limits(careful=True)) as attachment:
        assert attachment.report.attached == len(many)
        assert attachment.report.dropped == ()


def test_care_retreats_from_the_wave_that_hurts(
    kernel: mp.Kernel, many: mp.FunctionSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    suffering(monkeypatch, bad=[2])
    with mp.attach(program, many, limits=mp.Limits(careful=True)) as attachment:
        report = attachment.report
        second = min(100, len(many) - 10)
        assert len(report.dropped) == second
        assert {drop.code for drop in report.dropped} == {"latency"}
        assert "wakes 500 ms late (before: 1.0 ms)" in report.dropped[0].reason
        left_out = [refusal for refusal in report.skipped if refusal.code == "machine_suffered"]
        assert len(left_out) == len(many) - 10 - second
        traced = [line for line in ENABLED.read_text().splitlines() if not line.startswith("\t")]  # a call each
        assert len(traced) == 10


def test_care_gives_up_when_the_first_wave_hurts(
    kernel: mp.Kernel, many: mp.FunctionSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    suffering(monkeypatch, bad=[1])
    with pytest.raises(mp.AttachError, match="nothing stays attached"):
        mp.attach(program, many, limits=mp.Limits(careful=True))
    assert ENABLED.read_text() == ""


def test_care_retreats_later_too(kernel: mp.Kernel, many: mp.FunctionSet, monkeypatch: pytest.MonkeyPatch) -> None:
    suffering(monkeypatch, bad=list(range(4, 100)))
    with mp.attach(program, many.take(range(12)), limits=mp.Limits(careful=True)) as attachment:
        until = time.monotonic() + 60
        while len(attachment.report.dropped) < 12 and time.monotonic() < until:
            time.sleep(0.05)
        assert len(attachment.report.dropped) == 12
        assert ENABLED.read_text() == ""
        assert attachment.report.gaps[-1].cause == "dropped"


@pytest.mark.parametrize("mechanism", ["tracing_multi", "kprobe_multi", "trampoline", "kprobe"])
def test_known_calls_are_found_again(kernel: mp.Kernel, mechanism: str) -> None:
    if not kernel.has(mechanism):
        pytest.skip(f"this kernel has no {mechanism}")
    found = verify(mechanism=mechanism, n_calls=100, kernel=kernel)
    assert len(found) >= 3
    assert {one.function for one in found} & {"bpf_fentry_test1", "bpf_fentry_test2"}
    assert all((one.mechanism, one.made, one.found) == (mechanism, 100, 100) for one in found)


def test_strict_and_verified() -> None:
    ended = forked.run(["count", "--json", "__x64_sys_getppid", "no_such_function", "-d", "0", "--strict", "--verify"])
    assert ended.returncode == 1
    assert "the results are incomplete: 1 skipped" in ended.stderr
    report = json.loads(ended.stdout.splitlines()[-1])
    assert report["missing"][0]["cause"] == "skipped"
    assert report["verified"]
    assert all(one["made"] == one["found"] > 0 for one in report["verified"])
