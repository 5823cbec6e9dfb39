"""Programs see every call of a binary's functions, with its values, in all processes or in one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest

import multiprobe as mp
from multiprobe.kernel.features import Features

Run = Callable[..., int]
calls = mp.PerFunction(mp.u64)
sums = mp.PerFunction(mp.u64)


class Seen(mp.Event):
    function: mp.u32
    cookie: mp.u64
    first: mp.u64
    last: mp.u64
    text: Annotated[str, mp.string(32)]


seen = mp.RingBuffer(Seen)


@mp.program
def count(ctx: mp.Context) -> None:
    calls[ctx.function] += 1


@mp.program
def note(ctx: mp.Context) -> None:
    seen.send(
        function=ctx.function,
        cookie=ctx.cookie,
        first=ctx.arg(0),
        last=ctx.arg(7),
        text=mp.user_string(ctx.arg(0)),
    )


@mp.program(when="return")
def add_results(ctx: mp.Context) -> None:
    sums[ctx.function] += ctx.ret


@mp.program(when="session")
def add_both_sides(ctx: mp.Context) -> None:
    if ctx.is_return:
        sums[ctx.function] += 1000 * ctx.ret + ctx.session
    else:
        ctx.session = ctx.arg(0) + 1


def counted(attachment: mp.Attachment) -> dict[str, int]:
    totals = zip(attachment.functions, attachment.totals(calls), strict=True)
    return {str(function): n for function, n in totals if n}


NAMES = ("leaf", "descend", "first", "second", "jumper")
WAYS = {
    "plain": {"leaf": 10},
    "alias": {"leaf": 10},
    "recursion": {"descend": 11},
    "tail": {"first": 10, "second": 10},
    "threads": {"leaf": 40},
    "forks": {"leaf": 31},
    "longjmp": {"jumper": 10},
}


@pytest.mark.parametrize("mode", WAYS)
@pytest.mark.parametrize("when", ["entry", "return"])
def test_every_call_is_counted(binary: mp.Binary, run: Run, mode: str, when: str) -> None:
    with mp.attach(count, binary.functions(*NAMES), when=when) as attachment:
        assert run(mode, 10) == 0
        expected = {} if (mode, when) == ("longjmp", "return") else WAYS[mode]
        assert counted(attachment) == expected
    assert attachment.report.attached == len(NAMES)
    assert attachment.report.links == 1
    assert attachment.report.mechanisms == {"uprobe_multi": len(NAMES)}
    assert not attachment.report.gaps


def test_nothing_is_counted_before_and_after(binary: mp.Binary, run: Run) -> None:
    run("plain", 10)
    with mp.attach(count, binary.functions("leaf")) as attachment:
        attachment.pause()
        run("plain", 10)
        attachment.resume()
        run("plain", 3)
        assert counted(attachment) == {"leaf": 3}
    assert run("plain", 10) == 0


def test_every_function_of_a_program(binary: mp.Binary, run: Run) -> None:
    with mp.attach(count, binary.functions()) as attachment:
        assert run("values") == 0
        found = counted(attachment)
    assert {name: found.get(name) for name in ("main", "leaf", "eight", "text", "negative")} == dict.fromkeys(
        ("main", "leaf", "eight", "text", "negative"), 1
    )
    assert attachment.report.attached + len(attachment.report.failed) + len(attachment.report.skipped) == len(
        binary.functions()
    )


def test_arguments_strings_and_cookies(binary: mp.Binary, run: Run) -> None:
    chosen = binary.functions("leaf", "eight", "text")
    with mp.attach(note, chosen, cookies=[100, 200, 300]) as attachment:
        assert run("values") == 0
        events = {str(attachment.functions[one.function]): one for one in attachment.events(seen, timeout=1)}
    assert {name: one.cookie for name, one in events.items()} == {"leaf": 100, "eight": 200, "text": 300}
    assert (events["leaf"].first, events["eight"].first, events["eight"].last) == (41, 1, 8)
    assert events["text"].text == "written on the stack"


def test_a_sleepable_program_reads_what_is_paged_out(binary: mp.Binary, run: Run) -> None:
    @mp.program(sleepable=True)
    def read(ctx: mp.Context) -> None:
        seen.send(function=ctx.function, cookie=0, first=0, last=0, text=mp.user_string(ctx.arg(0)))

    with mp.attach(read, binary.functions("text")) as attachment:
        assert run("untouched") == 0
        assert [one.text for one in attachment.events(seen, timeout=1)] == ["never read before"]
        assert attachment.missed()["failed_reads"] == 0


def test_results(binary: mp.Binary, run: Run) -> None:
    with mp.attach(add_results, binary.functions("leaf", "eight", "negative", "text")) as attachment:
        assert run("values") == 0
        leaf, eight, negative, text = (int(n) for n in attachment.totals(sums))
    assert (leaf, eight, text) == (42, 21 + 70 + 800, 20)
    assert negative & 0xFFFF_FFFF == 0xFFFF_FFFF  # an int: the other half of the register is noise


def test_sessions(binary: mp.Binary, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what they call of the kernel is found without reading all of its functions."""
    monkeypatch.setattr(mp.Kernel, "table", property(lambda _: pytest.fail("it reads the functions of the kernel")))
    if Features().probe("uprobe_session").is_no:
        with pytest.raises(mp.NotSupportedError, match="no uprobe sessions"):
            mp.attach(add_both_sides, binary.functions("leaf"))
        return
    with mp.attach(add_both_sides, binary.functions("leaf", "eight")) as attachment:
        assert run("values") == 0
        assert list(attachment.totals(sums)) == [42_000 + 42, 1000 * 891 + 2]


