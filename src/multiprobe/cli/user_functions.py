"""`multiprobe functions` for programs and libraries: the table, JSON and --why of their functions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from multiprobe.binaries.binary import choose_requested
from multiprobe.binaries.describe import function_record
from multiprobe.binaries.libraries import is_library
from multiprobe.binaries.naming import request_of, split_binary
from multiprobe.binaries.rules import NO_SYMBOLS, SYMBOLS_HINT
from multiprobe.binaries.usdt import UsdtProbe
from multiprobe.errors import NoMatchError, UsageError
from multiprobe.links.mechanisms.judged import judged
from multiprobe.output.table import Column, TextTable, write_table
from multiprobe.output.terminal import write_lines
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multiprobe.binaries.binary import Binary
    from multiprobe.binaries.naming import BinaryRequest
    from multiprobe.binaries.sets import UserFunction, UserFunctionSet
    from multiprobe.cli.results import Results
    from multiprobe.functions.sets import Refusal


def show(results: Results, request: BinaryRequest, *, only: bool | None, json: bool) -> None:
    """List the functions of one binary. Raises NoMatchError if there is none."""
    binary, chosen = choose_requested(request)
    functions, notes = judged(chosen)
    every = [*map(function_record, functions), *(_refusal_record(refusal, binary) for refusal in chosen.unresolved)]
    shown = [record for record in every if only is None or _is_attachable(record) == only]
    if json:
        results.json(shown)
    elif shown:
        write_table(_table(shown), results.file)
    n_attachable = sum(map(_is_attachable, every))
    n_refused = len(every) - n_attachable
    found = plural_text(len(chosen), chosen.table.kind)
    summary = f"{found} of {binary.path}: {n_attachable:,} attachable, {n_refused:,} refused"
    write_lines([*(f"note: {problem}" for problem in [*binary.problems(), *notes]), summary], sys.stderr)
    if not len(chosen):
        asked = " ".join(request.patterns)
        kind = chosen.table.kind
        reason = str(chosen.unresolved[0]) if chosen.unresolved else f"no {kind} of {binary.path} matches {asked}"
        is_stripped = any(refusal.code == NO_SYMBOLS for refusal in chosen.unresolved)
        every_one = f"{request.binary}:{'usdt:' if request.is_usdt else ''}*"
        hint = SYMBOLS_HINT if is_stripped else f"multiprobe functions '{every_one}' lists all of them"
        raise NoMatchError(reason, hint=hint)


def _is_attachable(record: dict[str, object]) -> bool:
    return not record["code"]


def _refusal_record(refusal: Refusal, binary: Binary) -> dict[str, object]:
    """The record of a request that named no function."""
    return {
        "type": "user_function",
        "function": refusal.request,
        "symbol": "",
        "binary": binary.path,
        "address": None,
        "file_offset": None,
        "size": 0,
        "aliases": [],
        "source": "",
        "verdict": "refused",
        "reason": refusal.reason,
        "code": refusal.code,
    }


def _table(shown: Sequence[dict[str, object]]) -> TextTable:
    rows = []
    for record in shown:
        reason = f"{record['reason']}".removeprefix(f"{record['function']}").removeprefix(":").lstrip()
        rows.append([f"{record['function']}", f"{record['file_offset'] or '-'}", f"{record['verdict']}", reason])
    return TextTable(tuple(map(Column, ("FUNCTION", "OFFSET", "VERDICT", "WHY NOT"))), rows)


def explain(results: Results, name: str, *, json: bool) -> bool:
    """Print all that is known of one function, `binary:function`; False if the name is not of a binary.

    Raises NoMatchError, with the reason, if there is no such function, UsageError for a pattern.
    """
    found = split_binary(name, is_library=is_library)
    if found is None:
        return False
    if not set("*?[!").isdisjoint(found[1]) or found[1].removeprefix("usdt:").startswith("/"):
        raise UsageError(f"--why expects the name of one function, not the pattern {name!r}")
    binary, chosen = choose_requested(request_of(*found), types=True)
    if not len(chosen):
        raise NoMatchError(str(chosen.unresolved[0]))
    functions, notes = judged(chosen)
    answers = list(zip(functions, _signatures(chosen), strict=True))
    if json:
        results.json(
            {**function_record(function), "type": "user_why", "build_id": binary.build_id, "signature": signature}
            for function, signature in answers
        )
    else:
        results.lines([line for function, signature in answers for line in _why_lines(binary, function, signature)])
    write_lines([f"note: {problem}" for problem in [*binary.problems(), *notes]], sys.stderr)
    return True


def _signatures(chosen: UserFunctionSet) -> list[str]:
    """How C declares each function; "" where its types are not known."""
    types = chosen.table.types
    return ["" if types is None or one is None else types.btf.signature(one.type_id) for one in chosen.prototypes()]


def _why_lines(binary: Binary, function: UserFunction, signature: str) -> Iterator[str]:
    yield f"{function}  {function.address + function.offset:#x}  {binary.path}"
    if signature:
        yield f"  {signature}"
    if function.symbol != function.name:
        yield f"  symbol {function.symbol}"
    size = f", {function.size:,} bytes" if function.size else ""
    yield f"  at offset {function.file_offset + function.offset:#x} of the file{size}; named by {function.source}"
    if binary.build_id:
        yield f"  build id {binary.build_id}"
    if function.aliases:
        yield f"  also called {', '.join(function.aliases)}: a call of one is a call of all"
    verdict = function.verdict
    yield f"  refused: {verdict.code}: {verdict.reason}" if verdict.code else "  attachable"
    for site in function.sites if isinstance(function, UsdtProbe) else ():
        counter = f", semaphore at offset {site.semaphore:#x}" if site.semaphore else ""
        state = f"refused: {site.verdict.code}" if site.verdict.code else "attachable"
        yield f"  site {site.address:#x}: {site.arguments or 'no arguments'}{counter}; {state}"
