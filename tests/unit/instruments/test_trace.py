"""`trace` without a kernel: filters taken apart, formats of system calls, calls put together from events."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import multiprobe as mp
from multiprobe.cli.trace import Shown, _duration
from multiprobe.instruments.trace import Call, Tracing, _how
from multiprobe.instruments.trace_filter import Filter, parse_filter
from multiprobe.instruments.trace_probe import SYSCALL, Entered, Left, Probe, Text
from multiprobe.instruments.trace_types import UNKNOWN, Described, parse_format
from multiprobe.kernel.btf_values import Signature, ValueType
from multiprobe.program.compiler import compile_program

OPENAT = """\
name: sys_enter_openat
ID: 643
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:int __syscall_nr;	offset:8;	size:4;	signed:1;
	field:int dfd;	offset:16;	size:8;	signed:0;
	field:const char * filename;	offset:24;	size:8;	signed:0;
	field:int flags;	offset:32;	size:8;	signed:0;
	field:umode_t mode;	offset:40;	size:8;	signed:0;
	field:__data_loc char[] __filename_val;	offset:48;	size:4;	signed:0;
"""


@pytest.mark.parametrize(
    ("text", "entry", "returned"),
    [
        ("ret < 0", "", "(ret < 0)"),
        ("ret == -ENOENT", "", "(ret == -2)"),
        ("arg0 > 4096", "(ctx.arg(0) > 4096)", ""),
        ("ret < 0 and arg0 > 4096 and pid == 7", "(ctx.arg(0) > 4096) and (ctx.pid == 7)", "(ret < 0)"),
        ("duration > 1000 or ret", "", "(duration > 1000 or ret)"),
        ('comm == "ls"', "(ctx.comm == 'ls')", ""),
        ("count > max(cpu, 4)", "(ctx.args.count > max(ctx.cpu, 4))", ""),
        ("sk.__sk_common.skc_dport == 80", "(ctx.args.sk.__sk_common.skc_dport == 80)", ""),
    ],
)
def test_filters(text: str, entry: str, returned: str) -> None:
    assert parse_filter(text) == Filter(entry, returned)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ret <", "can't be read"),
        ("", "can't be read"),
        ("ret > arg1", "mixes what is known at the return with the argument arg1"),
        ("open(1)", "can't call open"),
        ("arg6 > 1", "6 arguments, not arg6"),
    ],
)
def test_filters_that_can_not_be(text: str, words: str) -> None:
    with pytest.raises(mp.UsageError, match=words.replace("(", r"\(")):
        parse_filter(text)


@pytest.mark.parametrize("context", ["kprobe_multi", "kprobe", "tracing"])
def test_the_program_compiles_with_each_half(context: str) -> None:
    plain = Probe(Filter(), entries_only=context == "kprobe", size=1 << 16)
    assert compile_program(plain.program, context=context, when=plain.when).insns
    if context != "kprobe":
        both = Probe(parse_filter("ret < 0 and arg1 == 2"), entries_only=False, size=1 << 16)
        assert compile_program(both.program, context=context, when=both.when).insns
    with pytest.raises(mp.UsageError, match="--entry sees no returns"):
        Probe(parse_filter("ret < 0"), entries_only=True, size=1 << 16)


def test_a_system_calls_format() -> None:
    found = parse_format(OPENAT)
    assert [name for name, _ in found.signature.parameters] == ["dfd", "filename", "flags", "mode"]
    assert found.texts == (1,)
    raw = [0xFFFFFF9C, 0x7FFF0000, 0x241, 0o644]
    assert list(found.arguments(raw, {1: "/etc/passwd"})) == [
        ("dfd", -100),
        ("filename", '"/etc/passwd"'),
        ("flags", 0x241),
        ("mode", 0o644),
    ]
    assert found.returned((1 << 64) - 2) == "-ENOENT"
    assert found.returned(3) == 3
    assert dict(found.arguments(raw, {1: 'a\n"b"\\'}))["filename"] == r'"a\n\"b\"\\"'
    assert dict(found.arguments(raw, {1: ""}))["filename"] == "0x7fff0000", "it could not be read, or is empty"
    assert _how(found) == 2 | SYSCALL
    assert _how(Described(Signature((), ValueType("void")), (0, 2, 3))) == 1 | 3 << 4
    assert _how(UNKNOWN) == 0


class Reader:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def take(self, *, timeout: float = 0) -> list[Any]:
        taken, self.events = self.events, []
        return taken


@pytest.fixture
def tracing() -> Any:
    readers: dict[str, Reader] = {}
    functions = ["vfs_open"]
    probe = SimpleNamespace(left="left", entered="entered", texts="texts", when="session")
    attachment = SimpleNamespace(
        functions=functions, events=lambda one: readers.setdefault(one, Reader()), report=None, missed=dict
    )
    made = Tracing(attachment, probe, [parse_format(OPENAT)])  # type: ignore[arg-type]
    made._began = 1_000_000_000
    return SimpleNamespace(tracing=made, **readers)


def entered(begin: int, **more: int) -> Any:
    zeros = {f"a{place}": 0 for place in range(6)}
    fields = {"thread": 7 << 32 | 8, "begin": begin, "function": 0, "cpu": 3, "comm": "cat", **zeros, **more}
    return Entered(**fields)


def test_calls_are_put_together(tracing: Any) -> None:
    thread = 7 << 32 | 8
    tracing.texts.events = [Text(thread=thread, begin=2_000_000_000, place=1, text="/etc/x")]
    tracing.entered.events = [entered(2_000_000_000, a1=0x7000), entered(2_000_000_500)]
    assert tracing.tracing.take() == [], "none has returned"
    tracing.left.events = [Left(thread=thread, begin=2_000_000_000, end=2_000_001_500, function=0, cpu=3, ret=-2)]
    (call,) = tracing.tracing.take()
    assert (call.time, call.pid, call.tid, call.comm, call.cpu) == (1.0, 7, 8, "cat", 3)
    assert dict(call.arguments)["filename"] == '"/etc/x"'
    assert (call.duration, call.returned, call.raw) == (1500, "-ENOENT", -2)
    assert tracing.tracing.missed() == {}


def test_a_return_without_its_entry_is_counted(tracing: Any) -> None:
    tracing.left.events = [Left(thread=1, begin=5, end=6, function=0, cpu=0, ret=0)]
    assert tracing.tracing.take() == []
    assert tracing.tracing.missed() == {"unmatched_returns": 1}


def test_lines() -> None:
    call = Call(1.5, 99, 3, 7, 8, "cat", "vfs_open", (("dfd", -100), ("filename", '"/x"')), 1500, "-ENOENT", -2)  # type: ignore[arg-type]
    head = "    1.500000    3        8  cat              vfs_open"
    everything, one, few = (
        Shown(names=names, most=most, is_kept=False) for names, most in ((None, None), (["filename"], None), ([], 1))
    )
    assert everything.line(call) == f'{head}(dfd=-100, filename="/x") = -2 (ENOENT)  [1.5 µs]'
    assert one.line(call) == f'{head}(filename="/x") = -2 (ENOENT)  [1.5 µs]'
    assert few.line(call) == f"{head}() = -2 (ENOENT)  [1.5 µs]"
    assert list(few.take([call, call])) == [call]
    assert few.is_full


@pytest.mark.parametrize(
    ("ns", "text"), [(0, "0 ns"), (999, "999 ns"), (1500, "1.5 µs"), (2_345_678, "2.35 ms"), (61 * 10**9, "61 s")]
)
def test_durations(ns: int, text: str) -> None:
    assert _duration(ns) == text
