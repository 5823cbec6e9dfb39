"""Arguments and results of programs with DWARF: each that is shown is what the program itself prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.user.passing import Maker, expected

import forked
import multiprobe as mp
from compiled import compiled_program
from multiprobe.errors import NotSupportedError
from multiprobe.kernel.features import Features
from places import IS_GUEST

pytest.importorskip("elftools", reason="the extra `dwarf` is not installed")
pytestmark = pytest.mark.once("6.12")
N = 40
BUILDS = {
    "O0": ("-O0", "-g"),
    "O2": ("-O2", "-g"),
    "O2-4": ("-O2", "-gdwarf-4"),
    "Os": ("-Os", "-g"),
    "O3-static": ("-O3", "-g", "-fno-var-tracking"),
    "c++": ("-O2", "-g", "-fpermissive"),
}


def traced(path: Path, *patterns: str, options: tuple[str, ...] = ()) -> tuple[list[dict[str, Any]], str]:
    ran = forked.run(["trace", "--json", "--output", f"{path}.json", *options, *patterns, "--", str(path)])
    assert ran.returncode == 0, ran.stderr
    rows = [json.loads(line) for line in Path(f"{path}.json").read_text().splitlines()]
    return [row for row in rows if row["type"] == "call"], ran.stdout


def is_right(shown: object, printed: str) -> bool:
    if isinstance(shown, bool):
        return printed == str(int(shown))
    if printed.startswith('"') and str(shown).startswith("0x"):  # the address of a string: returned, or on the stack
        return True
    return str(shown) == printed


def unreadable(shown: object) -> bool:
    return isinstance(shown, str) and shown.startswith("<not readable: ")


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("build", ["O2", "c++"] if IS_GUEST else BUILDS)
def test_every_value_is_what_the_program_prints(tmp_path: Path, build: str) -> None:
    made = Maker(sorted(BUILDS).index(build), N)
    source = tmp_path / ("source.cpp" if build == "c++" else "source.c")
    source.write_text(made.source)
    program = compiled_program(source, tmp_path / "program", *BUILDS[build], "-w")
    has_returns = not Features().probe("uprobe_session").is_no
    calls, output = traced(program, f"{program}:f*", options=() if has_returns else ("--entry",))
    by_name = {call["function"].partition(".")[0]: call for call in calls}
    lines = [expected(line) for line in output.splitlines() if line.startswith("f")]
    assert len(lines) == N
    n_read = n_unread = 0
    for name, printed in lines:
        call = by_name[name]
        is_clone = "." in call["function"]
        result = printed.pop("=", "?")
        result = result if has_returns else "?"
        if result != "?" and not unreadable(call["returned"]):
            assert is_right(call["returned"], result), (name, call["returned"], result)
        if result != "?" and not is_clone:
            assert not unreadable(call["returned"]), (name, call)
        for parameter, value in printed.items():
            if is_clone and parameter not in call["arguments"]:
                continue
            shown = call["arguments"][parameter]
            n_read, n_unread = n_read + (not unreadable(shown)), n_unread + unreadable(shown)
            if value == "?":
                continue
            if unreadable(shown):
                assert is_clone or "beyond" in shown, (name, parameter, shown)
            else:
                assert is_right(shown, value), (name, parameter, shown, value)
    assert n_read > N
    assert n_unread > N


SOURCE = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum color { RED = 1, BLUE = -5 };
struct inner { int a; unsigned b : 3, c : 5; const char *label; };
struct node { struct node *next; long value; struct inner part; enum color color; char name[16]; _Bool on; };
typedef struct node Node;
__attribute__((noipa)) int find(Node *head, long value, float x) {
    for (; head; head = head->next) if (head->value == value) return (int)value;
    return -1;
}
__attribute__((noipa)) Node *next(Node *head) { return head->next; }
__attribute__((noipa)) unsigned count(Node *head) { return head ? 1 + count(head->next) : 0; }
__attribute__((noipa)) void fill(char *buffer, int size) { strncpy(buffer, "filled", size); }
int main(void) {
    char buffer[16];
    Node last = {0, 7, {3, 2, 9, "second"}, RED, "bee", 1};
    Node first = {&last, 5, {-1, 1, 2, "first"}, BLUE, "ay", 0};
    int sum = find(&first, 7, 1) + find(&first, 9, 1);
    sum += next(&first) == &last;
    sum += next(&last) == 0;
    fill(buffer, sizeof buffer);
    return sum + count(&first) == 0;
}
"""


