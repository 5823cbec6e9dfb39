"""Every command on terminals of several widths and encodings, drawn by a terminal emulator.

No line is wider than the terminal, every number is whole and has its unit, every name can be read. Pipes and files get
everything, in lines of any length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from measured import HUGE, LONG, LONG_WORD, NAMES, patch_instruments
from terminals import ENCODINGS, WIDTHS, Terminal, can_be_read, check, in_full

import multiprobe as mp
from fake_kernel import FUNCTIONS, FakeFunction, FakeKernel
from multiprobe.cells import cell_width
from multiprobe.cli import fleet as fleet_command
from multiprobe.cli.group import SECTIONS
from multiprobe.cli.main import run
from multiprobe.hosts.outcome import Fleet, FleetHost
from multiprobe.runs.host import Host
from multiprobe.vm import kernels, requirements

if TYPE_CHECKING:
    from .conftest import FakeWorld


@pytest.fixture
def measured(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_instruments(world, monkeypatch)


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
    "record": ["record", "*", "--until", "duration > 50ms"],
    "coverage": ["coverage", "*"],
    "metrics": ["count", "*", "--metrics", ":0"],
}
COMPARING = ["merge", "diff"]
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
    "bench": (["bench", "memory", "vfs_*", "--runs", "1"], ["latency", "stacks"]),
    "dry run": (["count", "vfs_*", LONG, "migrate_disable", "--dry-run"], ["migrate_disable", "tracing_multi"]),
    "no match": (["count", f"{LONG}_{LONG}"], [f"{LONG}_{LONG}"]),
    "usage": (["count", "--duration", LONG], [LONG]),
    "fleet": (["fleet", "--scheduler", "tcp://head:8786", "count", "*"], [LONG, "measured", "lost"]),
}
STATUS = {"no match": 3, "usage": 2, "fleet": 1}
HOSTS = (
    FleetHost(Host(name=LONG, kernel="6.12.117+deb12-cloud-amd64"), "tcp://node-a.example:38123", "measured"),
    FleetHost(None, "tcp://node-b.example:40021", "lost", "it does not answer: CommClosedError: in <TCP (closed)>"),
)


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
    monkeypatch.setattr("multiprobe.cli.dry_run.instruction_rate", lambda: 1e9)
    monkeypatch.setattr(fleet_command, "fleet", lambda line, **_: Fleet(tuple(line), HOSTS))
    words, names = EXAMINING[name]
    whole = in_full(words, capsys)
    for encoding in ENCODINGS:
        terminal = Terminal(width, encoding, monkeypatch)
        assert terminal.run(*words) == STATUS.get(name, 0)
        check(terminal, whole, names)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", COMPARING)
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
COLOURED = ("count", "latency", "coverage")
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
    monkeypatch.setattr("multiprobe.cli.dry_run.instruction_rate", lambda: 1e9)
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


FAILING = """
import multiprobe as mp

@mp.program
def count(ctx):
    no_such_map[ctx.function] += 1

mp.attach(count, ["vfs_read"])
"""
#: Command lines that print no results; their exit status; names that can be read.
OTHERS = {
    "vm list": (["vm", "--list"], 0, ["6.12-rt", "6.12.117-1~deb12u1"]),
    "vm fetch": (["vm", "--fetch"], 0, [LONG]),
    "vm two kernels": (["vm", "-k", "6.1", "-k", "7.3"], 2, []),
    "vm programs": (["vm", "true"], 1, ["qemu-system-x86", "virtiofsd", "busybox-static"]),
    "vm rights": (["vm", "true"], 4, ["kernel.apparmor_restrict_unprivileged_userns=0"]),
    "vm image": (["vm", "--kernel-image", f"/{LONG}", "true"], 1, [LONG]),
    "vm series": (["vm", "-k", "9.9", "true"], 1, ["6.12-generic", "7.3-rt"]),
    "vm wrong": (["vm", "--cpus", "many"], 2, []),
    "run": (["run", "failing.py"], 2, ["failing.py", "no_such_map"]),
    "run nothing": (["run", f"{LONG}.py"], 2, [LONG]),
    "completion": (["completion", LONG], 2, [LONG, "fish"]),
}


NEEDED = {
    "qemu-system-x86_64": ("qemu-system-x86", "qemu-system-common"),
    "virtiofsd": ("virtiofsd",),
    "busybox, statically linked": ("busybox-static",),
}
OBSTACLE = (
    "user namespaces, which the virtual machine needs without root, can't be used here: unshare: EPERM",
    "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0",
)


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that fails, and an archive with kernels."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "failing.py").write_text(FAILING)
    version = "6.12.117-1~deb12u1"
    names = [f"{series}{flavour}" for series in ("6.1", "6.12", "7.2", "7.3") for flavour in ("", "-generic", "-rt")]
    made = {name: kernels.BootKernel(name, version, version, Path(f"/{LONG}"), None) for name in names}
    there: Any = [
        SimpleNamespace(series=name, image=SimpleNamespace(version=version), has_modules=True) for name in names
    ]
    monkeypatch.setattr(kernels, "all_cached", lambda: [made["6.12"]])
    monkeypatch.setattr(kernels, "open_archive", lambda **_: None)
    monkeypatch.setattr(kernels, "available", lambda archive: there)
    monkeypatch.setattr(kernels, "newest", lambda offers: {one.series: one for one in offers})
    monkeypatch.setattr(kernels, "fetch", lambda series, **_: [made.get(x) or kernels.choose(there, x) for x in series])


@pytest.mark.usefixtures("surroundings", "fake")
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", OTHERS)
def test_what_has_no_results_fits(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = [requirements.Requirement(*needed) for needed in NEEDED.items()] if name == "vm programs" else []
    monkeypatch.setattr(requirements, "find_missing", lambda: missing)
    monkeypatch.setattr(requirements, "find_obstacle", lambda: OBSTACLE if name == "vm rights" else None)
    words, status, names = OTHERS[name]
    whole = in_full(words, capsys)
    for encoding in ENCODINGS:
        terminal = Terminal(width, encoding, monkeypatch)
        assert terminal.run(*words) == status, terminal.text
        check(terminal, whole, names)


COMMANDS = [name for commands in SECTIONS.values() for name in commands]


def test_no_command_is_forgotten() -> None:
    lines = [*MEASURING.values(), *(words for words, _ in EXAMINING.values()), *(one[0] for one in OTHERS.values())]
    assert {words[0] for words in lines} | set(COMPARING) == set(COMMANDS)


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
