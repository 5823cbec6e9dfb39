"""Detection of degraded latency, from measurements before and after."""

from __future__ import annotations

import time

from multiprobe.kernel.pressure import parse_busy, parse_stalled
from multiprobe.links.guard.wakeups import WakeupLatency, measure, suffering

CALM = WakeupLatency(100, 0.0001, 0.0005, 0.01, 0.05)


def test_as_before_is_well() -> None:
    assert suffering(CALM, CALM) == ""


def test_a_single_late_wake_up_is_no_suffering() -> None:
    assert suffering(CALM, WakeupLatency(100, 0.0001, 0.001, 2.0, 0.05)) == ""


def test_one_in_ten_late_is() -> None:
    assert "25 ms late (before: 0.5 ms)" in suffering(CALM, WakeupLatency(100, 0.001, 0.025, 0.1, 0.05))


def test_a_machine_that_was_late_before_is_judged_by_that() -> None:
    slow = WakeupLatency(100, 0.005, 0.010, 0.1)
    assert suffering(slow, WakeupLatency(100, 0.02, 0.06, 0.1)) == ""
    assert suffering(slow, WakeupLatency(100, 0.02, 0.09, 0.1)) != ""


def test_pressure_counts_with_lateness_only() -> None:
    assert suffering(CALM, WakeupLatency(100, 0.0001, 0.0006, 0.01, 0.9)) == ""
    assert "90%" in suffering(CALM, WakeupLatency(100, 0.0001, 0.007, 0.01, 0.9))


def test_measuring_sees_late_wake_ups() -> None:
    found = measure(0.05, wait=lambda seconds: time.sleep(seconds + 0.01))
    assert found.n >= 1
    assert found.median >= 0.01
    assert found.median <= found.p90 <= found.worst


def test_proc_stat_and_pressure() -> None:
    stat = "cpu  100 20 30 1000 500 5 5 7 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
    assert parse_busy(stat, ticks=100) == 1.6
    assert parse_busy("intr 5\n", ticks=100) is None
    pressure = "some avg10=1.00 avg60=0.20 avg300=0.05 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    assert parse_stalled(pressure) == 2.5
    assert parse_stalled("") is None


def test_measuring_ends_with_the_wait() -> None:
    assert measure(1000, wait=lambda _: True).n == 1
