"""`trace` without a kernel: filters taken apart, formats of system calls, calls put together from events."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "kernel"))

from btf_writer import BtfWriter

import multiprobe as mp
from multiprobe.arch import native
from multiprobe.cli import graph as graph_command
from multiprobe.cli.trace import ShownTrace
from multiprobe.compiler.compiling import compile_program
from multiprobe.compiler.frontend.arguments import find_arguments, kernel_parameters
from multiprobe.compiler.frontend.typed import KernelTypes
from multiprobe.compiler.shape import Shape
from multiprobe.instruments.errors import program as errors_probe
from multiprobe.instruments.errors.instrument import return_kinds
from multiprobe.instruments.signatures import signatures
from multiprobe.instruments.trace.arguments import UNKNOWN, Described, TracedArgument, parse_format
from multiprobe.instruments.trace.describe import Describer, Wanted
from multiprobe.instruments.trace.filter import Filter, parse_filter
from multiprobe.instruments.trace.filter_names import FilterNames
from multiprobe.instruments.trace.instrument import CallTracer, TracedCall
from multiprobe.instruments.trace.program import (
    FILLS,
    FIRST_SHIFT,
    KNOWN,
    MANY,
    POINTER,
    SYSCALL,
    Block,
    Entered,
    EnteredOn,
    Left,
    More,
    Text,
    TraceProbe,
    tables,
)
from multiprobe.instruments.trace.reads import FILL_BIT, FILLED, LENGTH_SHIFT, ReadStep
from multiprobe.kernel.btf.values import ValueType

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
        ("ret < 0 and arg0 > 4096 and pid == 7", "(ctx.arg(0) > 4096) and (ctx.ns_pid == 7)", "(ret < 0)"),
        ("duration > 1000 or ret", "", "(duration > 1000 or ret)"),
        ('comm == "ls"', "(ctx.comm == 'ls')", ""),
        ("count > max(cpu, 4)", "(ctx.args.count > max(ctx.cpu, 4))", ""),
        ("sk.__sk_common.skc_num == 80", "(ctx.args.sk.__sk_common.skc_num == 80)", ""),
        ("comm in ('a', 'b')", "(ctx.comm == 'a' or ctx.comm == 'b')", ""),
        ("comm not in ('a',)", "(not ctx.comm == 'a')", ""),
        ("flags & O_CREAT or cpu == 1", "(ctx.args.flags & 64 or ctx.cpu == 1)", ""),
        ("arg11", "(ctx.arg(11))", ""),
    ],
)
def test_filters(text: str, entry: str, returned: str) -> None:
    assert parse_filter(text) == Filter(entry, returned)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ret <", "can't be read"),
        ("", "can't be read"),
        ("open(1)", "can't call open"),
        ("max(1, key=2)", "can't call max"),
        ("arg12 > 1", "12 arguments, not arg12"),
        ("name == 'x'", "name is a number and can't be compared with a string"),
        ("comm < 'x'", "strings can only be compared with ==, != and in: comm < 'x'"),
        ("comm == 'x' == 'y'", "comparisons of strings can't be chained"),
        ("comm in ('x', 1)", "strings and numbers can't be mixed"),
        ("ret == 1\0", "can't be read"),
        ("0x" + "f" * 5000 + " == ret", "a number of 20,000 bits"),
        ("comm == 'x' == 0x" + "f" * 5000, "a number of 20,000 bits"),
    ],
)
def test_filters_that_can_not_be(text: str, words: str) -> None:
    with pytest.raises(mp.UsageError, match=words.replace("(", r"\(")):
        parse_filter(text)


@pytest.mark.parametrize("context", ["kprobe_multi", "kprobe", "tracing"])
def test_the_program_compiles_with_each_half(context: str) -> None:
    plain = TraceProbe(Filter(), entries_only=context == "kprobe", size=1 << 16)
    assert compile_program(plain.program, context=context, when=plain.when).insns
    if context != "kprobe":
        both = TraceProbe(parse_filter("ret < 0 and arg1 == 2"), entries_only=False, size=1 << 16)
        assert compile_program(both.program, context=context, when=both.when).insns
    with pytest.raises(mp.UsageError, match="returns are not traced"):
        TraceProbe(parse_filter("ret < 0"), entries_only=True, size=1 << 16)


def test_a_system_calls_format() -> None:
    found = parse_format(OPENAT)
    assert found.names == ["dfd", "filename", "flags", "mode"]
    assert found.steps == (ReadStep(1, (0,), is_text=True),)
    raw = [0xFFFFFF9C, 0x7FFF0000, 0x241, 0o644]
    decode = found.decoder()
    assert decode(raw, {0: "/etc/passwd"}) == (
        (
            ("dfd", -100),
            ("filename", '"/etc/passwd"'),
            ("flags", "O_WRONLY|O_CREAT|O_TRUNC"),
            ("mode", "0644"),
        ),
        {},
    )
    assert found.returned((1 << 64) - 2) == "-ENOENT"
    assert found.returned(3) == 3
    assert dict(decode(raw, {0: 'a\n"b"\\'})[0])["filename"] == r'"a\n\"b\"\\"'
    assert dict(decode(raw, {0: ""})[0])["filename"] == "0x7fff0000", "it could not be read, or is empty"
    assert dict(decode([0, 0, 0, 0], {})[0])["filename"] == "NULL"


class Reader:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def take(self) -> list[Any]:
        taken, self.events = self.events, []
        return taken


@pytest.fixture
def tracing() -> Any:
    readers: dict[str, Reader] = {}
    functions = ["vfs_open"]
    streams = ["left", "entered", "more", "blocks", "texts"]
    probe = SimpleNamespace(streams=streams, when="session", stacks=None)
    attachment = SimpleNamespace(
        functions=functions, events=lambda one: readers.setdefault(one, Reader()), report=None, missed=dict
    )
    made = CallTracer(attachment, probe, [parse_format(OPENAT)])  # type: ignore[arg-type]
    made._clock = 1_000_000_000
    return SimpleNamespace(tracing=made, **readers)


def entered(begin: int, **more: int) -> Any:
    zeros = {f"a{place}": 0 for place in range(6)}
    fields = {"thread": 7 << 32 | 8, "begin": begin, "function": 0, "cpu": 3, "comm": "cat", **zeros, **more}
    return Entered(**fields)


def test_calls_are_put_together(tracing: Any) -> None:
    thread = 7 << 32 | 8
    tracing.texts.events = [Text(thread=thread, begin=2_000_000_000, step=0, text="/etc/x")]
    tracing.entered.events = [entered(2_000_000_000, a1=0x7000), entered(2_000_000_500)]
    assert tracing.tracing.sample() == [], "none has returned"
    tracing.left.events = [Left(thread=thread, begin=2_000_000_000, end=2_000_001_500, function=0, cpu=3, ret=-2)]
    (call,) = tracing.tracing.sample()
    assert (call.time, call.pid, call.tid, call.comm, call.cpu) == (1.0, 7, 8, "cat", 3)
    assert dict(call.arguments)["filename"] == '"/etc/x"'
    assert (call.duration, call.returned, call.raw) == (1500, "-ENOENT", -2)
    assert tracing.tracing._missed() == {}


def test_a_task_outside_of_our_pid_namespace_has_a_negative_id(tracing: Any) -> None:
    for packed, ids in (((-7 & 0xFFFFFFFF) << 32 | (-8 & 0xFFFFFFFF), (-7, -8)), (7 << 32 | 8, (7, 8))):
        tracing.entered.events = [entered(5, thread=packed)]
        tracing.left.events = [Left(thread=packed, begin=5, end=6, function=0, cpu=0, ret=0)]
        (call,) = tracing.tracing.sample()
        assert (call.pid, call.tid) == ids


def test_a_return_without_its_entry_is_counted(tracing: Any) -> None:
    tracing.left.events = [Left(thread=1, begin=5, end=6, function=0, cpu=0, ret=0)]
    assert tracing.tracing.sample() == tracing.tracing.sample() == []
    assert tracing.tracing._missed() == {"unmatched_returns": 1}


def test_lines() -> None:
    arguments = (("file", "0xffff888000000040"), ("pos", "NULL"), ("name", '"/x"'), ("flags", "O_RDWR"))
    members = {"file": {"name": '"a"', "path": {"mnt": "NULL"}}}
    call = TracedCall(1.5, 99, 3, 7, 8, "cat", "vfs_open", arguments, members, 1500, "-ENOENT", -2)  # type: ignore[arg-type]
    head = "    1.500000    3        8  cat              vfs_open"
    shown = ShownTrace(most=1, is_kept=True)
    text = f'{head}(file=&{{name="a", path={{mnt=NULL}}}}, pos=NULL, name="/x", flags=O_RDWR) = -2 (ENOENT)  [1.50 µs]'
    assert list(shown.lines(call)) == [text]
    plain = call._replace(members={}, duration=None, stack=("ksys_read", "do_syscall_64"))
    first, *callers = shown.lines(plain)
    assert first == f'{head}(file=0xffff888000000040, pos=NULL, name="/x", flags=O_RDWR)'
    assert [line.strip() for line in callers] == ["ksys_read", "do_syscall_64"]
    assert list(shown.lines(call._replace(stack=())))[-1].endswith("(no stack could be taken)")
    assert shown.add([call, call]) == [call] == shown.kept
    assert shown.is_full


def test_calls_as_json() -> None:
    function = SimpleNamespace(name="vfs_open", module="")
    call = TracedCall(1.5, 99, 3, 7, 8, "cat", function, (("a", 1),), {"a": {"b": 2}}, 1500, 0, 0)  # type: ignore[arg-type]
    found = ShownTrace(most=None, is_kept=False).to_json(call)
    assert (found["arguments"], found["members"], found["end"]) == ({"a": 1}, {"a": {"b": 2}}, 1599)
    assert "stack" not in found
    assert ShownTrace(most=None, is_kept=False).to_json(call._replace(stack=("f", "g")))["stack"] == ["f", "g"]


def test_a_return_may_overtake_its_entry(tracing: Any) -> None:
    tracing.left.events = [Left(thread=7 << 32 | 8, begin=5, end=6, function=0, cpu=0, ret=0)]
    assert tracing.tracing.sample() == []
    tracing.entered.events = [entered(5)]
    assert [call.begin for call in tracing.tracing.sample()] == [5]
    assert tracing.tracing._missed() == {}


@pytest.mark.parametrize(
    ("text", "entry", "returned", "kept", "signed"),
    [
        ("ret > arg1", "", "(ret > kept0)", ("ctx.arg(1)",), ()),
        ("ret < -arg1 and pid == 7", "(ctx.ns_pid == 7)", "(ret < kept0)", ("-ctx.arg(1)",), (0,)),
        ("ret < 0 or 0 < duration < count + 1", "", "(ret < 0 or 0 < duration < kept0)", ("ctx.args.count + 1",), ()),
        ("ret == arg1 or ret == arg1", "", "(ret == kept0 or ret == kept0)", ("ctx.arg(1)",), ()),
        ("ret if a.b == 1 else comm == 'x'", "", "(ret if kept0 else ctx.comm == 'x')", ("ctx.args.a.b == 1",), ()),
        ("ret > arg1 - pid", "", "(ret > kept0)", ("ctx.arg(1) - ctx.ns_pid",), (0,)),
        ("max(ret, arg0, cpu) > 2", "", "(max(ret, kept0, ctx.cpu) > 2)", ("ctx.arg(0)",), ()),
    ],
)
def test_what_the_return_needs_of_the_entry_is_kept(
    text: str, entry: str, returned: str, kept: tuple[str, ...], signed: tuple[int, ...]
) -> None:
    assert parse_filter(text) == Filter(entry, returned, kept, signed)


@pytest.mark.parametrize("context", ["kprobe_multi", "tracing"])
def test_programs_that_keep_compile(context: str) -> None:
    made = TraceProbe(parse_filter("ret < -arg1 or ret == arg2"), entries_only=False, size=1 << 16, has_stacks=True)
    assert compile_program(made.program, context=context, when=made.when).insns


def test_tables_of_functions_and_steps() -> None:
    call = parse_format(OPENAT)
    steps = (ReadStep(0, (64, 32, 0), is_text=True), ReadStep(7, (8,)))
    one = Described((), ValueType("void"), steps, n_slots=9)
    functions, numbers = tables([call, one, UNKNOWN, one])
    assert list(functions) == [1 | SYSCALL | KNOWN, 2 | MANY | KNOWN | 1 << FIRST_SHIFT, KNOWN, functions[1]]
    assert list(numbers) == [1 | 1 << 4 | 1 << 8, 0, 1 << 4 | 3 << 8, 64 | 32 << 16, 7 | 1 << 8 | 64 << 16, 8]
    cut, numbers = tables([call, one], most=1)
    assert (list(cut), len(numbers)) == ([1 | SYSCALL | KNOWN, MANY | KNOWN], 2), "no room: the others are still shown"


@pytest.mark.parametrize("text", ["(" * 1000 + "1" + ")" * 1000, "not " * 5000 + "1", "+".join(["arg0"] * 5000)])
def test_filters_that_are_nested_too_deeply(text: str) -> None:
    with pytest.raises(mp.UsageError, match=r"nested too deeply|can't be read"):
        parse_filter(text)


def test_arguments_after_the_address_of_a_returned_struct(tmp_path: Path) -> None:
    """All readers of signatures: trace and its filter, graph, and errors."""
    w = BtfWriter()
    long = w.signed("long", 8)
    name = w.pointer(w.add("const", target=w.integer("char", 1)))
    w.function("mems", w.struct("nodemask_t", 128), ("count", long), ("name", name))
    w.function("area", w.integer("unsigned long", 8), ("address", long))
    (tmp_path / "btf").write_bytes(w.data())
    (tmp_path / "kallsyms").write_text("ffffffff81000000 T mems\nffffffff81000100 T area\n")
    kernel = mp.Kernel.from_files(kallsyms=str(tmp_path / "kallsyms"), btf=str(tmp_path / "btf"))
    mems, area = kernel.functions("mems"), kernel.functions("area")
    (described,) = Describer(kernel, Wanted()).describe(mems)
    assert [(one.name, one.position) for one in described.shown] == [("count", 1), ("name", 2)]
    assert described.steps == (ReadStep(2, (0,), is_text=True),)
    assert described.n_slots == 3
    assert described.returned(0xFFFFC90000000000) == "*(struct nodemask_t *)0xffffc90000000000"
    assert FilterNames(mems).meaning("name").kind == "text"
    assert graph_command._most_arguments(mems) == 3
    assert signatures(mems)[0].arguments((1, 7, 0)) == {"count": 7, "name": "0x0"}
    assert return_kinds(mems) == [errors_probe.NEVER]
    assert return_kinds(area) == [errors_probe.LONG]
    (described,) = Describer(kernel, Wanted()).describe(area)
    assert described.returned((1 << 64) - 13) == "-EACCES"
    assert tables([described])[0][0] & POINTER


def test_a_function_that_returns_a_pointer_is_marked() -> None:
    functions, _ = tables([Described((), ValueType("pointer")), Described((), ValueType("int"))])
    assert list(functions) == [KNOWN | POINTER, KNOWN]


def test_arguments_on_the_stack_and_members(tracing: Any) -> None:
    thread = 7 << 32 | 8
    tracing.more.events = [More(thread=thread, begin=5, a6=66, a7=77, a8=0, a9=0, a10=0, a11=0)]
    tracing.entered.events = [entered(5, a0=1), entered(6, a0=1)]
    tracing.left.events = [Left(thread=thread, begin=at, end=9, function=0, cpu=3, ret=0) for at in (5, 6)]
    shown = [TracedArgument(f"a{place}", place, ValueType("unsigned")) for place in (0, 7)]
    described = Described(tuple(shown), ValueType("void"), n_slots=8)
    tracing.tracing._decoders = {0: (described.decoder(), described.returned)}
    assert [call.arguments for call in tracing.tracing.sample()] == [(("a0", 1), ("a7", 77)), (("a0", 1),)]
    assert Block.record_.size == 88
    assert EnteredOn.names_[-1] == "stack"


WRITE = """\
name: sys_enter_write
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;

