"""Metrics of a real kernel: a command of known size reads its own numbers."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest

import forked

pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families as parse

pytestmark = pytest.mark.once("6.12")
N = 1234
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
