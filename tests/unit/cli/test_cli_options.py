"""The short way in and click must read every command line alike."""

from __future__ import annotations

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multiprobe.cli import count
from multiprobe.cli.options import parse_plain, split_command, take_vm
from multiprobe.errors import UsageError

WORDS = st.sampled_from(
    [
        *(flag for option in count.COMMAND.options for flag in option.flags),
        *("tcp_*", "!tcp_v6_*", "10", "2m", "500ms", "0", "-1", "x", "", "-", "--", "-h", "--nonsense", "-d5", "-nd"),
        *(
            "--duration=3",
            "--top=",
            "--json=1",
            "--pid=7",
            "--mechanism=kprobe-multi",
            "--without=kprobe",
            "--dur",
            "-p=3",
        ),
        *("kprobe_multi", "tracing_multi", "--vm=6.12"),
    ]
)


def read_by_click(arguments: list[str]) -> dict[str, object]:
    return count.COMMAND.click_command().make_context("count", list(arguments)).params


@settings(max_examples=400, deadline=None)
@given(st.lists(WORDS, max_size=7))
def test_both_ways_read_alike(arguments: list[str]) -> None:
    plain = parse_plain(count.COMMAND.options, arguments)
    if plain is not None:
        assert plain == read_by_click(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["tcp_*"],
        ["tcp_*", "--duration", "2.5", "--top=3", "--json"],
        ["--without", "kprobe", "--without=trampoline", "a", "b", "--return"],
        ["a", "-d", "1m", "--", "ls", "--json", "--", "x"],
        ["a", "--pid", "12", "--mechanism", "kprobe-multi", "--unsafe", "--dry-run", "--debug", "--command-only"],
    ],
)
def test_common_lines_need_no_click(arguments: list[str]) -> None:
    plain = parse_plain(count.COMMAND.options, arguments)
    assert plain is not None
    assert plain == read_by_click(arguments)


@pytest.mark.parametrize(
    "arguments", [[], ["--json"], ["-h", "a"], ["a", "--top", "x"], ["a", "--top"], ["a", "--zzz"]]
)
def test_anything_else_is_left_to_click(arguments: list[str]) -> None:
    assert parse_plain(count.COMMAND.options, arguments) is None
    with pytest.raises((click.UsageError, click.exceptions.Exit)):
        read_by_click(arguments)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10", 10), ("0.5", 0.5), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("3s", 3)]
)
def test_times(text: str, seconds: float) -> None:
    plain = parse_plain(count.COMMAND.options, ["a", "--duration", text])
    assert plain is not None
    assert plain["duration"] == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "x", "", "1e30", "5 minutes", "s"])
def test_no_times(text: str) -> None:
    assert parse_plain(count.COMMAND.options, ["a", "--duration", text]) is None


def test_the_command_is_what_follows_the_first_two_dashes() -> None:
    assert split_command(["a", "--", "b", "--", "c"]) == (["a"], ["b", "--", "c"])
    assert split_command(["a"]) == (["a"], [])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["count", "x"], (None, ["count", "x"])),
        (["count", "x", "--vm"], ("default", ["count", "x"])),
        (["count", "--vm=6.1", "x", "--", "ls"], ("6.1", ["count", "x", "--", "ls"])),
        (["count", "x", "--", "ls", "--vm"], (None, ["count", "x", "--", "ls", "--vm"])),
        (["count", "--vm=", "x", "--"], ("default", ["count", "x", "--"])),
    ],
)
def test_vm_is_taken_from_our_arguments_only(arguments: list[str], expected: object) -> None:
    assert take_vm(arguments) == expected


def test_a_series_apart_from_vm_is_refused() -> None:
    """`--vm 6.12` would look for functions called 6.12; `--vm tcp_v4` may mean a pattern."""
    with pytest.raises(UsageError, match=r"--vm 6\.12") as caught:
        take_vm(["count", "x", "--vm", "6.12"])
    assert caught.value.hint == "write --vm=6.12"
    assert take_vm(["count", "--vm", "tcp_v4.part.0"]) == ("default", ["count", "tcp_v4.part.0"])
