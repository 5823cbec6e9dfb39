"""Every command on terminals of several widths and encodings, drawn by a terminal emulator.

No line is wider than the terminal, every number is whole and has its unit, every name can be read. Pipes and files get
everything, in lines of any length.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
import threading
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyte
import pytest

import multiprobe as mp
from fake_kernel import FUNCTIONS, FakeFunction, FakeKernel
from multiprobe.cells import cell_width
from multiprobe.cli import measuring
from multiprobe.cli.group import SECTIONS
from multiprobe.cli.main import run
from multiprobe.functions.sets import Refusal
from multiprobe.instruments import count
from multiprobe.instruments.count import CountSample
from multiprobe.instruments.errors import instrument as errors
from multiprobe.instruments.errors.failures import NULL, FailedCall, FailureGroup
from multiprobe.instruments.errors.instrument import ErrorsSample
from multiprobe.instruments.graph import instrument as graph
from multiprobe.instruments.graph.calltree import CallTree
from multiprobe.instruments.graph.instrument import GraphSample, ThreadCalls, ThreadId
from multiprobe.instruments.latency import instrument as latency
from multiprobe.instruments.latency.instrument import Latency, LatencySample
from multiprobe.instruments.stacks import instrument as stacks
from multiprobe.instruments.stacks.instrument import Stack, StacksSample
from multiprobe.instruments.task_names import TaskNames
from multiprobe.instruments.trace import instrument as trace
from multiprobe.instruments.trace.instrument import TracedCall
from multiprobe.links.report import MEANINGS, Drop, Failure, Verified
from multiprobe.names import decode_name, printable
from nasty_names import NASTY

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import FakeWorld

WIDTHS = (40, 80, 100, 200)
ENCODINGS = ("utf-8", "ascii", "iso8859-1", "iso8859-9", "cp1252")
NUMBER = re.compile(r"(?<![\w.,\\-])(\d+(?:,\d{3})*(?:\.\d+)?%?)(?!\w)(?:\s+(ns|µs|us|ms|s|MB)\b)?")

LONG = "bpf_struct_ops_of_a_scheduler_whose_author_had_a_wide_screen_and_no_mercy_on_anyone_who_reads_its_name_here"


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    module: str
    address: int

    def __str__(self) -> str:
        return f"{self.name} [{self.module}]" if self.module else self.name


class Functions(list[Function]):
    unresolved = ()

    def n_attachable(self, *, when: str) -> int:
        return len(self)


LONG_WORD = "x".join("abcdefghijklmnopqrstuvwyz" * 5)
NAMES = ["vfs_read", LONG, "tcp_diag_dump", LONG_WORD, decode_name(b"\xff\x1b[31m"), "naïve_函数_😀x"]
MODULES = ["", "", "tcp_diag", "a_module_with_a_long_name", "", ""]
FUNCTIONS_MADE = Functions(
    Function(name, module, 0xFFFFFFFF81000010 + 16 * n)
    for n, (name, module) in enumerate(zip(NAMES, MODULES, strict=True))
)
COMMS = [decode_name(raw) for raw, _ in NASTY]
HUGE = (1 << 64) - 1
CALLS = [1, HUGE, 12_345_678, 3, 2, 999]
TIMES = [0, HUGE, 7_080_000, 375_000, 1, 999_999]
"""Nanoseconds, from none at all to 585 years."""


class Instrument:
    """An instrument that has measured; `more` is what the commands ask of it besides."""

    def __init__(self, report: Any, sample: Any, more: dict[str, Any], finish: Callable[[], None]) -> None:
        self.__dict__ |= more
        self.functions, self.report, self._sample, self._finish = FUNCTIONS_MADE, report, sample, finish
        self.seconds = 1.0

    def sample(self) -> Any:
        return [] if isinstance(self._sample, list) else self._sample

    def finish(self) -> Any:
        self._finish()
        return self._sample

    def poll(self) -> bool:
        return False

    def close(self) -> None: ...

    def __enter__(self) -> Instrument:
        return self

    def __exit__(self, *_: object) -> None: ...


def times_of(n: int) -> Latency:
    buckets = [0] * 65
    buckets[TIMES[n].bit_length()] = CALLS[n]
    buckets = buckets[: TIMES[n].bit_length() + 1]
    return Latency(
        FUNCTIONS_MADE[n], 4_194_303 - n, CALLS[n], n % 3, min(TIMES[n] * CALLS[n], HUGE), 1, TIMES[n], tuple(buckets)
    )


FAILURES = [
    FailedCall(10, 7, 4_194_303, COMMS[0], 28, (1, None, 3), True, (HUGE,), 1, 5),
    FailedCall(20, 7, 7, COMMS[5], NULL, (2,), False, (0,), 2, NULL),
    FailedCall(30, 7, 7, "ls", 28, tuple(range(6)), False, (0,), None, 0),
]


def tree_of(n: int) -> CallTree:
    """Calls, each inside the one before."""
    numbers = np.arange(n)
    begin, end = numbers.astype(np.uint64), np.uint64(HUGE // 2) - numbers.astype(np.uint64)
    return CallTree((numbers % 4).astype(np.uint32), begin, np.where(numbers == 5, 0, end), numbers.astype(np.int32))


SAMPLES: dict[Any, tuple[Any, dict[str, Any]]] = {
    count: (CountSample(2.0, array("Q", [HUGE // 2, 0, 12_345_678, 3, 2, 1])), {}),
    latency: (LatencySample(1.5, [times_of(n) for n in range(6)]), {"has_self": True}),
    trace: (
        [
            TracedCall(
                12_345.678, 1, 255, 7, 4_194_303, name, FUNCTIONS_MADE[n % 6], (("count", HUGE), ("buf", "0xff4633")),
                {"file": {"name": name, "of": [LONG]}}, TIMES[n % 6], -2, -2, stack=(LONG, "ksys_read"),
            )
            for n, name in enumerate(COMMS)
        ],
        {},
    ),
    errors: (
        ErrorsSample(2.0, [FailureGroup(CALLS[n], failure) for n, failure in enumerate(FAILURES)], 1, 3),
        {"n_untyped": 1, "arguments": lambda failure: {"inode": hex(failure.arguments[0])}},
    ),
    graph: (
        GraphSample(0.5, [ThreadCalls(ThreadId(7, 8), tree_of(13)), ThreadCalls(ThreadId(0, 0, 3), tree_of(0))], 2, 1),
        {"names": {7: COMMS[0], 8: COMMS[1]}},
    ),
    stacks: (
        StacksSample(
            0.5,
            [Stack(n, (LONG, "0xffffff", str(one)), CALLS[n], TIMES[n]) for n, one in enumerate(FUNCTIONS_MADE)],
            {"EFAULT": 1},
        ),
        {},
    ),
}  # fmt: skip


@pytest.fixture
def measured(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring commands whose measurements have the values above, and a report that has something of everything."""
    world.functions = FUNCTIONS_MADE

    def report() -> Any:
        made = world.attach(None, FUNCTIONS_MADE).report
        return replace(
            made,
            skipped=tuple(Refusal(name, "not_traceable", f"{name} is not traceable") for name in NAMES),
            failed=(Failure(LONG, "kprobe_multi", 22, "its module is going away"),),
            dropped=(Drop(LONG, "budget", "1,234,567 hits a second at 120 ns each", 1e9, 0.5, 1.0),),
            budget={"share": 0.0625, "budget": 0.05},
            missed=dict.fromkeys(MEANINGS, 1) | {"link_misses": HUGE},
            verified=(Verified(LONG, "kprobe_multi", 1, 0),),
            kernel_memory={"predicted": 123_456_789, "taken": 1_200_000_000},
            notes=(f"no call of {LONG}; called alike: {', '.join(NAMES[:2])}",),
        )

    def starter(sample: Any, more: dict[str, Any]) -> Callable[..., Instrument]:
        def start(functions: Any, **options: Any) -> Instrument:
            on_failure = options.get("on_failure") or (lambda failure: None)
            return Instrument(report(), sample, more, lambda: [on_failure(one) for one in FAILURES] and None)

        return start

    for module, (sample, more) in SAMPLES.items():
        monkeypatch.setattr(module, "start", starter(sample, more))
    monkeypatch.setattr(TaskNames, "__getitem__", lambda _self, number: COMMS[number % len(COMMS)])


