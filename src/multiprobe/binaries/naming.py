"""Tells patterns for functions of a binary (`/usr/bin/python3:Py*`, `libc:mem*`) from those for the kernel. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from multiprobe.errors import PatternError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_WILDCARDS = frozenset("*?[")
_USDT = "usdt:"


class BinaryRequest(NamedTuple):
    """The patterns that were given for one binary, in order, without its name in front of them.

    is_usdt: they are for its USDT probes (`BINARY:usdt:…`), not for its functions
    """

    binary: str
    patterns: tuple[str, ...]
    is_usdt: bool = False


def split_binary(text: str, *, is_library: Callable[[str], bool]) -> tuple[str, str] | None:
    """(binary, pattern) of a pattern for a binary's functions, None for one of the kernel's.

    A binary is a path with a slash, or a name `lib…` for which `is_library` is true: kernel modules have such names
    too. What has USDT probes (`python3:usdt:…`) is one. An exclusion keeps its `!`, before the pattern.
    """
    bare = text.strip()
    mark = "!" if bare.startswith("!") else ""
    name, colon, rest = bare.removeprefix("!").strip().partition(":")
    if not colon or (name.startswith("/") and "/" not in name[1:] and rest.endswith("/")):  # a regular expression
        return None
    if (
        "/" not in name
        and not is_usdt(rest)
        and not (name.startswith("lib") and _WILDCARDS.isdisjoint(name) and is_library(name))
    ):
        return None
    if not rest:
        raise PatternError(f"invalid pattern {text!r}: it names no function", pattern=text, hint=f"write '{name}:*'")
    return name, mark + rest


def is_usdt(pattern: str) -> bool:
    """Whether a pattern for a binary is one for its USDT probes, `usdt:NAME`; `usdt::area` is a function of C++."""
    bare = pattern.removeprefix("!").lstrip()
    return bare.startswith(_USDT) and not bare.startswith(f"{_USDT}:")


def request_of(binary: str, pattern: str) -> BinaryRequest:
    """The request for one pattern, as `split_binary` returns it."""
    return BinaryRequest(binary, (_bare(pattern),), is_usdt(pattern))


def _bare(pattern: str) -> str:
    return pattern.replace(_USDT, "", 1) if is_usdt(pattern) else pattern


def requests(texts: Iterable[str], *, is_library: Callable[[str], bool]) -> tuple[list[BinaryRequest], list[str]]:
    """The requests for each binary, in the order in which the binaries are named, and the kernel's patterns.

    An exclusion without a binary (`!*_fini`) holds for all of them, and for the kernel.
    """
    of_binary: dict[tuple[str, bool], list[str]] = {}
    others = []
    for text in texts:
        found = split_binary(text, is_library=is_library)
        if found is None:
            others.append(text)
        else:
            of_binary.setdefault((found[0], is_usdt(found[1])), []).append(found[1])
    shared = tuple(text for text in others if text.strip().startswith("!"))
    wanted = [
        BinaryRequest(name, (*map(_bare, patterns), *shared), wants_usdt)
        for (name, wants_usdt), patterns in of_binary.items()
    ]
    return wanted, others if len(shared) < len(others) or not wanted else []
