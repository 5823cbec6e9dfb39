"""`inspect` of functions of programs, compared with links whose details are known and with the memory of a process."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

import multiprobe as mp
from multiprobe import inspect
from multiprobe.binaries.file import BinaryFile
from multiprobe.cli.inspect import run
from multiprobe.errors import NoMatchError, UsageError
from multiprobe.links.mechanisms import uprobe_multi
from multiprobe.links.mechanisms.uprobe_program import PROG_TYPE, attach_type
from multiprobe.syscalls import bpf
from multiprobe.syscalls.fd import FileDescriptor
from multiprobe.syscalls.raw import PERF_EVENT_OPEN, address_of, c_string, call_opening
from multiprobe.uapi.perf import kprobe_attr

RETURN_0 = bytes.fromhex("b700000000000000 9500000000000000")
BIG = 0x1234567890ABCDEF
NAMES = ("nop5", "nop10", "plain")
PERF_EVENT_IOC_SET_BPF = 0x40042408
PMU = Path("/sys/bus/event_source/devices/uprobe/type")


class Running:
    """The program, waiting for a byte; what is in its memory is read here without multiprobe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.pid = self._process.pid
        self.step()

    def step(self) -> None:
        """Let it call its functions."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(b".")
        assert self._process.stdout.readline() == b"21\n"

    def close(self) -> None:
        if self._process.returncode is None:
            self._process.communicate()

    @property
    def maps(self) -> str:
        return Path(f"/proc/{self.pid}/maps").read_text()

    def address(self, function: str) -> int:
        """Where a function is, by nm and the first mapping of the file."""
        listed = subprocess.run(["nm", self.path], capture_output=True, text=True, check=True).stdout
        found = re.search(rf"^([0-9a-f]+) T {function}$", listed, re.MULTILINE)
        first = re.search(rf"^([0-9a-f]+)-\S+ \S+ 00000000 .*{re.escape(str(self.path))}", self.maps, re.MULTILINE)
        assert found
        assert first
        return int(found[1], 16) + int(first[1], 16)

    def code(self, function: str, size: int = 16) -> bytes:
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as file:
            return os.pread(file.fileno(), size, self.address(function))


@pytest.fixture
def running(built: Path, compiled: Callable[..., Path], tmp_path: Path) -> Iterator[Running]:
    process = Running(compiled("inspected.c", tmp_path / "inspected"))
    yield process
    process.close()


class Links:
    """Attaches a program that does nothing to functions, until the test ends."""

    def __init__(self, binary: mp.Binary, stack: ExitStack) -> None:
        self._binary, self._stack = binary, stack

    def _program(self, name: str, when: str) -> FileDescriptor:
        return self._stack.enter_context(
            bpf.prog_load(PROG_TYPE, RETURN_0, name=name, expected_attach_type=attach_type(when))
        )

    def multi(self, name: str, cookies: dict[str, int], when: str = "entry", pid: int = 0) -> FileDescriptor:
        offsets = self._binary.functions(*cookies).file_offsets()
        with BinaryFile(self._binary.path) as file:
            link = uprobe_multi.open_link(
                self._program(name, when), file.fileno(), offsets, array("Q", cookies.values()), when=when, pid=pid
            )
        return self._stack.enter_context(link)

    def perf(self, name: str, function: str, cookie: int | None, *, is_return: bool = False) -> None:
        """A uprobe of a perf event; with a cookie by a link, otherwise the program is the event's."""
        prog = self._stack.enter_context(bpf.prog_load(PROG_TYPE, RETURN_0, name=name, expected_attach_type=0))
        path, (offset,) = c_string(self._binary.path.encode()), self._binary.functions(function).file_offsets()
        pmu = int(PMU.read_text())
        attr = kprobe_attr(pmu, is_return=is_return, return_bit=0, symbol=address_of(path), offset_or_address=offset)
        number = call_opening(PERF_EVENT_OPEN, address_of(attr), -1, 0, -1, 8)
        assert not isinstance(number, int), os.strerror(-number)
        event = self._stack.enter_context(FileDescriptor(number, "uprobe"))
        if cookie is None:
            fcntl.ioctl(event.fileno(), PERF_EVENT_IOC_SET_BPF, prog.fileno())
        else:
            self._stack.enter_context(bpf.link_create_perf_event(prog, event, cookie=cookie))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


