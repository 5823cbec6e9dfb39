"""A batch with bad functions attaches the others, and leaks no link."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence

import pytest

from multiprobe.errors import KernelError, NotPermittedError
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms.batch import attach_batch
from multiprobe.links.mechanisms.link import Link
from multiprobe.links.mechanisms.linked import Linked
from multiprobe.syscalls.fd import FileDescriptor


class Kernel:
    """Attaches batches; keeps what is attached now as {descriptor: items}."""

    def __init__(self, bad: dict[int, int] | None = None, memory: int = 1 << 30) -> None:
        self.bad = bad or {}
        self.memory = memory
        self.links: list[tuple[FileDescriptor, tuple[int, ...]]] = []

    def open_link(self, items: Sequence[int]) -> Link:
        for item in items:
            if item in self.bad:
                raise KernelError("attaching", self.bad[item])
        if len(items) > self.memory:
            raise KernelError("attaching", errno.ENOMEM)
        link = FileDescriptor(os.open("/dev/null", os.O_RDONLY), "link")
        self.links.append((link, tuple(items)))
        return Link(link, Mechanism.KPROBE_MULTI, items)

    def attached(self) -> list[tuple[int, ...]]:
        return [items for link, items in self.links if not link.is_closed]

    def close(self) -> None:
        for link, _ in self.links:
            link.close()


def batch(open_link: Callable[[Sequence[int]], Link], items: Sequence[int]) -> tuple[list[Link], dict[int, int]]:
    linked = Linked(Mechanism.KPROBE_MULTI)
    attach_batch(open_link, items, linked, indices=range(1000))
    return linked.links, linked.refused


def test_the_rest_is_attached_in_one_link() -> None:
    kernel = Kernel({3: errno.ENOENT, 77: errno.EINVAL})
    links, culprits = batch(kernel.open_link, range(1000))
    assert culprits == {3: errno.ENOENT, 77: errno.EINVAL}
    assert len(links) == 1
    assert kernel.attached() == [tuple(i for i in range(1000) if i not in (3, 77))]
    kernel.close()


def test_a_fault_of_the_whole_is_raised_and_nothing_stays() -> None:
    kernel = Kernel(dict.fromkeys(range(500), errno.EINVAL))
    with pytest.raises(KernelError) as caught:
        batch(kernel.open_link, range(500))
    assert caught.value.errno == errno.EINVAL
    assert kernel.attached() == []


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENODEV])
def test_errnos_about_the_batch_are_not_bisected(number: int) -> None:
    kernel = Kernel({5: number})
    with pytest.raises(KernelError):
        batch(kernel.open_link, range(10))
    assert kernel.links == []


def test_not_permitted_passes_through() -> None:
    def refuse(items: Sequence[int]) -> Link:
        raise NotPermittedError("no")

    with pytest.raises(NotPermittedError):
        batch(refuse, range(10))


def test_short_of_memory_makes_several_links() -> None:
    kernel = Kernel({5: errno.ENOENT}, memory=300)
    links, culprits = batch(kernel.open_link, range(1000))
    assert culprits == {5: errno.ENOENT}
    assert len(links) == 4
    assert sorted(i for items in kernel.attached() for i in items) == [i for i in range(1000) if i != 5]
    kernel.close()


def test_all_guilty_attaches_nothing() -> None:
    kernel = Kernel({1: errno.ENOENT, 2: errno.ENOENT})
    assert batch(kernel.open_link, [1, 2]) == (
        [],
        {1: errno.ENOENT, 2: errno.ENOENT},
    )
