"""Call trees as text: a line for each call, indented, with time, duration, arguments.

```text
ls, thread 4242
      TIME   DURATION  CALL
     0.000    1.25 ms  vfs_read(fd = 3) = 512
     0.012     850 µs  ├─ rw_verify_area
     0.014     120 µs  │  └─ security_file_permission
           … 3.20 ms
     4.450        ?    vfs_read
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.output.units import time_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multiprobe.output.slices import Slice, Track

RETURN = "="
"""The argument of this name is the value that a call returned; it is printed behind the call."""
HANG = 29
"""Where a call goes on that is wider than a screen."""
GAP = 1_000_000
"""From so many ns on, the time between two calls gets a line of its own."""


def tree_lines(track: Track, *, start: int) -> Iterator[str]:
    """A thread's calls. Times are milliseconds since `start` (ns)."""
    thread = track.thread
    task = f"CPU {thread.cpu}" if thread.cpu >= 0 else f"thread {thread.tid}"
    of = f" of {thread.process} ({thread.pid})" if thread.process and thread.pid != thread.tid else ""
    yield f"{thread.name}, {task}{of}"
    yield f"{'TIME/ms':>12}  {'DURATION':>9}  CALL"
    has_next = _has_next(track.slices)
    rails: list[bool] = []
    last_end: int | None = None
    for slice_, more in zip(track.slices, has_next, strict=True):
        if slice_.depth == 0:
            if last_end is not None and slice_.begin - last_end >= GAP:
                yield f"{'':>12}  {'… ' + time_text(slice_.begin - last_end):>9}"
            last_end = slice_.end
        del rails[max(0, slice_.depth - 1) :]
        head = "".join("│  " if rail else "   " for rail in rails)
        branch = ("├─ " if more else "└─ ") if slice_.depth else ""
        if slice_.depth:
            rails.append(more)
        duration = "?" if slice_.end is None else time_text(slice_.end - slice_.begin)
        yield f"{(slice_.begin - start) / 1e6:>12.3f}  {duration:>9}  {head}{branch}{_call(slice_)}"


def _has_next(slices: Sequence[Slice]) -> list[bool]:
    """For each slice: does another one follow at its depth inside the same caller?"""
    answers = [False] * len(slices)
    following: list[bool] = []
    for index in range(len(slices) - 1, -1, -1):
        depth = slices[index].depth
        del following[depth + 1 :]
        following += [False] * (depth + 1 - len(following))
        answers[index] = following[depth]
        following[depth] = True
    return answers


def _call(slice_: Slice) -> str:
    arguments = {name: item for name, item in slice_.arguments.items() if name != RETURN}
    inside = ", ".join(f"{name} = {item}" for name, item in arguments.items())
    text = f"{slice_.name}({inside})" if arguments else slice_.name
    return f"{text} = {slice_.arguments[RETURN]}" if RETURN in slice_.arguments else text
