"""`RunInfo`: everything that a saved run says but its rows, and how that is written and checked."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import multiprobe
from multiprobe.errors import DataError, errno_number
from multiprobe.functions.sets import Refusal
from multiprobe.links.report import SCHEMA, Drop, Failure, Report, Verified
from multiprobe.runs.host import Host, Moment

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")
LONGEST_TEXT = 1 << 16
"""Characters of any text in the first line of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """A saved run without its rows.

    path: of the file; id: random, the same in all copies of the run
    command: the name of the measuring command; arguments: its whole command line
    settings: what its rows depend on (docs/runs.md); only runs with equal ones are compared or added up
    host: where it was measured; start, end: when; seconds: how long
    schema: the version of its rows (docs/json.md); version: of the multiprobe that wrote it
    gap: a sentence if the file is cut off, else ""
    """

    path: str
    id: str
    command: str
    host: Host
    start: Moment
    end: Moment
    arguments: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    seconds: float = 0.0
    schema: int = SCHEMA
    version: str = multiprobe.__version__
    gap: str = ""
    _report: bytes = b""

    @property
    def figures(self) -> Mapping[str, object]:
        """The report as `--json` prints it, with the command's own figures (`calls`, …); empty if it is cut off."""
        found: dict[str, object] = json.loads(zlib.decompress(self._report)) if self._report else {}
        return found

    @property
    def report(self) -> Report | None:
        """The report of the attachment; None if it is cut off."""
        return parse_report(self.figures, self.path) if self._report else None

    @property
    def has_command(self) -> bool:
        """Whether it measured for as long as a COMMAND ran."""
        return bool(self.figures.get("command"))

    def to_json(self) -> dict[str, object]:
        """The first line of a saved run (docs/runs.md)."""
        return {
            "type": "run",
            "schema": self.schema,
            "id": self.id,
            "multiprobe": self.version,
            "command": self.command,
            "arguments": list(self.arguments),
            "settings": dict(self.settings),
            "host": self.host.to_json(),
            "start": self.start.to_json(),
            "end": self.end.to_json(),
            "seconds": self.seconds,
        }


class Fields:
    """An object of a file, of which each field is checked. Missing ones have a default."""

    def __init__(self, item: object, path: str, what: str) -> None:
        if not isinstance(item, dict):
            raise DataError(f"{path}: {what} is not an object")
        self._item, self._path, self._what = item, path, what

    def _get(self, name: str, kind: type[T], default: T) -> T:
        found = self._item.get(name, default)
        if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
            raise DataError(f"{self._path}: {name!r} of {self._what} is not of type {kind.__name__}")
        return found

    def has(self, name: str) -> bool:
        """Whether the field is there, and not null."""
        return self._item.get(name) is not None

    def text(self, name: str) -> str:
        """A text; "" if missing."""
        found = self._get(name, str, "")
        if len(found) > LONGEST_TEXT:
            raise DataError(f"{self._path}: {name!r} of {self._what} is longer than {LONGEST_TEXT:,} characters")
        return found

    def number(self, name: str) -> int:
        """A number from 0 to 2⁶⁴−1; 0 if missing."""
        found = self._get(name, int, 0)
        if not 0 <= found < 1 << 64:
            raise DataError(f"{self._path}: {name!r} of {self._what} is out of range")
        return found

    def seconds(self, name: str) -> float:
        """A finite number of seconds, not negative; 0 if missing."""
        found = self._item.get(name, 0.0)
        if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1e12:
            raise DataError(f"{self._path}: {name!r} of {self._what} is not a number of seconds")
        return float(found)

    def mapping(self, name: str) -> dict[str, object]:
        """An object; empty if missing."""
        return dict(self._get(name, dict, {}))

    def inner(self, name: str) -> Fields:
        """An object, to be checked likewise."""
        return Fields(self._item.get(name, {}), self._path, f"{name!r} of {self._what}")

    def each(self, name: str) -> list[Fields]:
        """A list of objects; empty if missing."""
        return [Fields(one, self._path, f"{name!r} of {self._what}") for one in self._get(name, list, [])]

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; empty if missing."""
        found = self._get(name, list, [])
        if not all(isinstance(one, str) for one in found):
            raise DataError(f"{self._path}: {name!r} of {self._what} is not a list of texts")
        return tuple(found)

    def numbers(self, name: str) -> dict[str, int]:
        """An object of numbers; empty if missing."""
        inner = self.inner(name)
        return {one: inner.number(one) for one in self._get(name, dict, {})}


def parse_info(item: object, path: str) -> RunInfo:
    """The first line of a saved run. Raises DataError."""
    if not isinstance(item, dict) or item.get("type") != "run":
        raise DataError(
            f"{path} is not a saved run: it does not begin with an object of type run",
            hint="write one with --save FILE",
        )
    fields = Fields(item, path, "the first line")
    schema = fields.number("schema")
    if schema > SCHEMA:
        raise DataError(
            f"{path} was written by a newer multiprobe ({fields.text('multiprobe')}): its schema is {schema}, and this "
            f"multiprobe reads schemas up to {SCHEMA}",
            hint="read it with a newer multiprobe",
        )
    start, end = fields.inner("start"), fields.inner("end")
    command, identity = fields.text("command"), fields.text("id")
    if not command or not identity:
        raise DataError(f"{path}: the first line names no {'id' if command else 'command'}")
    return RunInfo(
        path=path,
        id=identity,
        command=command,
        arguments=fields.texts("arguments"),
        settings=fields.mapping("settings"),
        host=_parse_host(fields.inner("host")),
        start=Moment(start.number("wall_ns"), start.number("monotonic_ns")),
        end=Moment(end.number("wall_ns"), end.number("monotonic_ns")),
        seconds=fields.seconds("seconds"),
        schema=schema,
        version=fields.text("multiprobe"),
    )


def _parse_host(host: Fields) -> Host:
    return Host(
        name=host.text("name"),
        machine=host.text("machine"),
        kernel=host.text("kernel"),
        build_id=host.text("build_id"),
        boot_id=host.text("boot_id"),
        architecture=host.text("architecture"),
        cpus=host.number("cpus"),
    )


def parse_report(item: object, path: str) -> Report:
    """The report of a saved run. Raises DataError."""
    fields = Fields(item, path, "the report")
    return Report(
        fields.number("requested"),
        attached=fields.number("attached"),
        skipped=tuple(
            Refusal(one.text("function"), one.text("code"), one.text("reason")) for one in fields.each("skipped")
        ),
        failed=tuple(
            Failure(one.text("function"), one.text("mechanism"), errno_number(one.text("errno")), one.text("reason"))
            for one in fields.each("failed")
        ),
        dropped=tuple(_parse_drop(one) for one in fields.each("dropped")),
        budget=fields.mapping("budget"),
        links=fields.number("links"),
        mechanisms=fields.numbers("mechanisms"),
        missed=fields.numbers("missed"),
        verified=tuple(
            Verified(one.text("function"), one.text("mechanism"), one.number("made"), one.number("found"))
            for one in fields.each("verified")
        ),
        notes=fields.texts("notes"),
        timings={name: fields.inner("timings").seconds(name) for name in fields.mapping("timings")},
        kernel_memory=fields.numbers("kernel_memory"),
        processes=fields.number("processes") if fields.has("processes") else None,
    )


def _parse_drop(one: Fields) -> Drop:
    return Drop(
        one.text("function"), one.text("code"), one.text("reason"),
        one.seconds("rate"), one.seconds("share"), one.seconds("seconds"),
    )  # fmt: skip
