"""Demangles symbols of C++ (Itanium) and Rust (legacy, v0), by LLVM's demanglers: the package pycxxfilt.

It is the extra `demangle`, imported when a name must be demangled. Symbols of hostile files cost nothing: long ones,
and those whose names would be far longer than they are, stay as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

INSTALL = "pip install 'multiprobe[demangle]'"
MAX_SYMBOL = 2048
MAX_NAME = 1 << 15
MAX_GROWTH = 1 << 20
"""The most characters that a name may have by the references in its symbol, a pessimistic estimate."""
MAX_ALL = 1 << 28
"""The most characters of all names of one file together."""

_MANGLED = ("_Z", "_R")
_SUFFIX = re.compile(r"(?<!\.)\.(?!\.).*\Z", re.DOTALL)
"""What compilers append for parts and copies of a function: `.cold`, `.isra.0`, `.llvm.123`."""
_REFERENCE = re.compile(r"S([0-9A-Z]*)_|[TB][0-9A-Za-z]*_|Dp|sp")
_RUST_HASH = re.compile(r"17h[0-9a-f]{16}E\Z")
_RUST_ESCAPE = re.compile(r"\$(?:u([0-9a-f]{1,6})|([A-Z]{1,2}))\$|\.\.")
_RUST_MARK = re.compile(r"(?<![^:])_\$")
_RUST_LETTERS = {"SP": "@", "BP": "*", "RF": "&", "LT": "<", "GT": ">", "LP": "(", "RP": ")", "C": ","}
_SIMPLE = re.compile(r"([\w:~]+)\([^()]*\)(?: const)?")
_OPERATORS = tuple(re.compile(rf"\boperator(?:\(\)|\[\]|<=>|->\*?|{shifts}[<>]=?)|->") for shifts in ("<<=?|>>=?|", ""))
"""Brackets in names of operators; `operator<<int>` is `<` of a template, which only the second expression sees."""
_BRACKET = re.compile(r"[<>()\[\]{}]")
_QUALIFIERS = re.compile(r"(?: const| volatile| &&?| noexcept|\[.*\])*")
_TAG = re.compile(r"\[abi:\w+\]")


@dataclass(frozen=True, slots=True)
class Demangled:
    """The spellings of a symbol.

    full: with the result (of templates) and the parameters, "geometry::area(int)"
    name: without them, "geometry::area", "geometry::twice<int>"; what a compiler appended to the symbol follows it
    base: also without the arguments of a template and anonymous namespaces, "geometry::twice"
    """

    full: str
    name: str
    base: str

    @property
    def spellings(self) -> tuple[str, str, str]:
        """All that a pattern may match."""
        return self.name, self.base, self.full


def is_mangled(symbol: str) -> bool:
    """Whether a symbol looks like one of C++ or Rust."""
    return symbol.startswith(_MANGLED)


@cache
def load_demangler() -> Callable[[str], str | None] | None:
    """What demangles a symbol, or raises ValueError; None if pycxxfilt is not installed."""
    try:
        from pycxxfilt import demangle
    except ImportError:
        return None
    found: Callable[[str], str | None] = demangle
    return found


class Demangler:
    """Demangles the symbols of one file, each once."""

    def __init__(self) -> None:
        self._known: dict[str, Demangled | None] = {}
        self._n_left = MAX_ALL

    def __call__(self, symbol: str) -> Demangled | None:
        """The name of a symbol; None if it is not mangled, is too long, or can't be demangled."""
        if not is_mangled(symbol):
            return None
        if symbol not in self._known:
            self._known[symbol] = self._demangle(symbol)
        return self._known[symbol]

    def _demangle(self, symbol: str) -> Demangled | None:
        if len(symbol) > MAX_SYMBOL or self._n_left < 0:
            return None
        suffix = _SUFFIX.search(symbol)
        bare, appended = (symbol[: suffix.start()], suffix[0]) if suffix else (symbol, "")
        full = _full_name(bare)
        self._n_left -= len(full)
        return _spelled(bare, full, appended) if full else None


def _full_name(symbol: str) -> str:
    """The name as the library spells it; "" if it has none, or one that is too long."""
    demangle = load_demangler()
    if demangle is None or grown(symbol) > MAX_GROWTH:
        return ""
    try:
        found = demangle(symbol) or ""
    except ValueError:
        return ""
    return found if len(found) <= MAX_NAME else ""