@pytest.fixture
def links(running: Running, stack: ExitStack) -> Links:
    return Links(mp.Binary(running.path), stack)


def look(running: Running, function: str) -> inspect.UserFunctionPicture:
    (picture,) = inspect.user_functions(f"{running.path}:{function}", pid=running.pid)
    return picture


def knows_sessions(missing: list[inspect.Missing]) -> bool:
    """Whether kernel memory could be read, which tells sessions from entries."""
    is_known = not any("session" in item.what for item in missing)
    assert is_known or not Path("/proc/kcore").exists()
    return is_known


@pytest.mark.once("6.12")
def test_facts_of_the_file(running: Running) -> None:
    picture = look(running, "plain")
    (function,) = mp.Binary(running.path).functions("plain")
    assert picture.function == function
    notes = subprocess.run(["readelf", "-n", running.path], capture_output=True, text=True, check=True).stdout
    assert f"Build ID: {picture.build_id}" in notes
    assert picture.code == running.path.read_bytes()[function.file_offset :][:16]
    assert (picture.attached, picture.programs) == ((), ())
    (process,) = picture.processes
    assert (process.pid, process.command) == (running.pid, "inspected")
    assert (process.address, process.code) == (running.address("plain"), running.code("plain"))
    assert (process.state, process.target, process.trampoline) == ("original", None, None)


@pytest.mark.once("6.12")
def test_links_with_cookies_sides_and_processes(running: Running, links: Links) -> None:
    links.multi("entries", {"plain": BIG, "nop5": 0})
    links.multi("returns", {"plain": 5}, "return")
    links.multi("of_one", {"plain": 6}, pid=running.pid)
    links.multi("of_another", {"plain": 7}, pid=os.getpid())
    missing: list[inspect.Missing] = []
    (picture,) = inspect.user_functions(f"{running.path}:plain", missing=missing)
    entry = "entry" if knows_sessions(missing) else ""
    assert [
        (
            on.link.kind,
            on.link.when,
            on.link.program.name,
            on.target.cookie,
            on.target.semaphore,
            on.offset,
            on.link.pid,
        )
        for on in picture.attached
    ] == [
        ("uprobe_multi", entry, "entries", BIG, 0, 0, 0),
        ("uprobe_multi", "return", "returns", 5, 0, 0, 0),
        ("uprobe_multi", entry, "of_one", 6, 0, 0, running.pid),
        ("uprobe_multi", entry, "of_another", 7, 0, 0, os.getpid()),
    ]
    assert {owner.pid for on in picture.attached for owner in on.link.owners} == {os.getpid()}
    first = picture.attached[0].link
    assert (first.n_functions, {probe.path for probe in first.uprobes}) == (2, {str(running.path)})
    assert [on.link.program.name for on in look(running, "nop5").attached] == ["entries"]
    assert look(running, "main").attached == ()


def test_sessions(running: Running, links: Links, sessions: None) -> None:
    links.multi("both", {"plain": 3}, "session")
    missing: list[inspect.Missing] = []
    (picture,) = inspect.user_functions(f"{running.path}:plain", missing=missing)
    assert [on.link.when for on in picture.attached] == ["session" if knows_sessions(missing) else ""]


