"""`multiprobe run`: a script of one's own, with errors told as by every other command.

Knows how a Python script is run as if by `python SCRIPT`, and whose fault an exception is. What follows SCRIPT on the
command line belongs to the script. Imports click only when asked for the click command.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING

import click

from multiprobe.cli.group import SETTINGS, Examples
from multiprobe.cli.options import DEFAULT_SERIES, SHARED, click_option
from multiprobe.errors import CompileError, MultiprobeError, UsageError
from multiprobe.vm import rerun_in_vm

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, TracebackType

    import click

HELP = """Run SCRIPT, a Python program that uses multiprobe.

It runs as by `python SCRIPT ARGS…`: errors of multiprobe are told in a sentence, with the script's line (a traceback:
--debug), and set the exit status; its own sys.exit(n) does, too. With --vm it runs in a virtual machine.
Options of multiprobe stand before SCRIPT; what stands after it is the script's.
"""

EXAMPLES = """\
Examples:
  multiprobe run opens.py                 attach to this kernel
  multiprobe run --vm=6.12 opens.py /etc  in a virtual machine, with an argument for the script"""


def __getattr__(name: str) -> click.Command:
    """`command`, made when click asks for it."""
    if name != "command":
        raise AttributeError(name)
    return Examples(
        "run",
        params=[
            click_option(SHARED["vm"]),
            click_option(SHARED["debug"]),
            click.Argument(["script"], metavar="SCRIPT"),
            click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED, metavar="[ARGS…]"),
        ],
        callback=lambda script, arguments, vm, debug: run(script, arguments, vm=vm, debug=debug),
        help=HELP,
        epilog=EXAMPLES,
        context_settings={**SETTINGS, "allow_interspersed_args": False},
    )


def n_own(arguments: Sequence[str]) -> int:
    """How many of the arguments are options of `run` itself: those before SCRIPT."""
    return next((n for n, argument in enumerate(arguments) if not argument.startswith("-")), len(arguments))


def run(script: str, arguments: Sequence[str], *, vm: str | None = None, debug: bool = False) -> int:
    """Run the script. Returns the exit status; errors of multiprobe are raised."""
    source = _read(script)
    if vm is not None:
        options = ["--debug"] if debug else []
        return rerun_in_vm(["run", *options, script, *arguments], None if vm == DEFAULT_SERIES else vm)
    code = _compile(source, script)
    if code is None:
        return 1
    sys.argv = [script, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    try:
        _execute(code, script)
    except MultiprobeError as error:
        _add_place(error, script)
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
        raise UsageError(f"the script {script} can't be read: {error.strerror}") from error


def _compile(source: bytes, script: str) -> CodeType | None:
    """The script's byte code; None, and Python's own message on stderr, where it can't be understood."""
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
    """The exit status of `sys.exit(…)`, as Python has it: anything but a number is a message."""
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return 1


def _add_place(error: MultiprobeError, script: str) -> None:
    """Say at which line of the script an error came out, unless it points into a file itself."""
    line = 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == os.path.abspath(script):
            line = trace.tb_lineno
        trace = trace.tb_next
    if line and not (isinstance(error, CompileError) and error.file):
        error.message = f"{error.message}\n  from {script}:{line}"


def _print_traceback(error: Exception, script: str) -> None:
    """What Python prints for an exception of the script's, without the frames that ran it."""
    traceback.print_exception(type(error), error, _from_script(error.__traceback__, script))


def _from_script(trace: TracebackType | None, script: str) -> TracebackType | None:
    first = trace
    while first is not None and first.tb_frame.f_code.co_filename != os.path.abspath(script):
        first = first.tb_next
    return first or trace
