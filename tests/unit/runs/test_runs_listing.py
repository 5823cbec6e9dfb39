"""What can be attached on two kernels: lists of functions, compared by the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from multiprobe.cli.main import run as command

Function = tuple[str, str, list[str], str]
SYMBOLS = ("_stext", "one", "two", "three", "kprobe_multi_link_handler", "_etext")
OLD: list[Function] = [
    ("", "same", ["kprobe_multi", "kprobe"], ""),
    ("", "inlined", ["kprobe_multi"], ""),
    ("", "walled", ["kprobe_multi"], ""),
    ("nf", "freed", [], "freed is not traceable"),
    ("", "shaped.isra.0", ["kprobe"], ""),
    ("", "faster", ["kprobe_multi"], ""),
    ("", "twice", [], "twice has two addresses"),
    ("", "twice", ["kprobe"], ""),
]
NEW: list[Function] = [
    ("", "same", ["kprobe_multi", "kprobe"], ""),
    ("", "walled", [], "walled is not traceable"),
    ("nf", "freed", ["kprobe"], ""),
    ("", "shaped.constprop.0", ["kprobe"], ""),
    ("", "faster", ["kprobe_multi", "tracing_multi"], ""),
    ("", "twice", ["kprobe"], ""),
    ("", "born\x1b[31m", ["kprobe"], ""),
]


def save(path: Path, functions: list[Function]) -> str:
    """A file as `multiprobe functions --json` prints it."""
    names = ("module", "function", "mechanisms", "reason")
    lines = [dict(zip(names, one, strict=True)) | {"type": "function", "verdict": "as above"} for one in functions]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return str(path)


@pytest.fixture
def sides(tmp_path: Path) -> list[str]:
    return [save(tmp_path / "old.json", OLD), save(tmp_path / "new.json", NEW)]


def test_every_kind_of_change(sides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["diff", "--plan", *sides, "--json"]) == 0
    *changes, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert [(one["change"], one["module"], one["function"]) for one in changes] == [
        ("refused", "", "walled"),
        ("attachable", "nf", "freed"),
        ("gone", "", "inlined"),
        ("new", "", "born\x1b[31m"),
        ("mechanisms", "", "faster"),
    ]
    assert changes[0] == {
        "type": "plan_change", "change": "refused", "module": "", "function": "walled", "before": ["kprobe_multi"],
        "after": [], "reason": "walled is not traceable",
    }  # fmt: skip
    assert (changes[2]["after"], changes[3]["before"]) == (None, None)
    assert summary == {
        "type": "plan_diff", "before": 7, "after": 7,
        "refused": 1, "attachable": 1, "gone": 1, "new": 1, "mechanisms": 1,
    }  # fmt: skip


def test_text(sides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["diff", "--plan", *sides]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:4] == ["refused", "walled", "kprobe_multi", "-"]
    assert any("born\\x1b[31m" in line for line in lines)
    assert lines[-1].startswith("7 before, 7 functions after: 1 can't be attached to any more")
    assert command(["diff", "--plan", sides[0], sides[0]]) == 0
    assert capsys.readouterr().out.splitlines() == ["7 before, 7 functions after: no difference"]


def test_directories_of_the_kernels_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, traceable in (("old", "one two"), ("new", "one")):
        (tmp_path / name).mkdir()
        symbols = [f"{0xFFFFFFFF81000000 + 64 * n:x} T {symbol}\n" for n, symbol in enumerate(SYMBOLS)]
        (tmp_path / name / "kallsyms").write_text("".join(symbols))
        (tmp_path / name / "available_filter_functions").write_text("\n".join([*traceable.split(), ""]))
    assert command(["diff", "--plan", str(tmp_path / "old"), str(tmp_path / "new"), "--json"]) == 0
    changes = list(map(json.loads, capsys.readouterr().out.splitlines()))
    assert [(one["change"], one["function"]) for one in changes[:-1]] == [("refused", "two")]
    assert "not traceable" in changes[0]["reason"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "lists no functions"),
        (b"no json\n", "line 1 is not a function"),
        (b'{"type": "function", "function": "f", "calls": 5}\n', "line 1 is not a function"),
        (b'{"type": "function", "verdict": "refused", "function": 5}\n', "'function' of line 1 is not of type str"),
        (b"[" * 100_000, "line 1 is not a function"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, text: bytes, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad").write_bytes(text)
    assert command(["diff", "--plan", str(tmp_path / "bad"), str(tmp_path / "bad")]) == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a", "b", "c"], "one file or directory with another"),
        (["a", "b", "--", "c"], "one file or directory with another"),
        (["a"], "two sides"),
        (["a", "b", "--by", "kernel"], "--plan and --by exclude"),
        (["a", "b", "--html", "x"], "exclude --html"),
    ],
)
def test_usage_errors(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["diff", "--plan", *words]) == 2
    assert says in capsys.readouterr().err
