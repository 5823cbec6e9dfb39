"""The options that commands share, declared once and read twice: by click, and by the short way in.

Importing click costs more than everything else between `multiprobe count 'tcp_*'` and its first attached function
(it pulls in inspect, typing, gettext, ...). So options are inert values here; `parse_plain` reads a well-formed command
line from them without click, and answers None to anything else (an unknown flag, a value that can't be read, `--help`),
and then click, built from the same values, parses again and does what it is good at: help and errors.

Knows nothing of what the options do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from multiprobe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    import click

    F = TypeVar("F", bound=Callable[..., Any])

MECHANISMS = ("tracing_multi", "kprobe_multi", "trampoline", "kprobe")
UNITS = (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0))
#: What a bare `--vm` stands for: whatever series the VM takes by default.
DEFAULT_SERIES = "default"


@dataclass(frozen=True, slots=True)
class Option:
    """One option: `name` is the parameter it fills, `kind` a key of `CONVERTERS`, or "flag" (takes no value)."""

    name: str
    flags: tuple[str, ...]
    kind: str
    help: str
    metavar: str = ""
    default: Any = None
    many: bool = False


def _seconds(text: str) -> float:
    """A time: a number of seconds, or one with a unit (500ms, 10s, 2m, 1h)."""
    for unit, factor in UNITS:
        if text.endswith(unit):
            return _seconds(text.removesuffix(unit)) * factor
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time: give seconds, or a number with ms, s, m or h") from None
    if not 0 <= seconds < 1e9:
        raise ValueError(f"{text!r} is no time that can be waited for")
    return seconds


def _natural(text: str) -> int:
    """A whole number, zero or more."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a whole number of zero or more")
    return int(text)


def _share(text: str) -> float:
    """A share of the whole: 5% or 0.05."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ValueError(f"{text!r} is no share: give 5%, or 0.05") from None
    if not 0 < share < 1:
        raise ValueError(f"{text!r} is no share between 0 and 100 %: give 5%, or 0.05")
    return share


def _mechanism(text: str) -> str:
    """The name of a mechanism; `-` may stand for `_`."""
    name = text.replace("-", "_")
    if name not in MECHANISMS:
        raise ValueError(f"{text!r} is no mechanism: there are {', '.join(MECHANISMS)}")
    return name


def _without(text: str) -> str:
    """What to do without: a mechanism, or `fsession`."""
    return text if text == "fsession" else _mechanism(text)


def _pid(text: str) -> int:
    """A process id: a whole number from 1."""
    pid = _natural(text)
    if pid == 0:
        raise ValueError("0 is no process id")
    return pid


CONVERTERS: dict[str, Callable[[str], Any]] = {
    "seconds": _seconds,
    "natural": _natural,
    "mechanism": _mechanism,
    "without": _without,
    "pid": _pid,
    "share": _share,
    "text": str,
}

SHARED = {
    option.name: option
    for option in (
        Option("duration", ("--duration", "-d"), "seconds", "Stop after this time (10, 0.5, 500ms, 2m).", "TIME"),
        Option("top", ("--top", "-n"), "natural", "Show the N largest only; 0 shows all.", "N"),
        Option("pid", ("--pid", "-p"), "pid", "Only what this process does; ends when it ends.", "PID"),
        Option("live", ("--live",), "flag", "A full-screen view: sort, filter, pause, details.", default=False),
        Option("json", ("--json",), "flag", "One JSON object a line, for scripts.", default=False),
        Option("csv", ("--csv",), "flag", "The rows as CSV; all else goes to stderr.", default=False),
        Option("parquet", ("--parquet",), "text", "Write the rows as a Parquet file, too.", "FILE"),
        Option(
            "mechanism", ("--mechanism",), "mechanism", f"Attach by this one only: {', '.join(MECHANISMS)}.", "NAME"
        ),
        Option("without", ("--without",), "without", "Do without this mechanism; repeatable.", "NAME", (), True),
        Option(
            "max_singles",
            ("--max-singles",),
            "natural",
            "Attach at most N functions one by one; 0 is any number.",
            "N",
            1000,
        ),
        Option(
            "budget", ("--budget",), "share", "Probes may take so much CPU time; drops the hottest functions.", "5%"
        ),
        Option("careful", ("--careful",), "flag", "Attach in waves; retreat when the machine suffers.", default=False),
        Option(
            "watchdog", ("--watchdog",), "seconds", "Detach if this process hangs for so long; 0: never.", "TIME", 10.0
        ),
        Option("strict", ("--strict",), "flag", "Status 1 if anything is known to be missing.", default=False),
        Option("verify", ("--verify",), "flag", "Make known calls, and find them in the counts.", default=False),
        Option("unsafe", ("--unsafe",), "flag", "Also functions known to hang a machine when traced.", default=False),
        Option("dry_run", ("--dry-run",), "flag", "Say what would be attached, and attach nothing.", default=False),
        Option(
            "kernel_files",
            ("--kernel-files",),
            "text",
            "Plan for another kernel, from copies of its files in DIR.",
            "DIR",
        ),
        Option("vm", ("--vm",), "text", "Run this very command in a throw-away virtual machine.", "[=VERSION]"),
        Option("debug", ("--debug",), "flag", "Show a traceback with an error.", default=False),
    )
}


def split_command(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments before the first `--`, and the COMMAND after it."""
    if "--" not in arguments:
        return list(arguments), []
    at = arguments.index("--")
    return list(arguments[:at]), list(arguments[at + 1 :])


def _refuse_detached_series(following: Sequence[str]) -> None:
    """`--vm 6.12` would make a pattern of the series, which no function is called."""
    for word in following:
        if word.replace(".", "").isdecimal() and "." in word:
            raise UsageError(f"--vm {word} means nothing: a series stands behind an =", hint=f"write --vm={word}")


def take_vm(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The series that `--vm[=V]` asks for ("default" for a bare `--vm`, None without), and the arguments without it."""
    ours, theirs = split_command(arguments)
    series: str | None = None
    rest: list[str] = []
    for place, argument in enumerate(ours):
        if argument == "--vm":
            series = DEFAULT_SERIES
            _refuse_detached_series(ours[place + 1 : place + 2])
        elif argument.startswith("--vm="):
            series = argument.removeprefix("--vm=") or DEFAULT_SERIES
        else:
            rest.append(argument)
    return series, [*rest, *arguments[len(ours) :]] if series is not None or theirs else list(arguments)


def click_option(option: Option) -> click.Option:
    """The same option for click."""
    if option.kind == "flag":
        return click.Option([*option.flags, option.name], is_flag=True, default=option.default, help=option.help)

    class Value(click.ParamType):  # type: ignore[type-arg]
        name = option.kind

        def convert(self, text: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
            try:
                return CONVERTERS[option.kind](text) if isinstance(text, str) else text
            except ValueError as error:
                self.fail(str(error), param, ctx)

    return click.Option(
        [*option.flags, option.name],
        type=Value(),
        metavar=option.metavar,
        default=option.default,
        multiple=option.many,
        help=option.help,
    )


def shared(*names: str) -> Callable[[F], F]:
    """Decorator for click commands: add the shared options of these names, e.g. `@shared("json", "vm", "debug")`."""

    def decorate(function: F) -> F:
        made = [click_option(SHARED[name]) for name in names]
        if isinstance(function, click.Command):
            function.params.extend(made)
        else:  # as click.option does it, which reads them from the last to the first
            function.__dict__.setdefault("__click_params__", []).extend(reversed(made))
        return function

    return decorate
