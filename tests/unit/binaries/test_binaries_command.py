"""`multiprobe functions` on programs and libraries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from elf_writer import Made, make_elf

import multiprobe
from multiprobe.binaries.binary import Binary
from multiprobe.cli.functions import command
from multiprobe.errors import MultiprobeError, NoMatchError, UsageError


@pytest.fixture(autouse=True)
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("the kernel's functions are not needed")

    monkeypatch.setattr(multiprobe, "Kernel", refuse, raising=False)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def rows(result: Result) -> list[dict[str, object]]:
    assert result.exception is None, result.exception
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_table(binary: Binary) -> None:
    result = run(f"{binary.path}:work*", f"{binary.path}:memcpy", "!*_more")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["FUNCTION", "OFFSET", "VERDICT", "WHY", "NOT"]
    assert lines[1].split() == ["work", "0x78", "attachable"]
    assert lines[2].split()[:5] == ["memcpy", "0xb8", "refused", "is", "an"]
    assert f"2 functions of {binary.path}: 1 attachable, 1 refused" in result.stderr


def test_json(binary: Binary) -> None:
    found = rows(run(f"{binary.path}:work", f"{binary.path}:nosuch", "--json"))
    assert found[0] == {
        "type": "user_function",
        "function": "work",
        "symbol": "work",
        "binary": binary.path,
        "address": "0x400000",
        "file_offset": "0x78",
        "size": 16,
        "aliases": ["work_alias", "__work"],
        "source": ".symtab",
        "verdict": "attachable",
        "reason": "",
        "code": "",
    }
    assert set(found[1]) == set(found[0])
    assert (found[1]["function"], found[1]["code"], found[1]["address"]) == ("nosuch", "unknown_name", None)


def test_attachable_and_refused_share_all_functions(binary: Binary) -> None:
    every, yes, no = (rows(run(f"{binary.path}:*", "--json", *more)) for more in ([], ["--attachable"], ["--refused"]))
    assert len(yes) + len(no) == len(every) == 8
    assert {row["verdict"] for row in yes} == {"attachable"}
    assert {row["verdict"] for row in no} == {"refused"}


def test_why(binary: Binary) -> None:
    text = run("--why", f"{binary.path}:work", "--why", f"{binary.path}:memcpy").stdout
    assert "also called work_alias, __work: a call of one is a call of all" in text
    assert "at offset 0x78 of the file, 16 bytes; named by .symtab" in text
    assert "refused: ifunc: memcpy is an indirect function" in text
    (row,) = rows(run("--why", f"{binary.path}:work", "--json"))
    assert (row["type"], row["build_id"]) == ("user_why", "")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["{}:nosuch"], NoMatchError, "is called nosuch"),
        (["{}:nosuch*"], NoMatchError, r"no function of .* matches nosuch\*"),
        (["--why", "{}:nosuch"], NoMatchError, "is called nosuch"),
        (["--why", "{}:work*"], UsageError, "not the pattern"),
        (["{}:"], UsageError, "names no function"),
        (["{}:work", "--takes", "int"], UsageError, "are for functions of the kernel"),
        (["{}:work", "--kernel-files", "x"], UsageError, "are for functions of the kernel"),
        (["./no/such/file:main"], NoMatchError, "there is no file"),
    ],
)
def test_what_goes_wrong(binary: Binary, arguments: list[str], error: type[MultiprobeError], message: str) -> None:
    result = run(*(word.format(binary.path) for word in arguments))
    assert isinstance(result.exception, error)
    with pytest.raises(error, match=message):
        raise result.exception


def test_demangled_names(write: Callable[..., Path]) -> None:
    pytest.importorskip("pycxxfilt", reason="the extra `demangle` is not installed")
    program = write(make_elf([Made("_ZN8geometry4areaEi", 0), Made("_ZN8geometry4areaEd", 5)], plt=5))
    result = run(f"{program}:geometry::area")
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == [
        "geometry::area(int)",
        "geometry::area(double)",
    ]
    assert " is a stub" in result.stdout  # the reason does not repeat the name
    assert [line.split("  ")[-1].split()[:3] for line in result.stdout.splitlines() if "stub" in line] == [
        ["is", "a", "stub"]
    ]
    (found,) = rows(run(f"{program}:geometry::area(int)", "--json"))
    assert (found["function"], found["symbol"]) == ("geometry::area", "_ZN8geometry4areaEi")
    lines = run("--why", f"{program}:geometry::area(int)").stdout.splitlines()
    assert lines[0].startswith("geometry::area  0x")
    assert "  symbol _ZN8geometry4areaEi" in lines
