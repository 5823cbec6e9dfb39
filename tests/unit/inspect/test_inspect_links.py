"""Listing links against a fake kernel behind the system calls: old ones, hidden addresses, links that go away."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from multiprobe.errors import NotPermittedError
from multiprobe.inspect.names import Names
from multiprobe.inspect.objects import KprobeState
from multiprobe.inspect.observed import list_links
from multiprobe.inspect.owners import Holders, Owner
from multiprobe.inspect.sources import Sources
from multiprobe.kernel.symbols import parse_kallsyms
from multiprobe.syscalls import raw
from multiprobe.uapi.bpf import Cmd, LinkType

ONE, TWO = 0xFFFFFFFF81000010, 0xFFFFFFFF81000020
SYMBOLS = parse_kallsyms(f"{ONE:x} T one\n{TWO:x} T two\nffffffffc0001000 t three\t[mod]\n".encode())
ME = Owner(7, "tracer", 3)


class FakeKernel:
    """Links and programs by id. `gone` are links that end between being listed and being opened."""

    def __init__(self, links: dict[int, bytes], arrays: dict[int, tuple[list[int], list[int]]] | None = None) -> None:
        self.links = links
        self.arrays = arrays or {}
        self.gone: set[int] = set()
        self.errors: dict[int, int] = {}
        self.events: dict[int, tuple[int, int, int, int]] = {}
        self._opened: dict[int, tuple[str, int]] = {}

    def __call__(self, nr: int, *arguments: int) -> int:
        assert nr == raw.BPF
        cmd, attr, _ = arguments
        if cmd in self.errors:
            return -self.errors[cmd]
        number: int = ctypes.c_uint32.from_address(attr).value
        if cmd == Cmd.LINK_GET_NEXT_ID:
            later = sorted(link for link in self.links if link > number)
            if not later:
                return -errno.ENOENT
            ctypes.c_uint32.from_address(attr + 4).value = later[0]
            return 0
        if cmd in (Cmd.LINK_GET_FD_BY_ID, Cmd.PROG_GET_FD_BY_ID):
            kind = "link" if cmd == Cmd.LINK_GET_FD_BY_ID else "program"
            if kind == "link" and number in self.gone:
                return -errno.ENOENT
            fd = os.open(os.devnull, os.O_RDONLY)
            self._opened[fd] = (kind, number)
            return fd
        if cmd == Cmd.OBJ_GET_INFO_BY_FD:
            return self._info(number, ctypes.c_uint64.from_address(attr + 8).value)
        if cmd == Cmd.TASK_FD_QUERY:
            return self._event(ctypes.c_uint32.from_address(attr + 4).value, attr)
        raise AssertionError(f"command {cmd}")

    def _info(self, fd: int, into: int) -> int:
        kind, number = self._opened[fd]
        if kind == "program":
            told = struct.pack("<II8s", 2, number, bytes(range(8))).ljust(64, b"\0") + f"prog_{number}".encode()
            ctypes.memmove(into, told, len(told))
            return 0
        addresses, cookies = self.arrays.get(number, ([], []))
        places = struct.unpack("<QIIQQ", ctypes.string_at(into + 16, 32))
        for where, items in ((places[0], addresses), (places[4], cookies)):
            if where:
                ctypes.memmove(where, struct.pack(f"<{len(items)}Q", *items), 8 * len(items))
        ctypes.memmove(into, self.links[number], len(self.links[number]))
        return 0

    def _event(self, fd: int, attr: int) -> int:
        if fd not in self.events:
            return -errno.ENOENT
        prog_id, kind, offset, address = self.events[fd]
        ctypes.memmove(attr + 24, struct.pack("<IIQQ", prog_id, kind, offset, address), 24)
        return 0


class FakeLayouts:
    """A kernel whose link info has these members."""

    def __init__(self, *members: str) -> None:
        self._members = members

    def offset(self, structure: str, path: str) -> int | None:
        return 0 if structure == "bpf_link_info" and path in self._members else None


class FakeSources(Sources):
    """Sources without a system."""

    def __init__(
        self, *members: str, objects: object = None, hides: bool = False, events: tuple[Owner, ...] = ()
    ) -> None:
        super().__init__(kcore="")
        facts: dict[str, Any] = {
            "names": None if hides else Names(SYMBOLS),
            "layouts": FakeLayouts(*members),
            "objects": objects,
            "btf": None,
            "holders": Holders({1: (ME,)}, events, 0),
        }
        self.__dict__.update(facts)


class FakeObjects:
    def is_session(self, link_id: int) -> bool:
        return link_id == 2

    def trampoline_cookie(self, link_id: int) -> int:
        return 1000 + link_id

    def perf_cookie(self, link_id: int) -> int:
        return 2000 + link_id

    def perf_kprobe(self, link_id: int) -> KprobeState | None:
        return KprobeState((ONE, TWO)[link_id - 1] + 4, link_id == 2, 30 + link_id)


def head(kind: int, link_id: int, rest: bytes) -> bytes:
    return struct.pack("<III4x", kind, link_id, 40 + link_id) + rest


def kprobe_multi(link_id: int, count: int, flags: int = 0, missed: int = 0) -> bytes:
    return head(LinkType.KPROBE_MULTI, link_id, struct.pack("<QIIQQ", 0, count, flags, missed, 0))


def perf_kprobe(link_id: int, kind: int, address: int, cookie: int) -> bytes:
    return head(LinkType.PERF_EVENT, link_id, struct.pack("<I4xQIIQQQ", kind, 0, 0, 0, address, 3, cookie))


@pytest.fixture
def use() -> Iterator[Any]:
    stack: list[raw.using] = []

    def enter(kernel: FakeKernel) -> None:
        seam = raw.using(kernel)
        seam.__enter__()
        stack.append(seam)

    yield enter
    for seam in stack:
        seam.__exit__()


MODERN = ("kprobe_multi.count", "kprobe_multi.cookies", "kprobe_multi.missed", "perf_event.kprobe",
          "perf_event.kprobe.cookie", "perf_event.kprobe.missed", "tracing.cookie")  # fmt: skip


def test_kprobe_multi_with_everything_told(use: Any) -> None:
    use(FakeKernel({1: kprobe_multi(1, 2, missed=9)}, {1: ([ONE, TWO], [5, 6])}))
    (link,) = list_links(FakeSources(*MODERN, objects=FakeObjects()))
    assert (link.kind, link.when, link.n_functions, link.missed) == ("kprobe_multi", "entry", 2, 9)
    assert [(str(target), target.cookie) for target in link.targets] == [("one", 5), ("two", 6)]
    assert (link.program.name, link.program.tag) == ("prog_41", bytes(range(8)).hex())
    assert link.owners == (ME,)
    assert link.has_cookies


def test_sides_of_kprobe_multi(use: Any) -> None:
    use(FakeKernel({1: kprobe_multi(1, 0, flags=1), 2: kprobe_multi(2, 0)}))
    assert [link.when for link in list_links(FakeSources(*MODERN, objects=FakeObjects()))] == ["return", "session"]
    sources = FakeSources(*MODERN)
    assert [link.when for link in list_links(sources)] == ["return", ""]
    assert "session" in sources.missing[0].what


def test_cookies_that_a_kernel_does_not_tell_are_not_taken_for_zero(use: Any) -> None:
    use(FakeKernel({1: kprobe_multi(1, 1)}, {1: ([ONE], [5])}))
    (link,) = list_links(FakeSources("kprobe_multi.count", objects=FakeObjects()))
    assert [target.cookie for target in link.targets] == [None]
    assert (link.missed, link.has_cookies) == (None, None)


def test_a_kernel_that_tells_nothing_of_kprobe_multi(use: Any) -> None:
    use(FakeKernel({1: kprobe_multi(1, 0)}))
    sources = FakeSources()
    (link,) = list_links(sources)
    assert (link.n_functions, link.targets) == (None, ())
    assert "6.6" in sources.missing[0].why


def test_hidden_addresses(use: Any) -> None:
    use(FakeKernel({1: kprobe_multi(1, 2)}, {1: ([0, 0], [5, 6])}))
    sources = FakeSources(*MODERN, hides=True)
    (link,) = list_links(sources)
    assert (link.n_functions, link.targets) == (2, ())
    assert any("hides addresses" in item.why for item in sources.missing)


def test_single_kprobes(use: Any) -> None:
    use(FakeKernel({1: perf_kprobe(1, 3, ONE + 4, 8), 2: perf_kprobe(2, 4, TWO + 9, 0), 3: perf_kprobe(3, 1, 0, 0)}))
    first, second, third = list_links(FakeSources(*MODERN))
    assert (first.kind, first.when, first.missed) == ("kprobe", "entry", 3)
    assert [(str(target), target.cookie) for target in first.targets] == [("one", 8)]
    assert (second.when, [str(target) for target in second.targets]) == ("return", ["two+0x9"])
    assert (third.kind, third.when, third.targets) == ("uprobe", "entry", ())


def test_single_kprobes_of_a_kernel_without_perf_link_info(use: Any) -> None:
    same_program = struct.pack("<III4x", LinkType.PERF_EVENT, 2, 41)
    kernel = FakeKernel({1: head(LinkType.PERF_EVENT, 1, b""), 2: same_program})
    kernel.events = {5: (41, 2, 0, ONE), 6: (41, 3, 0, TWO)}
    use(kernel)
    events = tuple(Owner(7, "tracer", fd) for fd in (4, 5, 6))
    links = list_links(FakeSources(objects=FakeObjects(), events=events))
    assert [(link.kind, link.when, link.missed) for link in links] == [
        ("kprobe", "entry", 31),
        ("kprobe", "return", 32),
    ]
    assert [(str(link.targets[0]), link.targets[0].cookie) for link in links] == [("one", 2001), ("two", 2002)]
    sources = FakeSources(events=events)  # without memory the two can't be told apart
    assert [(link.kind, link.targets) for link in list_links(sources)] == [("kprobe", ())] * 2
    assert any("6.6" in item.why for item in sources.missing)


def test_the_only_event_of_a_program_is_its_links(use: Any) -> None:
    kernel = FakeKernel({1: head(LinkType.PERF_EVENT, 1, b"")})
    kernel.events = {5: (41, 2, 0, TWO)}
    use(kernel)
    (link,) = list_links(FakeSources(events=(Owner(7, "tracer", 5),)))
    assert (link.kind, link.when) == ("kprobe", "entry")
    assert [(str(target), target.cookie) for target in link.targets] == [("two", None)]


def test_programs_on_perf_events_without_links(use: Any) -> None:
    kernel = FakeKernel({})
    kernel.events = {5: (77, 3, 0, ONE), 6: (77, 3, 0, ONE)}
    use(kernel)
    events = (Owner(7, "tracer", 5), Owner(8, "other", 6))
    (link,) = list_links(FakeSources(*MODERN, events=events))
    assert (link.link_id, link.kind, link.when, link.program.prog_id) == (0, "kprobe", "return", 77)
    assert link.owners == events
    assert [target.cookie for target in link.targets] == [None]


def test_events_that_may_not_be_asked_about(use: Any) -> None:
    kernel = FakeKernel({})
    kernel.errors[Cmd.TASK_FD_QUERY] = errno.EPERM
    use(kernel)
    sources = FakeSources(*MODERN, events=(ME,))
    assert list_links(sources) == ()
    assert sources.missing[0].what == "what perf events probe"


def test_a_single_trampoline_without_btf(use: Any) -> None:
    use(FakeKernel({3: head(LinkType.TRACING, 3, struct.pack("<IIII", 25, 1, 66574, 0))}))
    sources = FakeSources(objects=FakeObjects())
    sources._btfs[1] = None
    (link,) = list_links(sources)
    assert (link.kind, link.when) == ("trampoline", "return")
    assert [(str(target), target.cookie) for target in link.targets] == [("BTF id 66574", 1003)]


def test_links_that_go_away_and_links_of_other_kinds(use: Any) -> None:
    kernel = FakeKernel({1: kprobe_multi(1, 0), 2: head(5, 2, b""), 3: head(LinkType.RAW_TRACEPOINT, 3, b"")})
    kernel.gone.add(1)
    use(kernel)
    assert [(link.link_id, link.kind) for link in list_links(FakeSources(*MODERN))] == [(3, "raw_tracepoint")]


def test_without_the_right_to_list(use: Any) -> None:
    kernel = FakeKernel({})
    kernel.errors[Cmd.LINK_GET_NEXT_ID] = errno.EPERM
    use(kernel)
    with pytest.raises(NotPermittedError):
        list_links(FakeSources())
