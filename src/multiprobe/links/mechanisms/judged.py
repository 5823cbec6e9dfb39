"""Functions of binaries with their verdicts on this kernel, which may turn probes on some instructions into harm."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from multiprobe.binaries.rules import UserVerdict
from multiprobe.binaries.usdt import UsdtProbe, UsdtProbeSet
from multiprobe.links.mechanisms.harm import harmful_probes
from multiprobe.links.mechanisms.red_zone import harmful_sites

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multiprobe.binaries.sets import UserFunction, UserFunctionSet


def judged(chosen: UserFunctionSet) -> Iterator[UserFunction]:
    """The functions, each with its verdict on this kernel."""
    if isinstance(chosen, UsdtProbeSet):
        yield from _judged_probes(chosen)
        return
    harmful = harmful_probes(chosen)
    for position, function in enumerate(chosen):
        is_harmed = position in harmful and function.verdict.is_attachable
        yield replace(function, verdict=UserVerdict(*harmful[position])) if is_harmed else function


def _judged_probes(chosen: UsdtProbeSet) -> Iterator[UsdtProbe]:
    """The same for USDT probes: each site has its own verdict; a probe is refused if they all are."""
    harmful = harmful_sites(chosen)
    for probe in chosen:
        sites = tuple(
            replace(site, verdict=UserVerdict("red_zone", f"{probe}: {harmful[site.file_offset]}"))
            if site.file_offset in harmful and site.verdict.is_attachable
            else site
            for site in probe.sites
        )
        is_lost = not any(site.verdict.is_attachable for site in sites)
        yield replace(probe, sites=sites, verdict=sites[0].verdict if is_lost else probe.verdict)
