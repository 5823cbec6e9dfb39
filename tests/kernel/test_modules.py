"""Functions of modules: attached with the others; modules that are unloaded or reloaded."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import multiprobe as mp
from multiprobe.kernel.mechanism import Mechanism, parse_mechanism
from multiprobe.kernel.modules import parse_modules
from multiprobe.links.plan.planning import plan_attachment

#: A network card that isn't one; reading the counters of all cards calls this once.
MODULE, CALLED = "dummy", "dummy_get_stats64"

calls = mp.PerFunction(mp.u64)


@mp.program
def count(ctx):
    calls[ctx.function] += 1


def where() -> str:
    """The module's address."""
    return parse_modules(Path("/proc/modules").read_bytes())[MODULE]


def load() -> None:
    subprocess.run(["modprobe", MODULE, "numdummies=1"], check=True)


def unload() -> subprocess.CompletedProcess[str]:
    return subprocess.run(["rmmod", MODULE], capture_output=True, text=True, check=False)


@pytest.fixture
def kernel() -> Iterator[mp.Kernel]:
    load()
    yield mp.Kernel()
    if Path("/sys/module", MODULE).exists():
        assert unload().returncode == 0


@pytest.mark.parametrize("mechanism", ["tracing_multi", "kprobe_multi", "trampoline", "kprobe"])
@pytest.mark.parametrize("when", ["entry", "session"])
def test_with_the_rest(kernel: mp.Kernel, mechanism: str, when: str) -> None:
    if not kernel.has(mechanism):
        pytest.skip(f"this kernel has no {mechanism}")
    names = ["vfs_read", f"{MODULE}:{CALLED}", "vfs_open"]
    with mp.attach(count, names, mechanisms=mechanism, when=when, kernel=kernel) as attachment:
        report = attachment.report
        assert report.attached == 3, str(report)
        if mechanism == "tracing_multi":
            assert report.links == 2, "one for each BTF object"
        Path("/proc/net/dev").read_text()
        totals = dict(zip([str(function) for function in attachment.functions], attachment.totals(calls), strict=True))
        assert totals[f"{CALLED} [{MODULE}]"] == (2 if when == "session" else 1), totals
        assert totals["vfs_read"] > 0
        assert any(MODULE in note for note in report.notes)
        if mechanism != "kprobe":
            assert "in use" in unload().stderr
            assert any("can't be unloaded" in note for note in report.notes)


def test_a_kprobe_goes_with_its_module(kernel: mp.Kernel) -> None:
    with mp.attach(count, ["vfs_read", f"{MODULE}:{CALLED}"], mechanisms="kprobe", kernel=kernel) as attachment:
        assert any("take their probes along" in note for note in attachment.report.notes)
        assert unload().returncode == 0
        Path("/proc/net/dev").read_text()
        assert attachment.totals(calls)[0] > 0


@pytest.mark.parametrize("mechanism", ["tracing_multi", "kprobe_multi", "trampoline", "kprobe"])
def test_loaded_anew_after_planning(kernel: mp.Kernel, mechanism: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another module's functions are at the addresses then: none of them may stay attached."""
    if not kernel.has(mechanism):
        pytest.skip(f"this kernel has no {mechanism}")
    before, planned = where(), []

    def plan(*arguments: Any, **options: Any) -> Any:
        planned.append(plan_attachment(*arguments, **options))
        if len(planned) == 1:
            assert unload().returncode == 0
            subprocess.run(["modprobe", "bonding"], check=True)  # takes the place where it was, on most kernels
            load()
        return planned[-1]

    monkeypatch.setattr("multiprobe.links.attach.plan_attachment", plan)
    functions = kernel.functions("vfs_read", f"{MODULE}:dummy_*")
    n = len(functions.attachable(parse_mechanism(mechanism))) - 1
    assert n >= 3
    try:
        with mp.attach(count, functions, mechanisms=mechanism) as attachment:
            report = attachment.report
            if where() == before:
                assert report.attached == 1 + n, str(report)
            else:
                assert report.attached == 1, str(report)
                gone = [one.code for one in report.skipped].count("module_gone") + len(report.failed)
                assert gone == n, str(report)
    finally:
        subprocess.run(["rmmod", "bonding"], check=True)


@pytest.mark.parametrize("again", [False, True], ids=["gone", "loaded-anew"])
@pytest.mark.parametrize("mechanism", [None, "kprobe", "trampoline"])
def test_unloaded_while_planning(kernel: mp.Kernel, again: bool, mechanism: str | None) -> None:
    functions = kernel.functions("vfs_read", f"{MODULE}:dummy_*", "vfs_write")
    mask = parse_mechanism(mechanism) if mechanism else Mechanism.ALL
    n = len(functions.attachable(mask)) - 2
    assert n >= 3
    before = where()
    assert unload().returncode == 0
    if again:
        subprocess.run(["modprobe", "bonding"], check=True)  # takes the place where it was, on most kernels
        load()
        if where() == before:
            n = 0  # the same functions at the same addresses
    try:
        with mp.attach(count, functions, mechanisms=mechanism) as attachment:
            report = attachment.report
            gone = [refusal for refusal in report.skipped if refusal.code == "module_gone"]
            assert len(gone) == n
            assert all("new mp.Kernel()" in refusal.reason for refusal in gone)
            assert report.attached + len(report.skipped) == report.requested
            assert not report.failed
    finally:
        if again:
            subprocess.run(["rmmod", "bonding"], check=True)
