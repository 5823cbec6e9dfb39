"""What is shown of a program's calls is what gdb and ltrace show of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from multiprobe.kernel.features import Features

LIBRARY = r"""
#include <string.h>
struct point { int x, y; const char *name; };
enum color { RED, GREEN };
long work(struct point *p, const char *what, unsigned n, enum color c, signed char t) {
    return p->x * n + strlen(what) + c + t;
}
int even(int n) { return n % 2 ? -1 : n; }
long twice(long n) { return 2 * n; }
"""
PROGRAM = r"""
struct point { int x, y; const char *name; };
long work(struct point *p, const char *what, unsigned n, int c, signed char t);
int even(int n);
long twice(long n);
int main(void) {
    long total = 0;
    for (int i = 0; i < 40; i++) {
        struct point p = { i, -i, "here" };
        total += work(&p, i % 3 ? "some" : "other", 7 + i, i % 2, -i);
        for (int k = 0; k < 3; k++) total += even(i + k);
        if (i % 5 == 0) total += twice(i);
    }
    return total == 0;
}
"""
CALLS = {"work": 40, "even": 120, "twice": 8}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program that calls the functions of a library by way of the procedure linkage table."""
    answer = Features().probe("uprobe_session")
    if not answer.is_yes:
        pytest.skip(f"this kernel has no uprobe_session, for this user: {answer.evidence}")
    if shutil.which("gcc") is None:
        pytest.skip("no compiler here: the test needs gcc")
    (tmp_path / "library.c").write_text(LIBRARY)
    (tmp_path / "program.c").write_text(PROGRAM)
    subprocess.run(["gcc", "-O1", "-g", "-shared", "-fPIC", "-o", "libwork.so", "library.c"], cwd=tmp_path, check=True)
    # ltrace finds the stubs of programs that are linked lazily, at fixed addresses
    lazily = ["-no-pie", "-fcf-protection=none", "-Wl,-z,lazy", f"-Wl,-rpath,{tmp_path}"]
    words = ["gcc", "-O1", "-g", *lazily, "-o", "program", "program.c", "libwork.so"]
    subprocess.run(words, cwd=tmp_path, check=True)
    return tmp_path / "program"


def records(command: str, program: Path) -> list[dict[str, Any]]:
    patterns = [f"{program.parent}/libwork.so:{name}" for name in CALLS]
    words = [sys.executable, "-m", "multiprobe", command, "--json", *patterns, "--", str(program)]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def needs(peer: str) -> None:
    if shutil.which(peer) is None:
        pytest.skip(f"no {peer} here")


def by_gdb(program: Path, *commands: str) -> str:
    words = ["gdb", "-q", "-nx", "-batch", "-ex", "set confirm off", "-ex", "set breakpoint pending on"]
    words += [word for command in commands for word in ("-ex", command)]
    ran = subprocess.run([*words, str(program)], capture_output=True, text=True, check=False)
    if "not being run" in ran.stderr and "exited" not in ran.stdout:
        pytest.skip(f"gdb can't run programs here: {ran.stderr[-200:]}")
    return ran.stdout


def test_counts_are_those_of_breakpoints(program: Path) -> None:
    needs("gdb")
    stops = [word for name in CALLS for word in (f"break {name}", "ignore $bpnum 100000")]
    shown = by_gdb(program, *stops, "run", "info breakpoints")
    hits = re.findall(r" in (\w+) at .*\n\s+breakpoint already hit (\d+) times", shown)
    counted = {row["function"]: row["calls"] for row in records("count", program)[:-1]}
    assert counted == {name: int(n) for name, n in hits} == CALLS


def test_counts_are_those_of_ltrace(program: Path) -> None:
    needs("ltrace")
    words = ["ltrace", "-e", "+".join(CALLS), "-o", f"{program}.ltrace", str(program)]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    lines = Path(f"{program}.ltrace").read_text().splitlines() if ran.returncode == 0 else []
    if not lines:
        pytest.skip(f"ltrace does not trace here: {ran.stderr[-200:]}")
    seen = Counter(found[1] for line in lines if (found := re.match(r"(?:\S+->)?(\w+)\(", line)))
    timed = {row["function"]: row["calls"] for row in records("latency", program)[:-1]}
    assert timed == {name: seen[name] for name in CALLS} == CALLS


def test_values_are_those_of_gdb(program: Path) -> None:
    """Arguments by name and type, and results: of each call of two functions."""
    needs("gdb")
    python = (
        "python\nimport gdb, json\nclass End(gdb.FinishBreakpoint):\n def stop(self):\n"
        "  print('RESULT', self.name, self.return_value)\n  return False\n"
        "class Begin(gdb.Breakpoint):\n def stop(self):\n  frame = gdb.newest_frame()\n"
        "  shown = {a.name: str(a.value(frame)) for a in frame.block() if a.is_argument}\n"
        "  print('CALL', frame.name(), json.dumps(shown))\n"
        "  End(frame, internal=True).name = frame.name()\n  return False\n"
        "Begin('work')\nBegin('even')\nend\n"
    )
    script = program.with_suffix(".gdb")
    script.write_text(f"set width 0\nset breakpoint pending on\n{python}run\n")
    shown = by_gdb(program, f"source {script}")
    called: dict[str, list[dict[str, str]]] = {"work": [], "even": []}
    returned: dict[str, list[str]] = {"work": [], "even": []}
    for line in shown.splitlines():
        if line.startswith("CALL "):
            _, name, values = line.split(" ", 2)
            called[name].append(json.loads(values))
        elif line.startswith("RESULT "):
            _, name, value = line.split(" ", 2)
            returned[name].append(value)
    calls = [row for row in records("trace", program) if row["type"] == "call"]
    for name in called:
        ours = [row for row in calls if row["function"] == name]
        assert [spelled(row["arguments"]) for row in ours] == [spelled(one) for one in called[name]]
        assert [str(row["returned"]) for row in ours] == returned[name]
        assert len(ours) == CALLS[name]


def spelled(arguments: dict[str, object]) -> dict[str, str]:
    """The values as both write them: without addresses, which differ from run to run, and without what gdb adds."""
    texts = {name: str(value) for name, value in arguments.items()}
    plain = {name: re.sub(r"^(-?\d+) '.*'$", r"\1", text) for name, text in texts.items()}
    plain = {name: re.sub(r'^0x[0-9a-f]+ (<.*> )?(".*")$', r"\2", text) for name, text in plain.items()}
    return {name: re.sub(r"^0x[0-9a-f]+.*", "address", text) for name, text in plain.items()}
