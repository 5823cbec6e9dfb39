"""From a stream of entries and returns to a tree of calls for each thread. Pure: events in, trees out.

A return carries the time of its own entry, so that it is matched with the call that it ends and with no other, under
recursion, in interrupts and on whatever CPU the thread runs by then. Events can get lost (a full ring buffer, a probe
that the kernel skipped); what is known then, and what isn't:

- An entry that was lost takes its return with it (the program sees to that): the call is absent, what it called
  stands under its caller, and nothing is wrong.
- A return that was lost leaves a call that seems to go on. When a call around it returns it must have ended: its `end`
  is None. Calls that it made before the loss are its own; of later ones nobody knows, so they are moved out of it, to
  the call around it. Which ones are later is told by `n_lost`, the number of returns lost so far (on the whole
  system), which each event carries.
- A return that ends no call under way is counted and dropped.
"""

from __future__ import annotations

from multiprobe.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


@value
class Entry:
    """A function was entered: `function` its index, `time` in ns, `n_lost` returns lost before, raw `arguments`."""

    tid: int
    function: int
    time: int
    n_lost: int = 0
    arguments: tuple[int, ...] = ()


@value
class Return:
    """A function returned `returned`; it had been entered at `begin`."""

    tid: int
    function: int
    time: int
    begin: int
    returned: int = 0


class Call:
    """A call: `end` is None while it goes on, and for good if its return wasn't seen.

    `function` is an index, `arguments` and `returned` are as the registers hold them (unsigned, 64 bits).
    """

    __slots__ = ("arguments", "begin", "children", "end", "function", "n_lost", "returned")

    def __init__(self, function: int, begin: int, arguments: tuple[int, ...] = (), n_lost: int = 0) -> None:
        self.function = function
        self.begin = begin
        self.arguments = arguments
        self.n_lost = n_lost
        self.end: int | None = None
        self.returned = 0
        self.children: list[Call] = []

    @property
    def duration(self) -> int | None:
        """ns from entry to return, or None where the return wasn't seen."""
        return None if self.end is None else self.end - self.begin


class CallTree:
    """The calls of one thread: `roots` in the order of their beginnings, and those under way.

    n_unmatched: returns that ended no call under way; n_unended: calls whose return was lost
    """

    __slots__ = ("_open", "n_unended", "n_unmatched", "roots")

    def __init__(self) -> None:
        self.roots: list[Call] = []
        self._open: list[Call] = []
        self.n_unmatched = 0
        self.n_unended = 0

    @property
    def n_open(self) -> int:
        """How many calls are under way, as far as is known."""
        return len(self._open)

    def enter(self, entry: Entry) -> None:
        """A call begins, inside the innermost one under way."""
        call = Call(entry.function, entry.time, entry.arguments, entry.n_lost)
        (self._open[-1].children if self._open else self.roots).append(call)
        self._open.append(call)

    def leave(self, event: Return) -> None:
        """The call that began at `event.begin` ends, and with it all inside it that seemed to go on."""
        place = self._find(event)
        if place < 0:
            self.n_unmatched += 1
            return
        while len(self._open) > place + 1:
            self._give_up(self._open.pop())
        call = self._open.pop()
        call.end = event.time
        call.returned = event.returned

    def _find(self, event: Return) -> int:
        for place in range(len(self._open) - 1, -1, -1):
            call = self._open[place]
            if call.begin == event.begin and call.function == event.function:
                return place
        return -1

    def _give_up(self, call: Call) -> None:
        """The return of `call` was lost: what began after that is moved to the call around it, the innermost open."""
        self.n_unended += 1
        later = [child for child in call.children if child.n_lost > call.n_lost]
        if later:
            call.children = [child for child in call.children if child.n_lost <= call.n_lost]
            around = self._open[-1].children if self._open else self.roots
            around += later


class CallTrees:
    """The trees of all threads, by whatever tells threads apart (a thread id; for idle tasks also the CPU)."""

    def __init__(self) -> None:
        self.threads: dict[Any, CallTree] = {}
        self.n_calls = 0

    def enter(self, entry: Entry, *, key: Any = None) -> None:
        """Take an entry in; `key` tells its thread if the id alone doesn't."""
        self.n_calls += 1
        self._of(entry.tid if key is None else key).enter(entry)

    def leave(self, event: Return, *, key: Any = None) -> None:
        """Take a return in."""
        self._of(event.tid if key is None else key).leave(event)

    def _of(self, key: Any) -> CallTree:
        tree = self.threads.get(key)
        if tree is None:
            tree = self.threads[key] = CallTree()
        return tree

    @property
    def n_unmatched(self) -> int:
        """Returns that ended no call under way, in all threads."""
        return sum(tree.n_unmatched for tree in self.threads.values())

    @property
    def n_unended(self) -> int:
        """Calls whose return was lost, in all threads."""
        return sum(tree.n_unended for tree in self.threads.values())

    @property
    def n_open(self) -> int:
        """Calls under way, in all threads."""
        return sum(tree.n_open for tree in self.threads.values())


def calls_in_order(roots: list[Call]) -> Iterator[tuple[int, Call]]:
    """(depth, call) of every call, in the order of their beginnings. A loop: recursion may be deeper than Python's."""
    pending = [(0, call) for call in reversed(roots)]
    while pending:
        depth, call = pending.pop()
        yield depth, call
        pending += [(depth + 1, child) for child in reversed(call.children)]