class Terminal:
    """Runs a command line with standard output and error on a pseudo-terminal; `text` is all that it got."""

    def __init__(self, width: int, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.width, self.encoding, self._monkeypatch = width, encoding, monkeypatch

    def run(self, *words: str, **environment: str) -> int:
        parent, child = pty.openpty()
        fcntl.ioctl(parent, termios.TIOCSWINSZ, struct.pack("HHHH", 24, self.width, 0, 0))
        pieces: list[bytes] = []
        reader = threading.Thread(target=_read, args=(parent, pieces))
        reader.start()
        stream = io.TextIOWrapper(io.FileIO(child, "w"), encoding=self.encoding, errors="strict")
        with self._monkeypatch.context() as patch, stream:
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "stderr", stream)
            patch.setenv("TERM", "xterm")
            patch.delenv("COLUMNS", raising=False)
            patch.delenv("NO_COLOR", raising=False)
            for name, value in environment.items():
                patch.setenv(name, value)
            status = run(words)
            stream.flush()
        reader.join()
        os.close(parent)
        self.text = b"".join(pieces).decode(self.encoding)
        return status

    def lines(self) -> list[str]:
        """What a terminal shows that is wide enough for anything."""
        screen = pyte.Screen(self.width + 400, self.text.count("\n") + 2)
        pyte.Stream(screen).feed(self.text)
        return [_line(screen, y) for y in range(screen.lines)]


