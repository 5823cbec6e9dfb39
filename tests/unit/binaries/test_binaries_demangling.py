"""Demangled names: how they are spelled, matched by patterns, and bounded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from elf_writer import Made, make_elf

from multiprobe.binaries import demangling
from multiprobe.binaries.binary import Binary
from multiprobe.binaries.demangling import MAX_GROWTH, MAX_SYMBOL, Demangler, grown, word_of
from multiprobe.instruments.stacks.user_symbols import ElfFunctions

pytest.importorskip("pycxxfilt", reason="the extra `demangle` is not installed")

SPELLED = [
    # symbol, name, base, full
    ("_ZN8geometry4areaEi", "geometry::area", "geometry::area", "geometry::area(int)"),
    ("_ZNK8geometry1SltERKS0_", "geometry::S::operator<", "geometry::S::operator<", None),
    ("_ZNK8geometry1SclEi", "geometry::S::operator()", "geometry::S::operator()", None),
    ("_ZNK8geometry1ScvbEv", "geometry::S::operator bool", "geometry::S::operator bool", None),
    ("_ZN1AptEv", "A::operator->", "A::operator->", "A::operator->()"),
    ("_ZNK1AixEi", "A::operator[]", "A::operator[]", "A::operator[](int) const"),
    ("_ZN1AnwEm", "A::operator new", "A::operator new", "A::operator new(unsigned long)"),
    ("_ZN1aD0Ev", "a::~a", "a::~a", "a::~a()"),
    ("_ZNKR1a3fooEv", "a::foo", "a::foo", "a::foo() const &"),
    ("_ZN8geometry5twiceIiEET_S1_", "geometry::twice<int>", "geometry::twice", "int geometry::twice<int>(int)"),
    ("_ZltIiEbRK1AIT_ES4_", "operator<<int>", "operator<<int>", "bool operator<<int>(A<int> const&, A<int> const&)"),
    ("_ZlsIiEbRK1AIT_ES4_", "operator<<<int>", "operator<<<int>", None),
    ("_ZN12_GLOBAL__N_16hiddenEi", "(anonymous namespace)::hidden", "hidden", "(anonymous namespace)::hidden(int)"),
    ("_ZN12_GLOBAL__N_13fooIiEEvT_", "(anonymous namespace)::foo<int>", "foo", None),
    ("_Z6getterIiEPFidET_", "int (*getter<int>(int))(double)", None, "int (*getter<int>(int))(double)"),
    ("_Z3fooB5cxx11i", "foo", "foo", "foo[abi:cxx11](int)"),
    ("_ZThn16_N1A1fEv", "non-virtual thunk to A::f", None, "non-virtual thunk to A::f()"),
    ("_ZZ4mainENKUliE_clEi", "main::'lambda'(int)::operator()", None, None),
    ("_Z3fooi.isra.0", "foo.isra.0", "foo.isra.0", "foo(int).isra.0"),
    ("_ZN1r6shapes10A$LT$T$GT$3dbl17h2630eb04f624b82fE", "r::shapes::A<T>::dbl", None, "r::shapes::A<T>::dbl"),
    ("_ZN4core3fmt5write17h0123456789abcdefE.llvm.99", "core::fmt::write.llvm.99", None, None),
    (
        "_ZN62_$LT$r..shapes..A$LT$i32$GT$$u20$as$u20$core..fmt..Display$GT$3fmt17h5ebb7cada158c21eE",
        "<r::shapes::A<i32> as core::fmt::Display>::fmt",
        "<r::shapes::A<i32> as core::fmt::Display>::fmt",
        None,
    ),
    ("_ZN1r4main28_$u7b$$u7b$closure$u7d$$u7d$17h12c43d45e42526cdE", "r::main::{{closure}}", None, None),
    ("_RNvNtCs6GmmlP4bgsG_1r6shapes4area", "r::shapes::area", "r::shapes::area", "r::shapes::area"),
    ("_RNCNvCs6GmmlP4bgsG_1r4main0B3_", "r::main::{closure#0}", None, None),
]


@pytest.mark.parametrize(("symbol", "name", "base", "full"), SPELLED)
def test_spellings(symbol: str, name: str, base: str | None, full: str | None) -> None:
    found = Demangler()(symbol)
    assert found is not None
    assert found.name == name
    assert base is None or found.base == base
    assert full is None or found.full == full


@pytest.mark.parametrize("symbol", [one[0] for one in SPELLED])
def test_a_symbol_contains_the_word_that_its_names_ask_for(symbol: str) -> None:
    found = Demangler()(symbol)
    assert found is not None
    assert all(word_of(spelling) in symbol for spelling in found.spellings)


@pytest.mark.parametrize(
    ("glob", "word"),
    [
        ("geometry::a*", "geometry"),
        ("*operator*", ""),
        ("std::[vw]ector*", ""),
        ("shop::[vw]idget*", "idget"),
        ("main::'lambda12'*", "main"),
        ("*", ""),
    ],
)
def test_words(glob: str, word: str) -> None:
    assert word_of(glob) == word


@pytest.mark.parametrize("symbol", ["main", "", "_Z", "_ZN", "_R", "_Zinvalid", "_Z\udcff", "_ZN8geometry4areaE"])
def test_what_is_no_mangled_name_stays(symbol: str) -> None:
    found = Demangler()(symbol)
    assert found is None or found.name


@pytest.fixture
def cpp(write: Callable[..., Path]) -> Path:
    symbols = ["_ZN8geometry4areaEi", "_ZN8geometry4areaEd", "_ZN8geometry5twiceIiEET_S1_", "geometry_init", "main"]
    return write(make_elf([Made(name, place) for place, name in enumerate(symbols)]))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("geometry::area", ["geometry::area(int)", "geometry::area(double)"]),
        ("geometry::area(int)", ["geometry::area"]),
        ("_ZN8geometry4areaEi", ["geometry::area"]),
        ("_ZN8geometry4area*", ["geometry::area(int)", "geometry::area(double)"]),
        ("geometry::twice", ["geometry::twice<int>"]),
        ("geometry*", ["geometry::area(int)", "geometry::area(double)", "geometry::twice<int>", "geometry_init"]),
        ("/geometry::t.*/", ["geometry::twice<int>"]),
        ("geometry::[!a]*", ["geometry::twice<int>"]),
        ("*(int)", ["geometry::area", "geometry::twice<int>"]),
        ("main", ["main"]),
    ],
)
def test_patterns(cpp: Path, pattern: str, expected: list[str]) -> None:
    assert [str(one) for one in Binary(cpp).functions(pattern)] == expected


def test_exclusions_and_membership(cpp: Path) -> None:
    chosen = Binary(cpp).functions("*", "!geometry::area")
    assert [str(one) for one in chosen] == ["geometry::twice<int>", "geometry_init", "main"]
    assert "geometry::twice<int>" in chosen
    assert "_ZN8geometry5twiceIiEET_S1_" in chosen
    assert "geometry::area" not in chosen


def test_a_function_has_both_names(cpp: Path) -> None:
    first, second = Binary(cpp).functions("geometry::area")
    assert (first.name, first.symbol) == ("geometry::area(int)", "_ZN8geometry4areaEi")
    assert second.symbol == "_ZN8geometry4areaEd"
    (unknown,) = Binary(cpp).functions("geometry::arae").unresolved
    assert "there is geometry::area" in unknown.reason


def test_constructors_at_one_address_are_one_function(write: Callable[..., Path]) -> None:
    (found,) = Binary(write(make_elf([Made("_ZN1AC1Ev", 0), Made("_ZN1AC2Ev", 0)]))).functions("A::A")
    assert (found.name, found.aliases) == ("A::A", ())


def test_frames_of_stacks_are_demangled() -> None:
    functions = ElfFunctions(make_elf([Made("_ZN8geometry4areaEi", 0), Made("main", 1)]))
    assert [functions.name(at) for at in (0x78, 0x7C, 0x88)] == ["geometry::area", "geometry::area", "main"]


def test_without_the_library_names_stay_mangled(cpp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demangling, "load_demangler", lambda: None)
    monkeypatch.setattr("multiprobe.binaries.choosing.load_demangler", lambda: None)
    assert [str(one) for one in Binary(cpp).functions("*area*")] == ["_ZN8geometry4areaEi", "_ZN8geometry4areaEd"]
    (refusal,) = Binary(cpp).functions("geometry::area").unresolved
    assert refusal.code == "not_demangled"
    assert "pip install 'multiprobe[demangle]'" in refusal.reason


def test_only_what_may_match_is_demangled(cpp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(demangling, "load_demangler", lambda: asked.append)
    binary = Binary(cpp)
    for pattern in ("*", "main", "_ZN8geometry4areaEi", "_Z*", "elsewhere::*"):
        binary.functions(pattern)
    assert asked == []
    binary.functions("*::twice*")
    binary.functions("*::twice*")
    assert asked == ["_ZN8geometry5twiceIiEET_S1_"]


def exponential(n: int) -> str:
    """The symbol of a function whose parameters double n times."""
    levels = "".join(f"S_IS{'0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ'[level]}_S{level:X}_E" for level in range(1, n))
    return f"_Z1f1AI1BS0_E{levels}"


def test_names_that_grow_without_bounds_stay_mangled() -> None:
    found = Demangler()(exponential(8))
    assert found is not None
    assert len(found.full) > 2 * len(exponential(8))
    assert grown(exponential(16)) > MAX_GROWTH
    assert Demangler()(exponential(16)) is None


def test_long_symbols_stay_mangled() -> None:
    assert Demangler()("_Z1f" + "P" * (MAX_SYMBOL - 5) + "i") is not None
    assert Demangler()("_Z1f" + "P" * (1 << 22) + "i") is None


def test_all_names_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demangling, "MAX_ALL", 20)
    demangle = Demangler()
    assert [demangle(f"_Z{n}{'f' * n}i") is None for n in (5, 20, 7)] == [False, False, True]
