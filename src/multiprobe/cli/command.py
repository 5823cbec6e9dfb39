"""The click classes of all commands: options in sections, `--vm` without a value, `-- COMMAND…`, verbatim examples.

click only parses: `main` calls `invoke` on the command of a parsed context.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from multiprobe.cli.measuring import measure
from multiprobe.cli.options import OTHERS, SECTIONS, GeneralOption, MeasuringOptions
from multiprobe.errors import UsageError

if TYPE_CHECKING:
    from multiprobe.cli.measurement import Measurement

OptionsT = TypeVar("OptionsT", bound=MeasuringOptions)

SETTINGS: dict[str, object] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
HANDLED_BY_MAIN = ("vm", "debug")

SELECTING = """\
PATTERN selects functions: a glob ('tcp_*'), a /regular expression/, module:pattern, an exact symbol, or an address.
!PATTERN excludes the functions that it matches."""
ENDING = """\
Calls of the whole system are measured, also while COMMAND runs, unless --pid or --command-only restricts them to one
process. The measurement ends after --duration, when COMMAND or the process of --pid exits, or on Ctrl-C."""


class Command(click.Command):
    """A command whose `--help` has its options in sections, and its examples as they are written."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, but never take the word after a bare `--vm` as its value."""
        n = n_own(args, is_interspersed=ctx.allow_interspersed_args)
        return super().parse_args(ctx, [*_with_closed_vm(args[:n]), *args[n:]])

    def invoke(self, ctx: click.Context) -> int:
        """Run the command, and return its exit status."""
        assert self.callback is not None
        given = {name: item for name, item in ctx.params.items() if name not in HANDLED_BY_MAIN}
        return int(self.callback(**given))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each kind of option."""
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in SECTIONS}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                other = GeneralOption.section if param is self.get_help_option(ctx) else OTHERS
                sections[getattr(param, "section", other)].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples with their line breaks."""
        if self.epilog:
            formatter.write(f"\n{self.epilog.rstrip()}\n")


class MeasuringCommand(Command):
    """A command that measures the functions of PATTERN…, until the end of an optional `-- COMMAND…`.

    `options` is the class that holds the parsed options; the callback makes a `Measurement` of them.
    """

    options: Callable[..., MeasuringOptions]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split off COMMAND before click sees the `--`, since click would join it to PATTERN."""
        n = n_own(args, is_interspersed=True)
        rest = super().parse_args(ctx, args[:n])
        ctx.params["command"] = tuple(args[n + 1 :])
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

    def invoke(self, ctx: click.Context) -> int:
        """Measure, and return the exit status."""
        return measure(self.measurement(ctx))


def measuring_command(
    name: str, options: type[OptionsT], *, examples: str
) -> Callable[[Callable[[OptionsT], Measurement[OptionsT, Any]]], MeasuringCommand]:
    """Decorate a function that makes a measurement of its options: its docstring becomes the command's help."""

    def decorate(make: Callable[[OptionsT], Measurement[OptionsT, Any]]) -> MeasuringCommand:
        text = f"{inspect.cleandoc(make.__doc__ or '')}\n\n{SELECTING}\n\n{ENDING}"
        command = click.command(
            name,
            cls=MeasuringCommand,
            help=text,
            epilog=examples,
            context_settings=SETTINGS,
        )(make)
        command.options = options
        return command

    return decorate


def n_own(words: Sequence[str], *, is_interspersed: bool) -> int:
    """How many of a command's words are its own: those before `--`, or, if not interspersed, before the first
    argument."""
    if is_interspersed:
        return words.index("--") if "--" in words else len(words)
    return next((n for n, word in enumerate(words) if not word.startswith("-")), len(words))


def _with_closed_vm(words: Sequence[str]) -> list[str]:
    """The words with `--vm=` for a bare `--vm`, which stands for the default series.

    Raises UsageError for `--vm 6.12`: it would search for functions called 6.12.
    """
    for word, following in itertools.pairwise(words):
        if word == "--vm" and "." in following and following.replace(".", "").isdecimal():
            raise UsageError(f"--vm {following}: the version must follow an equals sign", hint=f"use --vm={following}")
    return ["--vm=" if word == "--vm" else word for word in words]


def without_vm(words: Sequence[str], *, is_interspersed: bool) -> list[str]:
    """The words of a command, for the guest."""
    n = n_own(words, is_interspersed=is_interspersed)
    return [*(word for word in words[:n] if word != "--vm" and not word.startswith("--vm=")), *words[n:]]
