"""A real Prometheus scrapes `--metrics`: its counters never fall, and end at what the command itself counted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
RULES = TESTS.parent / "share/multiprobe/prometheus/multiprobe.rules.yml"
MEASURED = Path(__file__).with_name("counted_kernel.py")
SECONDS = 60
QUIET = 3.0
"""How long nothing is called before the end, so that the last scrape has seen every call."""

CONFIG = """
global: {{scrape_interval: 500ms}}
rule_files: [{rules}]
scrape_configs:
- job_name: multiprobe
  static_configs: [{{targets: {targets}}}]
"""


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Prometheus and promtool: those that are installed, or Debian's package, unpacked and not installed."""
    found = {name: shutil.which(name) for name in ("prometheus", "promtool")}
    if all(found.values()):
        return {name: str(path) for name, path in found.items()}
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("Prometheus is not installed, and this is not Debian")
    directory = tmp_path_factory.mktemp("prometheus")
    directory.chmod(0o777)  # apt downloads as a user of its own
    done = subprocess.run(["apt-get", "download", "prometheus"], cwd=directory, capture_output=True, text=True)
    packages = list(directory.glob("*.deb"))
    if not packages:
        pytest.skip(f"Prometheus is not installed, and Debian's package can't be had: {done.stderr[-200:]}")
    subprocess.run(["dpkg-deb", "-x", packages[0], directory], check=True)
    return {name: str(directory / "usr/bin" / name) for name in found}


def wait_until(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Prometheus:
    """A server that scrapes the targets."""

    def __init__(self, program: str, directory: Path, targets: list[str]) -> None:
        (directory / "prometheus.yml").write_text(CONFIG.format(rules=RULES, targets=json.dumps(targets)))
        self._url = f"http://127.0.0.1:{free_port()}"
        self.process = subprocess.Popen(
            [
                program,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={self._url.removeprefix('http://')}",
            ],
            stderr=subprocess.DEVNULL,
        )

    def ask(self, what: str, **parameters: object) -> list[dict[str, list[list[str]]]]:
        """What a query finds; nothing while the server starts."""
        try:
            query = urllib.parse.urlencode(parameters)
            with urllib.request.urlopen(f"{self._url}/api/v1/{what}?{query}", timeout=SECONDS) as answer:
                data = json.load(answer)["data"]
                found: list[dict[str, list[list[str]]]] = data.get("result", data.get("groups"))
                return found
        except OSError:
            return []

    def series(self, name: str) -> list[float]:
        """All values of vfs_read's series of a metric, from the first scrape to the last."""
        found = self.ask("query", query=f'{name}{{function="vfs_read"}}[5m]')
        return [float(value) for one in found for _, value in one["values"]]


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
        server.process.kill()
        server.process.wait()


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
