"""Arguments of wrong types, given to every public callable, end in a UsageError that says what is expected."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import multiprobe as mp
from fake_kernel import LIKE_7_3, FakeKernel
from multiprobe.errors import MultiprobeError
from multiprobe.instruments.trace.filter import parse_filter

calls = mp.PerFunction(mp.u64)
NAME = "tcp_sendmsg"


@mp.program
def count(ctx):
    calls[ctx.function] += 1


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mp.Kernel]:
    with FakeKernel(tmp_path_factory.mktemp("fake"), LIKE_7_3):
        yield mp.Kernel()


def refused(made: Callable[[], object]) -> str:
    with pytest.raises(mp.MultiprobeError) as caught:
        made()
    return str(caught.value)


@pytest.mark.parametrize("program", [None, print, "count", 5])
def test_attach_a_program(kernel: mp.Kernel, program: Any) -> None:
    assert "expected a program" in refused(lambda: mp.attach(program, NAME))


@pytest.mark.parametrize("functions", [None, 5.0, b"tcp_*", {"a": 1}, print])
def test_attach_to_functions(kernel: mp.Kernel, functions: Any) -> None:
    expected = "expected a set of functions, a pattern, or a list of patterns, symbols, addresses or sets"
    assert expected in refused(lambda: mp.attach(count, functions))
    assert expected in refused(lambda: mp.plan(functions))


OPTIONS: list[tuple[str, Any, str]] = [
    ("cookies", 5, "expected a list of integers"),
    ("cookies", [None], "a cookie is an integer"),
    ("mechanisms", 5, "expected a name or a list"),
    ("mechanisms", [None], "unknown mechanism None"),
    ("pid", "1", "expected the id of a process"),
    ("pid", -1, "expected the id of a process"),
    ("pid", True, "expected the id of a process"),
    ("limits", None, "expected mp.Limits"),
    ("limits", 0.05, "expected mp.Limits"),
    ("kernel", 5, "expected mp.Kernel()"),
    ("progress", 5, "expected a function"),
    ("when", 5, "expected 'entry', 'return' or 'session'"),
    ("when", ["entry"], "expected 'entry', 'return' or 'session'"),
    ("on_bad", None, "expected 'skip' or 'error'"),
    ("on_bad", [], "expected 'skip' or 'error'"),
]


@pytest.mark.parametrize(("name", "value", "message"), OPTIONS)
def test_options_of_attach(kernel: mp.Kernel, name: str, value: Any, message: str) -> None:
    assert message in refused(lambda: mp.attach(count, NAME, **{name: value}))


@pytest.mark.parametrize("method", ["functions", "by_symbols", "by_addresses", "function", "has"])
@pytest.mark.parametrize("given", [None, 5.0, [None], [5.0], "no_such_function", ["x", None]])
def test_kernels(kernel: mp.Kernel, method: str, given: Any) -> None:
    if method in ("functions", "by_symbols") and given == "no_such_function":
        return_value = getattr(kernel, method)(given if method == "functions" else [given])
        assert len(return_value) == 0
    else:
        assert refused(lambda: getattr(kernel, method)(given))


@pytest.mark.parametrize("method", ["map", "read", "events", "totals", "top", "drop", "add", "pin"])
@pytest.mark.parametrize("given", [None, 5.0, [None]])
def test_attachments(kernel: mp.Kernel, method: str, given: Any) -> None:
    with mp.attach(count, NAME, replaceable=True) as attachment:
        assert refused(lambda: getattr(attachment, method)(given))


@pytest.mark.parametrize("path", [None, 5, [None]])
def test_paths(kernel: mp.Kernel, path: Any, tmp_path: Path) -> None:
    for made in (
        lambda: mp.load_object(path),
        lambda: mp.Kernel.from_directory(path),
        lambda: mp.Attachment.from_pins(path, count),
    ):
        assert "expected the name of a file or directory" in refused(made)


@pytest.mark.parametrize("path", ["a\0b", "\ud800", b"\0"])
def test_paths_that_no_file_can_have(kernel: mp.Kernel, path: Any) -> None:
    for made in (
        lambda: mp.load_object(path),
        lambda: mp.Run.load(path),
        lambda: mp.merge([path]),
        lambda: mp.diff(path, path),
        lambda: mp.Kernel.from_directory(path),
        lambda: mp.Attachment.from_pins(path, count),
        lambda: mp.Binary(f"./{os.fsdecode(path)}"),
    ):
        assert "invalid" in refused(made)


@pytest.mark.parametrize("name", ["x\udcff", "\ud800", "\0", "é"])
def test_names_that_are_not_utf8(kernel: mp.Kernel, name: str) -> None:
    """Arguments of a command line may hold any bytes; no function, type or module is called so."""
    with mp.attach(count, NAME, replaceable=True) as attachment:
        for look in (
            lambda: kernel.functions(name)[0],
            lambda: kernel.by_symbols([name])[0],
            lambda: kernel.function(name),
            lambda: kernel.functions(takes=name),
            lambda: mp.attach(count, [name]),
            lambda: attachment.drop([name]),
            lambda: mp.inspect.function(name),
            lambda: mp.inspect.mix([name]).rows[0],
            lambda: mp.Binary("/bin/true").functions(name)[0],
        ):
            with pytest.raises((MultiprobeError, IndexError)):
                look()
        with suppress(MultiprobeError):
            mp.struct(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("comm == bash", "comm can only be compared with strings: comm == bash"),
        ("bash == comm", "comm can only be compared with strings: bash == comm"),
        ("comm == 5", "comm can only be compared with strings: comm == 5"),
        ("comm in (bash, zsh)", "comm can only be compared with strings"),
        ("comm == comm", "comm can only be compared with strings"),
        ("comm == bash and ret < 0", "comm can only be compared with strings"),
        ("ret < 0 or comm != bash", "comm can only be compared with strings"),
        ("comm", "comm is a string and can't be used as a number"),
        ("not comm", "comm is a string"),
        ("comm & 1", "comm is a string"),
        ("min(comm, 1) == 1", "comm is a string"),
        ("comm.x == 1", "invalid comm.x: comm has no members"),
        ("ret.x == 1", "invalid ret.x: ret has no members"),
        ("pid == None", "a filter can't use None here: expected a number"),
        ("arg0 == 1.5", "a filter can't use 1.5 here: expected a number"),
        ("pid == b'x'", "a filter can't use b'x' here: expected a number"),
        ('pid == "x"', "pid is a number and can't be compared with a string"),
        ('"x"', "a filter can't use 'x' here: expected a number"),
    ],
)
def test_filters(text: str, message: str) -> None:
    with pytest.raises(mp.UsageError) as caught:
        parse_filter(text)
    assert message in str(caught.value)
    if message.startswith("comm can"):
        assert caught.value.hint == 'put the name in quotes: comm == "bash"'
