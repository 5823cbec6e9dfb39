"""Formats functions of programs and libraries as text: one in detail, several as a table. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from multiprobe.inspect.overlap import short_number
from multiprobe.inspect.text import INDENT, UNTOLD, Grid, aligned, instruction_line, link_row, links_grid
from multiprobe.inspect.uprobe_code import STATES
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from multiprobe.inspect.overlap import Spans
    from multiprobe.inspect.processes import ProcessCode
    from multiprobe.inspect.uprobe_index import UserAttached
    from multiprobe.inspect.user_picture import UserFunctionPicture


def user_lines(picture: UserFunctionPicture, table: Callable[[Grid], Iterable[str]] | None = None) -> Iterator[Spans]:
    """The picture of one function. `table` makes lines of a grid, INDENT cells narrower than the screen."""
    function = picture.function
    yield ((str(function), "bold"), (f"  at {function.address + function.offset:#x} in {function.binary}", "dim"))
    yield ()
    for title, text in _facts(picture):
        yield ((f"{title:<11}", "bold"), (text, ""))
    yield ()
    for instruction in picture.entry:
        yield instruction_line(instruction, {})
    if not picture.entry:
        yield ((f"  {function.address + function.offset:x}  {picture.code.hex(' ')}", ""),)
    yield from _tables(picture, table or aligned)
    for routine in picture.programs:
        yield ()
        yield ((routine.name, "bold"), (f"  at {routine.address:#x}", "dim"))
        for instruction in routine.instructions:
            yield instruction_line(instruction, picture.names)


def _facts(picture: UserFunctionPicture) -> Iterator[tuple[str, str]]:
    function = picture.function
    if function.symbol != function.name:
        yield "symbol", function.symbol
    size = f", {plural_text(function.size, 'byte')}" if function.size else ""
    yield "offset", f"{function.file_offset + function.offset:#x} in the file{size}; named by {function.source}"
    if picture.build_id:
        yield "build id", picture.build_id
    if function.aliases:
        yield "aliases", ", ".join(function.aliases)
    if picture.usdt:
        yield "usdt", ", ".join(f"{name} at +{offset:#x}" for name, offset in picture.usdt)
    verdict = function.verdict
    yield "verdict", f"refused: {verdict.code}: {verdict.reason}" if verdict.code else "attachable"


def _tables(picture: UserFunctionPicture, table: Callable[[Grid], Iterable[str]]) -> Iterator[Spans]:
    for title, grid, nothing in (
        ("attached", _attached_grid(picture.attached), "nothing"),
        ("processes", _process_grid(picture), "none that could be seen has mapped the file here"),
    ):
        yield ()
        yield ((f"{title:<11}{len(grid.rows) or nothing}", "bold"),)
        for line in table(grid) if grid.rows else ():
            yield ((f"{'':{INDENT}}{line}", ""),)


def _attached_grid(attached: Sequence[UserAttached]) -> Grid:
    link, kind, when, program, _, _, missed, recursion, owner = links_grid(()).titles
    titles = (link, kind, when, program, "AT", "COOKIE", "SEMAPHORE", "PID", missed, recursion, owner)
    rows = []
    for on in attached:
        cookie = UNTOLD if on.target.cookie is None else short_number(on.target.cookie)
        row = link_row(on.link, f"+{on.offset:#x}" if on.offset else "-", cookie)
        semaphore = (
            UNTOLD if on.target.semaphore is None else f"{on.target.semaphore:#x}" if on.target.semaphore else "-"
        )
        rows.append((*row[:6], semaphore, str(on.link.pid or "-"), *row[6:]))
    return Grid(titles, frozenset({link, missed, recursion, "PID"}), tuple(rows))


def _process_grid(picture: UserFunctionPicture) -> Grid:
    rows = tuple(
        (
            str(one.pid),
            one.command or "-",
            f"{one.address:#x}",
            one.state,
            one.code.hex(" ") or "-",
            _meaning(picture, one),
        )
        for one in picture.processes
    )
    return Grid(("PID", "COMMAND", "ADDRESS", "STATE", "BYTES", "MEANING"), frozenset({"PID"}), rows)


def _meaning(picture: UserFunctionPicture, one: ProcessCode) -> str:
    if one.state == "call" and one.trampoline is not None:
        start, end = one.trampoline
        return f"calls {one.target:#x}, in [uprobes-trampoline] {start:#x}-{end:#x}"
    site = picture.function.offset
    is_known = any(on.offset == site and on.link.pid in (0, one.pid) for on in picture.attached)
    return STATES[one.state] + (", of none of these links" if one.state == "breakpoint" and not is_known else "")


def user_grid(pictures: Iterable[UserFunctionPicture]) -> Grid:
    """One row for each function: its verdict, the links on it, and in how many processes it begins with what."""
    titles = ("FUNCTION", "OFFSET", "VERDICT", "LINKS", "PROCESSES")
    rows = []
    for picture in pictures:
        function = picture.function
        links = ", ".join(dict.fromkeys(_link_text(on) for on in picture.attached))
        states = Counter(one.state for one in picture.processes)
        shown = ", ".join(f"{state} in {states[state]}" for state in STATES if states[state])
        verdict = function.verdict.code or "attachable"
        offset = f"{function.file_offset + function.offset:#x}"
        rows.append((str(function), offset, verdict, links or "-", shown or "-"))
    return Grid(titles, frozenset({"OFFSET"}), tuple(rows))


def _link_text(on: UserAttached) -> str:
    """`3 entry count`"""
    return " ".join(filter(None, (str(on.link.link_id or "-"), on.link.when, on.link.program.name)))
