"""What can't be attached to is refused with the reason, and nothing is attached elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import multiprobe as mp
from multiprobe.binaries.instructions import Kind
from multiprobe.instruments.count import calls, count
from multiprobe.links.mechanisms import uprobe_multi
from multiprobe.links.mechanisms.harm import why_harmful
from multiprobe.links.mechanisms.trial import try_kinds

Run = Callable[..., int]


def test_an_instruction_that_the_kernel_cannot_probe(binary: mp.Binary, run: Run) -> None:
    with mp.attach(count, binary.functions("leaf", "prefixed", "first", "second")) as attachment:
        assert run("prefixed", 3) == 0
        assert run("plain", 3) == 0
        assert list(attachment.totals(calls)) == [3, 0, 0, 0]
    (failure,) = attachment.report.failed
    assert (failure.function, failure.errno, failure.mechanism) == ("prefixed", 524, "uprobe_multi")
    assert "LOCK or segment prefix" in failure.reason
    assert attachment.report.attached == 3


def test_what_was_tried_is_remembered_for_this_file(
    binary: mp.Binary, built: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = binary.functions("leaf", "prefixed", "first")
    mp.attach(count, chosen).close()
    asked: list[Sequence[int]] = []

    def ask(_file: object, offsets: Sequence[int], *, counters: object, when: str) -> dict[int, int]:
        asked.append(list(offsets))
        return {}

    monkeypatch.setattr(uprobe_multi, "_try", ask)
    with mp.attach(count, chosen) as attachment:
        run("plain", 2)
        assert list(attachment.totals(calls)) == [2, 0, 0]
    assert not asked
    assert [failure.function for failure in attachment.report.failed] == ["prefixed"]
    mp.attach(count, binary.functions("second", "leaf")).close()
    assert asked == [list(binary.functions("second").file_offsets())]
    shutil.copy(built / "calls", binary.path)  # of another time: it may be another file
    mp.attach(count, mp.Binary(binary.path).functions("leaf")).close()
    assert len(asked) == 2


def test_a_plan_knows_what_the_kernel_refuses(binary: mp.Binary) -> None:
    chosen = binary.functions("leaf", "prefixed", "first")
    planned = mp.plan(chosen).report
    with mp.attach(count, chosen) as attachment:
        made = attachment.report
    assert (
        (planned.attached, planned.failed, planned.links)
        == (made.attached, made.failed, made.links)
        == (2, made.failed, 1)
    )
    assert mp.plan(binary.functions("prefixed")).report.attached == 0


def test_without_memory_for_a_copy_the_file_itself_is_tried(binary: mp.Binary, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(12, "no memory")

    monkeypatch.setattr("os.memfd_create", refuse)
    assert [one.function for one in mp.plan(binary.functions("leaf", "prefixed")).report.failed] == ["prefixed"]


def test_nothing_is_left(binary: mp.Binary) -> None:
    with pytest.raises(mp.AttachError, match="prefixed: ENOTSUPP from uprobe_multi") as caught:
        mp.attach(count, binary.functions("prefixed"))
    assert caught.value.report.attached == 0
    with pytest.raises(mp.AttachError, match="everything was detached again"):
        mp.attach(count, binary.functions("leaf", "prefixed"), on_bad="error")


def test_a_probe_never_changes_a_result(binary: mp.Binary, run: Run) -> None:
    """`red_zone` begins with a five-byte nop, with a value below the stack pointer."""
    (n_wrong,) = (one.n_wrong for one in try_kinds(frozenset([Kind.NOP5])).values())
    assert bool(n_wrong) == bool(why_harmful(frozenset([Kind.NOP5])))
    with mp.attach(count, binary.functions("keeper", "red_zone")) as attachment:
        assert run("red_zone", 50) == 0
        assert list(attachment.totals(calls)) == ([50] if n_wrong else [50, 50])
    refused = [(one.request, one.code) for one in attachment.report.skipped]
    assert refused == ([("red_zone", "red_zone")] if n_wrong else [])


def test_exceptions_pass(throws: Path) -> None:
    """A probe at the return would end the program; one at the entry doesn't."""
    chosen = mp.Binary(throws).functions("_Z6passesi", "_Z6raisesi")
    with mp.attach(count, chosen) as attachment:
        assert subprocess.run([throws], check=False).returncode == 5
        assert list(attachment.totals(calls)) == [10, 10]
    with pytest.raises(mp.NoMatchError, match="throws or catches exceptions"):
        mp.attach(count, chosen, when="return")


