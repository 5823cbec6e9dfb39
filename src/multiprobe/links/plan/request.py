"""Reads the request that is passed to `mp.attach`: the set of functions, and a cookie for each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING

from multiprobe.binaries.libraries import split_requests
from multiprobe.binaries.mixed import MixedFunctionSet, joined
from multiprobe.binaries.sets import UserFunctionSet
from multiprobe.compiler.shape import SIDES
from multiprobe.errors import UsageError
from multiprobe.functions.kernel import Kernel
from multiprobe.functions.sets import Function, FunctionSet
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.binaries.naming import BinaryRequest

    Functions = (
        AnyFunctionSet
        | Function
        | str
        | int
        | Iterable[str]
        | Iterable[int]
        | Iterable[Function]
        | Iterable[FunctionSet | UserFunctionSet | MixedFunctionSet]
    )

_PATTERN_CHARACTERS = frozenset("*?[!/")
_EXPECTED = "a set of functions, a pattern, or a list of patterns, symbols, addresses or sets"
_MAX_COOKIE = (1 << 64) - 1


def choose(functions: Functions, kernel: Kernel | None, *, unsafe: bool) -> AnyFunctionSet:
    """The functions meant by a set, a pattern, or a list of patterns, of symbols, of addresses, or of sets.

    A list of strings without any pattern character is a list of exact symbols: each is answered for by itself.
    """
    if isinstance(functions, FunctionSet):
        if kernel is not None and kernel.table is not functions.table:
            raise UsageError("these functions were chosen from another kernel= than the one given")
        return functions
    if isinstance(functions, UserFunctionSet | MixedFunctionSet):
        return functions
    if not _is_one(functions) and (isinstance(functions, bytes | dict) or not isinstance(functions, Iterable)):
        raise UsageError(f"invalid functions {functions!r}: expected {_EXPECTED}")
    return _listed([functions] if _is_one(functions) else list(functions), kernel, unsafe=unsafe)  # type: ignore[arg-type]


def require_kernel(kernel: object) -> None:
    """Raise UsageError for what is neither a Kernel nor None."""
    if kernel is not None and not isinstance(kernel, Kernel):
        raise UsageError(f"invalid kernel={kernel!r}: expected mp.Kernel()")


def _is_one(functions: object) -> bool:
    return isinstance(functions, str | int | Function)


def _listed(items: Sequence[object], kernel: Kernel | None, *, unsafe: bool) -> AnyFunctionSet:
    if not items:
        raise UsageError(
            "no functions were requested", hint="give a pattern, symbols, addresses or kernel.functions(…)"
        )
    sets = [item for item in items if isinstance(item, FunctionSet | UserFunctionSet | MixedFunctionSet)]
    if len(sets) == len(items):
        return joined(sets)
    strings = [item for item in items if isinstance(item, str)]
    if len(strings) == len(items):
        return choose_by_text(strings, kernel, unsafe=unsafe)
    kernel = kernel or Kernel()
    numbers = [item.address + item.offset if isinstance(item, Function) else item for item in items]
    if all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        return kernel.by_addresses(numbers, unsafe=unsafe)  # type: ignore[arg-type]
    raise UsageError(
        "functions must be all patterns, all symbols, all addresses or all sets", hint="split the request in two"
    )


def choose_by_text(texts: Sequence[str], kernel: Kernel | None, *, unsafe: bool) -> AnyFunctionSet:
    """The functions meant by patterns or symbols, of the kernel and of binaries (`libc:mem*`)."""
    of_binaries, of_kernel = split_requests(texts)
    if not of_binaries:
        return _of_kernel(of_kernel, kernel or Kernel(), unsafe=unsafe)
    sets: list[AnyFunctionSet] = [_of_kernel(of_kernel, kernel or Kernel(), unsafe=unsafe)] if of_kernel else []
    return joined([*sets, *(choose_of_binary(request, unsafe=unsafe) for request in of_binaries)])


def choose_of_binary(request: BinaryRequest, *, unsafe: bool) -> UserFunctionSet:
    """The functions or USDT probes meant by the patterns for one binary."""
    from multiprobe.binaries.binary import choose_requested  # with NumPy

    return choose_requested(request, unsafe=unsafe)[1]


def _of_kernel(texts: Sequence[str], kernel: Kernel, *, unsafe: bool) -> FunctionSet:
    if any(_PATTERN_CHARACTERS & set(text) or ":" in text for text in texts):
        return kernel.functions(*texts, unsafe=unsafe)
    return kernel.by_symbols(texts, unsafe=unsafe)


def parse_side(when: str) -> str:
    """`when`, if it is a side. Raises UsageError."""
    if not isinstance(when, str) or when not in SIDES:
        raise UsageError(f"invalid when={when!r}: expected 'entry', 'return' or 'session'")
    return when


def cookies_by_position(cookies: Iterable[int] | None, chosen: AnyFunctionSet) -> array[int] | None:
    """A cookie for each function of `chosen`: those given stand for the requests, one by one.

    For lists of symbols or addresses `cookies` go with the list's items; for sets with the functions in their order.
    """
    if cookies is None:
        return None
    if not isinstance(cookies, Iterable):
        raise UsageError(f"invalid cookies={cookies!r}: expected a list of integers, one for each function")
    given = list(cookies)
    positions = chosen.positions
    n_requests = len(chosen) if positions is None else len(chosen) + len(chosen.unresolved)
    if len(given) != n_requests:
        raise UsageError(
            f"{plural_text(len(given), 'cookie')} for {plural_text(n_requests, 'function')}",
            hint="give one cookie for each, in order",
        )
    for cookie in given:
        if not isinstance(cookie, int) or not 0 <= cookie <= _MAX_COOKIE:
            raise UsageError(f"a cookie is an integer from 0 to 2⁶⁴ − 1, not {cookie!r}")
    return array("Q", given if positions is None else [given[position] for position in positions])
