"""`fleet`: every host once, by real Dask workers whose multiprobe measures on fake kernels; failures are named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("distributed")
import dask
from distributed import LocalCluster, Security

import multiprobe as mp
from multiprobe.cli.main import run
from multiprobe.errors import MultiprobeError, UsageError
from multiprobe.hosts import fleet as fleets

WORKER = Path(__file__).with_name("fleet_worker.py")
TESTS = WORKER.parents[2]
SECONDS = 60
"""How long to wait for processes: workers import much."""
ROLES = ("scheduler", "worker", "client")
COUNT = ["count", "vfs_*", "--duration", "0.1"]

Start = Callable[..., str]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a scheduler with workers of the given hosts; returns its address."""
    monkeypatch.setattr(fleets, "EVERY", 0.05)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    paths = [str(TESTS), *sys.path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    workers: list[subprocess.Popen[bytes]] = []
    with LocalCluster(n_workers=0, processes=False, dashboard_address=":0", protocol="tcp://") as cluster:

        def begin(*hosts: dict[str, object]) -> str:
            for host in hosts:
                line = [sys.executable, str(WORKER), cluster.scheduler_address, json.dumps({"kernel": "6.12.1"} | host)]
                workers.append(subprocess.Popen(line, stderr=subprocess.DEVNULL))
            wait_until(lambda: len(cluster.scheduler.workers) == len(hosts))
            return str(cluster.scheduler_address)

        try:
            yield begin
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_hosts(start: Start, tmp_path: Path) -> None:
    address = start({"name": "a", "calls": 3}, {"name": "b", "calls": 4})
    seen: list[dict[str, str]] = []
    found = mp.fleet(
        ["count", "vfs_*", "--duration", "1"], scheduler=address, save=tmp_path / "runs", on_progress=seen.append
    )
    states = [(host.name, host.state, host.reason) for host in found.hosts]
    assert states == [("a", "measured", ""), ("b", "measured", "")]
    assert found.is_complete
    merged = found.merged()
    assert merged.n_hosts == 2
    assert {row["function"]: row["calls"] for row in merged.rows} == {"vfs_read": 7}
    assert sorted(mp.Run.load(path).host.name for path in found.paths) == ["a", "b"]
    assert {"a": "measuring", "b": "measuring"} in seen
    assert sorted(os.listdir(tmp_path / "runs")) == sorted(os.path.basename(path) for path in found.paths)


def test_a_worker_that_hangs_is_lost_and_disturbs_no_other(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = start({"name": "good"}, {"name": "hangs", "action": "hang"})
    limits = iter([SECONDS, SECONDS])  # for its introduction and its beginning; then it hangs
    ask_each = fleets._Asking._ask_each
    monkeypatch.setattr(
        fleets._Asking, "_ask_each", lambda *arguments: ask_each(*arguments[:-1], arguments[-1] or next(limits, 5.0))
    )
    found = mp.fleet(["count", "vfs_*", "--duration", "1"], scheduler=address, save=tmp_path / "runs")
    assert [(host.name, host.state, host.reason) for host in found.hosts] == [
        ("good", "measured", ""),
        ("hangs", "lost", "it does not answer: TimeoutError: no answer for 5 seconds"),
    ]


def test_a_host_is_asked_once_and_its_worker_is_root(start: Start, tmp_path: Path) -> None:
    found = mp.fleet(
        COUNT,
        scheduler=start({"name": "a", "is_root": False, "action": "exit"}, {"name": "a"}),
        save=tmp_path / "runs",
    )
    assert [(host.name, host.state) for host in found.hosts] == [("a", "measured")]


def test_what_became_of_each_host(start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = start(
        {"name": "dies", "action": "die"},
        {"name": "evil/../\x1b[31m", "action": "exit"},
        {"name": "good", "calls": 2},
        {"name": "junk", "action": "junk"},
        {"name": "old", "version": "0.0.1"},
    )
    assert run(["fleet", "--scheduler", address, "--save", str(tmp_path / "runs"), "--json", *COUNT]) == 1
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    hosts = {line["name"]: (line["state"], line["reason"]) for line in lines if line["type"] == "host"}
    assert hosts.keys() == {"dies", "evil/../\x1b[31m", "good", "junk", "old"}
    assert hosts["dies"][0] == "lost"
    assert hosts["dies"][1].startswith("it does not answer: ")
    assert hosts["evil/../\x1b[31m"] == ("failed", "cannot attach: EPERM (exit status 4)")
    assert hosts["good"] == ("measured", "")
    assert hosts["junk"][0] == "failed"
    assert hosts["junk"][1].startswith("its answer can't be used: ")
    assert hosts["old"] == ("refused", f"it has multiprobe 0.0.1, not {mp.__version__}")
    assert [line["calls"] for line in lines if line["type"] == "function"] == [2]
    assert lines[-1]["type"] == "merge"
    assert [name.rsplit("-", 1)[0] for name in os.listdir(tmp_path / "runs")] == ["good"]
    assert "Traceback" not in err


def test_the_first_interrupt_ends_it_everywhere_with_results(start: Start, tmp_path: Path) -> None:
    address = start({"name": "a"}, {"name": "b"}, {"name": "slow", "action": "attach"})

    def interrupt() -> None:
        wait_until(lambda: all((tmp_path / f"measuring-{name}").exists() for name in ("a", "b", "slow")))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    found = mp.fleet(["count", "vfs_*"], scheduler=address, save=tmp_path / "runs")  # without a duration
    thread.join()
    assert [(host.state, host.reason) for host in found.hosts] == [
        ("measured", ""),
        ("measured", ""),
        ("interrupted", "it was ended before it was attached"),
    ]
    assert (tmp_path / "ended-a").exists()
    assert len(found.paths) == 2


def test_the_second_interrupt_kills_it_everywhere(start: Start, tmp_path: Path) -> None:
    address = start({"name": "a", "action": "deaf"})
    pid = tmp_path / "pid"

    def interrupt() -> None:
        wait_until(lambda: (tmp_path / "measuring-a").exists())
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(lambda: (tmp_path / "deaf").exists())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        mp.fleet(["count", "vfs_*"], scheduler=address, save=tmp_path / "runs")
    thread.join()
    wait_until(lambda: not Path(f"/proc/{pid.read_text()}").exists())


def test_a_measurement_ends_when_nobody_asks_for_it(tmp_path: Path, start: Start) -> None:
    address = start({"name": "a", "patience": 5})
    program = (
        "from multiprobe.hosts import fleet; fleet.EVERY = 0.1\n"
        f"fleet.fleet(['count', 'vfs_*'], scheduler={address!r}, save={str(tmp_path / 'runs')!r})"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as client:
        wait_until(lambda: (tmp_path / "measuring-a").exists())
        client.kill()
    wait_until(lambda: (tmp_path / "ended-a").exists())


def test_kernels_are_compared(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    address = start(
        {"name": "a", "kernel": "6.12.1", "calls": 2},
        {"name": "b", "kernel": "6.2.9", "calls": 8},
        {"name": "c", "kernel": "7.3.0", "calls": 2},
    )
    assert run(["fleet", "--scheduler", address, "--diff-by", "kernel", *COUNT]) == 0
    out = capsys.readouterr().out
    assert "6.2.9 → 6.12.1" in out
    assert "6.12.1 → 7.3.0" in out
    assert out.index("6.2.9 →") < out.index("6.12.1 →")


def test_tls_is_as_dask_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates come from Dask's configuration; without them the scheduler is out of reach."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates, and is not installed")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test", "-keyout"]
    subprocess.run([*words, key, "-out", certificate], check=True, capture_output=True)
    files = {f"{role}.{what}": path for role in ROLES for what, path in (("key", key), ("cert", certificate))}
    tls = {f"distributed.comm.tls.{name}": path for name, path in ({"ca-file": certificate} | files).items()}
    monkeypatch.setattr("multiprobe.hosts.connecting.CONNECTING", 5)
    with ExitStack() as ends:
        with dask.config.set(tls):
            cluster = LocalCluster(
                n_workers=0, processes=False, dashboard_address=":0", protocol="tls://", security=Security()
            )
            address = ends.enter_context(cluster).scheduler_address
            assert address.startswith("tls://")
            with pytest.raises(MultiprobeError, match="has no workers"):
                mp.fleet(COUNT, scheduler=address, save=tmp_path)
        with pytest.raises(MultiprobeError, match="cannot reach the scheduler at tls://"):
            mp.fleet(COUNT, scheduler=address, save=tmp_path)


def test_there_is_no_worker(start: Start, tmp_path: Path) -> None:
    with pytest.raises(MultiprobeError, match="the scheduler has no workers"):
        mp.fleet(COUNT, scheduler=start(), save=tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["inspect", "x"], "'inspect' is not a command that measures"),
        ([], "'nothing' is not a command that measures"),
        (["count", "x", "--save=f"], "--save is for one host"),
        (["count", "x", "-of"], "-o is for one host"),
        (["count", "x", "--live"], "--live is for one host"),
    ],
)
def test_lines_that_are_refused(line: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        mp.fleet(line, scheduler="tcp://127.0.0.1:1", save=tmp_path)


def test_options_of_the_command_that_is_measured_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from multiprobe.hosts.line import require_measuring

    require_measuring(["count", "x", "--", "tar", "--save", "-o"])


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x", "tls://127.0.0.1:1"])
def test_schedulers_that_are_not_there(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multiprobe.hosts.connecting.CONNECTING", 0.5)
    with pytest.raises(MultiprobeError, match="scheduler"):
        mp.fleet(COUNT, scheduler=address, save=tmp_path)


def test_without_dask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("multiprobe.hosts.connecting.find_spec", lambda _: None)
    assert run(["fleet", "--scheduler", "tcp://127.0.0.1:1", *COUNT]) == 5
    assert "pip install 'multiprobe[fleet]'" in capsys.readouterr().err
