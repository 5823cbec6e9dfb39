"""Records the calls of the attached functions, and arranges them as a tree for each thread.

The program is in `graph.program`; `graph.calltree` builds the trees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.binaries.mixed import has_kernel_types
from multiprobe.instruments.graph.calltree import CallTree, Values, depths, in_order
from multiprobe.instruments.graph.program import BEGIN, END, FUNCTION, IDLE, THREAD, GraphProbe
from multiprobe.instruments.instrument import AttachOptions, Instrument
from multiprobe.instruments.task_names import load_name, task_ids
from multiprobe.names import decode_name

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
        self._n_looked = 0
        self._processes: dict[int, str] = {}
        self.names: dict[int, str] = {}

    def poll(self) -> bool:
        """Look up the names of processes, whose main threads may call nothing. Returns True when no room is left."""
        for pid in self._new_processes():
            self._processes.setdefault(pid, "")
        for pid, name in self._processes.items():
            if pid and not name:
                self._processes[pid] = load_name(pid)
        return self._n_left_out > 0

    def _new_processes(self) -> set[int]:
        """The ids of the processes of the calls that were written since it was last asked."""
        calls = self._attachment.map(self._probe.calls).rows(self._n_looked, self._n_recorded)
        is_missing = calls[:, BEGIN] == 0  # it is being written now
        written = calls[: is_missing.argmax()] if is_missing.any() else calls
        self._n_looked += len(written)
        return {ThreadId.of(key).pid for key in set(written[:, THREAD].tolist())}

    @property
    def _n_calls(self) -> int:
        return self._attachment.map(self._probe.n_calls).totals()[0]

    @property
    def _n_recorded(self) -> int:
        return min(self._n_calls, self._probe.max_events)

    @property
    def _n_left_out(self) -> int:
        return max(0, self._n_calls - self._probe.max_events)

    def _missed(self) -> dict[str, int]:
        missed = super()._missed()
        return missed | {"full_maps": missed.get("full_maps", 0) + self._n_left_out}

    def _read(self) -> GraphSample:
        self.poll()
        n = self._n_recorded
        calls = self._attachment.map(self._probe.calls).rows(0, n)
        has_values = self._probe.n_arguments >= 0
        values = self._attachment.map(self._probe.values).rows(0, n) if has_values else None
        self.names = self._processes | names(calls, self._attachment.map(self._probe.names).rows(0, n))
        threads = trees(calls, values, is_complete=not any(self._missed().values()))
        unended = (calls[:, BEGIN] != 0) & (calls[:, END] == 0)
        return GraphSample(self.seconds, threads, sum(len(one.calls) for one in threads), int(unended.sum()))


def start(
    functions: AnyFunctionSet, *, max_events: int = MAX_EVENTS, n_arguments: int = -1, **options: Unpack[AttachOptions]
) -> CallRecorder:
    """Attach to `functions` and record their calls. The other options are those of `multiprobe.attach`.

    max_events: room for so many calls
    n_arguments: record this many arguments of each call (0 to 6), and the returned value; −1 records neither
    """
    probe = GraphProbe(max_events=max_events, n_arguments=n_arguments, has_types=has_kernel_types(functions))
    return CallRecorder(mp.attach(probe.program, functions, **options), probe)


def names(calls: NDArray[np.uint64], recorded: NDArray[np.uint64]) -> dict[int, str]:
    """The last name of each thread by its id, from `GraphProbe.calls` and `GraphProbe.names`."""
    import numpy as np

    keys, places = np.unique(calls[::-1, THREAD], return_index=True)
    last = recorded[len(calls) - 1 - places]
    return {ThreadId.of(key).tid: decode_name(row.tobytes()) for key, row in zip(keys.tolist(), last, strict=True)}


def trees(calls: NDArray[np.uint64], values: NDArray[np.uint64] | None, *, is_complete: bool) -> list[ThreadCalls]:
    """The trees of all threads, by thread ids, from the rows of `GraphProbe`'s maps. Those being written are left out.

    is_complete: nothing was missed, so that a call without a return is still in progress
    """
    import numpy as np

    (written,) = np.nonzero(calls[:, BEGIN])
    order, parts = in_order(*(calls[written, place] for place in (THREAD, BEGIN, END)))
    order = written[order]
    begin, end = calls[order, BEGIN], calls[order, END]
    function = calls[order, FUNCTION].astype(np.uint32)
    recorded = None if values is None else Values(values[order, :-1], values[order, -1], end != 0)
    found = []
    for part in parts:
        nested = depths(begin[part], end[part], is_complete=is_complete)
        some = None if recorded is None else recorded[part]
        tree = CallTree(function[part], begin[part], end[part], nested, some)
        found.append(ThreadCalls(ThreadId.of(int(calls[order[part.start], THREAD])), tree))
    return found
