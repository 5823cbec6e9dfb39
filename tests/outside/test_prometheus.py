"""A real Prometheus scrapes `--metrics`: its counters never fall, and end at what the command itself counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prometheus_server import RULES, SECONDS, Prometheus, find_programs, wait_until

TESTS = Path(__file__).parents[1]
MEASURED = Path(__file__).with_name("counted_kernel.py")
QUIET = 3.0
"""How long nothing is called before the end, so that the last scrape has seen every call."""


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return find_programs(tmp_path_factory.mktemp("prometheus"))


@pytest.fixture
def measured(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Starts a command line on a fake kernel; returns the process, and the address of its metrics."""
    processes: list[subprocess.Popen[str]] = []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)])}

    def begin(*line: str) -> tuple[subprocess.Popen[str], str]:
        words = [sys.executable, str(MEASURED), *line, "--metrics", ":0", "--json"]
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
        )
        processes.append(process)
        assert process.stderr is not None
        said = next(text for text in process.stderr if text.startswith("metrics: "))
        return process, urllib.parse.urlparse(said.split()[1]).netloc

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def test_what_prometheus_has_is_what_was_counted(
    programs: dict[str, str], tmp_path: Path, measured: Callable[..., tuple[subprocess.Popen[str], str]]
) -> None:
    count, count_address = measured("count", "vfs_*")
    latency, latency_address = measured("latency", "vfs_read")
    server = Prometheus(programs["prometheus"], tmp_path, [count_address, latency_address])
    names = {count: "multiprobe_calls_total", latency: "multiprobe_call_duration_seconds_count"}
    try:
        wait_until(lambda: all(len(set(server.series(name))) > 3 for name in names.values()))
        (tmp_path / "quiet").touch()
        wait_until(lambda: all(server.ask("query", query=f"rate({name}[2s]) == 0") for name in names.values()))
        time.sleep(QUIET)
        assert len(server.ask("query", query="min_over_time(up[10s]) == 1")) == 2
        assert [group["name"] for group in server.ask("rules")] == ["multiprobe"]
        for process, name in names.items():
            values = server.series(name)
            assert values == sorted(values)
            process.send_signal(signal.SIGTERM)  # SIGINT may be ignored: a shell does so for what it starts behind
            *rows, report = map(json.loads, process.communicate(timeout=SECONDS)[0].splitlines())
            assert [values[-1]] == [row["calls"] for row in rows if row["function"] == "vfs_read"]
            assert report["type"] == "report"
    finally:
        server.close()


def test_the_alert_rules_are_valid(programs: dict[str, str]) -> None:
    done = subprocess.run([programs["promtool"], "check", "rules", RULES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_promtool_finds_nothing_wrong_with_the_text(
    programs: dict[str, str], measured: Callable[..., tuple[subprocess.Popen[str], str]]
) -> None:
    _, address = measured("latency", "vfs_read")
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=SECONDS) as answer:
        text = answer.read()
    done = subprocess.run([programs["promtool"], "check", "metrics"], input=text, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
