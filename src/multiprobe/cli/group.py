"""The group of all commands for click: each is imported when it is used, and listed in sections by `--help`."""

from __future__ import annotations

import difflib
import importlib
import re
import shlex
from collections.abc import Sequence
from types import ModuleType

import click

import multiprobe
from multiprobe.cli.command import SETTINGS, fitted_help
from multiprobe.cli.slips import COMMANDS

SECTIONS: dict[str, dict[str, str]] = {
    "Measure": {
        "count": "Count calls per function.",
        "trace": "Print every call: decoded arguments, result, duration.",
        "latency": "Time calls: percentiles, distribution, self time.",
        "errors": "Find calls that fail, the first to fail, and the path of the error.",
        "graph": "Show the tree of calls between functions, with durations.",
        "stacks": "Count or time the stacks that lead to functions.",
        "record": "Record calls until a condition holds, and print the last ones.",
        "coverage": "Find out which functions a command ran.",
    },
    "Compare": {
        "fleet": "Measure on many hosts at once, through Dask.",
        "merge": "Add up saved runs of many hosts.",
        "diff": "Compare saved runs: what is new, gone, more, less, slower, faster.",
    },
    "Examine": {
        "functions": "List functions: which mechanisms can attach to each, and why not.",
        "inspect": "Show every tracing link on this system, and what is attached to a function.",
        "doctor": "Check what this kernel and user allow, and what to change.",
        "bench": "Measure what attaching and tracing cost here, beside other tools.",
    },
    "Run": {"run": "Run a script that uses multiprobe.", "vm": "Run a command in a throw-away virtual machine."},
    "Set up": {"completion": "Print the script by which a shell completes commands and names."},
}
"""The commands by section, with their lines in `--help`: written here so that `--help` imports no command."""

COMPLETING = "_MULTIPROBE_COMPLETE"
"""The environment variable that is there when a shell asks for completions."""
WORDS = {"help": "--help", "version": "--version"}
"""Words that stand for options in the place of a command: `multiprobe help count`."""

EXAMPLES = """\
Examples:
  multiprobe count 'tcp_*' --duration 10         count the calls of TCP functions
  multiprobe count 'ext4:*' -- cp -r src dst     while a command runs
  multiprobe functions --takes 'struct sock *'   list the functions that take a socket
  multiprobe functions --why schedule            explain why a function can't be attached to
  multiprobe count '*' --vm=6.12 -- ls -lR /usr  the same in a virtual machine
  multiprobe doctor                              check this machine

Exit status: 0 success, 1 failure, 2 usage error, 3 nothing matched, 4 not permitted, 5 not supported by this kernel."""


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"multiprobe.cli.{name}")


class Commands(click.Group):
    """The commands, each imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the sections."""
        return [name for commands in SECTIONS.values() for name in commands]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve as click does, but suggest a similar name for an unknown one."""
        names = self.list_commands(ctx)
        if args[0] not in names:
            meant = COMMANDS.get(args[0])
            near = [meant] if meant else difflib.get_close_matches(args[0], [*names, *WORDS], 1)
            advice = f", did you mean {near[0]!r}?" if near else ""
            if not near and re.search(r"[_*:]", args[0]):
                advice = f": a pattern follows a command, as in multiprobe count {shlex.quote(args[0])}"
            ctx.fail(f"no such command {args[0]!r}{advice}")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import `cli/NAME.py` and return its `command`."""
        if name not in self.list_commands(ctx):
            return None
        command: click.Command = _module(name).command
        return command

    def get_help(self, ctx: click.Context) -> str:
        """The help, as wide as the terminal."""
        return fitted_help(ctx, super().get_help)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by section."""
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl(list(commands.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples with their line breaks."""
        formatter.write(f"\n{self.epilog}\n")


@click.group(cls=Commands, context_settings=SETTINGS, epilog=EXAMPLES, subcommand_metavar="COMMAND …")
@click.version_option(
    multiprobe.__version__, "-V", "--version", message="%(prog)s %(version)s", help="Print the version."
)
def commands() -> None:
    """Attach one BPF program to thousands of kernel functions at once, and see what they do."""


def parse(arguments: Sequence[str]) -> click.Context:
    """The context of the command that a command line names, with the values of its parameters.

    Raises click.UsageError, or click.exceptions.Exit after `--help` and `--version`.
    """
    if arguments and arguments[0] in WORDS:
        after = arguments[1:2] if arguments[0] == "help" else []
        arguments = [*after, WORDS[arguments[0]]]
    if not arguments or arguments[0].startswith("-"):
        commands.make_context("multiprobe", list(arguments)).fail(f"no such command {arguments[0]!r}")  # "-", "--"
    parent = click.Context(commands, info_name="multiprobe")
    name, command, rest = commands.resolve_command(parent, list(arguments))
    assert name is not None
    assert command is not None
    try:
        return command.make_context(name, rest, parent=parent)
    except click.UsageError as error:
        # With a context, the error can name the command.
        error.ctx = error.ctx or click.Context(command, info_name=name, parent=parent)
        raise


def answer_shell() -> int:
    """Answer a shell that completes a command line (see `cli.completion`). Returns the exit status."""
    status: int = _module("completion").answer(commands)
    return status
