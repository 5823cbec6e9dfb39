"""`--metrics` over the fake kernel: a command that is measured reads its own numbers from the server."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families as parse

import multiprobe as mp
from fake_kernel import LIKE_7_3, FakeKernel
from multiprobe.cli.main import run
from multiprobe.instruments.workload import Workload

READ = """
import sys, urllib.request
open(sys.argv[2], "wb").write(urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics", timeout=20).read())
"""
Read = Callable[..., dict[tuple[str, ...], float]]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fake")


@pytest.fixture
def fake(directory: Path) -> Iterator[FakeKernel]:
    with FakeKernel(directory, LIKE_7_3) as fake:
        yield fake
        assert fake.left() == []


@pytest.fixture
def read(fake: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Runs a command line with `--metrics` while the given functions are called; what is read, by name and labels."""

    def run_and_read(*words: str, fired: dict[str, tuple[int, ...]]) -> dict[tuple[str, ...], float]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        release = Workload.release

        def released(workload: Workload) -> None:
            for name, answers in fired.items():
                for answer in answers:
                    fake.fire(name, returned=answer)
            release(workload)

        monkeypatch.setattr(Workload, "release", released)
        file = tmp_path / "metrics"
        command = [sys.executable, "-c", READ, str(port), str(file)]
        assert run([*words, "--metrics", f":{port}", "--", *command]) == 0
        found = parse(file.read_text())
        return {
            (one.name, *dict(sorted(one.labels.items())).values()): one.value
            for family in found
            for one in family.samples
        }

    return run_and_read


def test_count(read: Read, capsys: pytest.CaptureFixture[str]) -> None:
    found = read(
        "count", "vfs_*", "nf_hook_slow", "s_next", "--json", fired={"vfs_read": (0,) * 5, "nf_hook_slow": (0,)}
    )
    assert found["multiprobe_calls_total", "vfs_read", ""] == 5
    assert found["multiprobe_calls_total", "nf_hook_slow", "nf_tables"] == 1
    assert ("multiprobe_calls_total", "vfs_write", "") not in found
    assert found["multiprobe_other_calls_total",] == 0
    out, err = capsys.readouterr()
    *rows, report = map(json.loads, out.splitlines())
    assert found["multiprobe_functions", "attached"] == report["attached"] > 5
    assert {("multiprobe_missed_total", cause) for cause in report["missed"]} <= found.keys()
    assert {row["function"]: row["calls"] for row in rows} == {"vfs_read": 5, "nf_hook_slow": 1}
    assert "metrics: http://127.0.0.1:" in err
    assert [labels for labels in found if labels[0] == "multiprobe_info"] == [
        ("multiprobe_info", "count", LIKE_7_3.release, mp.__version__)
    ]


def test_the_rest_is_summed(read: Read) -> None:
    found = read("count", "vfs_*", "--top", "1", fired={"vfs_read": (0,) * 5, "vfs_write": (0,) * 3, "vfs_open": (0,)})
    assert [labels[1] for labels in found if labels[0] == "multiprobe_calls_total"] == ["vfs_read"]
    assert found["multiprobe_other_calls_total",] == 4


def test_latency(read: Read) -> None:
    found = read("latency", "vfs_read", "vfs_write", fired={"vfs_read": (0, 0)})
    assert found["multiprobe_call_duration_seconds_count", "vfs_read", ""] == 2
    assert found["multiprobe_call_duration_seconds_bucket", "vfs_read", "+Inf", ""] == 2
    assert found["multiprobe_running_calls",] == 0


def test_errors(read: Read) -> None:
    found = read("errors", "vfs_read", "vfs_write", fired={"vfs_read": (-28,)})
    assert found["multiprobe_failures_total", "ENOSPC", "vfs_read", "", "returned"] == 1
    assert found["multiprobe_other_failures_total",] == 0


def test_a_port_in_use_is_told_before_anything_is_attached(
    fake: FakeKernel, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert run(["count", "vfs_read", "-d", "0", "--metrics", f":{other.getsockname()[1]}"]) == 2
    err = capsys.readouterr().err
    assert "Address already in use" in err
    assert "hint: " in err
    assert "LINK_CREATE" not in fake.calls


@pytest.mark.parametrize("address", ["", "x", ":", ":65536", ":-1", "::1:9435", "host", "1.2.3.4:x"])
def test_invalid_addresses(fake: FakeKernel, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["count", "vfs_read", "-d", "0", "--metrics", address]) == 2
    assert "invalid address" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("count", "--live"), "--metrics and --live exclude each other"),
        (("latency", "--by", "process"), "--by and --metrics exclude each other"),
    ],
)
def test_what_excludes_metrics(
    fake: FakeKernel, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "vfs_read", "-d", "0", "--metrics", ":0"]) == 2
    assert message in capsys.readouterr().err
