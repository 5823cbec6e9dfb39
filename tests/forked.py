"""Runs multiprobe's command line, and Python scripts, in forks of the test process.

A fork has everything imported already; a new interpreter takes five seconds of an emulated processor for that, in each
of some hundred tests. What only a new interpreter shows is tested by tests/vm and by tests/unit/cli.

`run` and `Popen` take the arguments after `multiprobe` and what their namesakes in `subprocess` take.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import runpy
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy  # noqa: F401  (heavy modules are imported before the forks)
from llvmlite import binding  # noqa: F401

import missed
from multiprobe.cli import count, coverage, errors, graph, inspect, latency, main, record, stacks, trace  # noqa: F401
from multiprobe.compiler import pipeline  # noqa: F401
from multiprobe.functions import sources  # noqa: F401
from multiprobe.instruments.stacks import callers  # noqa: F401
from multiprobe.output import screen  # noqa: F401

TIME_LIMIT = 800
"""Seconds that a command may take."""


def run(arguments: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run `multiprobe ARGUMENTS…` to its end; its output is captured as text unless `options` say otherwise."""
    chosen = {"capture_output": True, "text": True, "timeout": TIME_LIMIT, "check": False} | options
    ended = subprocess.run(["multiprobe", *arguments], **_forking(main.run, ["multiprobe", *arguments], chosen))
    missed.note(ended.stdout)
    missed.note(ended.stderr)
    return ended


def run_script(path: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run a Python script as `python PATH ARGUMENTS…` does."""
    chosen = {"capture_output": True, "text": True, "timeout": TIME_LIMIT, "check": False} | options
    script = partial(_script, path)
    return subprocess.run([str(path)], **_forking(script, [str(path), *arguments], chosen))


def Popen(  # noqa: N802  (as in subprocess)
    arguments: Sequence[str], *, before: Callable[[], None] = lambda: None, **options: Any
) -> subprocess.Popen[Any]:
    """Start `multiprobe ARGUMENTS…`; `before` is called in its process first."""

    def call() -> int:
        before()
        return main.run()

    return subprocess.Popen(["multiprobe", *arguments], **_forking(call, ["multiprobe", *arguments], options))


def _script(path: Path) -> int:
    sys.path[0] = str(path.parent)
    runpy.run_path(str(path), run_name="__main__")
    return 0


def _forking(call: Callable[[], int], argv: list[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with which subprocess forks and calls; the child never comes to execute a program."""
    return {**options, "preexec_fn": partial(_become, call, argv, options.get("env"))}


def _become(call: Callable[[], int], argv: list[str], environment: Mapping[str, str] | None) -> None:
    status = 1
    try:
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # among them the pipe on which the parent waits for an execve()
        _be_like_a_new_interpreter(argv, environment)
        status = call()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                status = status or 120  # as the interpreter ends then
        os._exit(status)


def _be_like_a_new_interpreter(argv: list[str], environment: Mapping[str, str] | None) -> None:
    gc.freeze()  # the parent's objects have descriptors whose numbers are others' now
    faulthandler.disable()
    for number in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    if environment is not None:
        os.environ.clear()
        os.environ.update(environment)
    sys.argv = argv
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
