"""Sessions that two programs make together, where the kernel has none: what the entry leaves, the return finds.

A call is known by the address of its stack frame: as long as it is under way, no other call has that address, in no
task, interrupt or recursion, and both of its programs see it. So a table of records by frame is all it takes, without
a lock (a program may interrupt another one anywhere, and hold nothing that it could wait for) and without counting
depths that a missed side would upset. What a call that never returns leaves behind is taken over by the next one in
its frame, or by one that finds no room.

Knows the table (`maps.layout`) and how to emit code; must not know hooks or the language.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.maps.layout import (
    SESSION_BITS,
    SESSION_FRAME,
    SESSION_OWNER,
    SESSION_SIZE,
    SESSION_VALUE,
    SESSIONS_SIZE,
    UNPAIRED_ENTRIES,
    UNPAIRED_RETURNS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multiprobe.compiler.backend.emitter import Emitter

PROBES = 8
"""Places where a frame's record may be: from its own on, the next ones."""
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)


def open_record(e: Emitter, frame: str, owner: str) -> str:
    """At entry: a record for this call. The address of its session, which is 0."""
    offset_of, ready, stale = e.stack("i64"), e.label("ready"), e.label("stale")
    for offset, record in _candidates(e, frame):
        e.store(offset_of, offset)
        key, following = e.load(e.at(record, SESSION_FRAME)), e.label("next")
        _branch_if_mine(e, record, key, frame, owner, stale)
        is_free, claim = e.make(f"icmp eq i64 {key}, 0"), e.label("claim")
        e.branch(is_free, claim, following)
        e.begin(claim)
        e.branch(_claim(e, record, frame), ready, following)
        e.begin(following)
    home, record = next(_candidates(e, frame))  # no room: whatever is there is treated as gone
    e.store(offset_of, home)
    e.store(e.at(record, SESSION_FRAME), frame)
    e.begin(stale)
    _count(e, UNPAIRED_ENTRIES)
    e.begin(ready)
    record = _record(e, e.load(offset_of))
    e.store(e.at(record, SESSION_OWNER), owner)
    session = e.at(record, SESSION_VALUE)
    e.store(session, "0")
    return session


def take_record(e: Emitter, frame: str, owner: str) -> str:
    """At return: the address of what the entry left, a copy; the record is free again. Without one the program ends."""
    offset_of, session, found = e.stack("i64"), e.stack("i64"), e.label("found")
    for offset, record in _candidates(e, frame):
        e.store(offset_of, offset)
        _branch_if_mine(e, record, e.load(e.at(record, SESSION_FRAME)), frame, owner, found)
    _count(e, UNPAIRED_RETURNS)
    e.jump(e.end)
    e.begin(found)
    record = _record(e, e.load(offset_of))
    e.store(session, e.load(e.at(record, SESSION_VALUE)))
    e.store(e.at(record, SESSION_FRAME), "0")
    return session


def _candidates(e: Emitter, frame: str) -> Iterator[tuple[str, str]]:
    """(offset, address) of each record that may be the frame's."""
    mixed = e.make(f"mul i64 {frame}, {_GOLDEN}")
    home = e.make(f"mul i64 {e.make(f'lshr i64 {mixed}, {64 - SESSION_BITS}')}, {SESSION_SIZE}")
    for n in range(PROBES):
        offset = e.make(f"add i64 {home}, {n * SESSION_SIZE}")
        yield offset, _record(e, offset)


def _record(e: Emitter, offset: str) -> str:
    inside = e.make(f"and i64 {offset}, {SESSIONS_SIZE - SESSION_SIZE}")
    return e.at(e.map_value("sessions"), inside)


def _branch_if_mine(e: Emitter, record: str, key: str, frame: str, owner: str, mine: str) -> None:
    """Go to `mine` if the record is this call's, on otherwise."""
    other = e.label("other")
    is_frame = e.make(f"icmp eq i64 {key}, {frame}")
    if owner != "0":
        same = e.label("same")
        e.branch(is_frame, same, other)
        e.begin(same)
        is_frame = e.make(f"icmp eq i64 {e.load(e.at(record, SESSION_OWNER))}, {owner}")
    e.branch(is_frame, mine, other)
    e.begin(other)


def _claim(e: Emitter, record: str, frame: str) -> str:
    """Make a free record the frame's, unless another CPU was faster: whether it is."""
    at = e.at(record, SESSION_FRAME)
    pair = e.make(f"cmpxchg ptr {at}, i64 0, i64 {frame} monotonic monotonic, align 8")
    return e.make(f"extractvalue {{ i64, i1 }} {pair}, 1")


def _count(e: Emitter, counter: int) -> None:
    e.do(f"atomicrmw add ptr {e.at(e.rare_map_value('control'), counter)}, i64 1 monotonic, align 8")
