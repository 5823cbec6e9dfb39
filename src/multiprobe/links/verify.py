"""Reading links back: is each one where it was planned to be? (The kernel resolves some names on its own.)"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from multiprobe.binaries.mixed import binary_parts, kernel_part
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms import kprobe_multi, tracing_multi

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.links.mechanisms.link import Link


def differences(links: Sequence[Link], functions: AnyFunctionSet) -> list[str]:
    """How the places that the kernel tells of links differ from those of their functions, in words.

    Links whose addresses the kernel hides (kptr_restrict) or can't tell are taken on trust.
    """
    found: list[str] = []
    for link in links:
        if link.mechanism == Mechanism.UPROBE_MULTI:
            found += _in_binary(link, functions)
            continue
        told = _read_back(link)
        planned = _addresses(link, functions)
        if told is not None and told != planned:
            found += _compare(sorted(planned), sorted(told), functions)
    return found


def _in_binary(link: Link, functions: AnyFunctionSet) -> list[str]:
    """The same for a link on a binary, by offsets in the file."""
    from multiprobe.links.mechanisms import uprobe_multi

    planned = link.offsets or array("Q")
    told = uprobe_multi.read_back(link.fd, len(planned))
    if told is None or told == planned or sorted(told) == sorted(planned):
        return []
    (_, chosen), *_ = binary_parts(functions.take(link.functions))
    sites = chosen.sites()
    names = dict(zip(sites.offsets, map(chosen.label, sites.positions), strict=True))
    missing = [names[offset] for offset in planned if offset not in set(told)]
    extra = [f"offset {offset:#x} of {chosen.table.path}" for offset in sorted(set(told) - set(planned))]
    return [f"{name} is not on the link" for name in missing] + [f"{one} is, and was not planned" for one in extra]


def _addresses(link: Link, functions: AnyFunctionSet) -> array[int]:
    addresses = functions.addresses()
    if isinstance(link.functions, range) and len(link.functions) == len(addresses):
        return addresses
    return array("Q", map(addresses.__getitem__, link.functions))


def _read_back(link: Link) -> array[int] | None:
    """The addresses that the kernel says the link is on, or None where it doesn't tell."""
    if link.mechanism == Mechanism.KPROBE_MULTI:
        answer = kprobe_multi.read_back(link.fd, len(link.functions))
        return answer[0] if answer else None
    if link.mechanism == Mechanism.TRACING_MULTI:
        told = tracing_multi.read_back(link.fd, len(link.functions))
        return told[1] if told and any(told[1]) else None
    return None


def _compare(planned: list[int], found: list[int], all_functions: AnyFunctionSet) -> list[str]:
    _, functions = kernel_part(all_functions)
    if found == planned or functions is None:
        return []
    call_sites = functions.call_offsets()
    missing = set(planned) - set(found)
    extra = set(found) - set(planned)
    for index, address in enumerate(functions.addresses()):  # some kernels tell the call site, behind the ENDBR
        site = address + call_sites[index]
        if address in missing and site in extra:
            missing.discard(address)
            extra.discard(site)
    names = {address: functions.label(index) for index, address in enumerate(functions.addresses())}
    return [f"{names[address]} ({address:#x}) is not on the link" for address in sorted(missing)] + [
        f"{address:#x} is on the link and was not planned" for address in sorted(extra)
    ]
