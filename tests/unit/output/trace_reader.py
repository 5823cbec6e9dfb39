"""A reader of Perfetto traces, independent of the writer: the wire format by its specification, slices by a stack.

Only what tests ask for: (thread name, slice name, begin, end or None, depth, arguments) of every slice.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Read(NamedTuple):
    process: str
    thread: str
    tid: int
    name: str
    begin: int
    end: int | None
    depth: int
    arguments: dict[str, Any]


def fields(data: bytes) -> list[tuple[int, Any]]:
    """(number, int or bytes) of each field of a message."""
    found, at = [], 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            found.append((key >> 3, varint()))
        elif key & 7 == 2:
            size = varint()
            assert at + size <= len(data)
            found.append((key >> 3, data[at : at + size]))
            at += size
        else:
            raise AssertionError(f"wire type {key & 7}")
    return found


def one(message: bytes, number: int, default: Any = None) -> Any:
    found = [item for field, item in fields(message) if field == number]
    return found[-1] if found else default


class _Reader:
    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.keys: dict[int, str] = {}
        self.tracks: dict[int, tuple[int, str, int]] = {}
        self.processes: dict[int, str] = {}
        self.stacks: dict[int, list[dict[str, Any]]] = {}
        self.slices: list[dict[str, Any]] = []

    def packet(self, packet: bytes) -> None:
        for number, item in fields(packet):
            if number == 12:
                self.intern(item)
            elif number == 60:
                self.describe(item)
        if (event := one(packet, 11)) is not None:
            self.event(event, one(packet, 8))

    def intern(self, data: bytes) -> None:
        for number, item in fields(data):
            table = {2: self.names, 3: self.keys}.get(number)
            if table is not None:
                assert one(item, 1) not in table
                table[one(item, 1)] = one(item, 2).decode()

    def describe(self, data: bytes) -> None:
        uuid = one(data, 1)
        if (process := one(data, 3)) is not None:
            self.processes[uuid] = one(process, 6).decode()
        elif (thread := one(data, 4)) is not None:
            assert one(data, 5) in self.processes
            self.tracks[uuid] = (one(data, 5), one(thread, 5).decode(), one(thread, 2))
        else:
            self.tracks[uuid] = (0, one(data, 2).decode(), 0)

    def event(self, event: bytes, time: int) -> None:
        uuid = one(event, 11)
        parent, thread, tid = self.tracks[uuid]
        stack = self.stacks.setdefault(uuid, [])
        if one(event, 9) == 2:
            stack.pop()["end"] = time
            return
        made = {
            "process": self.processes.get(parent, ""),
            "thread": thread,
            "tid": tid,
            "name": self.names[one(event, 10)],
            "begin": time,
            "end": None,
            "depth": len(stack),
            "arguments": dict(map(self.argument, [item for number, item in fields(event) if number == 4])),
        }
        stack.append(made)
        self.slices.append(made)

    def argument(self, data: bytes) -> tuple[str, Any]:
        for number, item in fields(data):
            if number == 2:
                return self.keys[one(data, 1)], bool(item)
            if number == 4:
                return self.keys[one(data, 1)], item - (item >> 63 << 64)
            if number == 3:
                return self.keys[one(data, 1)], item
            if number == 6:
                return self.keys[one(data, 1)], item.decode()
        raise AssertionError("an argument without a value")


def read_trace(data: bytes) -> list[Read]:
    """All slices, in the file's order."""
    reader = _Reader()
    for number, packet in fields(data):
        assert number == 1
        reader.packet(packet)
    return [Read(**made) for made in reader.slices]
