"""`multiprobe run`: the script sees what `python` would show it, and every end of it has the right status and words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from multiprobe.cli.main import run

SCRIPT = """\
import sys
import multiprobe as mp

def fail():
    raise mp.NoMatchError("nothing there", hint="look elsewhere")

what = sys.argv[1] if sys.argv[1:] else ""
if what == "show":
    import neighbour
    print(__name__, __file__, sys.argv, neighbour.answer)
elif what == "status":
    sys.exit(7)
elif what == "message":
    sys.exit("so long")
elif what == "divide":
    1 / 0
elif what == "fail":
    fail()
elif what == "interrupt":
    try:
        print("waiting", flush=True)
        import time
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)
elif what == "program":
    @mp.program
    def program(ctx):
        print(ctx.pid)
    from multiprobe.compiler.compiling import compile_program
    compile_program(program, context="kprobe", when="entry")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("answer = 42\n")
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def multiprobe(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "multiprobe", "run", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def test_the_script_is_main(script: Path) -> None:
    ended = multiprobe(script, "show", "--vm=6.1", "--debug")
    assert ended.stdout == f"__main__ {script} {[str(script), 'show', '--vm=6.1', '--debug']} 42\n"
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("what", "status", "words"),
    [
        ("", 0, ""),
        ("status", 7, ""),
        ("message", 1, "so long\n"),
        ("fail", 3, "multiprobe: nothing there\n  from {script}:5\n  hint: look elsewhere\n"),
    ],
)
def test_how_it_ends(script: Path, what: str, status: int, words: str) -> None:
    ended = multiprobe(script, what)
    assert (ended.returncode, ended.stderr) == (status, words.format(script=script))


def test_the_scripts_own_errors_look_like_pythons(script: Path) -> None:
    ours, pythons = (
        multiprobe(script, "divide"),
        subprocess.run([sys.executable, script, "divide"], capture_output=True),
    )
    assert ours.stderr == pythons.stderr.decode()
    assert ours.returncode == 1


def test_an_error_that_points_into_the_script_itself(script: Path) -> None:
    ended = multiprobe(script, "program")
    assert ended.returncode == 2
    assert f"{script}:" in ended.stderr
    assert "print(ctx.pid)" in ended.stderr
    assert "  from " not in ended.stderr


def test_debug_shows_the_traceback(script: Path) -> None:
    ended = multiprobe("--debug", script, "fail")
    assert ended.returncode == 3
    assert "in fail\n" in ended.stderr
    assert "Traceback" not in multiprobe(script, "fail", "--debug").stderr


def test_ctrl_c(script: Path) -> None:
    words = [sys.executable, "-m", "multiprobe", "run", str(script), "interrupt"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("cleaned up\n", "", 130)


def test_what_is_no_script(tmp_path: Path) -> None:
    missing = multiprobe(tmp_path / "none.py")
    assert missing.returncode == 2
    assert "does not exist" in missing.stderr
    (tmp_path / "odd.py").write_text("def (:\n")
    odd = multiprobe(tmp_path / "odd.py")
    assert odd.returncode == 1
    assert "SyntaxError" in odd.stderr
    assert "Traceback" not in odd.stderr


def test_usage() -> None:
    assert multiprobe().returncode == 2
    assert multiprobe("--nonsense", "x.py").returncode == 2
    assert "SCRIPT" in multiprobe("--help").stdout


def test_in_a_vm(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("multiprobe.cli.main.rerun_in_vm", lambda *words: asked.append(words[:2]) or 5)
    assert run(["run", "--vm=6.1", "--debug", str(script), "--vm", "x"]) == 5
    assert run(["run", "--vm", str(script)]) == 5
    assert asked == [(["run", "--debug", str(script), "--vm", "x"], "6.1"), (["run", str(script)], None)]
