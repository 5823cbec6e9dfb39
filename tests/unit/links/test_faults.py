"""A sample of the faults that `make faults` makes: every public operation, calls that fail, nothing left behind."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

import faults
import multiprobe as mp
from fake_kernel import LIKE_7_3, PROFILES, FakeKernel
from fake_kernel.objects import Stats
from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import MapType


def test_faults_end_in_errors_of_ours_and_leave_nothing(tmp_path: Path) -> None:
    made = list(faults.everything(tmp_path, every=197, seed=7))
    assert len(made) > 200
    assert {one.operation for one in made} > {"maps", "features", "kprobe at session", "multiprobe errors"}
    assert [str(one) for one in made if one.outcome.startswith("untrue")] == []


def test_the_first_program_is_refused_in_every_way(tmp_path: Path) -> None:
    with FakeKernel(tmp_path, LIKE_7_3) as fake:
        kernel = mp.Kernel()
        assert kernel.table.offers  # read: the probes for its mechanisms load programs of their own
        made = list(faults.sweep("kprobe_multi at entry", fake, kernel))
    refused = [one for one in made if one.command == "PROG_LOAD" and one.times > 1]
    assert {one.number for one in refused} == set(faults.ERRNOS["PROG_LOAD"])
    assert {one.outcome for one in refused} == {"KernelError", "NotPermittedError"}, "no log: not the verifier"


@pytest.mark.parametrize("name", faults.COMMANDS)
@pytest.mark.parametrize("profile", PROFILES)
def test_each_command_works_without_a_fault(name: str, profile: str, tmp_path: Path) -> None:
    with FakeKernel(tmp_path, PROFILES[profile]) as fake:
        faults.COMMANDS[name](fake, mp.Kernel())
        assert fake.left() == []


def test_a_command_must_say_why_it_ended() -> None:
    with pytest.raises(faults.EndedError, match="not permitted"):
        faults.check_command(("count",), 4, "", "attaching …\nmultiprobe: not permitted\n")
    for status, out, err in (
        (1, "", "multiprobe: internal error: KeyError: 1\n"),
        (1, "", ""),
        (0, "", ""),
        (0, '{"requested": 3, "attached": 1, "skipped": [], "failed": []}\n', ""),
    ):
        with pytest.raises(faults.UntrueError):
            faults.check_command(("count", "--json"), status, out, err)


def test_only_as_many_calls_fail_as_asked_for(tmp_path: Path) -> None:
    with FakeKernel(tmp_path, LIKE_7_3) as fake:
        made = list(faults.sweep("one process", fake, mp.Kernel(), times=(1,)))
    assert {one.times for one in made} == {1}


def test_what_is_left_behind_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaky(fake: FakeKernel, kernel: mp.Kernel) -> None:
        bpf.map_create(MapType.ARRAY, 4, 8, 1, name="closed").close()
        fake.install(fake.add(Stats()))

    monkeypatch.setitem(faults.OPERATIONS, "leaky", leaky)
    with FakeKernel(tmp_path, LIKE_7_3) as fake:
        first = next(faults.sweep("leaky", fake, mp.Kernel()))
        assert first.outcome.startswith("untrue: left"), "by the run without a fault"
        assert fake.left() == []


def test_what_an_error_must_not_say_is_seen(tmp_path: Path) -> None:
    silent = mp.VerifierError("loading a program", errno.EACCES, subject="count", cause="", log="")
    assert faults._untold(silent).startswith("untrue: it blames the verifier")
    assert faults._untold(mp.UsageError(" ")) == "untrue: UsageError without a sentence"
    assert faults._untold(mp.UsageError("wrong")) == ""
    with FakeKernel(tmp_path, LIKE_7_3) as fake:
        assert faults._remembered(fake, errno.EMFILE) == ""
        fake.cache.mkdir(exist_ok=True)
        (fake.cache / "culprits-x").write_text("kprobe:entry 24 vfs_read\n")
        assert faults._remembered(fake, errno.EMFILE).startswith("untrue: remembered")
        assert faults._remembered(fake, errno.EINVAL) == "", "of the function, where an empty program meets it too"