def test_probes_at_all_returns_change_nothing(compiled: Callable[..., Path], tmp_path: Path) -> None:
    """Of a program with the C library in it, whose functions save contexts, start threads and return from signals."""
    path = compiled("jumps.c", tmp_path / "jumps", "-static")
    binary = mp.Binary(path)
    before = subprocess.run([path, "x"], capture_output=True, text=True, check=True).stdout
    with mp.attach(count, binary.functions("*", unsafe=True), when="return") as attachment:
        assert attachment.report.attached > 500
        assert subprocess.run([path, "x"], capture_output=True, text=True, check=True).stdout == before
        assert sum(attachment.totals(calls)) > 100
    assert before == "2 x 3 3 2 3 1 41 7\n"
    refused = {one.request: one.code for one in attachment.report.skipped}
    assert (refused["_start"], refused["_setjmp"], refused["__swapcontext"]) == ("not_called", *2 * ["keeps_return"])


def test_probes_at_all_entries_change_nothing(compiled: Callable[..., Path], tmp_path: Path) -> None:
    """Of the same, whose functions for vectors begin with instructions that kernels take for others."""
    path = compiled("jumps.c", tmp_path / "jumps", "-static")
    before = subprocess.run([path, "x"], capture_output=True, text=True, check=True).stdout
    with mp.attach(count, mp.Binary(path).functions("*")) as attachment:
        assert subprocess.run([path, "x"], capture_output=True, text=True, check=True).stdout == before
        assert sum(attachment.totals(calls)) > 100
    refused = {one.request: one.code for one in attachment.report.skipped}
    is_harmful = bool(why_harmful(frozenset([Kind.JUMP])))
    assert (refused.get("__memset_avx512_unaligned_erms") == "vector") == is_harmful
    assert (refused.get("__strchrnul_evex") == "vector") == is_harmful


def test_functions_that_are_refused_as_such(binary: mp.Binary) -> None:
    with pytest.raises(mp.NoMatchError, match="fork is not in"):
        mp.attach(count, binary.functions("fork"))
    with mp.attach(count, binary.functions("leaf", "no_such_function")) as attachment:
        assert [one.code for one in attachment.report.skipped] == ["unknown_name"]
    with pytest.raises(mp.NoMatchError, match="called no_such_function") as found:
        mp.attach(count, binary.functions("no_such_function"))
    assert f"`multiprobe functions '{binary.path}:*no_such_function*'`" in found.value.hint
    with pytest.raises(mp.NotSupportedError, match="can't be attached by kprobe_multi"):
        mp.attach(count, binary.functions("leaf"), mechanisms="kprobe_multi")


def test_a_file_that_was_replaced_or_deleted(binary: mp.Binary, built: Path, tmp_path: Path) -> None:
    chosen = binary.functions("leaf")
    shutil.copy(built / "library.so", tmp_path / "new")
    os.replace(tmp_path / "new", binary.path)
    with pytest.raises(mp.DataError, match="was replaced or changed since it was read"):
        mp.attach(count, chosen)
    os.unlink(binary.path)
    with pytest.raises(mp.NoMatchError, match="there is no file"):
        mp.attach(count, chosen)


def test_a_file_that_is_deleted_while_attached(binary: mp.Binary, program: Path) -> None:
    with subprocess.Popen([program, "plain", "7", "", "wait"], stdin=subprocess.PIPE) as process:
        while os.readlink(f"/proc/{process.pid}/exe") != str(program):
            pass  # a new process is a moment later what it executes
        chosen = mp.Binary.of(process.pid).functions("leaf")
        os.unlink(program)
        with mp.attach(count, chosen) as attachment:
            process.communicate(b"go\n")
            assert list(attachment.totals(calls)) == [7]


def test_a_file_that_is_replaced_while_attached_is_noted(
    binary: mp.Binary, built: Path, program: Path, run: Run
) -> None:
    with mp.attach(count, binary.functions("leaf")) as attachment:
        run("plain", 3)
        shutil.copy(built / "calls", f"{program}.new")
        os.replace(f"{program}.new", program)
        run("plain", 4)
        assert list(attachment.totals(calls)) == [3]
    (note,) = attachment.report.notes
    assert note == f"{program} was replaced while it was measured: processes that run the new file were not"
    with mp.attach(count, mp.Binary(program).functions("leaf")) as attachment:
        program.unlink()
    assert f"{program} was deleted while it was measured" in attachment.report.notes[0]


def test_processes_that_are_none(binary: mp.Binary) -> None:
    chosen = binary.functions("leaf")
    with pytest.raises(mp.NoMatchError, match="there is no process"):
        mp.attach(count, chosen, pid=(1 << 22) - 1, children=False)
    threads: list[int] = []
    done = threading.Event()
    thread = threading.Thread(target=lambda: (threads.append(threading.get_native_id()), done.wait()))
    thread.start()
    try:
        while not threads:
            pass
        with pytest.raises(mp.UsageError, match="is a thread of process"):
            mp.attach(count, chosen, pid=threads[0], children=False)
    finally:
        done.set()
        thread.join()