def _line(screen: pyte.Screen, y: int) -> str:
    row = screen.buffer[y]
    return "".join(row[x].data for x in range(max(row, default=-1) + 1)).rstrip()


def _read(fd: int, pieces: list[bytes]) -> None:
    """Until the terminal's other end is closed."""
    try:
        while piece := os.read(fd, 1 << 16):
            pieces.append(piece)
    except OSError:
        pass


def numbers(text: str) -> set[tuple[str, str]]:
    """All numbers with their units; "" for those that have none."""
    return {(match[1], (match[2] or "").replace("µ", "u")) for match in NUMBER.finditer(text)}


def written(name: str, encoding: str) -> str:
    """How a name is written in an encoding."""
    return printable(name).encode(encoding, "backslashreplace").decode(encoding)


def can_be_read(name: str, lines: list[str]) -> bool:
    """Whether a name is there: on one line, or in pieces in the same column of lines below each other."""
    name = "".join(name.split())
    edges = {
        match.start()
        for line in lines
        if re.search(r"\b(FUNCTION|LINK)\b", line)
        for match in re.finditer(r"\S+", line)
    }
    columns = [(0, None), *((start, end) for start in edges for end in (*edges, None) if end is None or start < end)]
    return any(name in "".join("".join(_cells(line)[start:end]) for line in lines) for start, end in columns)


def _cells(line: str) -> list[str]:
    """A line's letters by columns of the screen, without spaces."""
    return ["" if letter == " " else part for letter in line for part in (letter, *[""] * (cell_width(letter) - 1))]


MEASURING = {
    "count": ["count", "*"],
    "latency": ["latency", "*"],
    "latency by": ["latency", "*", "--self", "--by", "process", "--sort", "p99"],
    "trace": ["trace", "*"],
    "errors": ["errors", "*"],
    "errors each": ["errors", "*", "--each"],
    "graph": ["graph", "*"],
    "stacks": ["stacks", "*"],
    "stacks time": ["stacks", "*", "--time"],
}
NAMED = {"errors each": NAMES[:4], "errors": NAMES[:4], "graph": NAMES[:4]}
NOT_CALLED = {"count": {LONG}}


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeKernel]:
    more = [FakeFunction(LONG), FakeFunction(LONG_WORD, module="nf_tables"), FakeFunction("vfs_y", is_traceable=False)]
    with FakeKernel(tmp_path_factory.mktemp("fake"), functions=(*FUNCTIONS, *more)) as made:
        yield made


EXAMINING = {
    "functions": (["functions", "vfs_*", LONG, LONG_WORD], ["vfs_read", "vfs_y", LONG, LONG_WORD, "nf_tables"]),
    "functions why": (["functions", "--why", LONG], [LONG]),
    "functions twice": (["functions", "--why", "s_next"], ["s_next"]),
    "inspect": (["inspect"], [LONG, "with_a_name"]),
    "inspect function": (["inspect", LONG], [LONG, "with_a_name"]),
    "inspect mix": (["inspect", "--mix", "vfs_*", "--mix", LONG], [LONG, "vfs_read"]),
    "doctor": (["doctor"], ["kprobe_multi", "tracing_multi"]),
    "dry run": (["count", "vfs_*", LONG, "migrate_disable", "--dry-run"], ["migrate_disable", "tracing_multi"]),
    "no match": (["count", f"{LONG}_{LONG}"], [f"{LONG}_{LONG}"]),
    "usage": (["count", "--duration", LONG], [LONG]),
}
STATUS = {"no match": 3, "usage": 2}


@mp.program
def with_a_name(ctx: mp.Context) -> None:
    pass


@pytest.fixture
def attached(fake: FakeKernel) -> Iterator[None]:
    """Something for `inspect` to show."""
    names = ["vfs_read", "vfs_write", LONG]
    with (
        mp.attach(with_a_name, names, cookies=[HUGE, 2, HUGE - 1]),
        mp.attach(with_a_name, [LONG], mechanisms="trampoline", when="return"),
        mp.attach(with_a_name, names, mechanisms="kprobe"),
    ):
        yield


