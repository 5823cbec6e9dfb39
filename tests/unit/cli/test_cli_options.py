"""Options: times, what follows `--`, and `--vm`."""

from __future__ import annotations

import click
import pytest

from multiprobe.cli import count
from multiprobe.cli.options import split_command, take_vm
from multiprobe.errors import UsageError


def read_by_click(arguments: list[str]) -> dict[str, object]:
    return count.COMMAND.click_command().make_context("count", list(arguments)).params


@pytest.mark.parametrize(
    ("text", "seconds"), [("10", 10), ("0.5", 0.5), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("3s", 3)]
)
def test_times(text: str, seconds: float) -> None:
    assert read_by_click(["a", "--duration", text])["duration"] == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "x", "", "1e30", "5 minutes", "s"])
def test_no_times(text: str) -> None:
    with pytest.raises(click.UsageError):
        read_by_click(["a", "--duration", text])


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
