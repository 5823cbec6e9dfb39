"""`inspect` compared with attachments whose details are known, and with other readers of the same kernel."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import multiprobe as mp
from multiprobe import inspect
from multiprobe.inspect import FunctionPicture, Sources
from multiprobe.inspect.observed import list_links
from multiprobe.inspect.picture import picture
from multiprobe.kernel.btf.format import FUNC
from multiprobe.kernel.btf.types import load_btf
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms import kprobe, kprobe_multi, tracing_multi, trampoline
from multiprobe.syscalls import bpf
from multiprobe.syscalls.fd import FileDescriptor
from multiprobe.uapi.bpf import ProgType

RETURN_0 = bytes.fromhex("b700000000000000 9500000000000000")
ONE, TWO, THREE = "bpf_fentry_test1", "bpf_fentry_test2", "bpf_fentry_test3"
BIG = 0x1234567890ABCDEF
PERF_EVENT_IOC_SET_BPF = 0x40042408


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


@pytest.fixture(scope="module")
def ids() -> dict[str, int]:
    btf = load_btf()
    return {name: btf.type_ids(name, FUNC)[0] for name in (ONE, TWO, THREE)}


class Attacher:
    """Attaches a program that does nothing, with names and cookies of the test's choice, until the test ends."""

    def __init__(self, kernel: mp.Kernel, ids: dict[str, int], stack: ExitStack) -> None:
        self._kernel, self._ids, self._stack = kernel, ids, stack

    def _load(self, kind: int, name: str, attach_type: int, btf_id: int = 0) -> FileDescriptor:
        return self._stack.enter_context(
            bpf.prog_load(kind, RETURN_0, name=name, expected_attach_type=attach_type, attach_btf_id=btf_id)
        )

    def address(self, name: str) -> int:
        return self._kernel.function(name, unsafe=True).address

    def trampoline(self, name: str, function: str, cookie: int, when: str) -> FileDescriptor:
        prog = self._load(ProgType.TRACING, name, trampoline.ATTACH_TYPES[when], self._ids[function])
        return self._stack.enter_context(trampoline.open_link(prog, cookie, when=when))

    def tracing_multi(self, name: str, cookies: dict[str, int], when: str) -> FileDescriptor:
        if not self._kernel.has("tracing_multi"):
            pytest.skip("this kernel has no tracing_multi")
        prog = self._load(ProgType.TRACING, name, tracing_multi.ATTACH_TYPES[when])
        functions = sorted(cookies, key=self._ids.__getitem__)
        link = tracing_multi.open_link(
            prog, [self._ids[f] for f in functions], [cookies[f] for f in functions], when=when
        )
        return self._stack.enter_context(link)

    def kprobe_multi(self, name: str, cookies: dict[str, int], when: str) -> FileDescriptor:
        return self.kprobe_multi_at(name, {self.address(function): cookies[function] for function in cookies}, when)

    def kprobe_multi_at(self, name: str, cookies: dict[int, int], when: str) -> FileDescriptor:
        if not self._kernel.has("kprobe_multi"):
            pytest.skip("this kernel has no kprobe_multi")
        prog = self._load(ProgType.KPROBE, name, kprobe_multi.attach_type(when))
        link = kprobe_multi.open_link(prog, array("Q", cookies), array("Q", cookies.values()), when=when)
        return self._stack.enter_context(link)

    def kprobe(self, name: str, address: int, cookie: int, *, is_return: bool = False) -> None:
        prog = self._load(ProgType.KPROBE, name, 0)
        for fd in kprobe.open_probe(prog, address, cookie, is_return=is_return, pmu=kprobe.pmu()):
            self._stack.enter_context(fd)


@pytest.fixture
def attach(kernel: mp.Kernel, ids: dict[str, int]) -> Iterator[Attacher]:
    with ExitStack() as stack:
        yield Attacher(kernel, ids, stack)


def summary(shown: FunctionPicture) -> set[tuple[str, str, str, int | None, int]]:
    """(kind, when, program, cookie, offset) of everything attached."""
    return {
        (on.link.kind, on.link.when, on.link.program.name, on.target.cookie, on.target.offset) for on in shown.attached
    }


