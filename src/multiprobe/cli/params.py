"""The parameter types of the command line: how the text of an option becomes a value."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import Generic, NamedTuple, TypeVar

import click

from multiprobe.kernel.mechanism import MECHANISMS

T = TypeVar("T")

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
OTHER_NAMES = {
    **dict.fromkeys(("fentry_multi", "fexit_multi", "fsession_multi"), "tracing_multi"),
    **dict.fromkeys(("fentry", "fexit", "fsession", "kfunc"), "trampoline for one function, tracing_multi for a batch"),
    "fprobe": "kprobe_multi",
    "kret": "kprobe, at the return",
    "uprobe": "uprobe_multi",
    "ftrace": "kprobe_multi",
}
"""What mechanisms are called elsewhere, by the beginning of the name."""
LOOPBACK = "127.0.0.1"
LONGEST = 1e9
"""The longest duration, in seconds."""


class Parsed(click.ParamType, Generic[T]):  # type: ignore[type-arg]
    """A parameter type given by `parse`, whose ValueError becomes a usage error."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        """Parse a text; defaults that are values already are returned unchanged."""
        if not isinstance(value, str):
            return value
        try:
            return self.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    @abstractmethod
    def parse(self, text: str) -> T:
        """The value, or ValueError."""


class Duration(Parsed[float]):
    """A duration in seconds: a number, alone or with a unit."""

    name = "duration"

    def parse(self, text: str) -> float:
        unit = next((unit for unit in UNITS if text.endswith(unit)), "")
        try:
            seconds = float(text.removesuffix(unit)) * UNITS.get(unit, 1.0)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < LONGEST:
            raise ValueError(f"invalid duration {text!r}: use 10, 500ms, 2m")
        return seconds


class WholeNumber(Parsed[int]):
    """A whole number from `least` to `most` (None: without limit)."""

    name = "number"

    def __init__(self, least: int, most: int | None = None) -> None:
        self.least, self.most = least, most

    def parse(self, text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else -1
        if number < self.least or (self.most is not None and number > self.most):
            limit = "" if self.most is None else f" to {self.most:,}"
            raise ValueError(f"invalid number {text!r}: expected a whole number from {self.least}{limit}")
        return number


class ProcessId(WholeNumber):
    """The id of a process."""

    name = "process id"

    def __init__(self) -> None:
        super().__init__(1)

    def parse(self, text: str) -> int:
        try:
            return super().parse(text)
        except ValueError:
            how = f"`pidof -s {text}` prints that of a program" if text.isidentifier() else "as ps prints it"
            raise ValueError(f"invalid process id {text!r}: expected one number, {how}") from None


class Mebibytes(Parsed[int]):
    """An amount of memory in MiB: a number, alone or with M or G."""

    name = "memory"

    def __init__(self, least: int) -> None:
        self.least = least

    def parse(self, text: str) -> int:
        number = text.upper().removesuffix("IB").removesuffix("B").removesuffix("M").removesuffix("G")
        size = int(number) * (1024 if "G" in text.upper() else 1) if number.isdecimal() and len(number) <= 9 else -1
        if size < self.least:
            raise ValueError(f"invalid amount {text!r}: expected {self.least} MiB or more, such as 2048 or 2G")
        return size


class Percentage(Parsed[float]):
    """A percentage between 0 and 100 %, as a fraction; 0 and 100 % themselves only if `has_ends`."""

    name = "percentage"

    def __init__(self, *, has_ends: bool = False) -> None:
        self.has_ends = has_ends

    def parse(self, text: str) -> float:
        try:
            fraction = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            fraction = -1.0
        if not 0 < fraction < 1 and not (self.has_ends and fraction in (0, 1)):
            raise ValueError(f"invalid percentage {text!r}: use 5% or 0.05")
        return fraction


class MechanismName(Parsed[str]):
    """The name of a mechanism, or one of `more`; `-` and `.` are accepted for `_`."""

    name = "mechanism"

    def __init__(self, *more: str) -> None:
        self.names = (*MECHANISMS, *more)

    def parse(self, text: str) -> str:
        name = text.replace("-", "_").replace(".", "_")
        if name not in self.names:
            meant = next((meant for begins, meant in OTHER_NAMES.items() if name.startswith(begins)), "")
            advice = f" ({text} is {meant})" if meant else ""
            raise ValueError(f"invalid mechanism {text!r}: expected one of {', '.join(self.names)}{advice}")
        return name


class OutputFile(Parsed[str]):
    """A file that can be written: checked before anything is measured."""

    name = "file"

    def parse(self, text: str) -> str:
        if not text:
            raise ValueError("expected the name of a file, got an empty text")
        if text.startswith("-"):
            raise ValueError(f"expected a file, got {text!r}: write ./{text} for a file of this name")
        folder = os.path.dirname(text) or "."
        if os.path.isdir(text) or not os.access(text if os.path.exists(text) else folder, os.W_OK):
            raise ValueError(f"cannot write {text!r}: use a file in a directory that you can write to")
        return text


class OutputDirectory(Parsed[str]):
    """A directory that files can be written to, or that can be made: checked before anything is measured."""

    name = "directory"

    def parse(self, text: str) -> str:
        if text.startswith("-"):
            raise ValueError(f"expected a directory, got {text!r}: write ./{text} for one of this name")
        there = next((path for path in (text, os.path.dirname(os.path.abspath(text))) if os.path.exists(path)), "")
        if not os.path.isdir(there) or not os.access(there, os.W_OK):
            raise ValueError(f"cannot write to {text!r}: use a directory that you can write to")
        return text


class SavedRunFile(OutputFile):
    """A file that a saved run takes the place of: a regular one, in a directory that can be written."""

    def parse(self, text: str) -> str:
        target = os.path.realpath(super().parse(text))
        if os.path.exists(text) and not os.path.isfile(text):
            raise ValueError(f"{text!r} is no regular file: a saved run would take its place")
        if any(is_stream(text, fd) for fd in (0, 1, 2)):
            raise ValueError(f"{text!r} is a standard stream of this command: name another file")
        if not os.access(os.path.dirname(target), os.W_OK):
            raise ValueError(f"cannot replace {text!r}: use a file in a directory that you can write to")
        return text


def is_stream(path: str, fd: int) -> bool:
    """Whether a path leads to the file that is open as `fd`."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except OSError:
        return False


class ListenAddress(NamedTuple):
    """Where a server listens; port 0 is any that is free."""

    host: str
    port: int


class Listening(Parsed[ListenAddress]):
    """An address to listen at: `HOST:PORT`, `[IPV6]:PORT`, or `:PORT` on the loopback interface."""

    name = "address"

    def parse(self, text: str) -> ListenAddress:
        host, _, port = text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        if not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in bare and bare == host):
            raise ValueError(f"invalid address {text!r}: use :9435, 0.0.0.0:9435 or [::]:9435")
        return ListenAddress(bare or LOOPBACK, int(port))


NATURAL, POSITIVE = WholeNumber(0), WholeNumber(1)
