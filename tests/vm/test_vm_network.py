"""`--network` and `--publish`: connections in both directions, and a fleet of guests."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from distributed import LocalCluster

import multiprobe as mp
from conftest import ROOT, TIME_LIMIT, VM
from ports import free_port

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
HOST = "10.0.2.2"
BOTH_WAYS = """\
import socket, sys
from urllib.request import urlopen

with socket.create_server(("", int(sys.argv[2]))) as server:
    print(urlopen(sys.argv[1], timeout=600).read().decode(), flush=True)  # which makes the host connect
    connection, _ = server.accept()
    print(connection.recv(100).decode())
"""


def test_both_sides_can_connect(vm: Run) -> None:
    port = free_port()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"to the guest")
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"into the guest")

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://{HOST}:{server.server_port}/"
        ended = vm("--publish", str(port), "--", sys.executable, "-c", BOTH_WAYS, url, str(port))
        server.shutdown()
    assert ended.stderr == b""
    assert ended.stdout == b"to the guest\ninto the guest\n"


def test_without_the_option_there_is_no_network(vm: Run) -> None:
    assert vm("--", "ls", "/sys/class/net").stdout == b"lo\n"


def test_a_port_that_is_in_use(vm: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ended = vm("--publish", str(port), "--", "true")
    assert ended.returncode == 1
    assert f"tcp:127.0.0.1:{port}" in ended.stderr.decode()
    assert "a port of --publish must be free here" in ended.stderr.decode()


@contextlib.contextmanager
def workers(scheduler: int, kernels: tuple[str, ...]) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """A guest for each kernel, with a Dask worker; by its address as the scheduler knows it."""
    with contextlib.ExitStack() as cleanup:
        guests = {}
        for kernel in kernels:
            port = free_port()
            address = f"tcp://127.0.0.1:{port}"
            worker = [sys.executable, "-m", "distributed.cli.dask_worker", f"tcp://{HOST}:{scheduler}", "--no-nanny"]
            worker += ["--no-dashboard", "--nthreads=1", f"--listen-address=tcp://0.0.0.0:{port}"]
            line = [*VM, "--kernel", kernel, "--publish", str(port), "--", *worker, f"--contact-address={address}"]
            guests[address] = cleanup.enter_context(
                subprocess.Popen(line, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            )
            cleanup.callback(guests[address].kill)
        yield guests


def test_a_fleet_of_guests_of_which_one_is_killed(tmp_path: Path) -> None:
    with (
        LocalCluster(n_workers=0, processes=False, protocol="tcp://", dashboard_address=":0") as cluster,
        workers(cluster.scheduler.port, ("6.1", "6.12", "7.3")) as guests,
    ):
        end = time.monotonic() + TIME_LIMIT
        while len(cluster.scheduler.workers) < len(guests):
            assert time.monotonic() < end
            assert all(guest.poll() is None for guest in guests.values())
            time.sleep(0.5)
        victim = next(iter(guests))

        def kill(_: Mapping[str, str]) -> None:
            guests[victim].send_signal(signal.SIGKILL)

        found = mp.fleet(
            ["count", "vfs_*", "--duration", "10"],
            scheduler=cluster.scheduler_address,
            save=tmp_path,
            on_progress=kill,
        )
    assert {host.worker: host.state for host in found.hosts} == {
        address: "lost" if address == victim else "measured" for address in guests
    }
    assert not found.is_complete
    kernels = sorted(host.host.kernel.split(".")[:2] for host in found.hosts if host.path and host.host)
    assert kernels == [["6", "12"], ["7", "3"]]
    assert found.merged().n_hosts == 2
    compared = subprocess.run(
        [sys.executable, "-m", "multiprobe", "diff", "--by", "kernel", *found.paths],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert "6.12." in compared.stdout
    assert "7.3." in compared.stdout
