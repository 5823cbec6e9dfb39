"""Unsupported constructs are refused with file, line and a caret under the expression."""

from __future__ import annotations

import linecache
import types

import pytest

import multiprobe as mp
from multiprobe.compiler.compiling import compile_program
from multiprobe.compiler.frontend.statements import build
from multiprobe.compiler.program import Program
from multiprobe.errors import CompileError

FILE = "<refused>"
HEAD = "@mp.program\ndef program(ctx):\n"


def make(source: str) -> Program:
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    module = types.ModuleType("mp")
    for name in ("program", "helper", "u8", "u32", "u64", "i64", "bool_"):
        setattr(module, name, getattr(mp, name))
    names = {
        "mp": module,
        "calls": mp.PerFunction(mp.u64),
        "array": mp.Array(mp.u32, 4),
        "table": mp.Hash(mp.u32, mp.u64),
        "pairs": mp.Hash((mp.u32, mp.u64), mp.u64),
        "TEXT": "text",
        "NUMBERS": [1, 2],
        "HUGE": 1 << 70,
    }
    exec(compile(source, FILE, "exec"), names)
    program = names["program"]
    assert isinstance(program, Program)
    return program


#: One statement each, with a marker on what the caret must be under: ⟨…⟩.
REFUSED = [
    ("x = ⟨1.5⟩", "1.5 is a float"),
    ("x = ⟨'text'⟩", "'text' is a str"),
    ("x = ⟨None⟩", "None is no value"),
    ("x = ⟨TEXT⟩", "TEXT is a str"),
    ("x = ⟨NUMBERS⟩", "NUMBERS is a list"),
    ("x = ⟨HUGE⟩", "does not fit in 64 bits"),
    ("x = ⟨1 << 64⟩", "does not fit in 64 bits"),
    ("x = ⟨ctx⟩", "'ctx' can't be used as a value"),
    ("x = ⟨unknown⟩", "name 'unknown' is not defined"),
    ("x = ⟨y⟩ + 1; y = 1", "'y' may have no value here"),
    ("x = ⟨calls⟩", "the map 'calls' can't be used as a value"),
    ("x = ⟨mp.u64⟩", "the type mp.u64 can't be used as a value"),
    ("x = ⟨mp.u128⟩", "module 'mp' has no 'u128'"),
    ("x = ⟨ctx.args⟩", "which argument?"),
    ("x = ⟨ctx.argument⟩", "ctx has no 'argument'"),
    ("x = ⟨ctx.arg⟩", "which argument?"),
    ("x = ⟨ctx.arg(ctx.pid)⟩", "ctx.arg takes one number that is known"),
    ("x = ⟨ctx.arg()⟩", "ctx.arg takes one number that is known"),
    ("x = ctx.arg(⟨12⟩)", "arguments are numbered from 0 to 11"),
    ("x = ctx.arg(⟨-1⟩)", "arguments are numbered from 0 to 11"),
    ("x = ⟨ctx.pid()⟩", "ctx.pid is a value, not a function"),
    ("x = 1; y = ⟨x.real⟩", "a value has no 'real'"),
    ("x = ⟨ctx.pid / 2⟩", "true division"),
    ("x = ⟨ctx.pid @ 2⟩", "matrix multiplication"),
    ("x = ⟨ctx.pid ** 2⟩", "** needs numbers that are known"),
    ("x = ⟨1 // 0⟩", "division by zero"),
    ("x = ⟨1 << -1⟩", "-1 is no count to shift"),
    ("x = ⟨ctx.arg(0) == -1⟩", "a value without a sign is never -1"),
    ("x = ⟨ctx.pid is ctx.tid⟩", "`is`"),
    ("x = ctx.pid in ⟨NUMBERS⟩", "`in` asks a Hash for a key"),
    ("x = ctx.pid in ⟨(1, ctx.tid)⟩", "`in` asks a Hash for a key"),
    ("x = ⟨ctx.pid in (1, -2)⟩", "a value without a sign is never -2"),
    ("x = ⟨1 < ctx.pid in table⟩", "`in` can't be part of a chain"),
    ("x = ⟨lambda: 1⟩", "lambda"),
    ("x = ⟨[1]⟩", "a list"),
    ("x = ⟨{1: 2}⟩", "a dict"),
    ("x = ⟨{1}⟩", "a set"),
    ("x = ⟨(1, 2)⟩", "a tuple"),
    ("x = ⟨[i for i in range(3)]⟩", "a comprehension"),
    ("x = ⟨f'{1}'⟩", "an f-string"),
    ("x = ⟨(i for i in range(3))⟩", "a generator"),
    ("x = max(⟨*NUMBERS⟩)", "a starred expression"),
    ("x = table[⟨1:2⟩]", "a slice"),
    ("x = ⟨yield⟩", "yield"),
    ("x = ⟨yield from NUMBERS⟩", "yield from"),
    ("x = ⟨b'text'⟩", "b'text' is a bytes"),
    ("x = ⟨...⟩", "Ellipsis is a ellipsis"),
    ("⟨from os import path⟩", "import"),
    ("x = 1; del ⟨x⟩", "only keys of a Hash can be deleted"),
    ("x = ⟨mp.program⟩", "mp.program is a function"),
    ("x = 3; ⟨x()⟩", "can't call 'x'"),
    ("x = ⟨ctx.arg(0)(1)⟩", "can't call 'ctx.arg(0)'"),
    ("x = (⟨y := 1⟩)", ":="),
    ("x = ⟨len(TEXT)⟩", "can't call 'len'"),
    ("x = ⟨print(1)⟩", "can't call 'print'"),
    ("x = mp.u8(⟨TEXT⟩)", "TEXT is a str"),
    ("x = ⟨mp.u8(1, 2)⟩", "converts one value"),
    ("x = mp.u8(number=⟨1⟩)", "no keyword arguments"),
    ("x = ⟨min(1)⟩", "two values or more"),
    ("x = ⟨TEXT[0]⟩", "'TEXT' is not a map"),
    ("x = pairs[⟨1⟩]", "a key of this map has 2 parts"),
    ("x = pairs[⟨1, 2, 3⟩]", "a key of this map has 2 parts"),
    ("x = table[⟨1, 2⟩]", "a tuple"),
    ("⟨ctx.pid⟩ = 1", "ctx.pid can't be assigned"),
    ("⟨ctx⟩ = 1", "'ctx' can't be assigned"),
    ("x = 1; ⟨x.y⟩ = 1", "only locals, items of maps and ctx.session"),
    ("x, y = ⟨1⟩", "2 values are needed here"),
    ("x: ⟨int⟩ = 1", "only locals have a type"),
    ("⟨x: mp.u8⟩", "'x' needs a value"),
    ("x = 1; ⟨x /= 2⟩", "true division"),
    ("⟨x⟩ += 1", "'x' may have no value here"),
    ("del ⟨array[1]⟩", "only keys of a Hash can be deleted"),
    ("⟨1 + 1⟩", "this does nothing"),
    ("⟨ctx.pid⟩", "this does nothing"),
    ("return ⟨1⟩", "a program returns nothing"),
    ("⟨assert ctx.pid⟩", "assert"),
    ("⟨raise ValueError⟩", "raise"),
    ("⟨import os⟩", "import"),
    ("⟨global z⟩", "global"),
    ("for i in ⟨NUMBERS⟩: pass", "loops go over range"),
    ("for i in ⟨range(ctx.pid)⟩: pass", "range needs numbers that are known"),
    ("for i in ⟨range(1, 5, 0)⟩: pass", "must not be zero"),
    ("for ⟨i, j⟩ in range(3): pass", "a loop counts in one local"),
]


