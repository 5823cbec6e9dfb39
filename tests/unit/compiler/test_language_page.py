"""docs/language.md names nothing without a test: each construct in a kernel, each refusal with its text and position.

A construct that is added to the page, or a refusal, fails here until it is in these tables; what the tables point at is
looked for in the tests' own sources.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from constructs import CONSTRUCTS
from test_program_refusals import REFUSED, REFUSED_STATEMENTS

ROOT = Path(__file__).parents[3]
PAGE = re.sub(r"^```.*?^```$", "", (ROOT / "docs/language.md").read_text(), flags=re.MULTILINE | re.DOTALL)
SECTIONS = {part.partition("\n")[0]: part.partition("\n")[2] for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)}

#: What the page names, and where: a construct of `constructs.py`, which test_language.py runs in kernels, or a piece of
#: a kernel test's source ("test_types.py: task.pid").
NAMED = {
    "Values": {
        "%": "floor remainder",
        "//": "floor division",
        ">>": "shifts",
        "True": "truth",
        "bool(…)": "truth",
        "mp.bool_(…)": "truth",
        "not": "truth",
        "False": "test_programs.py: False",
        "ctx.arg(n)": "wrapping",
        "ctx.function": "test_programs.py: f = ctx.function",
        "ctx.is_return": "test_attach.py: ctx.is_return",
        "ctx.ret": "test_types.py: ctx.ret",
        "ctx.ns_pid": "test_own_processes.py: ctx.ns_pid",
        "ctx.ns_tid": "test_own_processes.py: ctx.ns_tid",
        "in": "in",
        "mp.i32(x)": "signed conversions",
        "mp.i64(…)": "signed conversions",
        "mp.i8(…)": "signed conversions",
        "mp.u64(…)": "conversions",
        "mp.u8(x)": "conversions",
        "mp.u8(…)": "conversions",
        "mp.i64(-1) < ctx.arg(0)": "exact comparison",
        "x % 0": "remainder by zero",
        "x // 0": "division by zero",
        "x << n": "wide shifts",
        "x >> n": "wide shifts",
        "x: mp.u32 = …": "annotated",
    },
    "Expressions": {
        "& | ^ << >>": "bits",
        "** ": "known numbers",
        "+ - * // %": "signed arithmetic",
        "- + ~": "unary",
        "0 <= x < 10": "chains",
        "== != < <= > >=": "comparisons",
        "@mp.helper": "functions",
        "a if test else b": "conditional",
        "abs": "abs",
        "n.bit_length()": "bit_length",
        "and": "and",
        "or": "or",
        "not": "logic of three",
        "bool": "truth",
        "key in m": "in",
        "m[a, b]": "tuples as keys",
        "m[key]": "array",
        "max": "min and max",
        "min": "min and max",
        "module.NAME": "conversions",
        "p is None": "test_types.py: task.mm is None",
        "p is not None": "test_types.py: task.mm is not None",
        "x in (1, 2, 3)": "one of several",
        "x not in NUMBERS": "one of several",
    },
    "Statements": {
        "+ - & | ^": "atomic updates",
        "@mp.helper": "functions",
        "@mp.program(loop_limit=1000)": "test_language.py: @mp.program(loop_limit=10)",
        "loop_limit": "test_language.py: @mp.program(loop_limit=10)",
        "attachment.missed()": 'test_language.py: attachment.missed()["cut_loops"] == 1',
        "break": "break and continue",
        "continue": "break and continue",
        "ctx": "ctx in functions",
        "ctx.session = …": "test_attach.py: ctx.session = ctx.ip + 1",
        "del m[key]": "in",
        "if": "if and elif",
        "elif": "if and elif",
        "else": "if and elif",
        "for i in range(…)": "for",
        "m[key] += …": "array",
        "m[key] = max(m[key], x)": "atomic extremes",
        "min": "atomic extremes",
        "m[key] = …": "array",
        "pass": "pass",
        "return": "test_attach.py: return",
        "return value": "early return",
        "return 0": "test_attach.py: return 0",
        "return 1": "test_attach.py: return 1",
        "return True": "test_attach.py: return True",
        "return x > 4096": "test_attach.py: return ctx.arg(2) <= 100",
        'when="session"': 'test_attach.py: when="session"',
        "while": "while",
        "x += …": "augmented",
        "x = y = …": "assignment to two",
        "x = …": "swapping",
        "x, y = y, x": "swapping",
        "x: mp.u8 = …": "annotated",
    },
    "ctx": {
        '"int"': 'test_types.py: ctx.arg(0, "int")',
        '"struct sock *"': 'test_types.py: ctx.arg(1, "struct file *")',
        "ctx.arg(n)": "wrapping",
        'ctx.arg(n, "T")': 'test_types.py: ctx.arg(1, "struct file *")',
        'ctx.arg(n, "int")': 'test_types.py: ctx.arg(0, "int")',
        "ctx.arg_count": "test_agreement.py: ctx.arg_count",
        "ctx.args.NAME": "test_types.py: ctx.args.file",
        "ctx.cookie": "test_programs.py: seen[f, 11] = ctx.cookie",
        "ctx.cpu": "test_types.py: out[1] = ctx.cpu",
        "ctx.function": "test_programs.py: f = ctx.function",
        "ctx.ip": "test_programs.py: seen[f, 12] = ctx.ip",
        "ctx.is_return": "test_attach.py: ctx.is_return",
        "ctx.kernel_entry": "test_stack_pointer.py: ctx.kernel_entry",
        "ctx.pid": "test_programs.py: seen[f, 15] = ctx.pid",
        "ctx.ret": "test_programs.py: seen[f, 13] = ctx.ret",
        "ctx.ret < 0": "test_types.py: ctx.ret < 0",
        "ctx.return_register": "test_types.py: ctx.return_register",
        "ctx.session": "test_attach.py: ctx.session == ctx.ip + 1",
        "ctx.stack_pointer": "test_stack_pointer.py: ctx.stack_pointer",
        "ctx.task": "test_types.py: task = ctx.task",
        "ctx.ns_pid": "test_own_processes.py: ctx.ns_pid",
        "ctx.ns_tid": "test_own_processes.py: ctx.ns_tid",
        "--pid": "test_own_processes.py: --pid",
        "os.getpid()": "test_own_processes.py: os.getpid()",
        "ps": "test_own_processes.py: os.getpid()",
        "ctx.task.tgid": "test_own_processes.py: ctx.task.tgid",
        "ctx.tid": "test_types.py: out[6] = ctx.tid",
        "ctx.time": "test_events.py: ctx.time",
        "int": "test_types.py: test_an_int_that_is_negative_is_less_than_zero",
        "long": "test_types.py: test_an_int_that_is_negative_is_less_than_zero",
        "mp.attach": "test_attach.py: mp.attach(",
        "struct task_struct *": "test_types.py: task = ctx.task",
    },
    "Sleepable programs": {
        "@mp.program(sleepable=True)": "test_events.py: @mp.program(sleepable=True)",
        "mp.user_string": "test_events.py: mp.user_string(name)",
        "failed_reads": "test_events.py: failed_reads",
        "tracing_multi": "test_events.py: tracing_multi",
        "trampoline": "test_events.py: trampoline",
        "__x64_sys_*": "test_events.py: __x64_sys_openat",
        "uprobe_multi": "test_user_attach.py: test_a_sleepable_program_reads_what_is_paged_out",
        "recursion_misses": "test_events.py: recursion_misses",
        "stacks.id": "test_collecting.py: stacks.id(ctx)",
    },
    "The kernel's types": {
        ".dtype": "test_layouts.py: .dtype",
        ".members": "test_layouts.py: .members",
        '.offset("__sk_common.skc_dport")': 'test_types.py: task.offset("tgid")',
        "None": "test_types.py: task.mm is None",
        "_Bool": "test_types.py: task.signal.oom_flag_origin",
        "a.b": "test_types.py: mp.container_of(",
        'attachment.missed()["failed_reads"]': "test_events.py: failed_reads",
        'ctx.arg(0, "struct sock *")': 'test_types.py: ctx.arg(1, "struct file *")',
        "mp.address_of(p.a.b)": "test_types.py: mp.address_of(task.tasks)",
        'mp.cast("struct sock *", x)': 'test_types.py: mp.cast("struct task_struct *"',
        'mp.container_of(p, "struct x", "a.b")': "test_types.py: mp.container_of(",
        'mp.enum("pid_type").PIDTYPE_TGID': 'test_types.py: mp.enum("pid_type").PIDTYPE_SID',
        'mp.enum("pid_type").values': 'test_types.py: mp.enum("pid_type")',
        'mp.per_cpu("runqueues")': 'test_types.py: mp.per_cpu("runqueues").cpu',
        'mp.per_cpu("runqueues", cpu)': 'test_types.py: mp.per_cpu("runqueues", ctx.arg(0))',
        "mp.struct": 'test_types.py: mp.struct("task_struct")(',
        'mp.struct("sock")(x)': 'test_types.py: mp.struct("task_struct")(',
        'mp.struct("sock").size': "test_layouts.py: .size",
        "mp.u64(p) + n": "test_types.py: mp.u64(task)",
        "mp.union": 'test_types.py: mp.union("bpf_attr")(',
        'mp.union("name")(x)': 'test_types.py: mp.union("bpf_attr")(',
        "p": "test_types.py: task.group_leader == task.group_leader.group_leader",
        "p.a.b": "test_types.py: task.cred.uid.val",
        "p.array": "test_types.py: == task.comm",
        "p.array[i]": "test_types.py: task.comm[0]",
        "p.list.next.prev": "test_types.py: task.files.fdt.fd[",
        "p.struct_member": "test_types.py: mp.address_of(task.tasks)",
        "p[i]": "test_types.py: pid[1]",
        "p[n]": "test_types.py: pid[1]",
    },
    "Strings, events, histograms, stacks": {
        '"text"': 'test_events.py: comm="constant"',
        "ctx.comm": "test_events.py: comm=ctx.comm",
        'ctx.comm == "bash"': 'test_events.py: ctx.comm == "pytest"',
        "events.send(pid=ctx.pid, name=ctx.comm)": "test_events.py: seen.send(",
        "failed_reads": "test_events.py: failed_reads",
        "histogram.add(ctx.function, x)": "test_collecting.py: each.add(ctx.function, ctx.arg(0))",
        "histogram.add(x)": "test_collecting.py: logs.add(ctx.arg(0))",
        "mp.kernel_string(address)": "test_events.py: mp.kernel_string(BANNER)",
        "mp.kernel_string(address, size)": "test_events.py: mp.kernel_string(BANNER, 5)",
        "mp.user_string(address, size)": "test_events.py: mp.user_string(ctx.arg(1), ctx.arg(2))",
        "size": "test_events.py: mp.user_string(ctx.arg(1), ctx.arg(2))",
        "mp.kernel_string(p) != NAME": 'test_events.py: ctx.comm != "swapper/0"',
        "mp.string(16)": "test_events.py: comm: mp.string(16)",
        "mp.user_string(address)": "test_events.py: mp.user_string(ctx.arg(1))",
        "stacks.id(ctx)": "test_collecting.py: stacks.id(ctx)",
        "stacks.id(ctx, user=True)": "test_collecting.py: stacks.id(ctx, user=True)",
        "table[ctx.pid, ctx.comm] += 1": "test_events.py: names[mp.user_string(ctx.arg(1)), ctx.pid] += 1",
    },
}

#: What the page says is refused, in its own words, and the case of test_program_refusals.py with text and position.
REFUSALS = {
    "True division": "x = ⟨ctx.pid / 2⟩",
    "`@`": "x = ⟨ctx.pid @ 2⟩",
    "`is` between numbers": "x = ⟨ctx.pid is ctx.tid⟩",
    "lambda": "x = ⟨lambda: 1⟩",
    "comprehensions": "x = ⟨[i for i in range(3)]⟩",
    "generators": "x = ⟨(i for i in range(3))⟩",
    "lists": "x = ⟨[1]⟩",
    "dicts": "x = ⟨{1: 2}⟩",
    "sets": "x = ⟨{1}⟩",
    "tuples that are neither keys nor constants": "x = ⟨(1, 2)⟩",
    "slices": "x = table[⟨1:2⟩]",
    "f-strings": "x = ⟨f'{1}'⟩",
    "`:=`": "x = (⟨y := 1⟩)",
    "starred expressions": "x = max(⟨*NUMBERS⟩)",
    "floats and strings as values": "x = ⟨1.5⟩",
    "functions and classes inside a program": "⟨class Inner:⟩",
    "`try`": "⟨try:⟩",
    "`raise`": "⟨raise ValueError⟩",
    "`assert`": "⟨assert ctx.pid⟩",
    "`with`": "⟨with ctx:⟩",
    "`match`": "⟨match ctx.pid:⟩",
    "`async`": "⟨async def inner():⟩",
    "`await`": "await ctx",
    "`yield`": "x = ⟨yield⟩",
    "`global`": "⟨global z⟩",
    "`nonlocal`": "nonlocal z",
    "`import`": "⟨import os⟩",
    "`else` of loops": "loops have no else",
    "loops over anything but `range`": "for i in ⟨NUMBERS⟩: pass",
    "calls of anything that is not listed above": "x = ⟨print(1)⟩",
    "keyword arguments": "x = mp.u8(number=⟨1⟩)",
}
IN_GUESTS = ("tests/kernel", "tests/user")
NAMED_CASES = [(section, *pair) for section, table in NAMED.items() for pair in table.items()]


def spans(section: str) -> set[str]:
    """The pieces of code that a section names."""
    return set(re.findall(r"`([^`]+)`", SECTIONS[section].replace("\\|", "|")))


def test_every_section_is_looked_at() -> None:
    elsewhere = {"Annotations", "Types of programs", "What programs can't do"}  # tests/outside, user; no construct
    assert {*NAMED, *elsewhere, "What is refused"} == {name for name in SECTIONS if not name.startswith("#")}


@pytest.mark.parametrize("section", NAMED)
def test_everything_that_is_named_has_a_test(section: str) -> None:
    assert not spans(section) - set(NAMED[section])


@pytest.mark.parametrize(("section", "name", "place"), NAMED_CASES)
def test_what_is_pointed_at_exists(section: str, name: str, place: str) -> None:
    file, _, piece = place.partition(": ")
    if piece and file.endswith(".py"):
        (found,) = [path for folder in IN_GUESTS if (path := ROOT / folder / file).exists()]
        assert piece in found.read_text()
    else:
        assert place in CONSTRUCTS


def test_everything_that_is_refused_has_a_test() -> None:
    text = " ".join(SECTIONS["What is refused"].split()).rstrip(".")
    phrases = [part.strip().removeprefix("and ") for part in re.split(r"[,;]", text)]
    assert sorted(phrases) == sorted(REFUSALS)


@pytest.mark.parametrize("case", REFUSALS.values(), ids=REFUSALS)
def test_refusals_that_are_pointed_at_exist(case: str) -> None:
    marked = [marked for marked, _ in REFUSED] + [
        word for body, *words in REFUSED_STATEMENTS for word in (body, words[0])
    ]
    source = (Path(__file__).parent / "test_program_refusals.py").read_text()
    assert any(case in one for one in marked) or f"{case}\\n" in source
