"""What a user without rights reads first: how the same command is run with them."""

from __future__ import annotations

import os
import sys

import pytest

from multiprobe.cli import main, rights
from multiprobe.kernel import limits

USER = 1000


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The capabilities of an ordinary user, who has sudo and user namespaces; no function is ever read for them."""
    names: set[str] = set()

    def refuse() -> None:
        raise AssertionError("the kernel's functions were read")

    monkeypatch.setattr("multiprobe.Kernel", refuse, raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: USER)
    monkeypatch.setattr(limits, "load_capabilities", lambda: frozenset(names))
    monkeypatch.setattr(limits, "may_run_guests", lambda: True)
    monkeypatch.setattr(rights, "find_program", lambda _: "/usr/bin/sudo")
    return names


@pytest.mark.parametrize("name", ["count", "latency", "graph", "trace", "stacks", "errors"])
def test_every_measuring_command_says_first_that_it_takes_root(
    name: str, held: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held.add("CAP_BPF")
    monkeypatch.setattr(sys, "argv", ["/home/a/.local/bin/multiprobe", name, "vfs_*", "--", "ls"])
    assert main.run([name, "vfs_*", "--", "ls"]) == 4
    assert capsys.readouterr().err == (
        "multiprobe: attaching takes root, or CAP_BPF and CAP_PERFMON: user 1000 lacks CAP_PERFMON\n"
        f"  hint: sudo /home/a/.local/bin/multiprobe {name} 'vfs_*' -- ls; or, in a virtual machine: add --vm\n"
    )


def test_a_virtual_machine_is_advised_only_where_it_works(
    held: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(limits, "may_run_guests", lambda: False)
    assert main.run(["count", "vfs_*"]) == 4
    assert "--vm" not in capsys.readouterr().err


@pytest.mark.parametrize("enough", [{"CAP_BPF", "CAP_PERFMON"}, {"CAP_SYS_ADMIN"}])
def test_capabilities_are_enough(held: set[str], enough: set[str]) -> None:
    held.update(enough)
    rights.require_rights()


def test_a_plan_takes_no_rights(held: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    main.run(["count", "vfs_*", "--dry-run"])
    assert "the kernel's functions were read" in capsys.readouterr().err


def test_the_command_line_as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert rights.as_root(["/src/multiprobe/__main__.py", "count", "a b"]) == (
        f"as root: {sys.executable} -m multiprobe count 'a b'"
    )
