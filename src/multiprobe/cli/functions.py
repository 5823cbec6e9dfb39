"""`multiprobe functions`: which functions there are, which mechanism may carry each, and why not.

Knows options and words; what is known of a function comes from `functions.describe`. Attaches nothing.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

import multiprobe as mp
from multiprobe.cli.group import SETTINGS, Examples
from multiprobe.cli.options import SHARED, click_option
from multiprobe.errors import NoMatchError, UsageError
from multiprobe.functions.describe import records, why
from multiprobe.functions.pattern import parse_pattern
from multiprobe.output.json_lines import write_json_lines
from multiprobe.output.table import Column, TextTable, write_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from multiprobe.functions.describe import FunctionRecord
    from multiprobe.functions.kernel import Kernel
    from multiprobe.functions.sets import FunctionSet

HELP = """Show functions of this kernel: which mechanisms may carry a probe on each, and why not.

PATTERN is a glob ('tcp_*'), a /regular expression/, module:pattern, an exact symbol, an address or symbol+offset;
!pattern excludes. Nothing is attached.
"""

EXAMPLES = """\
Examples:
  multiprobe functions 'tcp_*'                          all of a subsystem
  multiprobe functions '*' --refused                    what can't be probed, and why
  multiprobe functions --takes 'struct sk_buff *'       by the type of an argument
  multiprobe functions 'nf_*:*' --returns int --json    of modules, by the return type, for scripts
  multiprobe functions --why migrate_disable            every rule for one function"""


def run(
    patterns: Sequence[str],
    *,
    why: Sequence[str],
    takes: str | None,
    position: int | None,
    returns: str | None,
    n_args: int | None,
    module: str | None,
    when: str,
    only_attachable: bool,
    only_refused: bool,
    unsafe: bool,
    json: bool,
    kernel_files: str | None,
    vm: str | None,
) -> int:
    """Choose and show. Returns the exit status."""
    kernel = mp.Kernel.from_directory(kernel_files) if kernel_files else mp.Kernel()
    if why:
        if patterns:
            raise UsageError("--why takes the name itself", hint=f"multiprobe functions --why {patterns[0]}")
        return _explain(kernel, why, unsafe=unsafe, json=json)
    if only_attachable and only_refused:
        raise UsageError("--attachable and --refused leave nothing: give one of them")
    by = {"takes": takes, "position": position, "returns": returns, "n_args": n_args, "module": module}
    if not patterns and all(item is None for item in by.values()):
        raise UsageError("no functions were asked for", hint="give a PATTERN, such as '*', or --takes TYPE")
    chosen = kernel.functions(*patterns, unsafe=unsafe, **by)  # type: ignore[arg-type]
    _show(kernel, chosen, when=when, only=True if only_attachable else False if only_refused else None, json=json)
    if not len(chosen):
        asked = " ".join(patterns) or "these types"
        reason = str(chosen.unresolved[0]) if chosen.unresolved else f"no function matches {asked}"
        raise NoMatchError(reason, hint="multiprobe functions '*' lists what there is")
    return 0


def _show(kernel: Kernel, chosen: FunctionSet, *, when: str, only: bool | None, json: bool) -> None:
    found = list(records(chosen, when=when))
    shown = [record for record in found if only is None or record.is_attachable == only]
    if json:
        write_json_lines(map(_to_json, shown), sys.stdout)
    elif shown:
        write_table(_table(shown), sys.stdout)
    _note(kernel.problems())
    n_attachable = sum(record.is_attachable for record in found)
    _say(f"{_count(len(chosen))}: {n_attachable:,} attachable, {len(found) - n_attachable:,} refused")


def _count(n: int) -> str:
    return "1 function" if n == 1 else f"{n:,} functions"


def _to_json(record: FunctionRecord) -> dict[str, Any]:
    return {
        "type": "function",
        "function": record.function,
        "address": None if record.address is None else f"{record.address:#x}",
        "module": record.module,
        "verdict": "attachable" if record.is_attachable else "refused",
        "mechanisms": record.mechanisms,
        "reason": record.reason,
        "code": record.code,
    }


def _table(shown: Sequence[FunctionRecord]) -> Any:
    has_modules = any(record.module for record in shown)
    titles = ["FUNCTION", *(["MODULE"] if has_modules else []), "MECHANISMS", "WHY NOT"]
    rows = []
    for record in shown:
        reason = record.reason.removeprefix(f"{record.function} ")
        module = [record.module or "vmlinux"] if has_modules else []
        rows.append([record.function, *module, " ".join(record.mechanisms) or "-", reason])
    return TextTable(tuple(Column(title) for title in titles), rows)


def _explain(kernel: Kernel, names: Sequence[str], *, unsafe: bool, json: bool) -> int:
    """Tell all rules for each name."""
    missing = []
    for name in names:
        pattern = parse_pattern(name)
        if pattern.is_exclusion or not pattern.names_one:
            raise UsageError(f"--why explains one function, and {name!r} is a pattern")
        answers, problem = why(kernel, pattern, unsafe=unsafe)
        missing += [problem] if problem else []
        if json:
            write_json_lines(({"type": "why", **answer} for answer in answers), sys.stdout)
        elif answers:
            print("\n\n".join("\n".join(_why_lines(answer)) for answer in answers))
            if len(answers) > 1:
                print(f"\n{len(answers)} functions are called {name}: ask for one by its address.")
    if missing:
        raise NoMatchError("; ".join(missing))
    _note(kernel.problems())
    return 0


def _why_lines(answer: dict[str, Any]) -> Iterable[str]:
    """What is known of one function, as text."""
    yield f"{answer['function']}  {answer['address'] or '(address hidden)'}  {answer['module'] or 'vmlinux'}"
    if answer["signature"]:
        yield f"  {answer['signature']}"
    if answer["aliases"]:
        yield f"  also called {', '.join(answer['aliases'])}: a call of one is a call of all"
    if answer["call_offset"]:
        yield f"  ftrace's call site stands {answer['call_offset']} bytes in, behind the landing pad (ENDBR)"
    told: set[str] = set()
    for entry, leave in zip(answer["rules"][::2], answer["rules"][1::2], strict=True):
        state = _state(entry["allowed"], leave["allowed"])
        built = "" if entry["offered"] else "; this kernel was built without it"
        yield f"  {entry['mechanism']:<14} {state}{built}"
        for rule in (*entry["against"], *(rule for rule in leave["against"] if rule not in entry["against"])):
            if rule["code"] in told:
                yield f"{'':17}{rule['code']}: see above"
                continue
            told.add(rule["code"])
            yield f"{'':17}{rule['code']}: {rule['reason']}"
            yield f"{'':17}    {rule['kernel']}"


def _state(entry: bool, leave: bool) -> str:
    if entry and leave:
        return "yes"
    if not entry and not leave:
        return "no"
    return "at the entry only" if entry else "at the return only"


def _note(problems: Iterable[str]) -> None:
    for problem in problems:
        _say(f"note: {problem}")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _make_command() -> click.Command:
    return Examples(
        "functions",
        params=[
            click.Argument(["patterns"], nargs=-1, metavar="PATTERN…"),
            click.Option(["--why"], multiple=True, metavar="NAME", help="Every rule for one function; repeatable."),
            click.Option(["--takes"], metavar="TYPE", help="Only those with a parameter of this C type."),
            click.Option(["--position"], type=int, metavar="N", help="… and the parameter is the Nth, from 0."),
            click.Option(["--returns"], metavar="TYPE", help="Only those that return this C type."),
            click.Option(["--args", "n_args"], type=int, metavar="N", help="Only those with N parameters."),
            click.Option(["--module"], metavar="GLOB", help="Only those of these modules; vmlinux is the kernel."),
            click.Option(
                ["--when"],
                type=click.Choice(["entry", "return", "session"]),
                default="entry",
                show_default=True,
                help="The side of the function that a probe is meant for.",
            ),
            click.Option(["--attachable", "only_attachable"], is_flag=True, help="Only those that can be attached."),
            click.Option(["--refused", "only_refused"], is_flag=True, help="Only those that can't."),
            *(click_option(SHARED[name]) for name in ("unsafe", "json", "kernel_files", "vm")),
        ],
        callback=run,
        help=HELP,
        epilog=EXAMPLES,
        context_settings=SETTINGS,
    )


command = _make_command()
