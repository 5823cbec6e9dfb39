"""Plans an attachment: assigns each requested function to one mechanism, or refuses it.

Works on columns (one entry per requested function), so that 50,000 functions cost milliseconds; knows no kernel
and makes no system call.
"""

from __future__ import annotations

from array import array
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.plan.costs import COSTS, by_cost

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


class Group(NamedTuple):
    """Functions that go by one mechanism: `positions` are theirs in the request, ascending (a range, if all)."""

    mechanism: Mechanism
    positions: Sequence[int]


class LinkPlan(NamedTuple):
    """`groups` to attach, in this order, and the `refused` positions (their masks were empty).

    paired: mask of the mechanisms for which a session is two links
    masks: what may carry each function of the request; usable: what the kernel has and the user allows
    """

    when: str
    groups: list[Group]
    refused: list[int]
    paired: Mechanism = Mechanism.NONE
    masks: bytes = b""
    usable: Mechanism = Mechanism.ALL

    @property
    def n_functions(self) -> int:
        return sum(len(group.positions) for group in self.groups)

    @property
    def mechanisms(self) -> Mechanism:
        """Mask of the mechanisms that it uses."""
        mask = Mechanism.NONE
        for group in self.groups:
            mask |= group.mechanism
        return mask

    @property
    def planned(self) -> Sequence[int]:
        """The positions of the functions that it attaches, ascending."""
        if len(self.groups) == 1:
            return self.groups[0].positions
        return sorted(position for group in self.groups for position in group.positions)

    def ordered(self, cookies: array[int] | None) -> array[int] | None:
        """Cookies by position in the request as those of the functions that it attaches, in order."""
        return None if cookies is None else array("Q", map(cookies.__getitem__, self.planned))

    @property
    def possible(self) -> Mechanism:
        """Mask of the mechanisms that it uses, and of those that may take over what they are refused."""
        mask = Mechanism.NONE
        for other in set(self.masks):
            mask |= Mechanism(other)
        return self.mechanisms | (mask & self.usable)

    def with_groups(self, groups: list[Group]) -> LinkPlan:
        """The same plan with other groups."""
        return self._replace(groups=groups)

    def without(self, positions: Collection[int]) -> LinkPlan:
        """The same plan without the functions at these positions."""
        if not positions:
            return self
        left = ((group, [one for one in group.positions if one not in positions]) for group in self.groups)
        return self.with_groups([Group(group.mechanism, kept) for group, kept in left if kept])

    @property
    def n_links(self) -> int:
        """Links that the plan takes, if the kernel accepts all of it."""
        return sum(self.links_of(group) for group in self.groups)

    def links_of(self, group: Group) -> int:
        """Links that one group takes."""
        if COSTS[self.when, group.mechanism].is_batch:
            return 1
        return len(group.positions) * (2 if group.mechanism & self.paired else 1)


def make_plan(
    masks: Sequence[int], *, when: str, usable: Mechanism = Mechanism.ALL, paired: Mechanism = Mechanism.NONE
) -> LinkPlan:
    """Choose a mechanism for each function.

    `masks` has, for each requested function, the mechanisms (bits of `kernel.mechanism`) that may carry it on this
    side; `usable` those that the kernel has and the user allows. Where a batch of one mechanism can take everything,
    the cheapest such one does; else each function goes by the cheapest that can carry it.
    """
    wanted = bytes(masks)
    order = by_cost([bit for bit in Mechanism if bit & usable], when=when, n=len(wanted), paired=paired)
    order.sort(key=lambda bit: not _carries_all(bit, wanted, when=when, usable=usable))
    choice = bytes(next((bit for bit in order if bit & mask), 0) for mask in range(256))
    chosen = wanted.translate(choice)
    groups = [Group(bit, _positions(chosen, bit)) for bit in order if bit in chosen]
    return LinkPlan(when, groups, list(_positions(chosen, 0)), paired, wanted, usable)


def _carries_all(bit: Mechanism, wanted: bytes, *, when: str, usable: Mechanism) -> bool:
    """Whether one link of this mechanism can take all functions that any usable one can."""
    return COSTS[when, bit].is_batch and all(mask & bit for mask in set(wanted) if mask & usable)


def _positions(chosen: bytes, bit: int) -> Sequence[int]:
    """Where it is chosen."""
    everywhere = range(len(chosen))
    if chosen == bytes([bit]) * len(chosen):
        return everywhere
    if bit not in chosen:
        return ()
    return list(compress(everywhere, chosen.translate(bytes(byte == bit for byte in range(256)))))
