"""`multiprobe bench` on a fake kernel and with a fake bpftrace: which figures there are; nothing stays attached."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import multiprobe as mp
from fake_kernel import FUNCTIONS, LIKE_6_12, LIKE_7_3, FakeFunction, FakeKernel
from multiprobe.arch import native
from multiprobe.bench import attaching, bpftrace, hitting, machine, memory, plots, receiving, starting
from multiprobe.bench.benches import BENCHES
from multiprobe.bench.bpftrace import Bpftrace
from multiprobe.bench.figures import Case, Figure, Task, figures, in_turn, spread, together
from multiprobe.bench.tables import tables
from multiprobe.cli.bench import divide
from multiprobe.cli.main import run
from multiprobe.errors import MultiprobeError
from multiprobe.output.table import table_lines


@pytest.fixture(autouse=True)
def no_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools that are installed here would attach to the kernel of this machine."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(memory, "QUIET_SECONDS", 0.0)


def test_memory_is_read_once_what_was_closed_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([900_000_000, 500_000_000, 500_000_000, 100_000_000, 100_050_000, *[100_000_000] * 100])
    monkeypatch.setattr(memory, "QUIET_SECONDS", 0.3)
    monkeypatch.setattr(memory, "kernel_bytes_used", lambda _: next(readings))
    assert memory._settled() == 100_000_000


@pytest.fixture(params=[LIKE_6_12, LIKE_7_3], ids=["6.12", "7.3"])
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FakeKernel]:
    with FakeKernel(tmp_path, request.param) as made:
        yield made


def task(*patterns: str, n_runs: int = 2) -> Task:
    return Task(mp.Kernel().functions(*patterns), patterns, n_runs)


def links(kernel: FakeKernel) -> list[object]:
    return [one for one in kernel.objects.values() if type(one).__name__ in ("Link", "Program")]


# Runs and figures


def test_tools_take_turns_and_a_failure_is_noted() -> None:
    made: list[str] = []

    def tool(name: str) -> dict[str, float]:
        made.append(name)
        if name == "bad" and made.count("bad") == 2:
            raise MultiprobeError("it broke")
        return {"hit": float(len(made))}

    wanted = Task(None, (), 3)  # type: ignore[arg-type]
    found = in_turn("hit", {Case(name, ""): lambda name=name: tool(name) for name in ("one", "bad", "two")}, wanted)
    assert made == ["one", "bad", "two", "one", "bad", "two", "one", "two"]
    assert {case.tool: len(runs) for case, runs in found.items()} == {"one": 3, "two": 3}
    assert wanted.notes == ["hit: bad: it broke"]


def test_a_ratio_is_that_of_runs_side_by_side() -> None:
    peer = Case("raw", "way")
    runs = {Case("ours", "way"): [{"s": 2.0}, {"s": 40.0}, {"s": 3.0}], peer: [{"s": 1.0}, {"s": 10.0}, {"s": 1.0}]}
    ours, raw = figures("attach", runs, unit="s", peer=peer, functions=7)
    assert (ours.ratio, ours.peer, raw.ratio, raw.peer) == (3.0, "raw", None, "")
    assert (ours.median, ours.functions) == (3.0, 7)
    assert (ours.ratios, raw.ratios) == ((2.0, 4.0, 3.0), ())
    assert spread(ours.runs) == pytest.approx(38 / 3)
    assert spread((0.0, 0.0)) == 0.0
    assert Figure.from_json(json.loads(json.dumps(ours.to_json()))) == ours


def test_a_line_without_the_ratios_of_each_run_is_read() -> None:
    line = some("attach", "attach", "kprobe_multi", 1.0, "s", functions=10).to_json()
    del line["ratios"]
    assert Figure.from_json(line).ratios == (12.34,)
    assert Figure.from_json(line | {"ratio": None}).ratio is None


def test_what_first_takes_longer_is_not_counted() -> None:
    made: list[str] = []

    def tool(name: str) -> dict[str, float]:
        made.append(name)
        return {"s": float(len(made))}

    cases = {Case(name, ""): lambda name=name: tool(name) for name in ("one", "two")}
    found = in_turn("start", cases, Task(None, (), 2), to_warm_up=[Case("two", "")])  # type: ignore[arg-type]
    assert made == ["two", "one", "two", "one", "two"]
    assert found[Case("two", "")] == [{"s": 3.0}, {"s": 5.0}]


def test_figures_of_several_machines_are_one_with_all_their_runs() -> None:
    first, other = (
        Figure(
            bench="attach", step="attach", tool=tool, way="kprobe_multi", unit="s", runs=(1.0, 2.0), functions=7,
            peer="raw", ratios=(1.1, 1.2),
        )
        for tool in ("multiprobe", "libbpf")
    )  # fmt: skip
    second = replace(first, runs=(5.0,), ratios=(1.3,))
    without = replace(first, runs=(4.0,), peer="", ratios=())
    elsewhere = replace(first, functions=8)
    assert together([first, other, without, second, elsewhere]) == [
        replace(first, runs=(1.0, 2.0, 4.0, 5.0), ratios=(1.1, 1.2, 1.3)),
        other,
        elsewhere,
    ]


# On a fake kernel


def test_attach_measures_every_mechanism_and_leaves_nothing(kernel: FakeKernel) -> None:
    before = links(kernel)
    wanted = task("*")
    found = list(attaching.measure(wanted))
    assert links(kernel) == before
    mechanisms = set(mp.Kernel().offers.label.split(", "))
    assert {one.way for one in found if one.step == "attach"} == mechanisms
    for way in mechanisms:
        mine = [one for one in found if one.way == way]
        tools = {(one.functions, one.tool, one.step) for one in mine}
        sizes = {n for n, _, _ in tools}
        is_batch = way.endswith("_multi")
        both = {(n, t) for n in sizes for t in ("multiprobe", "system calls")}
        both |= {(max(n or 0 for n in sizes), "multiprobe count")} if is_batch else set()
        assert tools == {(*one, step) for one in both for step in ("attach", "detach")}
        assert all(one.ratio is not None for one in mine if one.tool.startswith("multiprobe"))
        assert len(sizes) == (2 if is_batch else 1)
    assert all(len(one.runs) == 2 for one in found)
    assert [one.functions for one in found if one.step == "find"] == [len(wanted.functions.attachable())]
    assert sum("left out" in note for note in wanted.notes) == len(wanted.notes) == 2


def test_attach_prints_the_lines_of_the_kernels_own_benchmark(kernel: FakeKernel) -> None:
    found = list(attaching.measure(task("*", n_runs=1)))
    largest = max(one.functions or 0 for one in found if one.way == "kprobe_multi")
    said = list(attaching.lines(found))
    assert f"kprobe_multi: found {largest} functions" in said
    assert len(said) == 3 * sum(way.endswith("_multi") for way in mp.Kernel().offers.label.split(", "))


def test_a_mechanism_that_fails_is_noted(kernel: FakeKernel) -> None:
    kernel.refusals = {("kprobe", one.name): 22 for one in kernel.functions}
    wanted = task("vfs_*", n_runs=1)
    assert "kprobe" not in {one.way for one in attaching.measure(wanted)}
    assert any("attach: kprobe: " in note for note in wanted.notes)


def test_hit_asks_every_question_by_every_mechanism(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hitting, "CALLS", 2)
    called = FakeFunction(native().wrappers[0] + hitting.SYSTEM_CALL)
    with FakeKernel(tmp_path, LIKE_7_3, functions=(*FUNCTIONS, called)) as kernel:
        before = links(kernel)
        wanted = task("*", n_runs=1)
        found = list(hitting.measure(wanted))
        assert links(kernel) == before
    assert wanted.notes == []
    questions = {one.way.partition(", ")[0] for one in found}
    assert questions == hitting.QUESTIONS.keys() > hitting.SCRIPTS.keys()
    assert {one.unit for one in found} == {"ns"}


def test_hit_needs_its_function(kernel: FakeKernel) -> None:
    wanted = task("*")
    assert list(hitting.measure(wanted)) == []
    assert len(wanted.notes) == 1
    assert hitting.SYSTEM_CALL in wanted.notes[0]


def test_memory_is_predicted_for_more_cpus(kernel: FakeKernel) -> None:
    before = links(kernel)
    found = list(memory.measure(task("*", n_runs=1)))
    assert links(kernel) == before
    predicted = {(one.way, one.cpus): one.median for one in found if one.step == "predicted"}
    assert {name for name, _ in predicted} == memory.COMMANDS.keys()
    assert {n for _, n in predicted} == {kernel.n_cpus, *memory.CPUS}
    assert all(predicted[name, 128] >= predicted[name, 8] > 0 for name in memory.COMMANDS)
    assert {(one.way, one.cpus) for one in found if one.step == "measured"} == {
        (name, kernel.n_cpus) for name in memory.COMMANDS
    }


# The command


def test_words_are_kinds_and_then_patterns() -> None:
    assert divide([]) == (list(BENCHES), ("*",))
    assert divide(["memory", "attach", "tcp_*", "hit"]) == (["memory", "attach"], ("tcp_*", "hit"))
    assert divide(["tcp_*"]) == (list(BENCHES), ("tcp_*",))


def test_json_is_a_machine_and_figures(kernel: FakeKernel, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "attach", "memory", "vfs_*", "--runs", "1", "--json"]) == 0
    first, *rest = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["type"], first["kernel"], first["peers"]) == ("machine", os.uname().release, {})
    assert {line["type"] for line in rest} == {"figure", "note"}
    assert {line["bench"] for line in rest if line["type"] == "figure"} == {"attach", "memory"}


def test_interrupted_it_prints_what_there_is(
    kernel: FakeKernel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = links(kernel)
    measured = BENCHES["attach"]

    def until_interrupted(wanted: Task) -> Iterator[Figure]:
        yield from list(measured(wanted))[:5]
        raise KeyboardInterrupt

    monkeypatch.setitem(BENCHES, "attach", until_interrupted)
    assert run(["bench", "attach", "vfs_*", "--runs", "1"]) == 130
    assert "MECHANISM" in capsys.readouterr().out
    assert links(kernel) == before


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["attach", "no_such_*"], 3, "no_such_*"),
        (["attach", "--runs", "0"], 2, "--runs"),
        (["attach", "--bpftrace", "/no/bpftrace"], 2, "/no/bpftrace"),
        (["attach", "--bpftrace", "/etc/hostname"], 2, "can't be run"),
        (["attach", "--plot", "/dev/null"], 2, "--plot"),
    ],
)
def test_bad_input_is_an_error(
    words: list[str], status: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeKernel(tmp_path):
        assert run(["bench", *words]) == status
    assert said in capsys.readouterr().err


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda _: None)
    with FakeKernel(tmp_path):
        assert run(["bench", "attach", "--plot", str(tmp_path / "plots")]) == 5
    assert "multiprobe[pictures]" in capsys.readouterr().err


# What is printed and drawn


def some(bench: str, step: str, way: str, median: float, unit: str, **more: object) -> Figure:
    runs = (median * 0.7, median, median * 1.33)
    return Figure(
        bench=bench, step=step, tool="multiprobe", way=way, unit=unit, runs=runs, ratios=(11.0, 12.34, 13.0), **more
    )  # type: ignore[arg-type]


FIGURES = [
    *(some("attach", step, "tracing_multi", 12.3, "s", functions=142_240) for step in ("attach", "detach")),
    some("hit", "hit", "empty session, tracing_multi", 12_345, "instructions", functions=1),
    some("events", "rate", "objects", 12_345_678, "events/s", functions=1),
    some("events", "received", "objects", 50_000, "events", functions=1),
    some("events", "dropped", "objects", 50_000, "events", functions=1),
    *(some("start", phase, "count", 0.123, "s", functions=1) for phase in (*starting.PHASES, "attached", "whole")),
    *(some("memory", "predicted", "latency", n * 1e8, "bytes", cpus=n) for n in (4, 8, 32, 128)),
    some("memory", "measured", "latency", 1e9, "bytes", cpus=4),
]


def test_tables_fit_80_columns() -> None:
    found = dict(tables(FIGURES))
    assert found.keys() == BENCHES.keys()
    for table in found.values():
        lines = list(table_lines(table))
        assert max(map(len, lines)) <= 80, lines
        assert "12.34" in lines[1] or "refused" in lines[1] or "latency" in lines[1]


def test_a_plot_of_each_kind_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    written = list(plots.draw(FIGURES, tmp_path / "new"))
    assert sorted(Path(path).name for path in written) == [
        "bench-attach.svg", "bench-hit.svg", "bench-memory.svg", "bench-start.svg",
    ]  # fmt: skip
    assert all("<svg" in Path(path).read_text() for path in written)


# Peers


FAKE_BPFTRACE = """\
#!{python}
import subprocess, sys, time
now = lambda: int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1e9)
command, script = (sys.argv[sys.argv.index(option) + 1] for option in ("-c", "-e"))
if "no_such" in script:
    sys.exit("ERROR: No probes to attach")
