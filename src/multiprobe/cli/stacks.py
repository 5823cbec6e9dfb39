"""`multiprobe stacks`: which stacks lead to functions, counted or timed.

Knows options, order of events and words; the counting is `instruments.stacks`, what files look like is `output`.
"""

from __future__ import annotations

from multiprobe.cli.measuring import (
    ATTACHING,
    COMMAND_ONLY,
    attach,
    check,
    check_files,
    choose,
    detach,
    make_report,
    prepare,
    print_json,
    print_plan,
    print_report,
    watch,
)
from multiprobe.cli.options import SHARED, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    import click

    from multiprobe.instruments.stacks import Sample, Stack, Stacking
    from multiprobe.instruments.workload import Workload

OPTIONS = (
    SHARED["duration"],
    Option("user", ("--user",), "flag", "The process's own stack, too.", default=False),
    Option("time", ("--time",), "flag", "Time spent in the functions, not only calls.", default=False),
    Option("max_stacks", ("--max-stacks",), "natural", "Room for so many different ones.", "N", 16_384),
    Option("flame", ("--flame",), "text", "Write a flame graph, as SVG.", "FILE"),
    Option("folded", ("--folded",), "flag", "Print folded stacks.", default=False),
    SHARED["top"],
    SHARED["pid"],
    COMMAND_ONLY,
    SHARED["json"],
    *ATTACHING,
)

HELP = """Show on which ways the functions that a PATTERN matches are reached: kernel stacks, counted.

Each different stack is shown once, those with the most calls (with --time: the most time) first, its function on top,
what called it below. Stacks are taken at the entry of a function. Ends after --duration, with COMMAND, or with Ctrl-C.
"""

EXAMPLES = """\
Examples:
  multiprobe stacks vfs_fsync -d 10                  who writes to disk
  multiprobe stacks 'tcp_send*' --user --pid 4242    … from where in the program
  multiprobe stacks schedule --time --flame wait.svg -- make   where it waits
  multiprobe stacks kmem_cache_alloc --folded -d 5 | flamegraph.pl >a.svg"""

DEFAULT_TOP = 10
EVERY = 0.2
"""Seconds between looks at which processes there are."""


def __getattr__(name: str) -> click.Command:
    """`command`, made when click asks for it."""
    if name != "command":
        raise AttributeError(name)
    from multiprobe.cli.group import tracing_command

    return tracing_command("stacks", OPTIONS, run, help=HELP, epilog=EXAMPLES)


def run(
    *,
    patterns: Sequence[str],
    command: Sequence[str],
    duration: float | None,
    user: bool,
    time: bool,
    max_stacks: int,
    flame: str | None,
    folded: bool,
    top: int | None,
    pid: int | None,
    command_only: bool,
    json: bool,
    dry_run: bool,
    unsafe: bool,
    vm: str | None,
    debug: bool,
    **choice: Any,
) -> int:
    """Choose, attach, count until the end, print. Returns the exit status."""
    check("stacks", command=command, pid=pid, command_only=command_only)
    check_files(flame)
    _check(json=json, folded=folded)
    functions = choose(patterns, unsafe=unsafe)
    choice |= {"when": "session" if time else "entry"}
    if dry_run:
        return print_plan(functions, **choice, json=json)
    workload = prepare(command)
    try:
        from multiprobe.instruments import stacks

        only = workload.pid if workload and command_only else pid
        options: dict[str, Any] = {
            "has_user": user,
            "is_timed": time,
            "max_stacks": max_stacks,
            "pid": only,
            "unsafe": unsafe,
        }
        with attach(stacks.start, functions, **options, **choice) as stacking:
            sample = watch(stacking, workload, duration=duration, pid=pid, on_sample=bool, every=EVERY)
            if flame is not None:
                _write_flame(flame, sample, title=f"Stacks to {' '.join(patterns)}", is_timed=time)
            if folded:
                _print_folded(sample, is_timed=time)
            else:
                _print(stacking, sample, workload, top=top, json=json, is_timed=time)
            detach(stacking)
    finally:
        if workload is not None:
            workload.close()
    return 0


def _check(*, json: bool, folded: bool) -> None:
    from multiprobe.errors import UsageError

    if json and folded:
        raise UsageError("--json and --folded both print: give one of them")


def _folded(sample: Sample, *, is_timed: bool) -> dict[tuple[str, ...], int]:
    return {stack.frames: stack.ns if is_timed else stack.calls for stack in sample.stacks}


def _write_flame(path: str, sample: Sample, *, title: str, is_timed: bool) -> None:
    from multiprobe.output.flame import flame_svg

    with open(path, "w", encoding="utf-8") as file:
        file.write(flame_svg(_folded(sample, is_timed=is_timed), title=title, unit="ns" if is_timed else "calls"))


def _print_folded(sample: Sample, *, is_timed: bool) -> None:
    from multiprobe.output.folded import folded_lines

    for line in folded_lines(_folded(sample, is_timed=is_timed)):
        print(line)


def _print(
    stacking: Stacking, sample: Sample, workload: Workload | None, *, top: int | None, json: bool, is_timed: bool
) -> None:
    report = make_report(
        stacking,
        workload,
        calls=sample.n_calls,
        stacks=len(sample.stacks),
        not_taken=sample.not_taken,
        seconds=round(sample.seconds, 6),
    )
    if json:
        print_json([*_json_objects(stacking, sample.stacks[: top or None], is_timed=is_timed), report])
        return
    shown = sample.stacks[: DEFAULT_TOP if top is None else top or None]
    for line in _lines(shown, sample, is_timed=is_timed):
        print(line)
    if len(sample.stacks) > len(shown):
        print(f"… and {len(sample.stacks) - len(shown):,} more (--top 0 shows all)\n")
    print(f"{sample.n_calls:,} calls by {len(sample.stacks):,} different stacks in {sample.seconds:.2f} s")
    for reason, n in sample.not_taken.items():
        print(f"of {n:,} calls the kernel's stack could not be taken ({reason})")
    print_report(report, workload)


def _lines(stacks: Sequence[Stack], sample: Sample, *, is_timed: bool) -> Iterator[str]:
    """Each stack as a block: its numbers beside the function, below it what called it."""
    from multiprobe.output.units import percent_text, time_text

    everything = sum(stack.ns if is_timed else stack.calls for stack in sample.stacks) or 1
    titles = ("TIME", "MEAN", "CALLS", "SHARE") if is_timed else ("CALLS", "SHARE")
    yield "".join(f"{title:>10}" for title in titles) + "  STACK"
    for stack in stacks:
        share = percent_text((stack.ns if is_timed else stack.calls) / everything)
        times = (time_text(stack.ns), time_text(stack.ns / stack.calls)) if is_timed else ()
        numbers = "".join(f"{cell:>10}" for cell in (*times, f"{stack.calls:,}", share))
        function, *callers = reversed(stack.frames)
        yield f"{numbers}  {function}"
        yield from (f"{'':>{len(numbers)}}  {caller}" for caller in callers)
        yield ""


def _json_objects(stacking: Stacking, stacks: Sequence[Stack], *, is_timed: bool) -> Iterator[dict[str, Any]]:
    for stack in stacks:
        function = stacking.functions[stack.function]
        yield {
            "type": "stack",
            "function": function.name,
            "module": function.module,
            "calls": stack.calls,
            "frames": list(stack.frames),
        } | ({"ns": stack.ns} if is_timed else {})
