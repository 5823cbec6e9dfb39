"""`multiprobe run`: runs a script that uses multiprobe, and reports its errors as those of every other command."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING

import click

from multiprobe.cli.command import SETTINGS, Command
from multiprobe.cli.options import general_options
from multiprobe.errors import CompileError, MultiprobeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, TracebackType

EXAMPLES = """\
Examples:
  multiprobe run opens.py                 attach to this kernel
  multiprobe run --vm=6.12 opens.py /etc  in a virtual machine, with an argument for the script

Exit status: that of the script; for an error of multiprobe as `multiprobe --help` lists."""


@click.command("run", cls=Command, epilog=EXAMPLES, context_settings={**SETTINGS, "allow_interspersed_args": False})
@click.argument("script", type=click.Path(exists=True, dir_okay=False, readable=True), metavar="SCRIPT")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGS…]")
@general_options
def command(script: str, arguments: tuple[str, ...]) -> int:
    """Run SCRIPT, a Python program that uses multiprobe.

    The script runs as by `python SCRIPT ARGS…`. An error of multiprobe is reported in a sentence with the line of the
    script, and sets the exit status; --debug shows a traceback. Options of multiprobe precede SCRIPT; all words after
    it are the script's.
    """
    return run(script, arguments)


def run(script: str, arguments: Sequence[str]) -> int:
    """Run the script. Returns the exit status; errors of multiprobe are raised."""
    source = _read(script)
    _require_python(source, script)
    code = _compile(source, script)
    if code is None:
        return 1
    sys.argv = [script, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    try:
        _execute(code, script)
    except MultiprobeError as error:
        _add_line(error, script)
        raise
    except SystemExit as error:
        return _status(error)
    except BrokenPipeError:
        raise
    except Exception as error:
        _print_traceback(error, script)
        return 1
    return 0


def _read(script: str) -> bytes:
    try:
        with open(script, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"cannot read the script {script}: {error.strerror}") from error


def _require_python(source: bytes, script: str) -> None:
    """Raise UsageError for a script in another language, as its first line or its name says."""
    first = source.partition(b"\n")[0].decode(errors="replace")
    if script.endswith(".bt") or "bpftrace" in first:
        hint = "write it in Python: the page one-liners has bpftrace's tutorial in both languages"
        raise UsageError(f"{script} is a script of bpftrace, not a Python program", hint=hint)
    if first.startswith("#!") and "py" not in first:
        hint = f"programs of the shell are measured: multiprobe count PATTERN… -- {script}"
        raise UsageError(f"{script} is a script for {first.removeprefix('#!').strip()}, not for Python", hint=hint)


def _compile(source: bytes, script: str) -> CodeType | None:
    """The script's byte code; None after a syntax error, which is printed as Python does."""
    try:
        return compile(source, os.path.abspath(script), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        print("".join(traceback.format_exception_only(error)), end="", file=sys.stderr)
        return None


def _execute(code: CodeType, script: str) -> None:
    module = type(sys)("__main__")
    module.__file__ = os.path.abspath(script)
    sys.modules["__main__"] = module
    exec(code, module.__dict__)


def _status(error: SystemExit) -> int:
    """The exit status of `sys.exit(…)`, as in Python: anything but a number is a message."""
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return 1


def _add_line(error: MultiprobeError, script: str) -> None:
    """Add the line of the script to an error, unless it names a location itself."""
    line = 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == os.path.abspath(script):
            line = trace.tb_lineno
        trace = trace.tb_next
    if line and not (isinstance(error, CompileError) and error.file):
        error.message = f"{error.message}\n  from {script}:{line}"


def _print_traceback(error: Exception, script: str) -> None:
    """Print what Python prints for an exception of the script, without the frames that ran it."""
    traceback.print_exception(type(error), error, _from_script(error.__traceback__, script))


def _from_script(trace: TracebackType | None, script: str) -> TracebackType | None:
    first = trace
    while first is not None and first.tb_frame.f_code.co_filename != os.path.abspath(script):
        first = first.tb_next
    return first or trace
