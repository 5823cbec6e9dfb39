"""`--metrics` over the fake kernel: a command that is measured reads its own numbers from the server."""

from __future__ import annotations

import errno
import json
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families as parse

import multiprobe as mp
from fake_kernel import LIKE_7_3, FakeKernel
from multiprobe.cli import following
from multiprobe.cli.main import run
from multiprobe.cli.signals import Until
from multiprobe.instruments.workload import Workload
from ports import free_port

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


Step = Callable[[], object]


@pytest.fixture
def play(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a command line with `--metrics`; between two looks at the modules, the next one of the steps is made."""

    def run_steps(words: Sequence[str], steps: Sequence[Step]) -> None:
        left = iter(steps)

        def wait(until: Until, seconds: float) -> bool:
            step = next(left, None)
            if step is not None:
                step()
            return step is None

        monkeypatch.setattr(Until, "wait", wait)
        monkeypatch.setattr(following, "EVERY", 0.0)
        assert run([*words, "--json"]) == 0

    return run_steps


def rest() -> None:
    """A step in which nothing happens."""


class Scrapes:
    """What was read at each `scrape`, by name and label values."""

    def __init__(self) -> None:
        self.port = free_port()
        self.found: list[dict[tuple[str, ...], float]] = []

    def scrape(self) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=20) as answer:
            families = parse(answer.read().decode())
        self.found.append({(one.name, *one.labels.values()): one.value for f in families for one in f.samples})

    def of(self, *names: str) -> list[float]:
        """The number of one row, at each moment; 0 where there was none."""
        return [found.get(names, 0) for found in self.found]


COMMANDS = {
    "count": ("multiprobe_calls_total", 0),
    "latency": ("multiprobe_call_duration_seconds_count", 0),
    "errors": ("multiprobe_failures_total", -28),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_modules_that_come_are_followed_and_counts_of_those_that_go_stay(
    fake: FakeKernel, play: Callable[..., None], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    metric, answer = COMMANDS[command]
    about = ("ENOSPC", "returned") if command == "errors" else ()
    load, scrapes = fake.hide("nf_tables"), Scrapes()
    n_links = len(fake.links)

    def fire() -> None:
        fake.fire("nf_hook_slow", returned=answer)
        fake.fire("vfs_read", returned=answer)

    steps = (
        rest, fire, scrapes.scrape, load, rest, rest, fire, fire, scrapes.scrape,
        lambda: fake.unload("nf_tables", is_listed=False), rest, rest, fire, scrapes.scrape,
    )  # fmt: skip
    mechanism = "kprobe" if command == "count" else "kprobe_multi"  # whose sessions the fake has
    words = (command, "vfs_read", "nf_*", "!nft_*", "--mechanism", mechanism, "--metrics", f":{scrapes.port}")
    play(words, steps)
    assert scrapes.of(metric, "vfs_read", "", *about) == [1, 3, 4]
    assert scrapes.of(metric, "nf_hook_slow", "nf_tables", *about) == [0, 2, 2]
    assert scrapes.of("multiprobe_functions", "attached") == [1, 2, 1]
    assert scrapes.of("multiprobe_functions", "gone") == [0, 0, 1]
    assert scrapes.of("multiprobe_modules_total", "loaded") == [0, 1, 1]
    assert scrapes.of("multiprobe_modules_total", "unloaded") == [0, 0, 1]
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["attached"] == 1
    assert [note.split(":")[0] for note in report["notes"] if "nf_tables" in note] == [
        "module nf_tables was loaded meanwhile",
        "module nf_tables was unloaded, and its probes with it; the counts until then are kept",
    ]
    assert len(fake.links) == n_links


def test_a_module_of_the_start_that_goes_is_told(fake: FakeKernel, play: Callable[..., None]) -> None:
    scrapes = Scrapes()
    steps = (
        lambda: fake.fire("nft_do_chain"), scrapes.scrape, lambda: fake.unload("nf_tables", is_listed=False), rest,
        rest, scrapes.scrape,
    )  # fmt: skip
    play(("count", "vfs_read", "nf*", "--mechanism", "kprobe", "--metrics", f":{scrapes.port}"), steps)
    assert scrapes.of("multiprobe_calls_total", "nft_do_chain", "nf_tables") == [1, 1]
    assert scrapes.of("multiprobe_functions", "attached") == [3, 1]
    assert scrapes.of("multiprobe_functions", "gone") == [0, 2]


def test_modules_without_a_chosen_function_and_those_that_refuse(
    fake: FakeKernel, play: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    scrapes, load = Scrapes(), fake.hide("nf_tables")
    play(("count", "vfs_*", "--metrics", f":{scrapes.port}"), (load, rest, rest, scrapes.scrape))
    assert "nf_tables" not in capsys.readouterr().out
    load = fake.hide("nf_tables")
    fake.refusals = {(mechanism, "nf_hook_slow"): errno.EINVAL for mechanism in ("kprobe", "kprobe_multi")}
    words = ("count", "vfs_*", "nf_hook_slow", "--mechanism", "kprobe", "--metrics", f":{scrapes.port}")
    play(words, (load, rest, rest, scrapes.scrape))
    for event, times in (("loaded", [0, 0]), ("unloaded", [0, 0]), ("refused", [0, 1])):
        assert scrapes.of("multiprobe_modules_total", event) == times
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert any("nothing was attached in nf_tables, loaded meanwhile: " in note for note in report["notes"])


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
