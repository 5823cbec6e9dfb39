"""Formats the results of `inspect` as text: the table of links, and the details of a function. Pure.

A line is a sequence of spans (text, style): colours on a terminal, plain text in a pipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.inspect.callsite import DESTINATIONS
from multiprobe.inspect.overlap import Spans, short_number
from multiprobe.inspect.tracefs import FLAGS
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from multiprobe.inspect.disassembly import Instruction
    from multiprobe.inspect.observed import ObservedLink
    from multiprobe.inspect.owners import Owner
    from multiprobe.inspect.picture import Attached, FunctionPicture, Trampoline
    from multiprobe.inspect.sources import Missing
    from multiprobe.inspect.trampoline import TrampolineCall

UNTOLD = "?"
#: The kinds of links that are on functions.
ON_FUNCTIONS = ("tracing_multi", "kprobe_multi", "trampoline", "kprobe", "uprobe_multi", "uprobe")
_NAMES_SHOWN = 2
INDENT = 2
_CODE_WIDTH = 30
_STYLES = {"enter": "dim", "exit": "dim", "glue": "dim", "program": "bold cyan", "function": "bold green"}


@dataclass(frozen=True, slots=True)
class Grid:
    """Titles and rows of text; `numeric` are the titles of right-aligned columns."""

    titles: tuple[str, ...]
    numeric: frozenset[str]
    rows: tuple[tuple[str, ...], ...]


NUMERIC = frozenset({"LINK", "MISSED", "RECURSION"})


def links_grid(links: Iterable[ObservedLink]) -> Grid:
    """One row for each link."""
    titles = ("LINK", "KIND", "WHEN", "PROGRAM", "FUNCTIONS", "COOKIES", "MISSED", "RECURSION", "OWNER")
    rows = tuple(link_row(link, functions_text(link), cookies_text(link)) for link in links)
    return Grid(titles, NUMERIC, rows)


def link_row(link: ObservedLink, place: str, cookies: str) -> tuple[str, ...]:
    """The cells of a link, in the order of the titles of `links_grid`."""
    return (
        str(link.link_id or "-"),
        link.kind,
        link.when or "-",
        f"{link.program.name or '-'} {link.program.prog_id}:{link.program.tag[:8]}",
        place,
        cookies,
        number_text(link.missed),
        str(link.program.recursion_misses),
        owners_text(link.owners),
    )


def aligned(grid: Grid) -> Iterator[str]:
    """The grid as lines, titles first; the last column isn't padded."""
    widths = [max(map(len, column)) for column in zip(grid.titles, *grid.rows, strict=True)]
    for row in (grid.titles, *grid.rows):
        cells = zip(row, widths, grid.titles, strict=True)
        texts = [text.rjust(n) if title in grid.numeric else text.ljust(n) for text, n, title in cells]
        yield "  ".join(texts).rstrip()


def functions_text(link: ObservedLink) -> str:
    """`3: tcp_recvmsg, tcp_sendmsg, …`"""
    targets = link.targets or link.uprobes
    if not targets:
        untold = UNTOLD if link.kind in ON_FUNCTIONS else "-"
        return str(link.n_functions) if link.n_functions is not None else untold
    names = ", ".join(str(target) for target in targets[:_NAMES_SHOWN])
    more = ", …" if len(targets) > _NAMES_SHOWN else ""
    return f"{link.n_functions}: {names}{more}" if len(targets) > 1 else names


def cookies_text(link: ObservedLink) -> str:
    """The cookies in short: the only one, or the smallest and the largest; `-` where all are 0."""
    known = link.cookies
    if not known:
        return UNTOLD if link.kind in ON_FUNCTIONS else "-"
    low, high = min(known), max(known)
    if low == high:
        return short_number(low) if low else "-"
    return f"{short_number(low)} … {short_number(high)}"


def number_text(number: int | None) -> str:
    """A number, or `-` for what isn't counted."""
    return "-" if number is None else str(number)


def owners_text(owners: Sequence[Owner]) -> str:
    """`python3[812]`; a process that holds a link twice is named once."""
    known = dict.fromkeys(f"{owner.command}[{owner.pid}]" for owner in owners)
    return ", ".join(known) or "none seen (pinned?)"


def picture_lines(picture: FunctionPicture, table: Callable[[Grid], Iterable[str]] | None = None) -> Iterator[Spans]:
    """The picture of one function. `table` makes lines of a grid, INDENT cells narrower than the screen."""
    home = f" [{picture.module}]" if picture.module else ""
    yield ((picture.name + home, "bold"), (f"  at {picture.address:#x}", "dim"))
    yield ()
    yield from _entry_lines(picture)
    yield from _ftrace_lines(picture)
    yield from _attached_lines(picture, table or aligned)
    if picture.trampoline is not None:
        yield from _trampoline_lines(picture, picture.trampoline)
    for routine in picture.programs:
        yield ()
        yield ((routine.name, "bold"), (f"  at {routine.address:#x}", "dim"))
        for instruction in routine.instructions:
            yield instruction_line(instruction, picture.names)


