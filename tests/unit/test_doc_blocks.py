"""The comparison of outputs in README and docs with what commands print: loose on numbers, strict on words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from doc_blocks import NOT_AN_OUTPUT, Block, blocks, command_lines, differences, is_by_chance, outputs, shape

SHOWN = """\
CALLS   RATE/S  SHARE  FUNCTION
  456  6,013.9  12.8%  fuse_len_args
  267  3,521.3   7.5%  vfs_read
… and 86 more (--top 0 shows all)

3,563 calls of 94 functions in 0.08 s
attached 378 of 383 functions in 1 link (kprobe_multi)
skipped 2:
  2  in the init section, whose memory was freed after boot: vfs_caches_init_early, vfs_caches_init, …
missed: 2 failed reads
  2 failed reads: reads of memory that failed: the program got zeros
command: ls ended with status 0
"""


def changed(*pairs: tuple[str, str]) -> str:
    text = SHOWN
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    "printed",
    [
        SHOWN,
        changed(("456", "3"), ("6,013.9", "12.0"), ("fuse_len_args", "ovl_path_real")),
        changed(("383 functions", "1 function"), ("1 link", "2 links"), ("0.08 s", "1.25 s")),
        changed(("vfs_caches_init_early, vfs_caches_init, …", "fuse_init")),
        changed(("  2 failed reads: reads of memory that failed: the program got zeros\n", "")),
        changed(("missed: 2 failed reads", "missed: nothing known")),
    ],
)  # fmt: skip
def test_what_a_measurement_decides_is_left_open(printed: str) -> None:
    assert differences(SHOWN, printed) == []


@pytest.mark.parametrize(
    ("printed", "n"),
    [
        (changed(("SHARE", "PART")), 1),
        (changed(("CALLS   RATE/S  SHARE", "CALLS   SHARE")), 1),
        (changed(("  456  6,013.9  12.8%", "  456  12.8%"), ("  267  3,521.3   7.5%", "267  7.5%")), 2),
        (changed(("attached 378 of 383", "attached 378 from 383")), 1),
        (changed(("whose memory was freed", "that was freed")), 2),
        (changed(("command: ls", "measured 3 processes\ncommand: ls")), 1),
        (changed(("ended with status", "ended by signal")), 2),
        ("", 9),
    ],
)
def test_words_and_columns_are_not(printed: str, n: int) -> None:
    assert len(differences(SHOWN, printed)) == n


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  60  53.5 ms   891 µs  ▂▃▂▃   █▁█▁▁       ext4_release_file", "0 0 s 0 s NAME"),
        ("     128.075     155 µs     │  └─ vfs_read(file = 0xff46) = 832", "0 0 s NAME(file = 0) = 0"),
        ('0.05  0  219  sys_open(name="/etc/a b") = -2 (ENOENT)  [6 µs]', '0 0 0 NAME(name="") = 0 (ENOENT) [0 s]'),
        ("   path_mount > vfs_get_tree > ext4_get_tree", "NAME"),
        ("▶ ffffffff82f39d14  e8 f7 78 3e ff                callq   ftrace_regs_caller", "CODE"),
        ("        ovl_get_link [overlay]", "NAME"),
        ("7 calls by 6 different stacks in 0.29 s", "0 call by 0 different stack in 0 s"),
        ("attached 1 of 1 function in 1 link (kprobe_multi)", "attached 0 of 0 function in 0 link (NAME)"),
    ],
)  # fmt: skip
def test_shapes(line: str, expected: str) -> None:
    assert shape(line) == expected


def test_most_text_blocks_are_outputs() -> None:
    compared = [shown for _, shown in outputs()]
    others = [one for one in blocks() if one.language == "text" and one not in compared]
    assert [one.id for one in others if one.page.name not in NOT_AN_OUTPUT] == ALONE
    assert len(compared) > 25


ALONE = ["cases.md:11", "stacks.md:57"]
"""Text blocks that follow neither a command nor a program: what a script prints, and inlined frames."""


def test_commands_of_a_block() -> None:
    text = (
        "$ multiprobe count 'vfs_*'  # a comment\nx\n$ make try\n$ multiprobe vm -- ls\n$ multiprobe doctor --vm=6.12\n"
    )
    assert command_lines(Block(Path("x"), 1, "console", text)) == ["count 'vfs_*'"]


@pytest.mark.parametrize("shown", [shown for _, shown in outputs()], ids=lambda block: block.id)
def test_meanings_of_gaps_are_those_of_the_program(shown: Block) -> None:
    gaps = re.findall(r"^missed: (?!nothing known)(.*)$", shown.text, re.MULTILINE)
    explained = [line for line in shown.text.splitlines() if re.match(r"  \d[\d,]* [a-z]", line)]
    assert [line for line in explained if not is_by_chance(line)] == []
    assert not gaps or explained