def in_full(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a pipe gets."""
    run(words)
    printed = capsys.readouterr()
    return printed.out + printed.err


def check(terminal: Terminal, whole: str, names: list[str]) -> None:
    """What a terminal shows is what a pipe gets, but for columns that were left out."""
    lines = terminal.lines()
    shown = re.sub(r"fake-[\da-f\s]+/", "", "\n".join(lines))  # the fake kernel's directory
    assert max(map(cell_width, lines)) <= terminal.width, max(lines, key=cell_width)
    unknown = numbers(re.sub(rf"not shown in {terminal.width}\s+columns", "", shown)) - numbers(whole)
    assert not unknown, f"{unknown}\n{shown}"
    unread = [name for name in names if not can_be_read(written(name, terminal.encoding), lines)]
    assert not unread, f"{unread}\n{shown}"
    known = "|".join(re.escape("".join(written(n, terminal.encoding).split())) for n in (*COMMS, *NAMES) if n.strip())
    assert r"\u" not in re.sub(known, "", "".join(shown.split()))


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", MEASURING)
def test_measurements_fit(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*MEASURING[name], "-d", "0"]
    whole = in_full(words, capsys)
    for encoding in ENCODINGS:
        terminal = Terminal(width, encoding, monkeypatch)
        assert terminal.run(*words) == 0
        check(terminal, whole, [one for one in NAMED.get(name, NAMES) if one not in NOT_CALLED.get(name, ())])


@pytest.mark.usefixtures("attached")
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", EXAMINING)
def test_what_is_examined_fits(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measuring, "instruction_rate", lambda: 1e9)
    words, names = EXAMINING[name]
    whole = in_full(words, capsys)
    for encoding in ENCODINGS:
        terminal = Terminal(width, encoding, monkeypatch)
        assert terminal.run(*words) == STATUS.get(name, 0)
        check(terminal, whole, names)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", ["merge", "diff"])
@pytest.mark.parametrize("name", ["count", "latency", "errors", "stacks time"])
def test_saved_runs_fit(
    name: str,
    command: str,
    width: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("a.jsonl", "b.jsonl"):
        assert run([*MEASURING[name], "-d", "0", "--save", file]) == 0
    capsys.readouterr()
    words = [command, "a.jsonl", "b.jsonl"]
    whole = in_full(words, capsys)
    assert whole
    for encoding in ENCODINGS:
        terminal = Terminal(width, encoding, monkeypatch)
        assert terminal.run(*words) == 0
        check(terminal, whole, ["tcp_diag_dump"] if command == "merge" and name != "errors" else [])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("words", [["libc:mem*", "libc:*alloc"], ["--why", "libc:malloc"]], ids=str)
def test_functions_of_libraries_fit(
    words: list[str], width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = in_full(["functions", *words], capsys)
    for encoding in ENCODINGS:
        terminal = Terminal(width, encoding, monkeypatch)
        assert terminal.run("functions", *words) == 0
        check(terminal, whole, ["malloc"])


PLAIN = pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
COLOURED = ("count", "latency")
COLOUR = re.compile(r"\x1b\[[\d;]*m")


def text_of(terminal: Terminal, words: list[str], environment: dict[str, str]) -> str:
    terminal.run(*words, **environment)
    return terminal.text


@pytest.mark.usefixtures("measured")
@PLAIN
@pytest.mark.parametrize("name", MEASURING)
def test_measurements_are_plain(name: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, words = Terminal(80, "utf-8", monkeypatch), [*MEASURING[name], "-d", "0"]
    assert bool(COLOUR.search(text_of(terminal, words, {}))) == (words[0] in COLOURED)
    assert not COLOUR.search(text_of(terminal, words, environment))


@pytest.mark.usefixtures("attached")
@PLAIN
@pytest.mark.parametrize("name", EXAMINING)
def test_what_is_examined_is_plain(name: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "instruction_rate", lambda: 1e9)
    assert not COLOUR.search(text_of(Terminal(80, "utf-8", monkeypatch), EXAMINING[name][0], environment))


@pytest.mark.usefixtures("attached")
@pytest.mark.parametrize("form", [[], ["--json"]], ids=str)
@pytest.mark.parametrize("name", [name for name in EXAMINING if name.split()[0] in ("functions", "inspect", "doctor")])
def test_a_file_gets_what_a_pipe_gets(
    name: str, form: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*EXAMINING[name][0], *form]
    assert run(words) == 0
    piped = capsys.readouterr().out
    file = tmp_path / "results"
    file.write_text("what was there before\n")
    assert run([*words, "-o", str(file)]) == 0
    assert capsys.readouterr().out == ""
    assert file.read_text() == piped
    assert piped


COMMANDS = [name for commands in SECTIONS.values() for name in commands]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ENCODINGS:
        terminal = Terminal(width, encoding, monkeypatch)
        assert terminal.run(*([name] if name else []), "--help") == 0
        lines = terminal.lines()
        assert max(map(cell_width, lines)) <= width, max(lines, key=cell_width)
        assert r"\u" not in terminal.text
        assert can_be_read("--help" if name else "COMMAND", lines)
