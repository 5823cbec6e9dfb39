from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trace_reader import Read, read_trace

from multiprobe.output.perfetto import write_perfetto
from multiprobe.output.protobuf import varint
from multiprobe.output.slices import Slice, TraceThread, Track, self_times, walk

SHELL = TraceThread(40, 41, "worker", "sh")


def trace(*tracks: Track, **options: Any) -> bytes:
    file = io.BytesIO()
    write_perfetto(tracks, file, **options)
    return file.getvalue()


def slices_of(*tracks: Track) -> list[Read]:
    return read_trace(trace(*tracks))


@st.composite
def trees(draw: Any) -> list[Slice]:
    """A thread's calls as they may come: nested, of no length, without an end."""
    made: list[Slice] = []

    def calls(begin: int, end: int, depth: int) -> None:
        at = begin
        for _ in range(draw(st.integers(0, 3 if depth < 4 else 0))):
            at = draw(st.integers(at, end))
            last = draw(st.integers(at, end))
            is_seen = draw(st.integers(0, 5)) > 0
            name = draw(st.sampled_from("abcdefgh"))
            made.append(Slice(name, at, last if is_seen else None, depth, {"n": draw(st.integers(-5, (1 << 64) - 1))}))
            calls(at, last, depth + 1)
            at = last

    calls(0, 1 << 40, 0)
    return made


@given(trees())
def test_every_slice_comes_back_where_it_was(slices: list[Slice]) -> None:
    found = slices_of(Track(SHELL, slices))
    assert [(r.name, r.begin, r.depth) for r in found] == [(s.name, s.begin, s.depth) for s in slices]
    for read, slice_ in zip(found, slices, strict=True):
        assert read.arguments["n"] == slice_.arguments["n"]
        assert ("end_seen" in read.arguments) == (slice_.end is None)
        if slice_.end is not None:
            assert read.end == slice_.end
        assert (read.process, read.thread, read.tid) == ("sh", "worker", 41)


def test_what_never_ended_stays_open_and_what_must_have_ended_says_so() -> None:
    slices = [Slice("outer", 10, 50, 0), Slice("lost", 20, None, 1), Slice("next", 60, None, 0)]
    outer, lost, last = slices_of(Track(SHELL, slices))
    assert (outer.end, lost.end, last.end) == (50, 50, None)
    assert (outer.arguments, lost.arguments, last.arguments) == ({}, {"end_seen": False}, {"end_seen": False})


def test_threads_have_tracks_and_idle_tasks_one_for_each_cpu() -> None:
    idle = [TraceThread(0, 0, f"swapper/{cpu}", cpu=cpu) for cpu in (0, 1)]
    other = TraceThread(40, 40, "sh", "sh")
    found = slices_of(*(Track(thread, [Slice("f", 5, 6, 0)]) for thread in (SHELL, other, *idle)))
    assert [(r.process, r.thread, r.tid) for r in found] == [
        ("sh", "worker", 41),
        ("sh", "sh", 40),
        ("", "swapper/0", 0),
        ("", "swapper/1", 0),
    ]


def test_tasks_outside_of_the_pid_namespace_have_tracks_of_their_own() -> None:
    threads = [TraceThread(-40, -41, "inner", "one"), TraceThread(-41, -40, "outer", "two"), SHELL]
    found = slices_of(*(Track(thread, [Slice("f", 5, 6, 0)]) for thread in threads))
    assert [(r.process, r.thread, r.tid) for r in found] == [
        ("one", "inner", (1 << 64) - 41),  # as int32 on the wire: −41
        ("two", "outer", (1 << 64) - 40),
        ("sh", "worker", 41),
    ]


def test_arguments_keep_their_types() -> None:
    arguments = {"path": "/etc/ä\udcff", "size": -1, "big": (1 << 64) - 1, "yes": True}
    (found,) = slices_of(Track(SHELL, [Slice("f", 1, 2, 0, arguments)]))
    assert found.arguments == {**arguments, "path": r"/etc/ä\xff"}