@pytest.mark.parametrize(("marked", "message"), REFUSED, ids=[marked for marked, _ in REFUSED])
def test_refused_with_a_caret(marked: str, message: str) -> None:
    start, end = marked.index("⟨"), marked.index("⟩") - 1
    line = marked.replace("⟨", "").replace("⟩", "")
    with pytest.raises(CompileError) as caught:
        build(make(f"{HEAD}    {line}\n"))
    error = caught.value
    assert message in error.message
    assert (error.file, error.line, error.source.strip()) == (FILE, 3, line)
    assert (error.column - 4, (error.end_column or 0) - 4) == (start, end)
    first, quoted, caret = str(error).splitlines()
    assert first == f"{FILE}:3: {error.message}"
    assert quoted == f"    {line}"
    assert caret == " " * (4 + start) + "^" * (end - start)


#: Statements of several lines, with the same marker.
REFUSED_STATEMENTS = [
    ("    while True:\n        pass\n    else:\n        ⟨x = 1⟩", "loops have no else", 6),
    ("    for i in range(3):\n        pass\n    else:\n        ⟨x = 1⟩", "loops have no else", 6),
    ("    ⟨try:⟩\n        x = 1\n    except ValueError:\n        pass", "a program can't use try", 3),
    ("    ⟨try:⟩\n        x = 1\n    except* ValueError:\n        pass", "a program can't use try", 3),
    ("    ⟨with ctx:⟩\n        pass", "a program can't use with", 3),
    ("    ⟨def inner():⟩\n        pass", "a function inside a program", 3),
    ("    ⟨async def inner():⟩\n        await ctx", "an async function", 3),
    ("    ⟨class Inner:⟩\n        pass", "a class inside a program", 3),
    ("    ⟨match ctx.pid:⟩\n        case 1:\n            pass", "a program can't use match", 3),
    ("    if ctx.pid:\n        x = 1\n    y = ⟨x⟩", "'x' may have no value here", 5),
    ("    for i in range(3):\n        if i:\n            x = 1\n    y = ⟨x⟩", "'x' may have no value here", 6),
    ("    while ctx.pid:\n        x = 1\n    y = ⟨x⟩", "'x' may have no value here", 5),
]


