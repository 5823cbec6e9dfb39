"""Every error ends as a sentence, a hint and an exit status; nobody sees a traceback unasked."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from multiprobe import errors
from multiprobe.cli import main

ERRORS = [
    (errors.UsageError("odd", hint="try this"), 2),
    (errors.PatternError("odd", pattern="["), 2),
    (errors.NoMatchError("nothing"), 3),
    (errors.NotPermittedError("no"), 4),
    (errors.NotSupportedError("lacking"), 5),
    (errors.DataError("cut off"), 1),
    (errors.KernelError("bpf(BPF_LINK_CREATE)", 22, subject="3 functions"), 1),
    (errors.AttachError("not all"), 1),
    (errors.VmError("no QEMU"), 1),
    (OSError(2, "No such file or directory", "/nowhere"), 1),
    (PermissionError(13, "Permission denied", "/secret"), 4),
    (ZeroDivisionError("a bug"), 1),
    (MemoryError(), 1),
]


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> object:
    def install(error: BaseException) -> None:
        def execute(*_: object) -> int:
            raise error

        monkeypatch.setattr(main, "_execute", execute)

    return install


@pytest.mark.parametrize(("error", "status"), ERRORS, ids=lambda item: type(item).__name__)
def test_errors(error: Exception, status: int, raising: object, capsys: pytest.CaptureFixture[str]) -> None:
    raising(error)  # type: ignore[operator]
    assert main.run(["count", "x"]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("multiprobe: ")
    assert "Traceback" not in err
    assert "hint: try this" in err or not getattr(error, "hint", "")


def test_want_of_memory_is_no_internal_error(raising: object, capsys: pytest.CaptureFixture[str]) -> None:
    raising(MemoryError())  # type: ignore[operator]
    assert main.run(["count", "x"]) == 1
    assert capsys.readouterr().err.startswith("multiprobe: out of memory\n  hint: ")


def test_debug_shows_the_traceback(raising: object, capsys: pytest.CaptureFixture[str]) -> None:
    raising(errors.NoMatchError("nothing"))  # type: ignore[operator]
    assert main.run(["count", "x", "--debug"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_debug_of_the_command_is_not_ours(raising: object, capsys: pytest.CaptureFixture[str]) -> None:
    raising(errors.NoMatchError("nothing"))  # type: ignore[operator]
    main.run(["count", "x", "--", "ls", "--debug"])
    assert "Traceback" not in capsys.readouterr().err


def test_the_verifier_log_is_shown_on_demand(raising: object, capsys: pytest.CaptureFixture[str]) -> None:
    error = errors.VerifierError("bpf(BPF_PROG_LOAD)", 13, cause="R1 is bad", log="0: r1 = 0\nR1 is bad")
    raising(error)  # type: ignore[operator]
    main.run(["count", "x"])
    short = capsys.readouterr().err
    assert "R1 is bad" in short
    assert "0: r1 = 0" not in short
    main.run(["count", "x", "--debug"])
    assert "0: r1 = 0" in capsys.readouterr().err


def test_ctrl_c_before_any_result(raising: object, capsys: pytest.CaptureFixture[str]) -> None:
    raising(KeyboardInterrupt())  # type: ignore[operator]
    assert main.run(["count", "x"]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--help"], 0, "Exit status"),
        (["count", "--help"], 0, "Examples:"),
        (["--version"], 0, "multiprobe "),
        (["coun"], 2, "'count'"),
        (["count"], 2, "PATTERN"),
        (["count", "x", "--top", "many"], 2, "expected a whole number from 0"),
        (["count", "x", "--mechanism", "magic"], 2, "kprobe_multi"),
        (["count", "x", "--command-only"], 2, "needs a COMMAND"),
        (["count", "x", "--pid", "4999999"], 2, "no process has the id"),
        (["nonsense", "--vm"], 2, "no such command"),
        (["-"], 2, "no such command '-'"),
        (["-", "count", "vfs_*"], 2, "no such command '-'"),
        (["--", "count", "vfs_*"], 2, "no such command '--'"),
        (["count", "--vm"], 2, "PATTERN"),
    ],
)
def test_the_command_line(arguments: list[str], status: int, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(arguments) == status
    out, err = capsys.readouterr()
    assert text in out + err
    assert (err == "") == (status == 0)


def test_every_listed_command_exists() -> None:
    from multiprobe.cli.group import commands

    for name in commands.list_commands(None):  # type: ignore[arg-type]
        command = commands.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        assert any(param.name == "debug" for param in command.params)


def test_a_reader_that_goes_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "import sys\nfrom multiprobe.__main__ import main\nsys.exit(main())"
    ended = subprocess.run([sys.executable, "-c", code, "--help"], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert ended.returncode == main.BROKEN_PIPE
    assert ended.stderr == b""