def test_probes_inside_of_a_function(running: Running, links: Links) -> None:
    start = mp.Binary(running.path).functions("main").file_offsets()[0]
    lengths = [len(one.code) for one in look(running, "main").entry]
    if not lengths:
        pytest.skip("the extra `inspect` is not installed")
    with BinaryFile(str(running.path)) as file, ExitStack() as stack:
        prog = stack.enter_context(
            bpf.prog_load(PROG_TYPE, RETURN_0, name="in", expected_attach_type=attach_type("entry"))
        )
        offsets = array("Q", [start + lengths[0]])
        stack.enter_context(uprobe_multi.open_link(prog, file.fileno(), offsets, None, when="entry", pid=0))
        picture = look(running, "main")
    assert [on.offset for on in picture.attached] == [lengths[0]]
    assert [one.state for one in picture.processes] == ["original"]


@pytest.mark.parametrize("is_return", [False, True])
@pytest.mark.parametrize("cookie", [None, 42])
def test_uprobes_of_perf_events(running: Running, links: Links, cookie: int | None, is_return: bool) -> None:
    if not PMU.exists():
        pytest.skip("this kernel has no uprobe events")
    links.perf("of_perf", "plain", cookie, is_return=is_return)
    (on,) = look(running, "plain").attached
    assert (on.link.kind, on.link.when) == ("uprobe", "return" if is_return else "entry")
    assert (on.link.program.name, on.target.path, on.target.cookie) == ("of_perf", str(running.path), cookie)
    assert bool(on.link.link_id) == (cookie is not None)
    assert [one.state for one in look(running, "plain").processes] == ["breakpoint"]


def test_what_a_process_has_there(running: Running, links: Links, stack: ExitStack) -> None:
    """Before, while and after; the kernel says by a mapping whether it made a call of a nop."""
    own = {name: running.code(name) for name in NAMES}
    assert {name: look(running, name).processes[0].state for name in NAMES} == dict.fromkeys(NAMES, "original")
    attached = [name for name in NAMES if _is_attached(links, name)]
    assert "plain" in attached
    assert {name: look(running, name).processes[0].state for name in attached} == dict.fromkeys(attached, "breakpoint")
    running.step()
    running.step()
    seen = {name: look(running, name).processes[0] for name in NAMES}
    assert {name: one.code for name, one in seen.items()} == {name: running.code(name) for name in NAMES}
    pages = re.findall(r"^(\w+)-(\w+) .* \[uprobes-trampoline\]$", running.maps, re.MULTILINE)
    calls = {name: one for name, one in seen.items() if one.state == "call"}
    assert bool(calls) == bool(pages)
    for one in calls.values():
        assert one.trampoline in [(int(start, 16), int(end, 16)) for start, end in pages]
        assert one.target is not None
        assert one.trampoline
        assert one.trampoline[0] <= one.target < one.trampoline[1]
    changed = {name for name, one in seen.items() if one.code != own[name]}
    assert changed == {name for name, one in seen.items() if one.state in ("call", "breakpoint")} == set(attached)
    assert seen["plain"].state == "breakpoint"
    stack.close()
    running.step()
    left = {name: look(running, name).processes[0].state for name in NAMES}
    assert left == {name: "original" if running.code(name) == own[name] else "former_call" for name in NAMES}
    assert (left["nop5"], left["plain"]) == ("original", "original")


def _is_attached(links: Links, name: str) -> bool:
    try:
        links.multi(name, {name: 1})
    except mp.KernelError:
        return False  # a nop that this kernel can't probe
    return True


@pytest.mark.once("6.12")
def test_many_functions_and_processes(running: Running, links: Links, stack: ExitStack) -> None:
    links.multi("some", {"plain": 1, "main": 2})
    others = [stack.enter_context(closing(Running(running.path))) for _ in range(3)]
    pictures = inspect.user_functions(f"{running.path}:*")
    assert [str(picture.function) for picture in pictures] == [str(one) for one in mp.Binary(running.path).functions()]
    assert {str(picture.function) for picture in pictures if picture.attached} == {"plain", "main"}
    pids = sorted([running.pid, *(one.pid for one in others)])
    for picture in pictures:
        assert [one.pid for one in picture.processes] == pids
        expected = "breakpoint" if picture.attached else "original"
        assert {one.state for one in picture.processes} == {expected}


