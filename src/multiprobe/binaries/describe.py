"""Describes functions of binaries as JSON objects. Pure.

Addresses and offsets are hexadecimal strings with 0x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.binaries.usdt import UsdtProbe

if TYPE_CHECKING:
    from multiprobe.binaries.sets import UserFunction
    from multiprobe.binaries.usdt_sites import UsdtSite


def function_record(function: UserFunction) -> dict[str, object]:
    """The object for one function; of a USDT probe with its sites."""
    sites = {"sites": list(map(_site_record, function.sites))} if isinstance(function, UsdtProbe) else {}
    return {
        "type": "user_function",
        "function": str(function),
        "symbol": function.symbol,
        "binary": function.binary,
        "address": f"{function.address + function.offset:#x}",
        "file_offset": f"{function.file_offset + function.offset:#x}",
        "size": function.size,
        "aliases": list(function.aliases),
        "source": function.source,
        "verdict": "attachable" if function.verdict.is_attachable else "refused",
        "reason": function.verdict.reason,
        "code": function.verdict.code,
        **sites,
    }


def _site_record(site: UsdtSite) -> dict[str, object]:
    return {
        "address": f"{site.address:#x}",
        "file_offset": f"{site.file_offset:#x}",
        "semaphore": f"{site.semaphore:#x}" if site.semaphore else "",
        "arguments": site.arguments,
        "verdict": "attachable" if site.verdict.is_attachable else "refused",
        "reason": site.verdict.reason,
        "code": site.verdict.code,
    }
