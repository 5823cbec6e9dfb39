"""`multiprobe stacks` over fakes: counted stacks go in, text, JSON, folded stacks and pictures come out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import multiprobe as mp
from multiprobe.cli.main import run
from multiprobe.instruments.stacks.program import NOT_ASKED
from multiprobe.kernel.resolve import Resolver
from multiprobe.kernel.symbols import parse_kallsyms

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import FakeWorld

KALLSYMS = b"ffffffff80000000 T entry\nffffffff80001000 T caller\nffffffff81000010 T tcp_sendmsg\n"
HITS = {(0, 1, NOT_ASKED, 0): 6, (0, (1 << 64) - 14, NOT_ASKED, 0): 2}
TIMES = {(0, 1, NOT_ASKED, 0): 3_000, (0, (1 << 64) - 14, NOT_ASKED, 0): 1_000}


class FakeMap:
    def __init__(self, content: dict[Any, int]) -> None:
        self._content = content

    def as_dict(self) -> dict[Any, int]:
        return self._content

    def addresses(self, stack: int) -> list[int]:
        return {1: [0xFFFFFFFF81000010, 0xFFFFFFFF80001008, 0xFFFFFFFF80000008]}[stack]


@pytest.fixture
def stacking(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> FakeWorld:
    """A world in which an attachment has counted HITS."""

    def attach(program: object, functions: Any, **options: Any) -> Any:
        attachment = world.attach(program, functions, **options)
        contents = iter([HITS, TIMES] if options["when"] == "session" else [HITS])
        attachment.map = lambda spec: FakeMap(next(contents) if hasattr(spec, "keys") else {})
        return attachment

    monkeypatch.setattr(mp, "attach", attach, raising=False)
    monkeypatch.setattr(Resolver, "load", lambda: Resolver(parse_kallsyms(KALLSYMS)))
    return world


def test_text(stacking: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stacks", "tcp_*", "-d", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:7] == [
        "     CALLS     SHARE  STACK",
        "         6     75.0%  tcp_sendmsg",
        "                      caller",
        "                      entry",
        "",
        "         2     25.0%  tcp_sendmsg",
        "",
    ]
    assert "of 2 calls the stack could not be taken (EFAULT)" in lines
    assert stacking.attachments[0].options["when"] == "entry"


def test_times(stacking: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stacks", "tcp_*", "-d", "0", "--time", "--top", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "   3.00 µs    500 ns         6     75.0%  tcp_sendmsg"
    assert "… and 1 more (--top 0 shows all)" in lines
    assert stacking.attachments[0].options["when"] == "session"


def test_json(stacking: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stacks", "tcp_*", "-d", "0", "--json"]) == 0
    first, second, report = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["frames"] == ["entry", "caller", "tcp_sendmsg"]
    assert (first["type"], first["function"], first["calls"]) == ("stack", "tcp_sendmsg", 6)
    assert second["frames"] == ["tcp_sendmsg"]
    assert (report["calls"], report["stacks"], report["not_taken"]) == (8, 2, {"EFAULT": 2})


def test_csv(stacking: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stacks", "tcp_*", "-d", "0", "--csv"]) == 0
    title, first, _ = capsys.readouterr().out.splitlines()
    assert title == "function,module,calls,frames"
    assert first == 'tcp_sendmsg,,6,"[""entry"",""caller"",""tcp_sendmsg""]"'


def test_folded_and_flame(stacking: FakeWorld, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["stacks", "tcp_*", "-d", "0", "--folded", "--flame", str(tmp_path / "a.svg")]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == ["entry;caller;tcp_sendmsg 6", "tcp_sendmsg 2"]
    assert "attached 3 of 5 functions" in err  # the report isn't lost
    assert "Stacks to tcp_*" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize("words", [["--json", "--folded"], ["--max-stacks", "0"], ["--flame", "/no/such/place.svg"]])
def test_invalid_options(stacking: FakeWorld, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert run(["stacks", "a", *words]) == 2
    assert stacking.attachments == []


def test_html(stacking: FakeWorld, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "stacks.html"
    assert run(["stacks", "tcp_*", "-d", "0", "--html", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    assert text.count('<object class="fluid" type="image/svg+xml"') == 1
    assert "<td>entry &gt; caller &gt; tcp_sendmsg</td>" in text
    assert "attached 3 of 5 functions" in text
