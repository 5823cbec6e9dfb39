"""`multiprobe count` over fakes: what is asked of the layers below, in which order, and what is printed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

import multiprobe as mp
from multiprobe.cli.main import run
from multiprobe.cli.signals import TWICE, Until
from multiprobe.errors import NotSupportedError

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import FakeWorld


def json_lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["count", "tcp_*", "--json", "--duration", "0"]) == 0
    out, err = capsys.readouterr()
    *functions, report = json_lines(out)
    assert err == ""
    assert [(f["type"], f["function"], f["module"], f["calls"]) for f in functions] == [
        ("function", "tcp_recvmsg", "", 30),
        ("function", "tcp_sendmsg", "", 10),
    ]
    assert functions[0]["address"] == "0xffffffff81000020"
    assert functions[0]["share"] == 0.75
    assert report["type"] == "report"
    assert (report["requested"], report["attached"], report["links"]) == (5, 3, 1)
    assert report["skipped"] == [{"function": "schedule_idle", "code": "not_traceable", "reason": "it is notrace"}]
    assert report["failed"][0]["errno"] == "EINVAL"  # type: ignore[index]
    assert report["missed"] == {"link_misses": 3, "recursion_misses": 0}
    assert report["calls"] == 40


def test_text(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["count", "tcp_*", "--duration", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["CALLS", "RATE/S", "SHARE", "FUNCTION"]
    assert lines[1].split()[0] == "30"
    assert lines[1].endswith("75.0%  tcp_recvmsg")
    assert "40 calls of 2 functions" in "\n".join(lines)
    assert "attached 3 of 5 functions in 1 link (kprobe_multi)" in lines
    assert "  1  it is notrace: schedule_idle" in lines
    assert "  tcp_bad: EINVAL: its module is going away" in lines
    assert "missed: 3 link misses" in lines


def test_strict_is_status_1_after_the_results(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["count", "tcp_*", "--duration", "0", "--strict", "--json"]) == 1
    out, err = capsys.readouterr()
    report = json_lines(out)[-1]
    assert [(gap["cause"], gap["n"]) for gap in report["missing"]] == [  # type: ignore[attr-defined]
        ("link_misses", 3),
        ("skipped", 1),
        ("failed", 1),
    ]
    assert "incomplete: 3 link misses, 1 skipped, 1 failed" in err
    assert "close" in world.attachments[0].events


def test_strict_is_content_with_all_of_it(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    world.is_complete = True
    assert run(["count", "tcp_*", "--duration", "0", "--strict"]) == 0
    assert "missed: nothing known" in capsys.readouterr().out


def test_csv(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["count", "tcp_*", "--csv", "--duration", "0"]) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(out.splitlines()))
    assert [(row["function"], row["calls"]) for row in rows] == [("tcp_recvmsg", "30"), ("tcp_sendmsg", "10")]
    assert "attached 3 of 5 functions in 1 link (kprobe_multi)" in err.splitlines()


def test_parquet(world: FakeWorld, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "calls.parquet"
    assert run(["count", "tcp_*", "--parquet", str(file), "--duration", "0"]) == 0
    assert "40 calls of 2 functions" in capsys.readouterr().out
    assert parquet.read_table(file).column("calls").to_pylist() == [30, 10]


def test_many_functions_have_the_times_of_attaching_and_detaching(
    world: FakeWorld, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["count", "tcp_*", "--duration", "0"]) == 0
    assert "detached" not in capsys.readouterr().out
    monkeypatch.setattr("multiprobe.cli.measuring.MANY", 3)
    assert run(["count", "tcp_*", "--duration", "0"]) == 0
    assert capsys.readouterr().out.endswith("\nattached in 840 ms, detached in 350 ms\n")
    assert run(["count", "tcp_*", "--duration", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["timings"]["attach"] == 0.84


def test_html(world: FakeWorld, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "calls.html"
    assert run(["count", "tcp_*", "--html", str(file), "--duration", "0"]) == 0
    assert "40 calls of 2 functions" in capsys.readouterr().out
    text = file.read_text(encoding="utf-8")
    assert "<td>tcp_recvmsg</td>" in text
    assert '<td class="number" data-value="30">30</td>' in text
    assert "attached 3 of 5 functions in 1 link (kprobe_multi)" in text


@pytest.mark.parametrize("words", [["--json", "--csv"], ["--parquet", "/no/such/place/file"]])
def test_forms_that_cannot_be(world: FakeWorld, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert run(["count", "tcp_*", *words]) == 2
    assert world.attachments == []


def test_top(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["count", "tcp_*", "--duration", "0", "--top", "1"]) == 0
    out = capsys.readouterr().out
    assert "tcp_recvmsg" in out
    assert "tcp_sendmsg" not in out
    assert "… and 1 more" in out


def test_what_is_asked_of_attach(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--return",
        "--mechanism",
        "kprobe-multi",
        "--without",
        "kprobe",
        "--without=fsession",
        "--max-singles=5",
        "--unsafe",
        "--budget",
        "5%",
        "--careful",
        "--watchdog",
        "3",
        "--pid",
        str(os.getpid()),
    ]
    assert run(["count", "a", "!b", "-d", "0", *arguments]) == 0
    assert world.patterns == ("a", "!b")
    assert world.attachments[0].options == {
        "when": "return",
        "mechanisms": mp.Mechanisms(only="kprobe_multi", without=("kprobe", "fsession"), max_singles=5),
        "limits": mp.Limits(budget=0.05, careful=True, watchdog=3.0),
        "unsafe": True,
        "pid": os.getpid(),
        "children": True,
        "own": False,
    }


def test_counting_is_stopped_read_and_detached(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    run(["count", "a", "-d", "0"])
    events = world.attachments[0].events
    assert events[:2] == ["pause", "totals"]
    assert "close" in events


def test_nothing_matches(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    world.functions.clear()
    assert run(["count", "nonsense"]) == 3
    assert "no function matches" in capsys.readouterr().err
    assert world.attachments == []


def test_a_kernel_that_lacks_it(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    world.error = NotSupportedError("no mechanism", hint="--vm would work")
    assert run(["count", "a"]) == 5
    assert "--vm would work" in capsys.readouterr().err


def test_a_command_runs_after_attaching(world: FakeWorld, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    attach = world.attach

    def attach_and_look(*args: object, **options: object) -> object:
        trace.write_text("attached ")
        return attach(*args, **options)  # type: ignore[arg-type]

    mp.attach = attach_and_look  # type: ignore[assignment]
    assert run(["count", "a", "--json", "--", "sh", "-c", f"echo ran >> {trace}; exit 3"]) == 0
    assert trace.read_text() == "attached ran\n"
    report = json_lines(capfd.readouterr().out)[-1]
    assert report["command"]["status"] == 3  # type: ignore[index]
    assert report["command"]["arguments"][0] == "sh"  # type: ignore[index]


def test_command_only_gives_the_childs_pid(world: FakeWorld, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["count", "a", "--json", "--command-only", "--", "sh", "-c", "exit 0"]) == 0
    report = json_lines(capfd.readouterr().out)[-1]
    assert world.attachments[0].options["pid"] == report["command"]["pid"]  # type: ignore[index]


def test_a_command_that_does_not_exist(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["count", "a", "--", "no-such-program"]) == 2
    assert "no-such-program" in capsys.readouterr().err
    assert world.attachments == []


def test_duration_ends_a_command(world: FakeWorld, capfd: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    assert run(["count", "a", "-d", "0.1", "--", "sleep", "60"]) == 0
    assert time.monotonic() - began < 10
    assert "sleep" in capfd.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_results(
    world: FakeWorld, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
    assert run(["count", "a", "--json"]) == 0
    assert json_lines(capsys.readouterr().out)[-1]["calls"] == 40


def test_a_signal_that_comes_twice_at_once_is_one(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    """As timeout(1) sends them: to the process, and to its group."""

    def send() -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)

    threading.Timer(0.3, send).start()
    assert run(["count", "a", "--json"]) == 0
    assert json_lines(capsys.readouterr().out)[-1]["calls"] == 40


def test_a_second_signal_acts_as_ever() -> None:
    def send(_number: int, _frame: object) -> None:
        raise ZeroDivisionError

    before = signal.signal(signal.SIGTERM, send)
    try:
        with Until() as until:
            os.kill(os.getpid(), signal.SIGTERM)
            assert until.wait(10)
            time.sleep(2 * TWICE)
            with pytest.raises(ZeroDivisionError):
                signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_process_that_is_gone_when_all_is_attached_ends_it_at_once(
    world: FakeWorld, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_pid: int) -> int:
        raise ProcessLookupError(3, "No such process")

    monkeypatch.setattr(os, "pidfd_open", gone)
    assert run(["count", "a", "--json", "--pid", str(os.getpid())]) == 0
    assert json_lines(capsys.readouterr().out)[-1]["calls"] == 40


def test_output_that_cannot_be_written_is_told() -> None:
    code = "import errno\nfrom multiprobe.cli import main\n"
    code += "def full(*_): print('x'); raise OSError(errno.ENOSPC, 'No space left on device')\n"
    code += "main._execute = full\nraise SystemExit(main.run(['count', 'a']))\n"
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment
        )
    assert ended.stderr.splitlines()[0] == "multiprobe: standard output: No space left on device"


def test_counting_a_process_ends_with_it(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen(["sleep", "0.3"]) as child:
        threading.Timer(0.1, lambda: child.wait()).start()
        assert run(["count", "a", "--json", "--pid", str(child.pid)]) == 0


def test_the_way_to_attach_imports_nothing_heavy() -> None:
    """From the command line to `attach`, with functions and code from their caches."""
    code = """
import os, sys
import multiprobe as mp
os.geteuid = lambda: 0
class Functions(list):
    unresolved = ()
    def n_attachable(self, **options): return 1
class Kernel:
    def functions(self, *patterns, **options): return Functions([1])
def attach(*args, **options):
    print(*sorted(sys.modules)); raise KeyboardInterrupt
import multiprobe.links.attach
mp.Kernel, mp.attach = Kernel, attach
from multiprobe.cli.main import run
run(["count", "tcp_*", "--duration", "3", "--json"])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert {"multiprobe.instruments.count", "multiprobe.links.attach"} <= set(out.split())
    assert not {"numpy", "rich", "llvmlite", "pyarrow", "textual"} & set(out.split())