def missing_lines(missing: Iterable[Missing]) -> Iterator[str]:
    """What could not be read, why, and what to do."""
    for item in missing:
        yield f"not shown: {item.what}: {item.why}" + (f" ({item.advice})" if item.advice else "")


def _entry_lines(picture: FunctionPicture) -> Iterator[Spans]:
    site = picture.site
    if site is None:
        yield (("entry      not readable here", "dim"),)
        return
    for instruction in picture.entry:
        is_site = instruction.address == site.address and site.is_patched
        yield instruction_line(instruction, picture.names, mark="▶ " if is_site else "  ", is_bold=is_site)
    if not picture.entry:
        yield ((f"  {picture.address:x}  {site.code.hex(' ')}", ""),)
    yield ()
    target = picture.names.get(site.target, f"{site.target:#x}") if site.target else ""
    yield (("leads to   ", "bold"), (f"{target}: " if target else "", "cyan"), (DESTINATIONS[picture.destination], ""))


def _ftrace_lines(picture: FunctionPicture) -> Iterator[Spans]:
    enabled = picture.enabled
    if enabled is not None:
        flags = "; ".join(f"{letter}: {FLAGS[letter]}" for letter in enabled.flags)
        yield (
            ("ftrace     ", "bold"),
            (plural_text(enabled.n_ops, "user") + (f"; {flags}" if flags else ""), ""),
        )
        for line in enabled.lines:
            yield ((f"             {line.strip()}", "dim"),)
    for ops in picture.ops or ():
        yield (("ops        ", "bold"), (ops.function, "cyan"), (f"  ({ops.owner})" if ops.owner else "", ""))
    for probe in picture.probes:
        kind = "kprobe" if probe.kind == "k" else "kretprobe"
        state = f" ({', '.join(probe.state).lower()})" if probe.state else ""
        yield (("kprobes    ", "bold"), (f"{kind} at {probe.symbol}+{probe.offset:#x}{state}", ""))
    if picture.trampoline is not None:
        how = "jumped to" if enabled and enabled.is_jump else "called"
        yield (("trampoline ", "bold"), (picture.trampoline.name, "cyan"), (f", {how}", ""))


def _attached_lines(picture: FunctionPicture, table: Callable[[Grid], Iterable[str]]) -> Iterator[Spans]:
    yield ()
    if not picture.attached:
        yield (("attached   nothing", "bold"),)
        return
    yield ((f"attached   {len(picture.attached)}", "bold"),)
    for line in table(_attached_grid(picture.attached)):
        yield ((f"{'':{INDENT}}{line}", ""),)


def _attached_grid(attached: Sequence[Attached]) -> Grid:
    titles = ("LINK", "KIND", "WHEN", "PROGRAM", "AT", "COOKIE", "MISSED", "RECURSION", "OWNER")
    rows = []
    for on in attached:
        cookie = UNTOLD if on.target.cookie is None else short_number(on.target.cookie)
        rows.append(link_row(on.link, f"+{on.target.offset:#x}" if on.target.offset else "-", cookie))
    return Grid(titles, NUMERIC, tuple(rows))


def _trampoline_lines(picture: FunctionPicture, trampoline: Trampoline) -> Iterator[Spans]:
    yield ()
    yield (
        (trampoline.name, "bold"),
        (f"  at {trampoline.address:#x}, {plural_text(len(trampoline.code), 'byte')}", "dim"),
    )
    calls = {call.address: call for call in trampoline.calls}
    programs = {on.link.program.address: on for on in picture.attached}
    for instruction in trampoline.instructions:
        call = calls.get(instruction.address)
        comment = _call_comment(call, programs, picture.name) if call else ""
        yield instruction_line(instruction, picture.names, comment=comment, style=_STYLES[call.kind] if call else "")


def _call_comment(call: TrampolineCall, programs: dict[int, Attached], function: str) -> str:
    if call.kind == "function":
        return f"the original function, {function}"
    if call.kind != "program":
        return ""
    on = programs.get(call.target)
    cookie = "" if call.cookie is None else f", cookie {short_number(call.cookie)}"
    if on is None:
        return f"program at {call.side}{cookie}"
    return f"{on.link.program.name or 'program'}, link {on.link.link_id}, {call.side}{cookie}"


def instruction_line(
    instruction: Instruction,
    names: dict[int, str],
    *,
    mark: str = "  ",
    comment: str = "",
    style: str = "",
    is_bold: bool = False,
) -> Spans:
    name = names.get(instruction.target, "") if instruction.target is not None else ""
    is_local = instruction.is_jump and "+" in name
    text = f"{instruction.mnemonic:<7} {name if name and not is_local else instruction.operands}".rstrip()
    spans = (
        (f"{mark}{instruction.address:x}  ", "bold" if is_bold else "dim"),
        (f"{instruction.code.hex(' '):<{_CODE_WIDTH}}", "dim"),
        (text, style or ("bold" if is_bold else "")),
    )
    return (*spans, (f"   ; {comment}", style)) if comment else spans
