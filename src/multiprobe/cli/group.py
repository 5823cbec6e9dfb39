"""The command line as click sees it: the group of commands, imported one by one, help in sections, examples.

Only imported when click is needed; `main` is the way in, and what a command does is in the command's own file.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import click

import multiprobe
from multiprobe.cli.options import SHARED, Option, click_option, split_command

#: Commands by section: name and one line of help, here so that `--help` imports no command.
SECTIONS: dict[str, dict[str, str]] = {
    "Choose": {
        "functions": "Which functions, by which mechanism, and why not.",
    },
    "Measure": {
        "count": "Calls per function.",
        "trace": "One line per call: typed arguments, result, duration.",
        "latency": "Time per function: percentiles, distribution, self time.",
        "errors": "Which calls fail, who failed first, and along which path.",
        "graph": "The tree of calls between functions, with durations.",
        "stacks": "The stacks that lead to functions, counted or timed.",
    },
    "Program": {
        "run": "Run a script of your own.",
    },
    "Look around": {
        "doctor": "What this kernel and user can do, and what stands in the way.",
        "inspect": "Every tracing link on this system, and what sits at a function's entry.",
        "vm": "Run any command in a throw-away virtual machine.",
    },
}

EXAMPLES = """\
Examples:
  multiprobe count 'tcp_*' --duration 10         which TCP functions run, how often
  multiprobe count 'ext4:*' -- cp -r src dst     while a command runs
  multiprobe functions --takes 'struct sock *'   which functions take a socket
  multiprobe functions --why schedule            may this one be attached?
  multiprobe count '*' --vm=6.12 -- ls -lR /usr  the same in a virtual machine
  multiprobe doctor                              what works here, and what to do about the rest

Exit status: 0 done, 1 failed, 2 usage, 3 nothing matched, 4 not permitted, 5 this kernel lacks it."""

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Examples(click.Command):
    """A command whose epilog is printed as it stands."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Keep the line breaks of the examples."""
        if self.epilog:
            formatter.write("\n" + self.epilog + "\n")


class TracingCommand(Examples):
    """A command that takes PATTERN… and, after `--`, a COMMAND… to run meanwhile."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take `-- COMMAND…` away before click does, to which all arguments are the same."""
        ours, command = split_command(args)
        rest = super().parse_args(ctx, ours)
        ctx.params["command"] = tuple(command)
        return rest


class Commands(Examples, click.Group):
    """The commands, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the sections."""
        return [name for commands in SECTIONS.values() for name in commands]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but a misspelt name gets a suggestion."""
        name = args[0]
        if name not in self.list_commands(ctx):
            near = difflib.get_close_matches(name, self.list_commands(ctx), 1)
            ctx.fail(f"there is no command {name!r}" + (f": is it {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import `cli/NAME.py` and take its `command`, or make it from its declaration, `COMMAND`."""
        if name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"multiprobe.cli.{name}")
        declared = getattr(module, "COMMAND", None)
        command: click.Command = module.command if declared is None else declared.click_command()
        if all(param.name != "debug" for param in command.params):
            command.params.append(click_option(SHARED["debug"]))
            command.callback = _without_debug(command.callback)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by section."""
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl(list(commands.items()))


def _without_debug(callback: Callable[..., Any] | None) -> Callable[..., Any]:
    def call(*args: Any, debug: bool, **options: Any) -> Any:
        assert callback is not None
        return callback(*args, **options)

    return call


def tracing_command(
    name: str, options: Sequence[Option], callback: Callable[..., int], *, help: str, epilog: str
) -> click.Command:
    """A click command from option values; the callback gets their names, `patterns` and `command`."""
    patterns = click.Argument(["patterns"], nargs=-1, required=True, metavar="PATTERN…")
    return TracingCommand(
        name,
        params=[patterns, *(click_option(option) for option in options)],
        callback=callback,
        help=help,
        epilog=epilog,
        context_settings=SETTINGS,
        options_metavar="[OPTIONS] [-- COMMAND…]",
    )


def make_group() -> Commands:
    """The whole command line."""

    @click.group(cls=Commands, context_settings=SETTINGS, epilog=EXAMPLES, subcommand_metavar="COMMAND …")
    @click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print it.")
    def multiprobe() -> None:
        """Attach one BPF program to thousands of kernel functions at once, and see what they do."""

    return multiprobe


def _version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"multiprobe {multiprobe.__version__}")
        ctx.exit()


def parse(arguments: Sequence[str]) -> click.Context:
    """The context of the command that a command line names, with the values of its parameters.

    click only parses here: a click that also runs the command prints a newline of its own at Ctrl-C. Raises
    click.UsageError, or click.exceptions.Exit after `--help` and `--version`.
    """
    group = make_group()
    if not arguments or arguments[0].startswith("-"):
        return group.make_context("multiprobe", list(arguments))
    parent = click.Context(group, info_name="multiprobe")
    name, command, rest = group.resolve_command(parent, list(arguments))
    assert name is not None
    assert command is not None
    return command.make_context(name, rest, parent=parent)


def run(arguments: Sequence[str]) -> int:
    """Parse a command line and run its command; errors come out as exceptions."""
    context = parse(arguments)
    with context:
        assert context.command.callback is not None
        status = context.invoke(context.command.callback, **context.params)
    return status if isinstance(status, int) else 0
