"""Advice for command lines that a shell or a habit has made different from what was meant.

A shell replaces an unquoted `*` by names of files; `ls /` without `--` before it becomes two patterns.
"""

from __future__ import annotations

import os
from collections.abc import Container, Sequence

import click

from multiprobe.binaries.libraries import is_library
from multiprobe.errors import MultiprobeError, NoMatchError, UsageError
from multiprobe.instruments.workload import find_program

ELSEWHERE = {
    **dict.fromkeys(("-t", "--time", "--timeout", "--seconds"), "-d TIME, as in -d 10 or -d 500ms"),
    **dict.fromkeys(("-c", "--cmd", "--command"), "-- COMMAND…, after all patterns"),
    **dict.fromkeys(("-v", "--verbose"), "--debug shows a traceback with an error"),
    **dict.fromkeys(("-j", "--format"), "--json or --csv"),
    **dict.fromkeys(("-l", "--list"), "`multiprobe functions PATTERN…` lists functions"),
    **dict.fromkeys(("-i", "--interval"), "results are printed at the end; --live shows them while they change"),
    **dict.fromkeys(("-F", "--freq"), "every call is measured; for samples of what a processor does, use perf"),
    **dict.fromkeys(("-g", "-K", "--kstack", "--call-graph"), "`multiprobe stacks PATTERN…` shows callers"),
    **dict.fromkeys(("-U", "--ustack"), "`multiprobe stacks PATTERN… --user` shows callers in programs"),
    **dict.fromkeys(
        ("--comm", "--name"), "`multiprobe trace` has --filter 'comm == \"NAME\"'; --pid is for one process"
    ),
    **dict.fromkeys(("-C", "--cpu"), "`multiprobe trace` has --filter 'cpu == 0'"),
    **dict.fromkeys(
        ("-m", "-u", "--ms", "--us"), "times are shown in the unit that suits them; --json has nanoseconds"
    ),
    **dict.fromkeys(("--hist", "--histogram"), "`multiprobe latency` shows the distribution of durations"),
    **dict.fromkeys(("-a", "--all-cpus"), "the whole system is measured unless --pid or --command-only is given"),
    **dict.fromkeys(("-k", "--kernel"), "--vm=VERSION, as in --vm=6.12"),
    "--tid": "`multiprobe trace` has --filter 'tid == 17'; --pid measures a process",
    "-f": "children are measured too; --no-children leaves them out",
    "-r": "a regular expression stands between slashes: '/vfs_.*/'",
    "-x": "`multiprobe errors` has --allow NAMES and --deny NAMES",
    "-T": "`multiprobe trace` and `graph` print durations",
    "-e": "a pattern needs no option, a system call is 'syscall:openat'; programs are written in Python: see "
    "`multiprobe run --help`",
}
"""What is written here for options of other tools."""
IN_COMMANDS = {
    ("run", "-c"): "write the program to a file: multiprobe run FILE",
    ("run", "-e"): "write the program to a file, in Python: multiprobe run FILE",
    ("errors", "-a"): "a pattern needs no option",
}
"""The same where a command has another answer."""
COMMANDS = {
    **dict.fromkeys(("list", "ls", "search", "which"), "functions"),
    **dict.fromkeys(("probe", "attach", "kprobe", "trace-cmd", "bpftrace"), "trace"),
    **dict.fromkeys(("top", "stat", "funccount", "perf"), "count"),
    **dict.fromkeys(("hist", "histogram", "funclatency", "time"), "latency"),
    **dict.fromkeys(("flame", "flamegraph", "stackcount", "stack", "callers"), "stacks"),
    **dict.fromkeys(("tree", "funcgraph", "ftrace"), "graph"),
    **dict.fromkeys(("retsnoop", "error", "fail"), "errors"),
    **dict.fromkeys(("funcslower",), "trace"),
    **dict.fromkeys(("why", "explain"), "functions --why"),
    **dict.fromkeys(("check", "info", "features"), "doctor"),
    **dict.fromkeys(("compare",), "diff"),
    **dict.fromkeys(("links", "show"), "inspect"),
}
"""The commands that do what commands of other names and other tools do."""
_FIRST = "options follow a command, as in multiprobe count PATTERN… -d 10"


def elsewhere(error: click.UsageError) -> str:
    """The advice for an option that other tools have, or ""."""
    if not isinstance(error, click.NoSuchOption):
        return ""
    name = error.option_name
    command = (error.ctx.info_name if error.ctx else None) or ""
    if name.startswith("--vm") and name[4:5].isdecimal():
        return f"--vm={name[4:]}"
    found = IN_COMMANDS.get((command, name)) or ELSEWHERE.get(name, "")
    return found or (_FIRST if command == "multiprobe" else "")


def advise(error: MultiprobeError, patterns: Sequence[str]) -> None:
    """Give an error about patterns another hint, if the patterns show what went wrong."""
    has_near = "there is" in str(error)
    hint = (
        _on_files(patterns)
        or on_command(patterns)
        or _on_binaries(patterns, has_near=has_near)
        or (_on_words(patterns) if isinstance(error, NoMatchError) else "")
    )
    if hint:
        error.hint = hint


def on_command(words: Sequence[str], *, among: Container[str] | None = None) -> str:
    """The advice for a command that follows the patterns without `--`, or ""; `among`: words that it can be."""
    at = next((n for n, word in enumerate(words) if n and (among is None or word in among) and _program(word)), 0)
    return f"put -- before the command: {' '.join([*words[:at], '--', *words[at:]])}" if at else ""


def _on_files(patterns: Sequence[str]) -> str:
    """The advice for patterns that are the names of the files of the working directory, or ""."""
    if len(patterns) > 1 and all(os.path.lexists(pattern) for pattern in patterns):
        return "quote the pattern: the shell replaces an unquoted * by the names of files"
    return ""


def _on_binaries(patterns: Sequence[str], *, has_near: bool) -> str:
    """The advice for `bash:readline`, `c:malloc` and `libc`, which don't name a binary and functions in it, or "".

    has_near: the kernel has functions of names close to the patterns
    """
    for pattern in patterns:
        name, colon, function = pattern.partition(":")
        binary = "" if "/" in name or (has_near and not colon) else _binary(name)
        if binary and binary != name * bool(colon):
            return f"write '{binary}:{function or '*'}' for functions of that program or library"
    return ""


def _binary(name: str) -> str:
    """What names the binary that is meant by a name, or "": a library, a file of this directory, a program."""
    library = next((one for one in (name, f"lib{name}") if is_library(one)), "")
    return library or (f"./{name}" if os.path.isfile(name) else _program(name))


def _on_words(patterns: Sequence[str]) -> str:
    """The advice for `help` behind a command, and for a glob of system calls by their names in C, or ""."""
    if tuple(patterns) == ("help",):
        return "multiprobe help COMMAND"
    return "the system calls are 'syscall:*'" if any(one.startswith("sys_") for one in patterns) else ""


def _program(word: str) -> str:
    """The file that a shell would run for a word, or ""."""
    try:
        return word and find_program(word)
    except UsageError:
        return ""