def test_perfettos_own_definitions_read_it() -> None:
    pb2 = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    from google.protobuf import unknown_fields

    slices = [Slice("f", 10, 50, 0, {"fd": -1}), Slice("g", 20, 30, 1)]
    read = pb2.Trace.FromString(trace(Track(SHELL, slices), boottime=5))
    assert not [packet for packet in read.packet if len(unknown_fields.UnknownFieldSet(packet))]
    events = [packet for packet in read.packet if packet.HasField("track_event")]
    kinds = [packet.track_event.Type.Name(packet.track_event.type) for packet in events]
    assert kinds == ["TYPE_SLICE_BEGIN", "TYPE_SLICE_BEGIN", "TYPE_SLICE_END", "TYPE_SLICE_END"]
    assert [packet.timestamp for packet in events] == [10, 20, 30, 50]
    assert events[0].track_event.debug_annotations[0].int_value == -1
    thread = next(p.track_descriptor for p in read.packet if p.track_descriptor.HasField("thread"))
    assert (thread.thread.pid, thread.thread.tid, thread.thread.thread_name) == (40, 41, "worker")
    process = next(p.track_descriptor for p in read.packet if p.track_descriptor.HasField("process"))
    assert (process.process.process_name, thread.parent_uuid) == ("sh", process.uuid)
    clocks = {c.clock_id: c.timestamp for c in read.packet[0].clock_snapshot.clocks}
    assert clocks[6] - clocks[3] == 5
    assert read.packet[0].clock_snapshot.primary_trace_clock == 3
    assert read.packet[1].trace_packet_defaults.timestamp_clock_id == 3


QUERY = """\
select t.tid, s.name, s.ts, s.dur, s.depth from slice s
join thread_track tt on s.track_id = tt.id join thread t using (utid) order by s.ts, s.depth;
select name, value from stats where severity in ('error', 'data_loss') and value > 0;
"""


@pytest.mark.skipif(not shutil.which("trace_processor_shell"), reason="Perfetto's trace processor isn't installed")
def test_perfettos_own_trace_processor_reads_it(tmp_path: Path) -> None:
    """The package on PyPI fetches it when it is first used; here it must be in PATH."""
    slices = [Slice("f", 10, 50, 0), Slice("g", 20, None, 1), Slice("h", 30, 30, 1), Slice("f", 60, None, 0)]
    (tmp_path / "trace").write_bytes(
        trace(Track(SHELL, slices), Track(TraceThread(40, 40, "sh"), [Slice("x", 5, 6, 0)]))
    )
    (tmp_path / "query").write_text(QUERY)
    command = ["trace_processor_shell", "-q", str(tmp_path / "query"), str(tmp_path / "trace")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.replace('"', "").split()
    assert found == [
        "tid,name,ts,dur,depth",
        *("40,x,5,1,0", "41,f,10,40,0", "41,g,20,10,1", "41,h,30,0,1", "41,f,60,-1,0"),
        "name,value",
    ]


@pytest.mark.parametrize(("number", "encoded"), [(0, "00"), (127, "7f"), (300, "ac02"), (-1, "ff" * 9 + "01")])
def test_varints(number: int, encoded: str) -> None:
    assert varint(number).hex() == encoded


def test_self_times_leave_out_what_children_took() -> None:
    slices = [Slice("a", 0, 100, 0), Slice("b", 10, 40, 1), Slice("c", 20, 25, 2), Slice("b", 50, 60, 1)]
    assert self_times(slices) == {("a", "b", "c"): 5, ("a", "b"): 35, ("a",): 60}


def test_self_times_of_what_did_not_end() -> None:
    slices = [Slice("a", 0, None, 0), Slice("b", 10, 10, 1), Slice("c", 20, None, 1)]
    assert self_times(slices) == {("a", "b"): 0}


@given(trees())
def test_self_times_add_up_to_what_the_roots_took(slices: list[Slice]) -> None:
    if any(s.end is None for s in slices):
        return
    assert sum(self_times(slices).values()) == sum(s.end - s.begin for s in slices if not s.depth and s.end)


@given(trees())
def test_a_walk_begins_and_ends_each_slice_once(slices: list[Slice]) -> None:
    steps = list(walk(slices))
    assert [begins for begins, _ in steps if begins] == slices
    assert sorted(map(id, (ends for _, ends in steps if ends))) == sorted(map(id, slices))
