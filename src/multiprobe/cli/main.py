"""Where the command line begins and every error ends.

Knows which commands have a short way in (no click), how an exception becomes a sentence, a hint and an exit status.
Must not know what any command does, and imports nothing that a command may not need.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING

import click

from multiprobe import __version__
from multiprobe.cli import group
from multiprobe.cli.options import DEFAULT_SERIES, take_vm
from multiprobe.cli.run import n_own
from multiprobe.errors import MultiprobeError
from multiprobe.vm import rerun_in_vm

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

#: Commands that are declared, with their options, as `COMMAND`: see `cli.command`.
MEASURING = ("count", "errors", "graph", "latency", "stacks", "trace")
INTERRUPTED = 130
BROKEN_PIPE = 141


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (of this process, unless given) and return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _dispatch(given)
        sys.stdout.flush()
    except BaseException as error:
        return _funnel(error, is_debug=_is_debug(given))
    return status


def _dispatch(given: list[str]) -> int:
    name = given[0] if given else ""
    if given == ["--version"]:
        print(f"multiprobe {__version__}")
        return 0
    if name not in ("vm", "run"):
        series, rest = take_vm(given)
        if series is not None:
            return _run_in_vm(rest, series)
    if name == "run":  # to click, what follows a bare --vm would be its value
        end = 1 + n_own(given[1:])
        given[:end] = [f"--vm={DEFAULT_SERIES}" if word == "--vm" else word for word in given[:end]]
    return group.run(given)


def _import(name: str) -> Any:
    return __import__(f"multiprobe.cli.{name}", fromlist=["COMMAND"])


def _run_in_vm(arguments: list[str], series: str) -> int:
    """Run the same command line, checked first, in a guest."""
    group.parse(arguments)
    if arguments and arguments[0] in MEASURING:
        _import(arguments[0]).COMMAND.compile_ahead(arguments[1:])
    return rerun_in_vm(arguments, None if series == DEFAULT_SERIES else series)


def _is_debug(arguments: list[str]) -> bool:
    if arguments[:1] == ["run"]:
        return "--debug" in arguments[1:][: n_own(arguments[1:])]
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return "--debug" in arguments[:at]


def _funnel(error: BaseException, *, is_debug: bool) -> int:
    """Tell the user about an exception, on stderr, and return the exit status it ends with."""
    if _is_broken_pipe(error):
        return _drop_output()
    if is_debug and not isinstance(error, SystemExit | KeyboardInterrupt):
        traceback.print_exception(error)
        if log := getattr(error, "log", ""):  # the verifier's
            print(log, file=sys.stderr)
    if isinstance(error, MultiprobeError):
        _say(str(error), error.hint)
        return error.exit_status
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    if type(error).__module__.startswith("click."):
        return _funnel_click(error)
    if isinstance(error, OSError) and error.strerror:
        what = error.filename or ("standard output" if _is_output_broken() else "input or output")
        _say(f"{what}: {error.strerror}")
        return 4 if isinstance(error, PermissionError) else 1
    _say(f"internal error: {type(error).__name__}: {error}", "" if is_debug else "--debug shows where it came from")
    return 1


def _is_output_broken() -> bool:
    """Whether what was printed can't be written."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _is_broken_pipe(error: BaseException) -> bool:
    """Whether the reader of our output went away, of which click makes an exit and a wrapped stdout."""
    if isinstance(error, SystemExit):
        return type(sys.stdout).__name__.endswith("PacifyFlushWrapper")
    return isinstance(error, BrokenPipeError) and not isinstance(error, MultiprobeError)


def _funnel_click(error: BaseException) -> int:
    """What click raises: usage errors, `--help` (which it ends by an exception), Ctrl-C."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "multiprobe"
        _say(error.format_message(), f"{path} --help")
        return error.exit_code
    if isinstance(error, click.ClickException):
        _say(error.format_message())
        return error.exit_code
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    return INTERRUPTED  # click.Abort


def _say(message: str, hint: str = "") -> None:
    try:
        print(f"multiprobe: {message}", file=sys.stderr)
        if hint:
            print(f"  hint: {hint}", file=sys.stderr)
    except OSError:  # nobody listens
        pass


def _drop_output() -> int:
    """The reader of our output is gone: end quietly, and keep the interpreter from complaining at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
    return BROKEN_PIPE
