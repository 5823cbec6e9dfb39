"""The click class of the commands that measure, and the decorator that makes one."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from multiprobe.cli.command import HANDLED_BY_MAIN, SETTINGS, Command, n_own
from multiprobe.cli.completing import HAS_COMMAND
from multiprobe.cli.measuring import measure
from multiprobe.cli.options import MeasuringOptions
from multiprobe.cli.slips import on_command
from multiprobe.compiler.compiling import compile_ahead
from multiprobe.errors import UsageError

if TYPE_CHECKING:
    from multiprobe.cli.measurement import Measurement

OptionsT = TypeVar("OptionsT", bound=MeasuringOptions)

SELECTING = """\
PATTERN selects functions: a glob ('tcp_*'), a /regular expression/, module:pattern, a system call (syscall:openat), an
exact symbol, or an address. !PATTERN excludes the functions that it matches."""
ENDING = """\
Calls of the whole system are measured, also while COMMAND runs, unless --pid or --command-only restricts them to one
process and its children. The measurement ends after --duration, when COMMAND or the process of --pid exits, or on
Ctrl-C."""


class MeasuringCommand(Command):
    """A command that measures the functions of PATTERN…, until the end of an optional `-- COMMAND…`.

    `options` is the class that holds the parsed options; the callback makes a `Measurement` of them.
    """

    options: Callable[..., MeasuringOptions]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split off COMMAND before click sees the `--`, since click would join it to PATTERN."""
        n = n_own(args, is_interspersed=True)
        command, line = args[n + 1 :], (ctx.info_name or "", *args)
        if n < len(args):
            ctx.meta[HAS_COMMAND] = True
        if n < len(args) and not command and not ctx.resilient_parsing:
            raise UsageError("there is no command after --", hint="leave -- out, or add the command to measure")
        try:
            rest = super().parse_args(ctx, args[:n])
        except click.NoSuchOption as error:
            option = error.option_name
            before = itertools.takewhile(lambda word: not word.startswith(option), args)
            advice = "" if command else on_command([word for word in before if not word.startswith("-")])
            if advice:
                raise UsageError(error.format_message(), hint=advice) from error
            raise
        ctx.params |= {"command": tuple(command), "line": line}
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """The parts of the usage line, COMMAND last."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND…]"]

    def measurement(self, ctx: click.Context) -> Measurement[MeasuringOptions, Any]:
        """The measurement that a command line asks for. Raises UsageError."""
        assert self.callback is not None
        given = {name: item for name, item in ctx.params.items() if name not in HANDLED_BY_MAIN}
        made: Measurement[MeasuringOptions, Any] = self.callback(self.options(**given))
        return made

    def compile_ahead(self, ctx: click.Context) -> None:
        """Compile the program into the cache."""
        measurement = self.measurement(ctx)
        program = measurement.program_ahead()
        if program is not None:
            compile_ahead(program, when=measurement.when, has_gate=measurement.is_replaceable)

    def invoke(self, ctx: click.Context) -> int:
        """Measure, and return the exit status."""
        return measure(self.measurement(ctx))


def measuring_command(
    name: str, options: type[OptionsT], *, examples: str, ending: str = ENDING
) -> Callable[[Callable[[OptionsT], Measurement[OptionsT, Any]]], MeasuringCommand]:
    """Decorate a function that makes a measurement of its options: its docstring becomes the command's help.

    ending: the paragraph on what is measured, and until when
    """

    def decorate(make: Callable[[OptionsT], Measurement[OptionsT, Any]]) -> MeasuringCommand:
        text = f"{inspect.cleandoc(make.__doc__ or '')}\n\n{SELECTING}\n\n{ending}"
        command = click.command(name, cls=MeasuringCommand, help=text, epilog=examples, context_settings=SETTINGS)(make)
        command.options = options
        return command

    return decorate
