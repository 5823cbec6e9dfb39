"""Mixes, tables, pictures and JSON: formatting of snapshots made here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import MIXED_7_3

from multiprobe.arch.x86_64 import parse_site
from multiprobe.errors import UsageError
from multiprobe.inspect import records, text
from multiprobe.inspect.disassembly import disassemble, disassemble_routine
from multiprobe.inspect.names import Symbol
from multiprobe.inspect.observed import ObservedLink, ObservedProgram
from multiprobe.inspect.ops import Ops
from multiprobe.inspect.overlap import COLOURS, Mix, MixRow, cell_text, make_mix, mix_lines, runs, short_number
from multiprobe.inspect.owners import Owner
from multiprobe.inspect.picture import Attached, FunctionPicture, Trampoline, attachments
from multiprobe.inspect.sources import Missing
from multiprobe.inspect.targets import Target
from multiprobe.inspect.tracefs import parse_enabled, parse_probes
from multiprobe.inspect.trampoline import read_calls
from multiprobe.syscalls.query import Image

BASE = 0xFFFFFFFF81000000


def target(number: int, cookie: int | None = 0, offset: int = 0, *, has_address: bool = True) -> Target:
    address = BASE + 16 * number if has_address else None
    return Target(f"func_{number}", "", address, offset, None, None, cookie)


def link(link_id: int, kind: str, when: str, targets: list[Target], **changes: Any) -> ObservedLink:
    program = ObservedProgram(100 + link_id, f"prog_{link_id}", "59f4a931744dcdc6", 0)
    fields = {"n_functions": len(targets), "missed": 0, "owners": (Owner(7, "tracer", 3),), **changes}
    return ObservedLink(link_id, kind, when, fields.pop("program", program), targets=tuple(targets), **fields)


ROWS = [MixRow(f"func_{number}", "", BASE + 16 * number) for number in range(1, 10)]
SLIDE = [
    link(1, "trampoline", "entry", [target(1, 5)]),
    link(2, "tracing_multi", "session", [target(n, n) for n in range(1, 5)], missed=None),
    link(3, "kprobe_multi", "return", [target(n, 0) for n in range(3, 8)]),
    link(4, "kprobe", "entry", [target(9, 1 << 60, 8), target(9, 1 << 60, 12)]),
    link(5, "kprobe_multi", "entry", [target(77)]),
]


def plain(mix: Mix, **how: int) -> list[str]:
    return ["".join(text for text, _ in line) for line in mix_lines(mix, **how)]


def test_a_mix_as_on_the_slides() -> None:
    mix = make_mix(ROWS, SLIDE, keep_bare=5)
    assert "\n".join(plain(mix, limit=60)) == (
        "FUNCTION  trampoline #1  tracing_multi #2  kprobe_multi #3  kprobe #4\n"
        "          entry          session           return           entry\n"
        "          prog_1         prog_2            prog_3           prog_4\n"
        "func_1    ● 5            ◉ 1               ·                ·\n"
        "func_2    ·              ◉ 2               ·                ·\n"
        "func_3    ·              ◉ 3               ○                ·\n"
        "func_4    ·              ◉ 4               ○                ·\n"
        "func_5    ·              ·                 ○                ·\n"
        "func_6    ·              ·                 ○                ·\n"
        "func_7    ·              ·                 ○                ·\n"
        "func_8    ·              ·                 ·                ·\n"
        "func_9    ·              ·                 ·                ●+0x8+0xc 0x1000000000000000"
    )


def test_many_functions_are_shown_in_stretches() -> None:
    mix = make_mix(ROWS, SLIDE)
    assert mix.n_bare == 1
    lines = plain(mix, limit=4)
    assert [line.split("  ")[0] for line in lines[3:]] == [
        "func_1", "func_2", "func_3", "func_4", "func_5 … func_7 (3 functions)", "func_9",
    ]  # fmt: skip


def test_functions_without_an_address_are_found_by_name() -> None:
    mix = make_mix(ROWS, [link(1, "trampoline", "entry", [target(2, 8, has_address=False)])])
    assert [row.name for row in mix.rows] == ["func_2"]
    assert mix.cells[0][0] is not None
    assert mix.cells[0][0].cookie == 8


def test_names_of_one_address_are_all_found_and_repeated_names_are_not() -> None:
    rows = [
        MixRow("a", "", BASE),
        MixRow("alias", "", BASE),
        MixRow("twice", "", BASE + 16),
        MixRow("twice", "m", BASE + 32),
    ]
    at_base, by_name = Target("a", "", BASE, 0, None, None, 1), Target("twice", "", None, 0, None, None, 2)
    mix = make_mix(rows, [link(1, "kprobe", "entry", [at_base, by_name])])
    assert [row.name for row in mix.rows] == ["a", "alias"]


@given(st.lists(st.sets(st.integers(1, 9)), max_size=6))
def test_a_mix_has_every_pair_once(sets: list[set[int]]) -> None:
    links = [link(n, "kprobe_multi", "entry", [target(f, n) for f in chosen]) for n, chosen in enumerate(sets, 1)]
    mix = make_mix(ROWS, links)
    pairs = [
        (row.name, column.link_id)
        for row, cells in zip(mix.rows, mix.cells, strict=True)
        for column, cell in zip(mix.links, cells, strict=True)
        if cell is not None
    ]
    assert sorted(pairs) == sorted((f"func_{f}", n) for n, chosen in enumerate(sets, 1) for f in chosen)
    assert sum(end - first for first, end in runs(mix)) == len(mix.rows)
    assert mix.n_bare + len(mix.rows) == 9


def test_a_mix_in_colour() -> None:
    cells = [span for line in mix_lines(make_mix(ROWS, SLIDE), limit=60) for span in line]
    assert ("func_9", "") in cells
    assert sum(style.startswith("black on ") for _, style in cells) >= 10
    assert len(COLOURS) == len(set(COLOURS))


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_links_that_do_not_fit_follow_below(width: int) -> None:
    mix = make_mix(ROWS, SLIDE, keep_bare=5)
    lines = plain(mix, limit=60, width=width)
    assert max(map(len, lines)) <= width
    assert {100: 1, 80: 2, 60: 2, 40: 4}[width] == sum(line.startswith("FUNCTION") for line in lines)
    for head in ("trampoline #1", "tracing_multi #2", "kprobe_multi #3", "kprobe #4", "prog_4"):
        assert sum(head in line for line in lines) == 1
    assert any("●+0x8+0xc 0x1000000000000000" in line for line in lines)


def test_cells() -> None:
    assert cell_text(None, "entry") == "·"
    assert short_number(999_999) == "999999"
    assert short_number(1_000_000) == "0xf4240"


def test_the_table_of_links() -> None:
    unknown = link(6, "kprobe_multi", "", [], n_functions=None, missed=None, owners=())
    unlinked = link(0, "kprobe", "entry", [target(2, None)])
    grid = text.links_grid([*SLIDE[1:4], unknown, unlinked])
    assert grid.rows == (
        ("2", "tracing_multi", "session", "prog_2 102:59f4a931", "4: func_1, func_2, …", "1 … 4", "-", "0",
         "tracer[7]"),
        ("3", "kprobe_multi", "return", "prog_3 103:59f4a931", "5: func_3, func_4, …", "-", "0", "0", "tracer[7]"),
        (
            "4", "kprobe", "entry", "prog_4 104:59f4a931", "2: func_9+0x8, func_9+0xc", "0x1000000000000000", "0", "0",
            "tracer[7]",
        ),
        ("6", "kprobe_multi", "-", "prog_6 106:59f4a931", "?", "?", "-", "0", "none seen (pinned?)"),
        ("-", "kprobe", "entry", "prog_0 100:59f4a931", "func_2", "?", "0", "0", "tracer[7]"),
    )  # fmt: skip
    assert [line[:20] for line in text.aligned(grid)][:3] == [
        "LINK  KIND          ",
        "   2  tracing_multi ",
        "   3  kprobe_multi  ",
    ]


def test_links_as_json() -> None:
    (record,) = records.link_records([SLIDE[0]])
    assert json.loads(json.dumps(record)) == {
        "type": "link",
        "link": 1,
        "kind": "trampoline",
        "when": "entry",
        "program": {
            "id": 101,
            "name": "prog_1",
            "tag": "59f4a931744dcdc6",
            "recursion_misses": 0,
            "address": None,
        },
        "n_functions": 1,
        "missed": 0,
        "owners": [{"pid": 7, "command": "tracer", "fd": 3}],
        "functions": [
            {
                "function": "func_1",
                "module": "",
                "address": hex(BASE + 16),
                "offset": 0,
                "btf_id": None,
                "cookie": "0x5",
            }
        ],
    }


def test_a_mix_as_json() -> None:
    found = list(records.mix_records(make_mix(ROWS, SLIDE)))
    assert [record["type"] for record in found] == ["link"] * 4 + ["mix"] * 8
    assert found[4]["attachments"] == [
        {"link": 1, "kind": "trampoline", "when": "entry", "cookie": "0x5", "offsets": []},
        {"link": 2, "kind": "tracing_multi", "when": "session", "cookie": "0x1", "offsets": []},
    ]


FUNCTION = 0xFFFFFFFF99739D10


@pytest.fixture
def picture() -> FunctionPicture:
    """bpf_fentry_test1 of 7.3, as recorded."""
    image = MIXED_7_3
    site = parse_site(bytes.fromhex("f30f1efae8f7783eff8d4701c3"), FUNCTION)
    instructions = disassemble_routine(image.code, image.address)
    calls = read_calls(instructions, lambda address: image.names.get(address, ""), resume=image.resume)
    session = next(call.target for call in calls if call.name.endswith("multi_session"))
    program = ObservedProgram(4, "multi_session", "59f4a931744dcdc6", 0, (Image(session, 32, b""),))
    on = Target("bpf_fentry_test1", "", FUNCTION, 0, 1, 66574, 77)
    names = {**image.names, 0xFFFFFFFF98B21610: "ftrace_regs_caller", image.resume: "bpf_fentry_test1+0x9"}
    return FunctionPicture(
        name="bpf_fentry_test1",
        module="",
        address=FUNCTION,
        site=site,
        destination="ftrace",
        entry=disassemble(site.code, FUNCTION),
        enabled=parse_enabled(
            "bpf_fentry_test1 (2) R   D   M  ->arch_ftrace_ops_list_func+0x0/0x220\n"
            "\tdirect(jmp)-->bpf_trampoline_6442517518+0x0/0x210\n"
        )[0],
        ops=(Ops(1, "kprobe_ftrace_handler", 0), Ops(2, "unheard_of", 0)),
        probes=tuple(parse_probes("ffffffff99739d14  k  bpf_fentry_test1+0x4    [FTRACE]\n")),
        trampoline=Trampoline("bpf_trampoline_6442517518", image.address, image.code, instructions, calls),
        attached=(Attached(link(4, "tracing_multi", "session", [on], program=program), on),),
        programs=(),
        names=names,
        missing=(Missing("something", "it can't be read", "run as root"),),
    )


def test_the_picture_of_a_function(picture: FunctionPicture) -> None:
    lines = ["".join(part for part, _ in line) for line in text.picture_lines(picture)]
    shown = "\n".join(lines)
    assert lines[0] == "bpf_fentry_test1  at 0xffffffff99739d10"
    assert "▶ ffffffff99739d14  e8 f7 78 3e ff                callq   ftrace_regs_caller" in lines
    assert "ops        kprobe_ftrace_handler  (single kprobes)" in lines
    assert "ops        unheard_of" in lines
    assert "kprobes    kprobe at bpf_fentry_test1+0x4 (ftrace)" in lines
    assert "trampoline bpf_trampoline_6442517518, jumped to" in lines
    assert "; multi_session, link 4, entry, cookie 77" in shown
    assert "; program at return, cookie 0x1234567890abcdef" in shown
    assert "; the original function, bpf_fentry_test1" in shown
    assert list(text.missing_lines(picture.missing)) == ["not shown: something: it can't be read (run as root)"]


def test_the_picture_as_json(picture: FunctionPicture) -> None:
    function, attachment, trampoline = records.picture_records(picture)
    assert (function["target_name"], function["leads_to"]) == ("ftrace_regs_caller", "ftrace")
    assert function["ops"] == ["kprobe_ftrace_handler", "unheard_of"]
    assert (attachment["link"], attachment["cookie"]) == (4, "0x4d")
    assert [call["cookie"] for call in trampoline["calls"] if call["kind"] == "program"][:3] == [
        "0x4d",
        "0x80000001",
        "0x5",
    ]
    json.dumps([function, attachment, trampoline])


def test_a_function_about_which_little_is_known() -> None:
    bare = FunctionPicture("f", "m", 16, None, "", (), None, None, (), None, (), (), {}, ())
    shown = ["".join(part for part, _ in line) for line in text.picture_lines(bare)]
    assert shown[0] == "f [m]  at 0x10"
    assert "attached   nothing" in shown
    (record,) = records.picture_records(bare)
    assert record["is_patched"] is None


def test_which_links_are_on_a_function() -> None:
    found = attachments(tuple(SLIDE), Symbol("func_3", "", BASE + 48, BASE + 64))
    assert [(on.link.link_id, on.target.cookie) for on in found] == [(2, 3), (3, 0)]


@pytest.mark.parametrize(
    ("function", "patterns", "programs"), [("vfs_read", ("vfs_*",), False), (None, (), True)], ids=["mix", "programs"]
)
def test_questions_that_exclude_each_other(function: str | None, patterns: tuple[str, ...], programs: bool) -> None:
    from multiprobe.cli.inspect import run

    with pytest.raises(UsageError) as refused:
        run(function, patterns=patterns, programs=programs, top=None, json=False, output=None)
    assert refused.value.hint.startswith("multiprobe inspect")