def grown(symbol: str) -> int:
    """How many characters the name of a symbol may have at most, but for a factor: by its references to itself.

    `S3_` stands for a part that was complete when any reference `S3_` or later was first met. Other references, and
    packs, may double the name.
    """
    total = len(symbol)
    sizes: dict[int, int] = {}
    for found in _REFERENCE.finditer(symbol):
        if not found[0].startswith("S"):
            total *= 2
            continue
        number = int(found[1], 36) + 1 if found[1] else 0
        size = min((known for other, known in sizes.items() if other >= number), default=total)
        sizes.setdefault(number, size)
        total += size
        if total > MAX_GROWTH:
            break
    return total


def _spelled(symbol: str, full: str, appended: str) -> Demangled:
    if symbol.startswith("_R"):
        name = full
    elif _RUST_HASH.search(symbol):
        name = full = _RUST_ESCAPE.sub(_unescaped, _RUST_MARK.sub("$", full.rpartition("::")[0]))
    else:
        name = _without_parameters(full, is_special=symbol.startswith(("_ZT", "_ZG")))
    return Demangled(full + appended, name + appended, _bare(name) + appended)


def _unescaped(found: re.Match[str]) -> str:
    code, letters = found.groups()
    if code:
        return chr(int(code, 16)) if int(code, 16) < 0x110000 else found[0]
    return _RUST_LETTERS.get(letters, found[0]) if letters else "::"


def _without_parameters(full: str, *, is_special: bool) -> str:
    """A name of C++ without result and parameters; all of it if its brackets can't be told apart."""
    simple = _SIMPLE.fullmatch(full)
    if simple:
        return simple[1]
    for operators in _OPERATORS:
        masked = operators.sub(lambda found: "o" * len(found[0]), full)
        groups = _bracketed(masked)
        last = next((one for one in reversed(groups or []) if masked[one[0]] == "("), None)
        if groups and last and _QUALIFIERS.fullmatch(masked, last[1]) and "(*" not in masked[: last[0]]:
            begin = 0 if is_special else _begin(masked[: last[0]], groups)
            return _TAG.sub("", full[begin : last[0]]).strip()
    return _TAG.sub("", full)


def _begin(head: str, groups: Iterable[tuple[int, int]]) -> int:
    """Where the name begins, behind the last space of the result's type."""
    end = head.rfind("operator")
    bare = head if end < 0 else head[:end]
    for begin, end in groups:
        bare = bare[:begin] + "o" * len(bare[begin:end]) + bare[end:]
    return bare.rfind(" ") + 1


def _bracketed(text: str) -> list[tuple[int, int]] | None:
    """Where the outermost brackets begin and end; None if they don't match."""
    groups, depth, begin = [], 0, 0
    for found in _BRACKET.finditer(text):
        if found[0] in "<([{":
            begin = begin if depth else found.start()
            depth += 1
            continue
        depth -= 1
        if depth < 0:
            return None
        if not depth:
            groups.append((begin, found.end()))
    return groups if not depth else None


def _bare(name: str) -> str:
    name = name.replace("(anonymous namespace)::", "")
    if not name.endswith(">") or name.startswith("<") or "operator" in name:
        return name
    groups = _bracketed(name)
    return name[: groups[-1][0]].removesuffix("::") if groups and groups[-1][0] else name


_SPELLED_BY_DEMANGLERS = (
    "std allocator basic_string basic_istream basic_ostream basic_iostream string istream ostream iostream char_traits "
    "operator new delete co_await anonymous namespace lambda unnamed closure shim vtable thunk virtual non-virtual "
    "covariant return typeinfo name for guard variable reference temporary initializer transaction clone block "
    "invocation function construction VTT TLS init wrapper routine void bool char short int long signed unsigned float "
    "double __int128 __float128 _Float16 half bfloat16 wchar_t char8_t char16_t char32_t decimal auto decltype "
    "nullptr_t nullptr true false const volatile restrict noexcept throw sizeof alignof typeid static_cast "
    "dynamic_cast const_cast reinterpret_cast requires typename template vector complex imaginary enable_if abi dyn "
    "as impl extern unsafe mut str usize isize this fp parm pixel objc _BitInt _Sat _Fract _Accum SYCL local super "
    "core crate"
)
_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SET = re.compile(r"\[[^\]]*\]?")


def word_of(glob: str) -> str:
    """The longest word that the symbol of each name must contain which a glob or name matches; "" if none must.

    Symbols spell identifiers as they are; all other words come from the demangler.
    """
    words = [one.rstrip("0123456789") for one in _WORD.findall(_SET.sub("*", glob))]
    return max((one for one in words if one and one not in _SPELLED_BY_DEMANGLERS), key=len, default="")
