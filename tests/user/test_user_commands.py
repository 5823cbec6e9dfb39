"""The command line measures functions of programs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import forked
from multiprobe.binaries.instructions import Kind
from multiprobe.kernel.features import Features
from multiprobe.links.mechanisms.harm import why_harmful

needs_sessions = pytest.mark.usefixtures("sessions")


def multiprobe(*arguments: str) -> subprocess.CompletedProcess[str]:
    return forked.run(arguments)


def records(command: str, *arguments: str) -> list[dict[str, Any]]:
    ran = multiprobe(command, "--json", *arguments)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_count(program: Path) -> None:
    *rows, report = records("count", f"{program}:*", "--", str(program), "plain", "500")
    found = {row["function"]: (row["calls"], row["module"]) for row in rows}
    assert found["leaf"] == (500, "calls")
    assert found["main"] == (1, "calls")
    assert report["mechanisms"] == {"uprobe_multi": report["attached"]}
    assert [one["function"] for one in report["failed"]] == ["prefixed"]


def test_a_process_that_has_not_mapped_the_file(program: Path, built: Path) -> None:
    with subprocess.Popen([program, "plain", "7", "", "wait"], stdin=subprocess.PIPE) as process:
        while os.readlink(f"/proc/{process.pid}/exe") != str(program):
            pass  # a new process is a moment later what it executes
        ran = multiprobe("count", f"{program}:leaf", f"{built}/library.so:*", "--pid", str(process.pid), "-d", "10ms")
        process.kill()
    notes = [line for line in ran.stderr.splitlines() if line.startswith("note: ")]
    assert notes == [
        f"note: process {process.pid} has not mapped {built}/library.so: its children may have, or it may load it later"
    ]


def test_count_of_returns(program: Path) -> None:
    (row, _) = records("count", "--return", f"{program}:descend", "--", str(program), "recursion", "20")
    assert row["calls"] == 21


def test_latency(program: Path) -> None:
    arguments = ("latency", f"{program}:first", f"{program}:second", "--", str(program), "tail", "30")
    if Features().probe("uprobe_session").is_no:
        assert "no uprobe sessions" in multiprobe(*arguments).stderr
        return
    rows = {row["function"]: row for row in records(*arguments)[:-1]}
    assert {name: row["calls"] for name, row in rows.items()} == {"first": 30, "second": 30}


def test_trace(program: Path) -> None:
    arguments = ("trace", f"{program}:leaf", f"{program}:negative", "--", str(program), "values", "1")
    if Features().probe("uprobe_session").is_no:
        pytest.skip("this kernel has no uprobe_session")
    shown = multiprobe(*arguments).stdout
    assert "leaf(arg0=0x29, " in shown
    assert "= 0x2a" in shown


@pytest.mark.usefixtures("guest")
def test_coverage(program: Path) -> None:
    *rows, report = records("coverage", f"{program}:*", "security_file_*", "--", str(program), "tail", "3")
    ran = {row["function"] for row in rows if row["module"] == program.name}
    assert {"main", "first", "second"} <= ran
    assert not {"leaf", "descend", "negative"} & ran
    covered = {row["module"]: row["covered"] for row in report["modules"]}
    assert covered[program.name] == len(ran)
    assert covered[""] == len(report["lsm_hooks"]) > 0


@needs_sessions
def test_graph(program: Path) -> None:
    *calls, report = records("graph", f"{program}:first", f"{program}:second", "--", str(program), "tail", "3")
    found = {call["id"]: call for call in calls}
    below = [(found[call["caller"]]["function"], call["function"]) for call in calls if call["caller"] is not None]
    assert below == [("first", "second")] * 3
    assert {call["thread"] for call in calls} == {calls[0]["process"]}
    assert report["attached"] == 2


@needs_sessions
def test_graph_with_arguments(program: Path) -> None:
    call, _ = records("graph", "--args", f"{program}:leaf", "--", str(program), "values", "1")
    assert (call["arguments"]["arg0"], call["returned"]) == ("0x29", "0x2a")


@needs_sessions
def test_errors(program: Path) -> None:
    arguments = (f"{program}:finds", f"{program}:asks", f"{program}:copes", "--", str(program), "errors", "10")
    group, report = records("errors", *arguments)
    assert (group["count"], group["error"], group["first"], group["outcome"]) == (5, "-1", "finds", "handled")
    assert group["path"] == ["copes", "asks", "finds"]
    assert report["failures"] == 5


@needs_sessions
def test_record(program: Path) -> None:
    arguments = (f"{program}:leaf", f"{program}:first", "--until", "ret == 6 and arg0 == 5", "--", str(program))
    *calls, report = records("record", *arguments, "plain", "10")
    assert [call["arguments"]["arg0"] for call in calls] == [f"{n:#x}" for n in range(6)]
    assert (report["held"]["function"], calls[-1]["returned"]) == ("leaf", "0x6")


@pytest.mark.once("7.3")
def test_stacks(framed: Path) -> None:
    stack, report = records("stacks", f"{framed}:asks", "--", str(framed), "errors", "10")
    assert (stack["calls"], report["not_taken"]) == (10, {})
    assert stack["frames"][-3:] == [f"run ({framed.name})", f"copes ({framed.name})", "asks"]


@pytest.mark.once("6.12")
@pytest.mark.parametrize("pattern", ["geometry::area", "geometry::area*", "_ZN8geometry4area*"])
def test_demangled_names(overloads: Path, pattern: str) -> None:
    *rows, _ = records("count", f"{overloads}:{pattern}", "--", str(overloads), "50")
    found = {row["function"]: (row["symbol"], row["calls"]) for row in rows}
    assert found == {
        "geometry::area(int)": ("_ZN8geometry4areaEi", 50),
        "geometry::area(double)": ("_ZN8geometry4areaEd", 100),
    }


@needs_sessions
def test_every_command_demangles(overloads: Path) -> None:
    arguments = (f"{overloads}:geometry::twice", "--", str(overloads), "3")
    for command in ("latency", "trace", "graph", "stacks", "record"):
        first, *_ = records(command, *(("--until", "arg0 == 99") if command == "record" else ()), *arguments)
        assert (command, first["function"], first["symbol"]) == (
            command,
            "geometry::twice<int>",
            "_ZN8geometry5twiceIiEET_S1_",
        )
    assert "geometry::twice<int>(arg0=0x2, " in multiprobe("trace", *arguments).stdout


@pytest.mark.once("6.12")
def test_frames_are_demangled(overloads: Path) -> None:
    stack, _ = records("stacks", f"{overloads}:*area(int)", "--", str(overloads), "4")
    assert (stack["calls"], stack["frames"][-1]) == (4, "geometry::area")


@pytest.mark.once("6.12")
def test_inlined_functions_are_frames(compiled: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("elftools", reason="the extra `dwarf` is not installed")
    frames = ("-fno-omit-frame-pointer", "-mno-omit-leaf-frame-pointer", "-fno-optimize-sibling-calls")
    program = compiled("inlined.c", tmp_path / "inlined", "-g", *frames)
    words = ("stacks", f"{program}:leaf", "--", str(program))
    many, one, report = records(*words)
    inlined = [f"{name} (inlined) [inlined]" for name in ("outer", "middle", "inner")]
    assert (many["calls"], many["frames"][-5:]) == (9, ["top (inlined)", *inlined, "leaf"])
    source = Path(__file__).parent / "programs/inlined.c"
    assert [place.replace(f"{source}:", "") for place in many["places"][-5:]] == ["29", "25, 26", "19", "12", ""]
    assert (one["calls"], one["frames"][-2:], one["places"][-2:]) == (
        1,
        ["top (inlined)", "leaf"],
        [f"{source}:29", ""],
    )
    assert report["missed"]["stack_collisions"] == 0
    shown = [line.strip() for line in multiprobe(*words).stdout.splitlines()]
    first = next(n for n, line in enumerate(shown) if line.endswith("  leaf"))
    assert shown[first + 1 : first + 5] == [
        "inner (inlined) [inlined]  inlined.c:12",
        "middle (inlined) [inlined]  inlined.c:19",
        "outer (inlined) [inlined]  inlined.c:25, inlined.c:26",
        "top (inlined)  inlined.c:29",
    ]
    assert ";".join(many["frames"][-5:]) + " 9\n" in multiprobe(*words[:2], "--folded", *words[2:]).stdout
    subprocess.run(["strip", "-g", program], check=True)
    stripped, _ = records(*words)
    assert (stripped["calls"], stripped["frames"][-2:]) == (10, ["top (inlined)", "leaf"])
    assert "places" not in stripped


@needs_sessions
def test_timed_stacks(framed: Path) -> None:
    stack, _ = records("stacks", "--time", f"{framed}:asks", "--", str(framed), "errors", "10")
    assert stack["calls"] == 10
    assert stack["frames"][-2:] == [f"copes ({framed.name})", "asks"]
    assert stack["ns"] > 0


def test_functions_says_what_a_probe_would_change(program: Path) -> None:
    is_harmed = bool(why_harmful(frozenset([Kind.NOP5])))
    names = ("red_zone", "leaf", "prefixed")
    rows = {row["function"]: row["code"] for row in records("functions", *(f"{program}:{name}" for name in names))}
    assert rows == {"red_zone": "red_zone" if is_harmed else "", "leaf": "", "prefixed": "unprobeable"}
    shown = multiprobe("functions", "--why", f"{program}:red_zone").stdout
    assert ("refused: red_zone: red_zone begins with a five-byte nop, and this kernel" in shown) == is_harmed


def test_a_dry_run(program: Path) -> None:
    (plan,) = records("count", f"{program}:leaf", f"{program}:first", "--dry-run")
    assert (plan["attached"], plan["links"]) == (2, 1)


def test_a_dry_run_skips_what_attaching_skips(program: Path) -> None:
    targets = [f"{program}:leaf", f"{program}:red_zone", f"{program}:prefixed"]
    (planned,) = records("count", *targets, "--dry-run")
    attached = records("count", *targets, "--", str(program), "plain", "1")[-1]
    told = ("attached", "skipped", "failed", "links", "mechanisms", "missing")
    assert {name: planned[name] for name in told} == {name: attached[name] for name in told}
    assert [one["function"] for one in planned["failed"]] == ["prefixed"]
    assert "prefixed: ENOTSUPP" in multiprobe("count", *targets, "--dry-run").stdout
    assert planned["attached"] == 2 - bool(why_harmful(frozenset([Kind.NOP5])))
