"""A real Prometheus for tests: Debian's, unpacked and not installed where there is none."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from ports import free_port

RULES = Path(__file__).parents[1] / "share/multiprobe/prometheus/multiprobe.rules.yml"
SECONDS = 60

CONFIG = """
global: {{scrape_interval: {interval}}}
rule_files: [{rules}]
scrape_configs:
- job_name: multiprobe
  static_configs: [{{targets: {targets}}}]
"""


def find_programs(directory: Path) -> dict[str, str]:
    """Paths of prometheus and promtool: those installed, or of Debian's package, unpacked in the directory."""
    found = {name: shutil.which(name) for name in ("prometheus", "promtool")}
    if all(found.values()):
        return {name: str(path) for name, path in found.items()}
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("Prometheus is not installed, and this is not Debian")
    directory.chmod(0o777)  # apt downloads as a user of its own
    done = subprocess.run(["apt-get", "download", "prometheus"], cwd=directory, capture_output=True, text=True)
    packages = list(directory.glob("*.deb"))
    if not packages:
        pytest.skip(f"Prometheus is not installed, and Debian's package can't be had: {done.stderr[-200:]}")
    subprocess.run(["dpkg-deb", "-x", packages[0], directory], check=True)
    return {name: str(directory / "usr/bin" / name) for name in found}


def wait_until(is_true: Callable[[], object], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Prometheus:
    """A server that scrapes the targets."""

    def __init__(self, program: str, directory: Path, targets: list[str], *, interval: str = "500ms") -> None:
        config = CONFIG.format(rules=RULES, targets=json.dumps(targets), interval=interval)
        (directory / "prometheus.yml").write_text(config)
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
        found = self.ask("query", query=f'{name}{{function="vfs_read"}}[1h]')
        return [float(value) for one in found for _, value in one["values"]]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
