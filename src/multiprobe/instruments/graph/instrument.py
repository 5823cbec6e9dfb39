"""Records the calls of the attached functions, and arranges them as a tree for each thread.

The program is in `graph.program`; `graph.calltree` builds the trees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.instruments.graph.calltree import CallTree, Values, depths, in_order
from multiprobe.instruments.graph.program import IDLE, RETURNED, UNDER_WAY, GraphProbe
from multiprobe.instruments.instrument import AttachOptions, Instrument
from multiprobe.instruments.task_names import load_name, task_ids

if TYPE_CHECKING:
    from typing import Unpack

    import numpy as np
    from numpy.typing import NDArray

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.links.attachment import Attachment

MAX_EVENTS = 100_000


@dataclass(frozen=True, slots=True)
class ThreadId:
    """The ids of a thread (see `TracedCall`); idle tasks have the ids 0 and a `cpu`, all others the cpu −1."""

    pid: int
    tid: int
    cpu: int = -1

    @classmethod
    def of(cls, key: int) -> ThreadId:
        """From the program's key of a thread."""
        pid, tid = task_ids(key)
        return cls(0, 0, tid) if key & IDLE and tid >= 0 else cls(pid, tid)  # ids that are negative are so both


@dataclass(frozen=True, slots=True)
class ThreadCalls:
    """A thread and its calls."""

    thread: ThreadId
    calls: CallTree


@dataclass(frozen=True, slots=True)
class GraphSample:
    """The recorded calls: `seconds` since the start, their trees, their number, and how many had not returned."""

    seconds: float
    threads: list[ThreadCalls]
    n_calls: int
    n_unended: int


class CallRecorder(Instrument[GraphSample]):
    """A running recording of calls. `names`: the names of processes and threads by id, complete after `finish`."""

    def __init__(self, attachment: Attachment, probe: GraphProbe) -> None:
        super().__init__(attachment)
        self._probe = probe
        self._processes: dict[int, str] = {}
        self.names: dict[int, str] = {}

    def poll(self) -> bool:
        """Look up the names of processes, whose main threads may call nothing. Returns True when no room is left."""
        for pid in {ThreadId.of(key).pid for key, _ in self._attachment.map(self._probe.threads).as_dict()}:
            if pid and not self._processes.get(pid):
                self._processes[pid] = load_name(pid)
        return self._missed().get("full_maps", 0) > 0

    def _read(self) -> GraphSample:
        self.poll()
        self.names = self._processes | names(self._attachment.map(self._probe.threads).as_dict())
        calls = self._attachment.map(self._probe.calls).read()
        values = self._attachment.map(self._probe.values).read() if self._probe.n_arguments >= 0 else None
        is_complete = not any(self._missed().values())
        threads = trees(calls, values, n_arguments=self._probe.n_arguments, is_complete=is_complete)
        n_unended = int((calls["value"] == UNDER_WAY).sum())
        return GraphSample(self.seconds, threads, len(calls), n_unended)


def start(
    functions: AnyFunctionSet, *, max_events: int = MAX_EVENTS, n_arguments: int = -1, **options: Unpack[AttachOptions]
) -> CallRecorder:
    """Attach to `functions` and record their calls. The other options are those of `multiprobe.attach`.

    max_events: room for so many calls
    n_arguments: record this many arguments of each call (0 to 6), and the returned value; −1 records neither
    """
    probe = GraphProbe(max_events=max_events, n_arguments=n_arguments)
    return CallRecorder(mp.attach(probe.program, functions, **options), probe)


def names(threads: dict[tuple[int, str], int]) -> dict[int, str]:
    """The last name of each thread by its id, from `GraphProbe.threads`."""
    return {ThreadId.of(key).tid: name for (key, name), _ in sorted(threads.items(), key=lambda item: item[1])}


def trees(
    calls: NDArray[np.void], values: NDArray[np.void] | None, *, n_arguments: int, is_complete: bool
) -> list[ThreadCalls]:
    """The trees of all threads, by thread ids, from the contents of `GraphProbe`'s maps (see `HashMap.read`).

    is_complete: nothing was missed, so that a call without a return is still in progress
    """
    import numpy as np

    thread, begin, function = calls["key0"], calls["key1"], calls["key2"]
    end = np.where(calls["value"] == UNDER_WAY, np.uint64(0), calls["value"])
    order, parts = in_order(thread, begin, end)
    columns = [function[order], begin[order], end[order]]
    recorded = None if values is None else _recorded(calls, values, n_arguments)[order]
    found = []
    for part in parts:
        functions, begins, ends = (column[part] for column in columns)
        nested = depths(begins, ends, is_complete=is_complete)
        tree = CallTree(functions, begins, ends, nested, None if recorded is None else recorded[part])
        found.append(ThreadCalls(ThreadId.of(int(thread[order[part.start]])), tree))
    return found


def _recorded(calls: NDArray[np.void], values: NDArray[np.void], n_arguments: int) -> Values:
    """What was recorded of each call."""
    import numpy as np

    table = np.zeros((len(calls), RETURNED + 1), np.uint64)
    is_there = np.zeros((len(calls), RETURNED + 1), bool)
    at, which = _places(values, calls), values["key3"]
    is_one = at < len(calls)  # that of a call that was recorded, meanwhile, is not
    table[at[is_one], which[is_one]] = values["value"][is_one]
    is_there[at[is_one], which[is_one]] = True
    return Values(table[:, :n_arguments], table[:, RETURNED], is_there[:, RETURNED])


def _places(values: NDArray[np.void], calls: NDArray[np.void]) -> NDArray[np.intp]:
    """For each value, the place of its call among `calls`; their number where it isn't there."""
    import numpy as np

    both = [np.concatenate([calls[name], values[name]]) for name in ("key0", "key1", "key2")]
    order = np.lexsort(both)  # stable: a call comes before its values
    is_new = np.ones(len(order), bool)
    is_new[1:] = np.logical_or.reduce([column[order][1:] != column[order][:-1] for column in both])
    group = np.empty(len(order), np.intp)
    group[order] = np.cumsum(is_new) - 1
    place = np.full(len(order), len(calls), np.intp)
    place[group[: len(calls)]] = np.arange(len(calls))
    return place[group[len(calls) :]]
