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
    from collections.abc import Iterator, Mapping, Sequence

    from multiprobe.output.slices import Argument, Track

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
    has_next = _has_next([slice_.depth for slice_ in track.slices])
    heads = [""]  # what stands before a call, by its depth
    last_end: int | None = None
    for slice_, more in zip(track.slices, has_next, strict=True):
        name, begin, end, depth, arguments = slice_
        if depth == 0:
            if last_end is not None and begin - last_end >= GAP:
                yield f"{'':>12}  {'… ' + time_text(begin - last_end):>9}"
            last_end = end
            head = ""
        else:
            del heads[depth:]
            head = heads[-1] + ("├─ " if more else "└─ ")
            heads.append(heads[-1] + ("│  " if more else "   "))
        duration = "?" if end is None else time_text(end - begin)
        call = _call(name, arguments) if arguments else name
        yield f"{(begin - start) / 1e6:>12.3f}  {duration:>9}  {head}{call}"


def _has_next(depths: Sequence[int]) -> list[bool]:
    """For each slice: does another one follow at its depth inside the same caller?"""
    answers = [False] * len(depths)
    following: list[bool] = []
    for index in range(len(depths) - 1, -1, -1):
        depth = depths[index]
        del following[depth + 1 :]
        following += [False] * (depth + 1 - len(following))
        answers[index] = following[depth]
        following[depth] = True
    return answers


def _call(name: str, arguments: Mapping[str, Argument]) -> str:
    inside = ", ".join(f"{argument} = {item}" for argument, item in arguments.items() if argument != RETURN)
    text = f"{name}({inside})" if inside else name
    return f"{text} = {arguments[RETURN]}" if RETURN in arguments else text