@pytest.mark.once("6.12")
def test_a_file_that_was_replaced(running: Running, links: Links) -> None:
    link = links.multi("before", {"plain": 1})
    shutil.copy(running.path, f"{running.path}.new")
    os.replace(f"{running.path}.new", running.path)
    with pytest.raises(NoMatchError, match="was replaced since then"):
        look(running, "plain")
    missing: list[inspect.Missing] = []
    (new,) = inspect.user_functions(f"{running.path}:plain", missing=missing)
    assert (new.attached, new.processes) == ((), ())
    assert any("leads to no file" in item.why for item in missing)
    (old,) = inspect.user_functions(f"/proc/{running.pid}/exe:plain", pid=running.pid, missing=missing)
    assert [on.link.program.name for on in old.attached] == ["before"]
    assert old.attached[0].target.path == f"{running.path} (deleted)"
    assert any("taken for this file" in item.why for item in missing)
    assert [one.state for one in old.processes] == ["breakpoint"]
    link.close()


def test_a_library_of_a_process(running: Running) -> None:
    (picture,) = inspect.user_functions("libc:malloc", pid=running.pid)
    assert picture.function.binary.startswith(f"/proc/{running.pid}/root/")
    assert [(one.pid, one.state) for one in picture.processes] == [(running.pid, "original")]
    with pytest.raises(NoMatchError, match="has no library libssl"):
        inspect.user_functions("libssl:SSL_read", pid=running.pid)


def test_names_and_processes_that_are_none(running: Running, tmp_path: Path) -> None:
    with pytest.raises(NoMatchError, match="called nothing"):
        look(running, "nothing")
    with pytest.raises(NoMatchError, match="has not mapped"):
        inspect.user_functions(f"{running.path}:plain", pid=os.getpid())
    with pytest.raises(UsageError, match="USDT"):
        inspect.user_functions(f"{running.path}:usdt:*")
    with pytest.raises(UsageError, match="names no function of a program"):
        inspect.user_functions("vfs_read")
    running.close()
    with pytest.raises(UsageError, match="no process has the id"):
        look(running, "plain")


@pytest.mark.once("6.12")
def test_on_the_command_line(running: Running, links: Links, capsys: pytest.CaptureFixture[str]) -> None:
    links.multi("shown", {"plain": 4711}, "return")
    how = {"patterns": (), "top": None, "output": None}
    assert run(f"{running.path}:plain", pid=running.pid, programs=False, json=False, **how) == 0  # type: ignore[arg-type]
    printed = capsys.readouterr().out
    assert re.search(r"uprobe_multi +return +shown \S+ +- +4711 ", printed)
    assert re.search(rf"{running.pid} +inspected +{running.address('plain'):#x} +breakpoint ", printed)
    assert run(f"{running.path}:*", programs=False, json=False, **how) == 0  # type: ignore[arg-type]
    printed = capsys.readouterr().out
    assert re.search(r"^plain .* return shown +breakpoint in 1$", printed, re.MULTILINE)
    assert "something is attached to 1" in printed
    assert run(f"{running.path}:plain", programs=True, json=True, **how) == 0  # type: ignore[arg-type]
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = [record["type"] for record in records if record["type"] != "missing"]
    assert kinds[:3] == ["user_function", "attachment", "process"]
    assert (records[1]["cookie"], records[1]["binary"]) == (hex(4711), str(running.path))
    assert run(None, programs=False, json=True, **how) == 0  # type: ignore[arg-type]
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (shown,) = [one for one in listed if one["type"] == "link" and one["program"]["name"] == "shown"]
    assert [probe["cookie"] for probe in shown["uprobes"]] == [hex(4711)]
    with pytest.raises(UsageError, match="--pid needs"):
        run("vfs_read", pid=running.pid, programs=False, json=False, **how)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--programs needs one function"):
        run(f"{running.path}:*", programs=True, json=False, **how)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--mix shows functions of the kernel only"):
        run(None, programs=False, json=False, **{**how, "patterns": (f"{running.path}:*",)})  # type: ignore[arg-type]