# An independent reading: own ELF headers, own patterns in the bytes, nothing of multiprobe


def read_memory(address: int, size: int) -> bytes:
    with open("/proc/kcore", "rb", buffering=0) as file:
        head = os.pread(file.fileno(), 1 << 16, 0)
        (table,) = struct.unpack_from("<Q", head, 32)
        (count,) = struct.unpack_from("<H", head, 56)
        for at in range(table, table + 56 * count, 56):
            kind, _, offset, start, _, length = struct.unpack_from("<IIQQQQ", head, at)
            if kind == 1 and start <= address < start + length:
                return os.pread(file.fileno(), size, offset + address - start)
    raise AssertionError(f"{address:#x} is not in kcore")


def glue_in_kallsyms() -> dict[str, set[int]]:
    """Addresses of trampolines and of what they call besides programs."""
    command = [
        "grep",
        "-E",
        " (__bpf_prog_(enter|exit)|__bpf_tramp_(enter|exit)|bpf_trampoline_[0-9])",
        "/proc/kallsyms",
    ]
    found: dict[str, set[int]] = {}
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        address, _, name = line.split()[:3]
        found.setdefault(name, set()).add(int(address, 16))
    return found


COOKIE = re.compile(
    rb"(?:\x48\xbf(?P<wide>.{8})|\xbf(?P<narrow>.{4})|\x48\xc7\xc7(?P<signed>.{4})|(?P<zero>\x31\xff))"
    rb"\x48\x89\x7d."  # mov %rdi, to the frame
    rb"\x48\xbf.{8}"  # movabs $program, %rdi
    rb"\x48\x8d\x75."  # lea the frame, %rsi
    rb"\xe8.{4}"  # call __bpf_prog_enter…
    rb"\x48\x89\xc3\x48\x85\xc0\x74."  # mov %rax, %rbx; test; je
    rb"\x48\x8d\x7d.\xe8(?P<program>.{4})",  # lea the arguments, %rdi; call the program
    re.DOTALL,
)


def cookies_in(code: bytes, address: int) -> list[tuple[int, int]]:
    """(address of the program, cookie) for each run of a program in a trampoline's bytes."""
    found = []
    for match in COOKIE.finditer(code):
        if match["signed"] is not None:
            cookie = struct.unpack("<i", match["signed"])[0] & (1 << 64) - 1
        else:
            cookie = int.from_bytes(match["wide"] or match["narrow"] or b"", "little")
        program = address + match.end() + struct.unpack("<i", match["program"])[0]
        found.append((program, cookie))
    return found


def assert_read_alike(shown: FunctionPicture, *, by_gdb: bool = False) -> None:
    """Bytes, calls, cookies and the disassembly agree with readings by other means."""
    site, image = shown.site, shown.trampoline
    assert site is not None
    assert image is not None
    assert site.code == read_memory(shown.address, len(site.code))
    assert image.code == read_memory(image.address, len(image.code))
    assert b"".join(instruction.code for instruction in image.instructions) == image.code
    runs = [(call.target, call.cookie) for call in image.calls if call.kind == "program"]
    assert runs == cookies_in(image.code, image.address)
    symbols = glue_in_kallsyms()
    assert image.address in symbols[image.name]
    for call in image.calls:
        if call.kind in ("enter", "exit", "glue"):
            assert call.target in symbols[call.name]
    if by_gdb and shutil.which("gdb"):
        assert [(i.address, i.target) for i in image.instructions] == disassembled_by_gdb(
            image.address, len(image.instructions)
        )