\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;
\tfield:unsigned int fd;\toffset:16;\tsize:8;\tsigned:0;
\tfield:const char * buf;\toffset:24;\tsize:8;\tsigned:0;
\tfield:size_t count;\toffset:32;\tsize:8;\tsigned:0;
"""


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (5, '"hello"'),
        (0, "0x1000"),
        (99, '"hello-not-terminated"'),
        (7, '"hello-n"'),
        (1 << 63, '"hello-not-terminated"'),
    ],
)
def test_a_string_with_a_count_ends_where_it_says(count: int, shown: str) -> None:
    decode = parse_format(WRITE).decoder()
    arguments, _ = decode([1, 0x1000, count, 0, 0, 0], {0: "hello-not-terminated"})
    assert dict(arguments)["buf"] == shown


def test_a_count_is_in_bytes() -> None:
    arguments, _ = parse_format(WRITE).decoder()([1, 0x1000, 3, 0, 0, 0], {0: "aé€"})
    assert dict(arguments)["buf"] == '"aé"'
    arguments, _ = parse_format(WRITE).decoder()([1, 0x1000, 2, 0, 0, 0], {0: "aé€"})
    assert dict(arguments)["buf"] == r'"a\xc3"'


def test_only_what_follows_a_string_counts_it() -> None:
    text = WRITE.replace("size_t count", "size_t offset")
    arguments, _ = parse_format(text).decoder()([1, 0x1000, 2, 0, 0, 0], {0: "hello"})
    assert dict(arguments)["buf"] == '"hello"'
    swapped = WRITE.replace("unsigned int fd", "size_t size").replace("size_t count", "int flags")
    arguments, _ = parse_format(swapped).decoder()([1, 0x1000, 2, 0, 0, 0], {0: "hello"})
    assert dict(arguments)["buf"] == '"hello"'


@pytest.mark.parametrize(
    ("pointer", "following", "is_count"),
    [
        *((pointer, "len", True) for pointer in ("buf", "name", "s")),
        *(
            ("buf", name, True)
            for name in ("count", "cnt", "size", "buflen", "nbytes", "maxlen", "data_len", "n", "max")
        ),
        *(("name", name, True) for name in ("namlen", "name_len", "namelen", "count")),
        *(("name", name, False) for name in ("size", "n", "nr", "mode", "flags", "offset")),
        *(("buf", name, False) for name in ("pos", "off", "mode", "flags", "lenient", "type", "elem_size")),
    ],
)
def test_what_counts_the_bytes_of_a_string(pointer: str, following: str, is_count: bool) -> None:
    """Names of parameters after a `char *`, as they occur in kernels; a wrong one would cut off a string that ends."""
    text = WRITE.replace("* buf;", f"* {pointer};").replace("size_t count", f"size_t {following}")
    arguments, _ = parse_format(text).decoder()([1, 0x1000, 2, 0, 0, 0], {0: "hello"})
    assert dict(arguments)[pointer] == ('"he"' if is_count else '"hello"')


def test_a_buffer_that_a_system_call_fills_is_shown_after_the_return() -> None:
    read = parse_format(WRITE.replace("sys_enter_write", "sys_enter_read").replace("const char *", "char *"))
    assert read.steps == (ReadStep(1, (0,), is_filled=True),)
    assert read.steps[0].words == (1 | FILL_BIT | 1 << LENGTH_SHIFT, 0)
    assert tables([read])[0][0] == 1 | SYSCALL | KNOWN | FILLS
    decode = read.decoder()
    assert dict(decode([1, 0x1000, 9, 0, 0, 0], {FILLED: "hello"})[0])["buf"] == '"hello"'
    assert dict(decode([1, 0x1000, 3, 0, 0, 0], {FILLED: "hello"})[0])["buf"] == '"hel"', "a result above the count"
    assert dict(decode([1, 0x1000, 9, 0, 0, 0], {})[0])["buf"] == "0x1000", (
        "nothing was written, or returns aren't traced"
    )


def counting(tmp_path: Path) -> mp.Kernel:
    """Functions with buffers, whose counts are found in BTF."""
    w = BtfWriter()
    char, long, size = w.integer("char", 1), w.signed("long", 8), w.integer("unsigned long", 8)
    int_ = w.signed("int", 4)
    w.add("typedef", "u64", target=size)
    w.struct("pt_regs", 168, *((name, size, 64 * n) for n, name in enumerate(native().system_call_arguments)))
    const, plain = w.pointer(w.add("const", target=char)), w.pointer(char)
    w.function("writes", long, ("file", size), ("buf", const), ("count", size))
    w.function("reads", long, ("file", size), ("buf", plain), ("len", int_))
    w.function("hidden", w.struct("big", 128), ("buf", const), ("count", int_))
    w.function("paths", plain, ("buf", plain), ("buflen", int_))
    w.function("plains", long, ("file", size), ("buf", const), ("flags", size))
    lines = [
        f"ffffffff8100{n:02x}00 T {name}\n" for n, name in enumerate(("writes", "reads", "hidden", "paths", "plains"))
    ]
    (tmp_path / "btf").write_bytes(w.data())
    (tmp_path / "kallsyms").write_text("".join(lines))
    return mp.Kernel.from_files(kallsyms=str(tmp_path / "kallsyms"), btf=str(tmp_path / "btf"))


def test_a_count_that_is_found_in_btf(tmp_path: Path) -> None:
    kernel = counting(tmp_path)

    def described(name: str) -> Described:
        return Describer(kernel, Wanted()).describe(kernel.functions(name))[0]

    def shown(name: str, raw: list[int], content: dict[int, str]) -> object:
        return dict(described(name).decoder()([*raw, 0, 0, 0, 0], content)[0])["buf"]

    assert shown("writes", [0, 0x1000, 5], {0: "hello-not-terminated"}) == '"hello"'
    assert shown("hidden", [1, 0x1000, 0xDEAD_0000_0003], {0: "hello"}) == '"hel"', "behind the address of the result"
    assert shown("hidden", [1, 0x1000, 0xFFFF_FFFF], {0: "hello"}) == "0x1000", "-1 bytes"
    assert shown("plains", [0, 0x1000, 2], {0: "hello"}) == '"hello"'
    assert shown("reads", [0, 0x1000, 3], {FILLED: "hello"}) == '"hel"'
    assert described("reads").steps == (ReadStep(1, (0,), is_filled=True),)
    assert shown("paths", [0x1000, 9], {}) == "0x1000"
    assert described("paths").steps == (), "its result is a pointer: it counts no bytes"
    assert tables([described("reads")])[0][0] & FILLS


def test_filters_of_strings_with_a_count(tmp_path: Path) -> None:
    kernel = counting(tmp_path)

    def parse(text: str, *names: str) -> Filter:
        return parse_filter(text, FilterNames(kernel.by_symbols(names)).meaning)

    def source(address: str, given: str) -> str:
        kinds = (f"mp.{kind}_string({given}) == 'hello'" for kind in ("kernel", "user"))
        return f"({next(kinds)} if mp.u64({address}) >= KERNEL_HALF else {next(kinds)})"

    buf = "ctx.args.buf"
    assert parse('buf == "hello"', "writes").entry == source(buf, f"{buf}, mp.u64(ctx.arg(2))")
    assert parse('buf == "hello"', "hidden").entry == source(buf, f"{buf}, mp.i32(ctx.arg(2))")
    assert parse('buf == "hello"', "plains").entry == source(buf, buf)
    assert parse('buf == "hello" and ret > 0', "reads") == Filter(
        "", f"{source('kept0', 'kept0, min(kept1, max(ret, 0))')} and (ret > 0)", (buf, "mp.i32(ctx.arg(2))"), (1,)
    )
    assert parse('buf == "hello" or len > 4', "reads").kept == (buf, "mp.i32(ctx.arg(2))", "ctx.args.len > 4")
    with pytest.raises(mp.UsageError, match="in some of these functions"):
        parse('buf == "hello"', "writes", "plains")
    for names, text in ((("writes",), 'buf in ("a", "hello")'), (("reads",), 'buf != "hello" and len > 2')):
        made = TraceProbe(parse(text, *names), entries_only=False, size=1 << 16)
        functions = kernel.by_symbols(names)
        types = KernelTypes.of(kernel)
        found = find_arguments(made.program, kernel_parameters(functions, types), types)
        for context in ("kprobe_multi", "tracing"):
            shape = Shape(arguments=found)
            assert compile_program(made.program, context=context, when=made.when, shape=shape, kernel=kernel).insns
    with pytest.raises(mp.UsageError, match="what a call wrote, but returns are not traced"):
        TraceProbe(parse('buf == "hello"', "reads"), entries_only=True, size=1 << 16)


def test_filters_of_system_calls_with_a_count() -> None:
    names = object.__new__(FilterNames)
    written = parse_format(WRITE)
    names._described, names._n_calls = [written], 1
    assert names.meaning("buf").count == 'mp.u64(mp.cast("struct pt_regs *", ctx.arg(0)).dx)'
    names._described = [parse_format(WRITE.replace("const char *", "char *"))]
    assert names.meaning("buf").kind == "filled"


@pytest.mark.parametrize("digits", [19, 400, 5000])
def test_a_time_that_is_too_long(digits: int) -> None:
    with pytest.raises(mp.errors.UsageError, match="at most 292 years"):
        parse_filter(f"duration > {'9' * digits}s")
    assert parse_filter("duration > 9000000000s")
