"""Records return values with the kernel's own probe events (tracefs, kprobe_events), and derives the first failures.

Uses nothing of multiprobe: the rules of docs/errors.md are implemented a second time, on a tree.
"""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from ground_truth import BUFFER_KB, TRACEFS

_LINE = re.compile(r"-(?P<tid>\d+)\s+\[\d+\].*?: (?P<side>[er])_(?P<name>\w+): .*?(?: ret=(?P<ret>-?\d+))?$")


@dataclass(slots=True)
class Returned:
    """A call and what it returned (None: it did not, or was not seen to), as signed 64 bits."""

    name: str
    ret: int | None = None
    children: list[Returned] = field(default_factory=list)


class ReturnValues:
    """Probe events at both sides of a few functions, while the block runs; the calls of each thread after it."""

    def __init__(self, *functions: str) -> None:
        listed = (TRACEFS / "available_filter_functions").read_text().split()
        self._functions = [name for name in functions if name in set(listed)]
        self._folder = TRACEFS / "instances" / "returns"
        self.calls: dict[int, list[Returned]] = {}

    def __enter__(self) -> Self:
        self._folder.mkdir()
        (self._folder / "buffer_size_kb").write_text(str(BUFFER_KB))
        for name in self._functions:
            define(f"p:truth/e_{name} {name}")
            define(f"r256:truth/r_{name} {name} ret=$retval:s64")
        (self._folder / "events/truth/enable").write_text("1")
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        (self._folder / "events/truth/enable").write_text("0")
        text = (self._folder / "trace").read_text()
        self._folder.rmdir()
        for name in self._functions:
            define(f"-:truth/e_{name}")
            define(f"-:truth/r_{name}")
        self.calls = parse_returns(text)


def define(event: str) -> None:
    """Add a probe event, or take one away."""
    fd = os.open(TRACEFS / "kprobe_events", os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, event.encode())
    finally:
        os.close(fd)


def parse_returns(text: str) -> dict[int, list[Returned]]:
    """The outermost calls of each thread from the events' text."""
    roots: dict[int, list[Returned]] = {}
    under_way: dict[int, list[Returned]] = {}
    for line in text.splitlines():
        match = _LINE.search(line)
        if match is None:
            continue
        tid, name = int(match["tid"]), match["name"]
        around = under_way.setdefault(tid, [])
        if match["side"] == "e":
            call = Returned(name)
            (around[-1].children if around else roots.setdefault(tid, [])).append(call)
            around.append(call)
        else:
            while around and around[-1].name != name:
                around.pop()
            if around:
                around.pop().ret = int(match["ret"])
    return roots


@dataclass(slots=True)
class _Open:
    """A failure that has reached a call from below: its first error and path, the error that it has now."""

    first: str
    path: tuple[str, ...]
    now: str


Ended = tuple[str, tuple[str, ...], str, str | None]
"""A failure that is over: its first error, its path, the function that it ended in, the error which that returned."""


def failures(roots: list[Returned], *, pointers: frozenset[str], never: frozenset[str]) -> Counter[Ended]:
    """All failures of one thread. `pointers` return pointers, `never` nothing that is an error, all others an int."""
    ended: Counter[Ended] = Counter()

    def visit(call: Returned, around: tuple[str, ...]) -> _Open | None:
        path = (*around, call.name)
        below: _Open | None = None
        has_success_since = False
        for child in call.children:
            reached = visit(child, path)
            if reached is not None:
                if below is not None:
                    ended[below.first, below.path, call.name, None] += 1
                below, has_success_since = reached, False
            elif child.name not in never and below is not None:
                has_success_since = True
        error = None if call.name in never else error_of(call.ret, is_pointer=call.name in pointers)
        if error is None:
            if below is not None:
                ended[below.first, below.path, call.name, None] += 1
            return None
        if below is not None and not (has_success_since and below.now != error):
            return _Open(below.first, below.path, error)
        if below is not None:
            ended[below.first, below.path, call.name, None] += 1
        return _Open(error, path, error)

    for root in roots:
        reached = visit(root, ())
        if reached is not None:
            ended[reached.first, reached.path, root.name, reached.now] += 1
    return ended


def error_of(ret: int | None, *, is_pointer: bool) -> str | None:
    """The name of the error that a call returned."""
    if ret is None:
        return None
    if is_pointer and ret == 0:
        return "NULL"
    number = ret if is_pointer else (ret & 0xFFFFFFFF) - (1 << 32) * (ret >> 31 & 1)
    return errno.errorcode.get(-number, str(-number)) if -4095 <= number < 0 else None