@pytest.fixture
def lists(built: Path, tmp_path: Path) -> Path:
    """A program with lists of structs, and with DWARF."""
    (tmp_path / "lists.c").write_text(SOURCE)
    return compiled_program(tmp_path / "lists.c", tmp_path / "lists", "-O2", "-g")


def test_members_and_filters(lists: Path) -> None:
    options = (
        "--entry",
        "--depth",
        "2",
        "--filter",
        "value > 8 and head.next.part.label == 'second' and head.part.c == 2",
    )
    (call,), _ = traced(lists, f"{lists}:find", options=options)
    inner = {"a": 3, "b": 2, "c": 9, "label": '"second"'}
    last = {"next": "NULL", "value": 7, "part": inner, "color": "RED", "name": '"bee"', "on": True}
    assert call["members"]["head"]["next"] == last
    assert {**call["members"]["head"], "next": 0} == {
        "next": 0, "value": 5, "part": {"a": -1, "b": 1, "c": 2, "label": '"first"'}, "color": "BLUE", "name": '"ay"',
        "on": False,
    }  # fmt: skip
    assert (call["arguments"]["value"], call["arguments"]["x"]) == (9, "<not readable: float>")
    calls, _ = traced(lists, f"{lists}:find", options=("--entry", "--args", "head.next.value,value"))
    assert [call["arguments"] for call in calls] == [
        {"head.next.value": 7, "value": 7}, {"head.next.value": 7, "value": 9}
    ]  # fmt: skip


@pytest.mark.usefixtures("sessions")
def test_results(lists: Path) -> None:
    calls, _ = traced(lists, f"{lists}:find", options=("--filter", "ret < 0"))
    assert [call["returned"] for call in calls] == [-1]
    calls, _ = traced(lists, f"{lists}:next")
    assert [call["returned"] == "NULL" for call in calls] == [False, True]


@pytest.mark.usefixtures("sessions")
def test_errors(lists: Path) -> None:
    names = [f"{lists}:{name}" for name in ("find", "next", "count", "fill")]
    ran = forked.run(["errors", "--json", *names, "--", str(lists)], check=True)
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    found = {(row["first"], row["error"]): row["count"] for row in rows if row["type"] == "group"}
    assert found == {("find", "-1"): 1, ("next", "NULL"): 1}


@pytest.mark.parametrize("sleepable", [False, True])
def test_structs_in_programs(lists: Path, sleepable: bool) -> None:
    binary = mp.Binary(lists)
    node, color = mp.struct("Node", binary=binary), mp.enum("color", binary=binary)

    class Seen(mp.Event):
        value: mp.i64
        following: mp.i64
        bits: mp.u64
        is_blue: mp.u64
        named: mp.u64
        name: mp.string(16)

    seen = mp.RingBuffer(Seen)

    @mp.program(sleepable=sleepable)
    def look(ctx: mp.Context) -> None:
        head = node(ctx.arg(0))
        seen.send(
            value=head.value,
            following=head.next.value,
            bits=head.next.color,
            is_blue=head.color == color.BLUE,
            named=ctx.args.value,
            name=mp.user_string(head.next.name),
        )

    with mp.attach(look, binary.functions("find", types=True)) as attachment:
        subprocess.run([lists], check=False)
        found = [tuple(event) for event in attachment.events(seen).read()]
    assert found == [(5, 7, 1, 1, 7, b"bee"), (5, 7, 1, 1, 9, b"bee")]


def test_names_of_arguments_need_types(lists: Path) -> None:
    totals = mp.Array(mp.u64, 1)

    @mp.program
    def add(ctx: mp.Context) -> None:
        totals[0] += ctx.args.value

    with pytest.raises(NotSupportedError, match="needs the types of the functions"):
        mp.attach(add, mp.Binary(lists).functions("find"))


def test_without_the_library(lists: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The registers, and a note on standard error, once."""
    hidden = tmp_path / "sitecustomize.py"
    hidden.write_text("import sys\nsys.modules['elftools'] = None\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "multiprobe", "trace", "--entry", f"{lists}:find", "--", str(lists)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "find(arg0=0x" in ran.stdout
    assert ran.stderr.count("which need pyelftools: pip install 'multiprobe[dwarf]'") == 1
