"""`multiprobe vm` as a command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from multiprobe.cli.vm import command
from multiprobe.vm import kernels, session

KERNEL = kernels.BootKernel("6.12", "6.12.1", "6.12.1-1", Path("/k"), None)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What session.run was asked for."""
    seen: dict[str, object] = {}

    def run(words: object, **options: object) -> int:
        seen.update(options, command=words)
        return 0

    monkeypatch.setattr(session, "run", run)
    monkeypatch.setattr("multiprobe.cli.vm.require_guest", lambda: seen.update(checked=len(seen)))

    def find(series: str, **_: object) -> kernels.BootKernel:
        seen["found"] = series
        return kernels.BootKernel(series, "", "", Path("/k"), None)

    monkeypatch.setattr(kernels, "find", find)
    return seen


def test_everything_after_the_first_word_is_the_commands(asked: dict[str, object]) -> None:
    CliRunner().invoke(command, ["--kernel", "7.3", "--cpus", "2", "ls", "--kernel", "-l"], catch_exceptions=False)
    assert asked["command"] == ("ls", "--kernel", "-l")
    assert asked["cpus"] == 2
    assert asked["kernel"].series == "7.3"  # type: ignore[attr-defined]
    assert asked["checked"] == 0, "what is missing is found before a kernel is fetched"


def test_secrets_and_the_kernels_command_line(asked: dict[str, object]) -> None:
    CliRunner().invoke(command, ["true"], catch_exceptions=False)
    assert (asked["share_secrets"], asked["append"]) == (False, "")
    words = ["--share-secrets", "--append", "lockdown=integrity nokaslr", "true"]
    CliRunner().invoke(command, words, catch_exceptions=False)
    assert (asked["share_secrets"], asked["append"]) == (True, "lockdown=integrity nokaslr")


def test_a_shell_by_default(asked: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/fish")
    CliRunner().invoke(command, [], catch_exceptions=False)
    assert asked["command"] == ("/bin/fish",)
    assert asked["kernel"].series == kernels.DEFAULT_SERIES  # type: ignore[attr-defined]


def test_fetching(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "fetch", lambda series, **_: [KERNEL for _ in series])
    ended = CliRunner().invoke(command, ["--fetch", "-k", "6.12", "-k", "6.12"], catch_exceptions=False)
    assert ended.output == "6.12  6.12.1-1  /k\n" * 2


def test_two_kernels_are_too_many(asked: dict[str, object]) -> None:
    ended = CliRunner().invoke(command, ["-k", "6.1", "-k", "7.3", "true"])
    assert "a guest runs one kernel" in str(ended.exception)
    assert not asked
