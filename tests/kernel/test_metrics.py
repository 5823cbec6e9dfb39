"""Metrics of a real kernel: a command of known size reads its own numbers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import forked
from polling import poll_until
from ports import free_port

pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families as parse

pytestmark = pytest.mark.once("6.12")
N = 1234
#: A network card that isn't one; reading the counters of all cards calls this once.
MODULE, CALLED = "dummy", "dummy_get_stats64"
CALLS = """
import os, sys, urllib.request
for _ in range({n}): os.getppid()
text = urllib.request.urlopen("http://127.0.0.1:" + sys.argv[1] + "/metrics", timeout=60).read()
open(sys.argv[2], "wb").write(text)
for _ in range({n}): os.getppid()
"""


@pytest.mark.parametrize(
    ("command", "metric"), [("count", "multiprobe_calls_total"), ("latency", "multiprobe_call_duration_seconds_count")]
)
def test_numbers_are_those_of_the_moment(command: str, metric: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [command, "__x64_sys_getppid", "--command-only", "--json", "--metrics", f":{port}"]
    script = [sys.executable, "-c", CALLS.format(n=N), str(port), str(tmp_path / "text")]
    ended = forked.run([*words, "--", *script])
    assert ended.returncode == 0, ended.stderr
    found = parse((tmp_path / "text").read_text())
    read = {(one.name, one.labels.get("function")): one.value for family in found for one in family.samples}
    assert read[metric, "__x64_sys_getppid"] == N
    row, _report = map(json.loads, ended.stdout.splitlines())
    assert row["calls"] == 2 * N


class Served:
    """A measurement that serves its metrics; what `scrape` read last, by name and labels."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self._port = port
        self._found: dict[tuple[str, ...], float] = {}

    def scrape(self) -> None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=60) as answer:
                families = parse(answer.read().decode())
        except OSError:  # it doesn't listen yet
            return
        self._found = {(one.name, *one.labels.values()): one.value for f in families for one in f.samples}

    def __getitem__(self, labels: tuple[str, ...]) -> float:
        return self._found.get(labels, 0)

    def wait_for(self, number: float, *labels: str) -> None:
        poll_until(self.scrape, lambda: self[labels] == number)
        assert self[labels] == number, (self._found, self.process.poll())

    def end(self) -> dict[str, object]:
        """Its report."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate()
        assert self.process.returncode == 0, err
        report: dict[str, object] = json.loads(out.splitlines()[-1])
        return report


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    processes: list[subprocess.Popen[str]] = []

    def start(*words: str) -> Served:
        port = free_port()
        line = [*words, "--json", "--metrics", f":{port}"]
        processes.append(forked.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        served = Served(processes[-1], port)
        poll_until(served.scrape, lambda: served["multiprobe_functions", "attached"] > 0)
        return served

    yield start
    for process in processes:
        process.kill()
        process.communicate()
    unload()


def load() -> None:
    subprocess.run(["modprobe", MODULE, "numdummies=1"], check=True)


def unload() -> bool:
    """Whether it could be unloaded."""
    return subprocess.run(["rmmod", MODULE], capture_output=True, check=False).returncode == 0


def call(n: int) -> None:
    for _ in range(n):
        Path("/proc/net/dev").read_text()


@pytest.mark.parametrize("mechanism", ["kprobe", ""])
def test_a_module_that_comes_is_measured_and_its_counts_outlive_it(
    serve: Callable[..., Served], mechanism: str
) -> None:
    how = ("--mechanism", mechanism) if mechanism else ()
    served = serve("count", "vfs_open", f"{MODULE}:dummy_*", "--pid", str(os.getpid()), *how)
    for times in (1, 2):
        load()
        served.wait_for(times, "multiprobe_modules_total", "loaded")
        counted = served["multiprobe_calls_total", CALLED, MODULE] + N
        call(N)
        served.wait_for(counted, "multiprobe_calls_total", CALLED, MODULE)
        assert served["multiprobe_functions", "attached"] > 1
        if not mechanism:
            assert not unload(), "its links hold it"
            break
        assert unload()  # which may call it once more
        served.wait_for(times, "multiprobe_modules_total", "unloaded")
        assert counted <= served["multiprobe_calls_total", CALLED, MODULE] <= counted + 2
        assert served["multiprobe_functions", "attached"] == 1
        assert served["multiprobe_functions", "gone"] > 0
    report = served.end()
    assert any(f"module {MODULE} was loaded meanwhile" in str(note) for note in report["notes"])  # type: ignore[attr-defined]
