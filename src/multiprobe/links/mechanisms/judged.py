"""Functions of binaries with their verdicts on this kernel, which may turn probes on some instructions into harm."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from multiprobe.binaries.rules import UserVerdict
from multiprobe.binaries.usdt import UsdtProbe, UsdtProbeSet
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms.errnos import meaning
from multiprobe.links.mechanisms.harm import Harm, as_far_as_known, harmful_probes, harmful_sites
from multiprobe.links.mechanisms.refused import refused_as_far_as_known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multiprobe.binaries.sets import UserFunction, UserFunctionSet


def judged(chosen: UserFunctionSet) -> tuple[list[UserFunction], list[str]]:
    """The functions, each with its verdict on this kernel, and notes on what is not known."""
    if isinstance(chosen, UsdtProbeSet):
        harmful, notes = as_far_as_known(harmful_sites, chosen)
        return [_judged_probe(probe, harmful) for probe in chosen], notes
    harmful, notes = as_far_as_known(harmful_probes, chosen)
    can = [position for position, mask in enumerate(chosen.mechanisms()) if mask and position not in harmful]
    refused, unknown = refused_as_far_as_known(chosen.take(can)) if can else ({}, [])
    for place, number in refused.items():
        reason = f"{chosen.label(can[place])}: {meaning(Mechanism.UPROBE_MULTI, number)}"
        harmful[can[place]] = Harm("unprobeable", reason)
    return [_judged(function, harmful.get(position)) for position, function in enumerate(chosen)], notes + unknown


def _judged(function: UserFunction, harm: Harm | None) -> UserFunction:
    if harm is None or not function.verdict.is_attachable:
        return function
    return replace(function, verdict=UserVerdict(harm.code, harm.reason))


def _judged_probe(probe: UsdtProbe, harmful: Mapping[int, Harm]) -> UsdtProbe:
    """The same for a USDT probe: each site has its own verdict; the probe is refused if they all are."""
    sites = tuple(
        replace(site, verdict=UserVerdict(harm.code, f"{probe}: {harm.reason}"))
        if (harm := harmful.get(site.file_offset)) and site.verdict.is_attachable
        else site
        for site in probe.sites
    )
    is_lost = not any(site.verdict.is_attachable for site in sites)
    return replace(probe, sites=sites, verdict=sites[0].verdict if is_lost else probe.verdict)
