"""The entry point of the command line: parse, run the command here or in a virtual machine, report errors.

Every exception ends as a sentence, a hint and an exit status.
"""

from __future__ import annotations

import contextlib
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from multiprobe.cli import slips
from multiprobe.cli.command import Command, without_vm
from multiprobe.cli.group import COMPLETING, answer_shell, parse
from multiprobe.errors import RESOURCES, MultiprobeError, VerifierError
from multiprobe.output.terminal import prepare, write_lines
from multiprobe.vm import rerun_in_vm

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130
BROKEN_PIPE = 141


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (by default this process's) and return its exit status."""
    _prepare_streams()
    if COMPLETING in os.environ:
        return answer_shell()
    given = list(sys.argv[1:] if arguments is None else arguments)
    is_debug = "--debug" in given
    try:
        with parse(given) as context:
            is_debug = context.params["debug"]
            status = _execute(context, given)
        sys.stdout.flush()
    except BaseException as error:
        return _report_error(error, is_debug=is_debug)
    return status


def _prepare_streams() -> None:
    """Open /dev/null for closed standard streams, so that no other file gets their numbers. Replace what the locale
    can't encode."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number, as in open(2)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(fd, "w" if fd else "r", encoding="utf-8", closefd=False))
    prepare(sys.stdout)
    prepare(sys.stderr)


def _execute(context: click.Context, given: Sequence[str]) -> int:
    series = context.params.get("vm")
    if series is None:
        return int(context.command.invoke(context))
    assert isinstance(context.command, Command)
    own = without_vm(given[1:], is_interspersed=context.allow_interspersed_args)
    return rerun_in_vm([given[0], *own], series or None, partial(context.command.compile_ahead, context))


def _report_error(error: BaseException, *, is_debug: bool) -> int:
    """Report an exception on standard error, and return its exit status."""
    if isinstance(error, BrokenPipeError) and not isinstance(error, MultiprobeError):
        return _drop_output()
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return INTERRUPTED
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    if is_debug:
        import traceback

        traceback.print_exception(error)
        if isinstance(error, VerifierError):
            print(error.log, file=sys.stderr)
    message, hint, status = _explain(error, is_debug=is_debug)
    _say(message, hint)
    return status


def _explain(error: BaseException, *, is_debug: bool) -> tuple[str, str, int]:
    """The sentence, the hint and the exit status of an exception."""
    if isinstance(error, MultiprobeError):
        return str(error), error.hint, error.exit_status
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "multiprobe"
        return error.format_message().replace("\n\t", " "), slips.elsewhere(error) or f"{path} --help", error.exit_code
    if isinstance(error, click.ClickException):
        return error.format_message(), "", error.exit_code
    if isinstance(error, OSError) and error.strerror:
        what = error.filename or ("standard output" if _is_output_broken() else "input or output")
        return (
            f"{what}: {error.strerror}",
            RESOURCES.get(error.errno or 0, ""),
            4 if isinstance(error, PermissionError) else 1,
        )
    if isinstance(error, MemoryError):
        return "out of memory", "name fewer functions, or raise the limit (ulimit -v, memory.max)", 1
    hint = "" if is_debug else "--debug shows a traceback"
    return f"internal error: {type(error).__name__}: {error}", hint, 1


def _is_output_broken() -> bool:
    """Whether standard output can't be written."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _say(message: str, hint: str = "") -> None:
    with contextlib.suppress(OSError):  # standard error is closed
        write_lines([*f"multiprobe: {message}".split("\n"), *([f"  hint: {hint}"] if hint else [])], sys.stderr)


def _drop_output() -> int:
    """Discard what is left to print, so that the interpreter doesn't report it at exit. Returns the exit status."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
    return BROKEN_PIPE