@pytest.mark.parametrize(("body", "message", "line"), REFUSED_STATEMENTS)
def test_refused_statements(body: str, message: str, line: int) -> None:
    with pytest.raises(CompileError) as caught:
        build(make(f"{HEAD}{body.replace('⟨', '').replace('⟩', '')}\n"))
    error = caught.value
    assert message in error.message
    marked = next(one for one in body.splitlines() if "⟨" in one)
    assert (error.line, error.column, error.end_column) == (line, marked.index("⟨"), marked.index("⟩") - 1)


@pytest.mark.parametrize(
    "line", ["return ⟨2⟩", "return ⟨-1⟩", "return ⟨ctx.pid⟩", "return ⟨ctx.pid & 1⟩", "return ⟨'x'⟩"]
)
def test_a_session_returns_truth_values(line: str) -> None:
    with pytest.raises(CompileError) as caught:
        build(make(f"{HEAD}    {line.replace('⟨', '').replace('⟩', '')}\n"), is_session=True)
    error = caught.value
    assert "'x'" in line or error.message == "a session's program returns 0, 1 or a truth value"
    assert (error.line, error.column - 4, error.end_column - 4) == (3, line.index("⟨"), line.index("⟩") - 1)


def test_what_python_allows_in_functions_of_functions_only() -> None:
    source = "def outer():\n    z = 1\n    @mp.program\n    def inner(ctx):\n        nonlocal z\n    return inner\n"
    with pytest.raises(CompileError, match="a program can't use nonlocal") as caught:
        build(make(f"{source}program = outer()\n"))
    assert (caught.value.line, caught.value.column, caught.value.end_column) == (5, 8, 18)


def test_a_program_is_no_coroutine() -> None:
    with pytest.raises(CompileError, match="'program' is not a plain function") as caught:
        build(make("@mp.program\nasync def program(ctx):\n    await ctx\n"))
    assert caught.value.line == 1


def test_carets_count_characters_and_know_indentation() -> None:
    source = "if True:\n    @mp.program\n    def program(ctx):\n        größe = 1; größe = 'ü'\n"
    with pytest.raises(CompileError) as caught:
        build(make(source))
    assert caught.value.line == 4
    text = caught.value.source
    assert text[caught.value.column : caught.value.end_column] == "'ü'"
    assert str(caught.value).splitlines()[2].index("^") == 4 + text.strip().index("'ü'")


HELPERS = """
@mp.helper
def endless(x):
    return endless(x)

@mp.helper
def sometimes(x):
    if x:
        return 1

@mp.helper
def bad(x):
    return x / 2

"""


@pytest.mark.parametrize(
    ("line", "message", "number"),
    [
        ("x = endless(1)", "calls itself", 4),
        ("x = sometimes(1)", "sometimes doesn't return a value on every path", 18),
        ("x = sometimes(1, 2)", "sometimes takes 1 values, not 2", 18),
        ("x = bad(1)", "true division", 13),
    ],
)
def test_helpers_are_checked_where_the_fault_is(line: str, message: str, number: int) -> None:
    with pytest.raises(CompileError, match=message) as caught:
        build(make(f"{HELPERS}\n{HEAD}    {line}\n"))
    assert caught.value.line == number


@pytest.mark.parametrize("parameters", ["", "ctx, other", "*ctx", "ctx, *, key", "ctx=1"])
def test_a_program_takes_one_parameter(parameters: str) -> None:
    with pytest.raises(CompileError, match="a program takes one parameter"):
        build(make(f"@mp.program\ndef program({parameters}):\n    pass\n"))


def test_code_without_a_source_says_so() -> None:
    names: dict[str, object] = {}
    exec("def typed(ctx):\n    pass\n", names)
    with pytest.raises(CompileError, match="the source of 'typed' can't be found") as caught:
        compile_program(mp.program(names["typed"]), context="kprobe", when="entry")
    assert "file" in caught.value.hint
    with pytest.raises(CompileError, match="not a plain function"):
        compile_program(mp.program(lambda ctx: 1), context="kprobe", when="entry")


def test_hints_say_what_to_write_instead() -> None:
    with pytest.raises(CompileError) as caught:
        build(make(f"{HEAD}    x = ctx.pid / 2\n"))
    assert caught.value.hint == "integers divide with //"
    with pytest.raises(CompileError) as caught:
        build(make(f"{HEAD}    x = ctx.nothing\n"))
    assert "arg(n)" in caught.value.hint