def test_only_one_process(binary: mp.Binary, program: Path, run: Run) -> None:
    with subprocess.Popen([program, "plain", "7", "", "wait"], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        with mp.attach(count, binary.functions("leaf"), pid=process.pid, children=False) as attachment:
            run("plain", 100)
            process.communicate(b"go\n")
            assert counted(attachment) == {"leaf": 7}


def test_a_process_that_runs_already(binary: mp.Binary, program: Path) -> None:
    command = [program, "threads", "7", "", "wait"]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE) as process,
        mp.attach(count, binary.functions("leaf")) as attachment,
    ):
        process.communicate(b"go\n")
        assert counted(attachment) == {"leaf": 28}


def test_a_library_that_is_opened_later(built: Path, tmp_path: Path, run: Run) -> None:
    library = shutil.copy(built / "library.so", tmp_path / "library.so")
    with mp.attach(count, mp.Binary(library).functions("in_library")) as attachment:
        assert run("dlopen", 6, str(library)) == 0
        assert counted(attachment) == {"in_library": 6}


def test_several_binaries_in_one_attachment(built: Path, binary: mp.Binary, tmp_path: Path, run: Run) -> None:
    other = mp.Binary(shutil.copy(built / "calls", tmp_path / "other"))
    sets = [binary.functions("leaf", "first"), other.functions("leaf"), binary.functions("second", "leaf")]
    with mp.attach(note, sets, cookies=[1, 2, 3, 4]) as attachment:
        assert [(one.module, one.name) for one in attachment.functions] == [
            ("calls", "leaf"), ("calls", "first"), ("calls", "second"), ("other", "leaf"),
        ]  # fmt: skip
        assert attachment.report.links == 2
        assert sorted(link.info().n_functions or 0 for link in attachment.links) == [1, 3]
        run("tail", 1)
        subprocess.run([other.path, "plain", "1"], check=True)
        events = list(attachment.events(seen, timeout=1))
    assert [(one.function, one.cookie) for one in events] == [(1, 2), (2, 3), (3, 4)]


def test_patterns_name_the_binary(program: Path, run: Run) -> None:
    with mp.attach(count, [f"{program}:*l*f", f"{program}:first", f"!{program}:fir*"]) as attachment:
        run("plain", 5)
        assert counted(attachment) == {"leaf": 5}


def test_functions_are_dropped_and_added_again(binary: mp.Binary, run: Run) -> None:
    with mp.attach(count, binary.functions("first", "second"), replaceable=True) as attachment:
        run("tail", 2)
        attachment.drop(binary.functions("first"))
        run("tail", 2)
        attachment.add(binary.functions("first"))
        run("tail", 2)
        assert counted(attachment) == {"first": 4, "second": 6}


def test_own_calls_are_left_out(binary: mp.Binary, run: Run) -> None:
    with mp.attach(count, binary.functions("leaf"), own=False) as attachment:
        run("plain", 5)
        assert counted(attachment) == {"leaf": 5}


@pytest.mark.usefixtures("guest")
def test_children_are_followed(binary: mp.Binary, program: Path, run: Run) -> None:
    with (
        subprocess.Popen([program, "forks", "7", "", "wait"], stdin=subprocess.PIPE) as process,
        mp.attach(count, binary.functions("leaf"), pid=process.pid) as attachment,
    ):
        run("plain", 100)
        process.communicate(b"go\n")
        assert counted(attachment) == {"leaf": 22}


def test_inside_a_function(binary: mp.Binary, run: Run) -> None:
    capstone = pytest.importorskip("capstone")
    (descend,) = binary.functions("descend")
    code = Path(binary.path).read_bytes()[descend.file_offset :][: descend.size]
    at = [one.address for one in capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64).disasm(code, 0)]
    with mp.attach(count, binary.functions(f"descend+{at[1]}")) as attachment:
        assert run("recursion", 10) == 0
        assert attachment.totals(calls)[0] > 0
    (refusal,) = mp.plan(binary.functions(f"descend+{at[1]}"), when="return").report.skipped
    assert refusal.code == "offset"


def test_a_deep_recursion_returns_as_it_would(binary: mp.Binary, run: Run) -> None:
    """The kernel probes 64 returns of one task at a time, and does not say which it left out."""
    with mp.attach(count, binary.functions("descend"), when="return") as attachment:
        assert run("recursion", 200) == 0
        assert counted(attachment) == {"descend": 64}