print("Attaching 3 probes...")
print("begun", now(), flush=True)
subprocess.run(command.split(), check=True)
print("ended", now() + 20_000_000)
print("1 2 3\\n1 2 4\\nLost 7 events", flush=True)
"""


@pytest.fixture
def peer(tmp_path: Path) -> Bpftrace:
    """A program that behaves like bpftrace, and attaches nothing."""
    program = tmp_path / "bpftrace"
    program.write_text(FAKE_BPFTRACE.format(python=sys.executable))
    program.chmod(0o755)
    return Bpftrace("bpftrace", str(program))


def test_bpftraces_times(peer: Bpftrace) -> None:
    assert bpftrace.installed() == (peer,)
    times = peer.timed("kprobe:vfs_read { }")
    assert times.started <= times.begun <= times.attached + 0.01  # a clock of 10 ms
    assert times.attached <= times.ended
    assert peer.attach("kprobe:vfs_read").keys() == {"attach", "detach"}
    assert starting.theirs(peer, "kprobe:vfs_read").keys() == {"compile", "attach", "attached", "whole"}
    with pytest.raises(MultiprobeError, match="bpftrace failed: ERROR: No probes to attach"):
        peer.timed("kprobe:no_such { }")


def test_several_bpftraces_are_told_apart_by_version(peer: Bpftrace, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    newer.write_text("#!/bin/sh\necho bpftrace v0.27.1\n")
    newer.chmod(0o755)
    assert bpftrace.at([str(newer)]) == (Bpftrace("bpftrace", str(newer)),)
    both = bpftrace.at([str(newer), peer.path, str(newer)])
    assert [one.path for one in both] == [str(newer), peer.path]
    assert both[0].name == "bpftrace 0.27.1"
    peers = machine.describe({one.name: one.version_line for one in both})["peers"]
    assert isinstance(peers, dict)
    assert peers["bpftrace 0.27.1"] == "0.27.1"


def test_bpftraces_of_one_version_are_told_apart_by_path(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("one", "two", "other")]
    for path, found in zip(paths, ("0.27.1", "0.27.1", "0.17.0"), strict=True):
        Path(path).write_text(f"#!/bin/sh\necho bpftrace v{found}\n")
        Path(path).chmod(0o755)
    names = [one.name for one in bpftrace.at(paths)]
    assert names == [f"bpftrace 0.27.1 {paths[0]}", f"bpftrace 0.27.1 {paths[1]}", "bpftrace 0.17.0"]
    peers = dict(zip(names, ("0.27.1", "0.27.1", "0.17.0"), strict=True))
    assert machine.peer_texts({"peers": peers | {"perf": "6.1"}}) == [*names, "perf 6.1"]


def test_ratios_are_to_the_first_bpftrace(peer: Bpftrace, kernel: FakeKernel) -> None:
    other = Bpftrace("bpftrace 2", peer.path)
    wanted = Task(mp.Kernel().functions("vfs_*"), ("vfs_*",), 2, (other, peer))
    found = [one for one in attaching.measure(wanted) if one.step == "attach" and one.way == "kprobe_multi"]
    assert {one.tool for one in found} == {"multiprobe", "multiprobe count", "system calls", "bpftrace 2", "bpftrace"}
    began = [one for one in starting.measure(wanted) if one.step == "attached"]
    assert {one.tool: one.peer for one in began} == {"bpftrace 2": "", "bpftrace": "bpftrace 2"}


def test_bpftrace_runs_while_something_is_measured(peer: Bpftrace) -> None:
    with peer.running("kprobe:vfs_read { }") as one:
        assert Path(f"/proc/{one.pid}").exists()
        assert "begun" in one.output.read_text()
    assert not Path(f"/proc/{one.pid}").exists()
    with pytest.raises(MultiprobeError, match="No probes"), peer.running("kprobe:no_such { }"):
        pass


def test_what_bpftrace_has_no_word_for_is_left_out() -> None:
    assert bpftrace.probes(("tcp_*", "vfs_read")) == "kprobe:tcp_*,kprobe:vfs_read"
    assert bpftrace.probes(("ext4:*",)) == bpftrace.probes(("/tcp.*/",)) == bpftrace.probes(("!tcp_*",)) == ""


def test_phases_add_up() -> None:
    times = {"interpreter": 11.0, "import": 13.0, "choose": 16.0, "attach": 26.0}
    found = starting.phases(10.0, times, {"plan": 1.0, "compile": 2.0, "load": 3.0, "attach": 0.5})
    assert found == {
        "interpreter": 1.0, "import": 2.0, "choose": 4.0, "compile": 2.0, "load": 3.0, "attach": 4.0, "attached": 16.0,
    }  # fmt: skip
    assert sum(found[phase] for phase in starting.PHASES) == found["attached"]


def test_the_machine_says_what_its_clock_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(machine.ICOUNT_VARIABLE, raising=False)
    assert machine.describe({})["clock"] == "time"
    monkeypatch.setenv(machine.ICOUNT_VARIABLE, "1")
    assert machine.describe({})["clock"] == "instructions"


def test_received_events_are_counted_by_processor_time() -> None:
    assert receiving._figures(1000, 5, 0.5) == {"rate": 2000.0, "received": 1000, "dropped": 5}
    assert receiving._figures(0, 0, 0.0)["rate"] == 0.0