def disassembled_by_gdb(address: int, count: int) -> list[tuple[int, int | None]]:
    """(address, target of a direct call or jump) of each instruction, read from kcore and decoded by gdb."""
    command = ["gdb", "-nx", "-batch", "-core", "/proc/kcore", "-ex", f"x/{count}i {address:#x}"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = []
    for match in re.finditer(r"^\s*(0x[0-9a-f]+)[^:]*:\s+(.*)$", output, re.MULTILINE):
        branch = re.match(r"(?:call|j)\w*\s+(0x[0-9a-f]+)", match[2])
        found.append((int(match[1], 16), int(branch[1], 16) if branch else None))
    return found


def test_a_batch_of_kprobes_two_of_trampolines_and_a_single_one(attach: Attacher) -> None:
    attach.kprobe_multi("km", {ONE: 11, TWO: 12}, "entry")
    attach.tracing_multi("fentry_a", {ONE: 5, TWO: 6}, "entry")
    attach.tracing_multi("fentry_b", {ONE: 0x8000_0001, TWO: 0, THREE: (1 << 64) - 1}, "entry")
    attach.trampoline("fexit", ONE, BIG, "return")
    shown = inspect.function(ONE)
    assert summary(shown) == {
        ("kprobe_multi", "entry", "km", 11, 0),
        ("tracing_multi", "entry", "fentry_a", 5, 0),
        ("tracing_multi", "entry", "fentry_b", 0x8000_0001, 0),
        ("trampoline", "return", "fexit", BIG, 0),
    }
    assert shown.missing == ()
    assert shown.site is not None
    assert shown.site.kind == "call"
    assert shown.destination == "ftrace"
    assert shown.ops is not None
    assert {"call_direct_funcs"} < {ops.function for ops in shown.ops}
    assert shown.enabled is not None
    assert shown.enabled.n_ops == len(shown.ops) == 2
    assert shown.trampoline is not None
    assert shown.enabled.direct == shown.trampoline.name
    by_address = {on.link.program.address: on for on in shown.attached}
    runs = [call for call in shown.trampoline.calls if call.kind == "program"]
    assert [(by_address[run.target].link.program.name, run.side) for run in runs][-1] == ("fexit", "return")
    assert {(by_address[run.target].link.program.name, run.cookie) for run in runs} == {
        ("fentry_a", 5),
        ("fentry_b", 0x8000_0001),
        ("fexit", BIG),
    }
    assert_read_alike(shown, by_gdb=True)
    third = inspect.function(THREE)
    assert third.destination == "direct"
    assert_read_alike(third)


def test_single_trampolines_and_kprobes(attach: Attacher) -> None:
    attach.trampoline("single_entry", ONE, 3, "entry")
    attach.trampoline("single_return", ONE, BIG, "return")
    alone = inspect.function(ONE)
    assert alone.destination == "direct"
    assert_read_alike(alone)
    attach.kprobe("kp", attach.address(ONE), 100)
    attach.kprobe("krp", attach.address(ONE), 0, is_return=True)
    shown = inspect.function(ONE)
    assert summary(shown) == {
        ("trampoline", "entry", "single_entry", 3, 0),
        ("trampoline", "return", "single_return", BIG, 0),
        ("kprobe", "entry", "kp", 100, 0),
        ("kprobe", "return", "krp", 0, 0),
    }
    assert shown.missing == ()
    assert {probe.kind for probe in shown.probes} <= {"k", "r"}
    assert shown.probes
    assert "kprobe_ftrace_handler" in {ops.function for ops in shown.ops or ()}
    assert_read_alike(shown, by_gdb=True)


def test_one_program_on_several_kprobes(attach: Attacher) -> None:
    with bpf.prog_load(ProgType.KPROBE, RETURN_0, name="shared") as prog, ExitStack() as stack:
        for cookie, (name, is_return) in enumerate([(ONE, False), (TWO, True), (THREE, False)], start=1):
            address = attach.address(name)
            for fd in kprobe.open_probe(prog, address, cookie, is_return=is_return, pmu=kprobe.pmu()):
                stack.enter_context(fd)
        links = [link for link in inspect.links() if link.program.name == "shared"]
    assert [(link.when, link.missed, str(link.targets[0]), link.targets[0].cookie) for link in links] == [
        ("entry", 0, ONE, 1),
        ("return", 0, TWO, 2),
        ("entry", 0, THREE, 3),
    ]


def test_a_program_that_traces_a_program(attach: Attacher) -> None:
    from btf_of_a_program import load_with_btf

    with load_with_btf("traced") as traced:
        prog = bpf.prog_load(
            ProgType.TRACING,
            RETURN_0,
            name="tracing_one",
            expected_attach_type=trampoline.ATTACH_TYPES["entry"],
            attach_btf_id=3,
            attach_btf_obj_fd=traced.fileno(),
        )
        with prog, trampoline.open_link(prog, 0, when="entry"):
            (link,) = [link for link in inspect.links() if link.program.name == "tracing_one"]
    assert [str(target) for target in link.targets] == ["traced [bpf]"]


def test_sides_of_kprobe_multi(attach: Attacher) -> None:
    for when, cookie in (("entry", 1), ("return", 2), ("session", 3)):
        attach.kprobe_multi(f"km_{when}", {THREE: cookie}, when)
    assert {on[1:4] for on in summary(inspect.function(THREE))} == {
        ("entry", "km_entry", 1),
        ("return", "km_return", 2),
        ("session", "km_session", 3),
    }


def test_sessions_in_a_trampoline_run_twice(attach: Attacher) -> None:
    attach.tracing_multi("session_multi", {TWO: 7}, "session")
    attach.trampoline("session_single", TWO, 8, "session")
    shown = inspect.function(TWO)
    assert shown.trampoline is not None
    runs = [(call.side, call.cookie) for call in shown.trampoline.calls if call.kind == "program"]
    assert sorted(runs) == [("entry", 7), ("entry", 8), ("return", 7), ("return", 8)]
    assert_read_alike(shown)


def test_a_kprobe_within_a_function(attach: Attacher) -> None:
    address = attach.address(THREE)
    site = inspect.function(THREE).site
    assert site is not None
    assert not site.is_patched
    offset = site.resume - address
    attach.kprobe("inside", site.resume, 9)
    assert summary(inspect.function(THREE)) == {("kprobe", "entry", "inside", 9, offset)}
    mixed = inspect.mix([THREE])
    assert mixed.cells[0][0] is not None
    assert mixed.cells[0][0].offsets == (offset,)


@pytest.mark.once("6.1")
def test_a_function_that_carries_nothing() -> None:
    shown = inspect.function("vfs_read")
    assert (shown.destination, shown.attached, shown.trampoline, shown.ops) == ("nowhere", (), None, ())
    assert inspect.function(f"vmlinux:{shown.name}").address == inspect.function(hex(shown.address)).address


@pytest.mark.once("6.1")
def test_unknown_and_repeated_names() -> None:
    with pytest.raises(mp.NoMatchError, match="no_such_function"):
        inspect.function("no_such_function")
    with pytest.raises(mp.UsageError, match="functions are named init_once") as refused:
        inspect.function("init_once")
    assert "0x" in refused.value.hint


@pytest.mark.once("6.1")
def test_links_of_another_process(attach: Attacher) -> None:
    code = f"""
import sys
from multiprobe.links.mechanisms import kprobe
from multiprobe.syscalls import bpf
prog = bpf.prog_load(2, bytes.fromhex("{RETURN_0.hex()}"), name="elsewhere")
held = kprobe.open_probe(prog, {attach.address(ONE)}, 77, is_return=False, pmu=kprobe.pmu())
print("attached", flush=True)
sys.stdin.read()
for fd in (*held, prog):
    fd.close()
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "attached\n"
        (link,) = [link for link in inspect.links() if link.program.name == "elsewhere"]
        assert [owner.pid for owner in link.owners] == [child.pid]
        assert [(target.name, target.cookie) for target in link.targets] == [(ONE, 77)]
    finally:
        child.stdin.close()
        child.wait()
        child.stdout.close()
    assert not [link for link in inspect.links() if link.program.name == "elsewhere"]


def test_a_program_on_a_perf_event_without_a_link(attach: Attacher) -> None:
    from multiprobe.syscalls import perf

    kind, bit = kprobe.pmu()
    with (
        bpf.prog_load(ProgType.KPROBE, RETURN_0, name="unlinked") as prog,
        perf.open_kprobe(kind, symbol=TWO, return_bit=bit) as event,
    ):
        fcntl.ioctl(event.fileno(), PERF_EVENT_IOC_SET_BPF, prog.fileno())
        (link,) = [link for link in inspect.links() if link.program.name == "unlinked"]
        assert (link.link_id, link.kind, link.when) == (0, "kprobe", "entry")
        assert [str(target) for target in link.targets] == [TWO]
        assert [owner.pid for owner in link.owners] == [os.getpid()]


def test_bpftool_sees_the_same_links(attach: Attacher) -> None:
    attach.trampoline("oracle_f", ONE, 1, "entry")
    attach.kprobe("oracle_k", attach.address(TWO), 2)
    found = {link.link_id: link for link in inspect.links()}
    tool = shutil.which("bpftool", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if tool is None:
        assert len(found) >= 2
        return
    told: list[dict[str, Any]] = json.loads(
        subprocess.run([tool, "-j", "link", "show"], capture_output=True, text=True, check=True).stdout
    )
    assert {item["id"]: item["prog_id"] for item in told} == {
        link_id: link.program.prog_id for link_id, link in found.items() if link_id
    }


def test_links_that_go_away_while_they_are_listed(kernel: mp.Kernel, ids: dict[str, int]) -> None:
    is_over = threading.Event()
    errors: list[BaseException] = []

    def churn() -> None:
        try:
            while not is_over.is_set():
                with ExitStack() as stack:
                    attacher = Attacher(kernel, ids, stack)
                    attacher.kprobe("churn", attacher.address(THREE), 1)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        with Sources() as sources:
            for _ in range(20):
                sources.__dict__.pop("holders", None)
                list_links(sources)
    finally:
        is_over.set()
        thread.join()
    assert not errors


def test_without_kcore_the_rest_is_shown(attach: Attacher) -> None:
    attach.trampoline("no_kcore", ONE, 5, "entry")
    with Sources(kcore="/no/such/kcore") as sources:
        shown = picture(sources, ONE)
    assert [on.link.program.name for on in shown.attached] == ["no_kcore"]
    assert (shown.site, shown.ops, shown.destination) == (None, None, "")
    assert shown.trampoline is not None
    assert shown.trampoline.code == b""
    assert any("/no/such/kcore" in item.why for item in shown.missing)


@pytest.mark.once("6.1")
def test_with_hidden_addresses_the_rest_is_shown(attach: Attacher) -> None:
    attach.trampoline("hidden", ONE, 5, "entry")
    setting = Path("/proc/sys/kernel/kptr_restrict")
    before = setting.read_text()
    setting.write_text("2")
    try:
        missing: list[inspect.Missing] = []
        (link,) = [link for link in inspect.links(missing=missing) if link.program.name == "hidden"]
        with pytest.raises(mp.NotPermittedError, match="no addresses"):
            inspect.function(ONE)
    finally:
        setting.write_text(before)
    assert [target.name for target in link.targets] == [ONE]
    assert any("kptr_restrict" in item.advice for item in missing)


@pytest.mark.once("6.12")
def test_functions_of_a_module(attach: Attacher) -> None:
    subprocess.run(["modprobe", "dummy"], check=True)
    try:
        with Sources() as sources:
            names = sources.names
            assert names is not None
            (symbol,) = names.named("dummy_dev_init", "dummy")
        with ExitStack() as stack:
            attacher = Attacher(mp.Kernel(), {}, stack)
            attacher.kprobe("in_module", symbol.address, 6)
            (link,) = [link for link in inspect.links() if link.program.name == "in_module"]
            assert [str(target) for target in link.targets] == ["dummy_dev_init [dummy]"]
            shown = inspect.function("dummy:dummy_dev_init")
            assert (shown.module, shown.destination) == ("dummy", "ftrace_trampoline")
            assert [ops.function for ops in shown.ops or ()] == ["kprobe_ftrace_handler"]
            stack.enter_context(on_module("dummy", "dummy_dev_init", stack))
            shown = inspect.function("dummy_dev_init")
            assert ("trampoline", "entry", "on_module", 41, 0) in summary(shown)
            assert_read_alike(shown)
    finally:
        subprocess.run(["modprobe", "-r", "dummy"], check=True)


def on_module(module: str, function: str, stack: ExitStack) -> FileDescriptor:
    """A single fentry on a function of a module."""
    btf_id = load_btf(module, base=load_btf()).type_ids(function, FUNC)[0]
    for fd in btf_objects():
        with fd:
            if bpf.kernel_btf_name(fd) != module:
                continue
            prog = bpf.prog_load(
                ProgType.TRACING,
                RETURN_0,
                name="on_module",
                expected_attach_type=trampoline.ATTACH_TYPES["entry"],
                attach_btf_id=btf_id,
                attach_btf_obj_fd=fd.fileno(),
            )
            stack.enter_context(prog)
            return trampoline.open_link(prog, 41, when="entry")
    raise AssertionError(f"no BTF of {module}")


def btf_objects() -> Iterator[FileDescriptor]:
    from multiprobe.uapi.bpf import Cmd

    at = bpf.next_id(Cmd.BTF_GET_NEXT_ID, 0)
    while at is not None:
        fd = bpf.open_by_id(Cmd.BTF_GET_FD_BY_ID, at, "BTF object")
        if fd is not None:
            yield fd
        at = bpf.next_id(Cmd.BTF_GET_NEXT_ID, at)


def test_machine_code_of_programs_is_what_lies_in_memory(attach: Attacher) -> None:
    attach.trampoline("its_code", ONE, 1, "entry")
    shown = inspect.function(ONE, programs=True)
    (routine,) = shown.programs
    assert routine.name.endswith("_its_code")
    code = b"".join(instruction.code for instruction in routine.instructions)
    assert code
    assert code == read_memory(routine.address, len(code))


def test_the_mix_of_several(attach: Attacher) -> None:
    attach.trampoline("mixed_f", ONE, 1, "entry")
    attach.kprobe("mixed_k", attach.address(TWO), 2)
    mixed = inspect.mix("bpf_fentry_test?")
    cells = {
        (row.name, link.program.name): cell.cookie
        for row, line in zip(mixed.rows, mixed.cells, strict=True)
        for link, cell in zip(mixed.links, line, strict=True)
        if cell is not None
    }
    assert cells == {(ONE, "mixed_f"): 1, (TWO, "mixed_k"): 2}
    assert inspect.mix("bpf_fentry_test?", keep_bare=0).n_bare == len(mixed.rows) - 2


@pytest.mark.once("6.12")
def test_the_command(attach: Attacher, capsys: pytest.CaptureFixture[str]) -> None:
    from multiprobe.cli.inspect import run

    attach.trampoline("shown", ONE, 4711, "return")
    assert run(None, patterns=(), programs=False, top=None, json=False, output=None) == 0
    assert re.search(rf"trampoline +return +shown \S+ +{ONE} +4711 ", capsys.readouterr().out)
    assert run(ONE, patterns=(), programs=True, top=None, json=False, output=None) == 0
    printed = capsys.readouterr().out
    assert "straight into a BPF trampoline" in printed
    assert f"the original function, {ONE}" in printed
    assert "cookie 4711" in printed
    assert run(None, patterns=("bpf_fentry_test*",), programs=False, top=None, json=False, output=None) == 0
    assert "○ 4711" in capsys.readouterr().out
    assert run(ONE, patterns=(), programs=False, top=None, json=True, output=None) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["type"] for record in records] == ["function", "attachment", "trampoline"]
    assert records[1]["cookie"] == hex(4711)


def test_a_large_batch(attach: Attacher, kernel: mp.Kernel) -> None:
    chosen = kernel.functions("tcp_*").attachable(Mechanism.KPROBE_MULTI)
    assert len(chosen) > 100
    wanted = {address: cookie for cookie, address in enumerate(chosen.addresses(), start=1)}
    attach.kprobe_multi_at("large", wanted, "entry")
    (link,) = [link for link in inspect.links() if link.program.name == "large"]
    assert {target.address: target.cookie for target in link.targets} == wanted
    assert {target.name for target in link.targets} <= {function.name for function in chosen}
    assert link.n_functions == len(wanted)
