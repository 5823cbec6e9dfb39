"""The click classes of all commands: options in sections, `--vm` without a value, `-- COMMAND…`, verbatim examples.

click only parses: `main` calls `invoke` on the command of a parsed context.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Sequence

import click

from multiprobe.cells import fold
from multiprobe.cli.options import OTHERS, SECTIONS, GeneralOption
from multiprobe.cli.params import OutputFile
from multiprobe.errors import UsageError
from multiprobe.output.terminal import columns_of, spelled

MAX_WIDTH = 100
SETTINGS: dict[str, object] = {"help_option_names": ["-h", "--help"], "max_content_width": MAX_WIDTH}
HANDLED_BY_MAIN = ("vm", "debug")


class Command(click.Command):
    """A command whose `--help` has its options in sections, and its examples as they are written."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, but never take the word after a bare `--vm` as its value."""
        n = n_own(args, is_interspersed=ctx.allow_interspersed_args)
        rest = super().parse_args(ctx, [*_with_closed_vm(args[:n]), *args[n:]])
        _require_distinct_files(self, ctx)
        return rest

    def invoke(self, ctx: click.Context) -> int:
        """Run the command, and return its exit status."""
        assert self.callback is not None
        given = {name: item for name, item in ctx.params.items() if name not in HANDLED_BY_MAIN}
        return int(self.callback(**given))

    def get_help(self, ctx: click.Context) -> str:
        """The help, as wide as the terminal."""
        return fitted_help(ctx, super().get_help)

    def compile_ahead(self, ctx: click.Context) -> None:
        """Compile what the command needs into the cache, before it runs in a virtual machine, where that takes long."""

    def options_by_section(self, ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
        """(name and value, help) of each option, by the sections that have any."""
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in SECTIONS}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                other = GeneralOption.section if param is self.get_help_option(ctx) else OTHERS
                sections[getattr(param, "section", other)].append(record)
        return {title: records for title, records in sections.items() if records}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each kind of option."""
        for title, records in self.options_by_section(ctx).items():
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples with their line breaks."""
        if self.epilog:
            formatter.write(f"\n{self.epilog.rstrip()}\n")


def fitted_help(ctx: click.Context, make: Callable[[click.Context], str]) -> str:
    """What `make` makes, on a terminal folded to its width: click takes each for 50 columns wide at least."""
    width = columns_of(sys.stdout)
    if width is not None:
        ctx.terminal_width = min(width, MAX_WIDTH)
    lines = (spelled(line, sys.stdout) for line in make(ctx).split("\n"))
    return "\n".join(part for line in lines for part in (fold(line, width) if width else [line]))


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


def _require_distinct_files(command: click.Command, ctx: click.Context) -> None:
    """Raise UsageError for options that name the same regular file: each would write over what another wrote."""
    options: dict[str, str] = {}
    for param in command.params:
        path = ctx.params.get(param.name or "") if isinstance(param.type, OutputFile) else None
        if not isinstance(path, str) or (os.path.exists(path) and not os.path.isfile(path)):
            continue
        option = max(param.opts, key=len)
        other = options.setdefault(os.path.realpath(path), option)
        if other != option:
            raise UsageError(f"{other} and {option} name the same file, {path}", hint="name a file for each")


def without_vm(words: Sequence[str], *, is_interspersed: bool) -> list[str]:
    """The words of a command, for the guest."""
    n = n_own(words, is_interspersed=is_interspersed)
    return [*(word for word in words[:n] if word != "--vm" and not word.startswith("--vm=")), *words[n:]]
