"""Finds the libraries that the loader finds, by name, and by them tells patterns for binaries from the kernel's."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from multiprobe.binaries.loader_cache import find_soname, parse_levels, parse_loader_cache
from multiprobe.binaries.naming import requests

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multiprobe.binaries.naming import BinaryRequest

LOADER_CACHE = "/etc/ld.so.cache"
LIBRARY_FOLDERS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")


def find_library(name: str, *, loader_cache: str = LOADER_CACHE) -> str:
    """The path of a library that the loader finds for programs of this machine by default, or ""."""
    found = find_soname(name, _libraries(loader_cache))
    if found:
        return found
    tried = (f"{folder}/{file}" for folder in LIBRARY_FOLDERS for file in (name, f"{name}.so"))
    return next((path for path in tried if ".so" in path and os.path.isfile(path)), "")


def is_library(name: str) -> bool:
    """Whether the loader finds a library of this name."""
    return bool(find_library(name))


def split_requests(texts: Iterable[str]) -> tuple[list[BinaryRequest], list[str]]:
    """The requests for each binary, and the patterns for the kernel."""
    return requests(texts, is_library=is_library)


@cache
def _libraries(loader_cache: str) -> dict[str, str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            levels = parse_levels(file.read())
        with open(loader_cache, "rb") as file:
            return parse_loader_cache(file.read(), os.uname().machine, levels)
    except OSError:
        return {}
