"""Globs against fnmatch, sets against Python's sets, and the cache file against random harm."""

from __future__ import annotations

from array import array
from fnmatch import fnmatchcase
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from multiprobe.functions import cache
from multiprobe.functions.pattern import in_order, match_glob
from multiprobe.functions.sets import FunctionSet
from multiprobe.functions.table import COLUMNS, FunctionTable

NAMES = st.text("ab_.", min_size=1, max_size=6)
GLOBS = st.text("ab_.*?", min_size=1, max_size=7).filter(lambda glob: set(glob) & set("*?"))
KEY = b"1\nboot\n0"


def table_of(names: list[str], addresses: list[int] | None = None) -> FunctionTable:
    """A table of functions about which nothing else is known; equal addresses make aliases."""
    if addresses is None:
        addresses = list(range(16, 16 * len(names) + 16, 16))
    pairs = sorted(zip(addresses, names, strict=True))
    first: dict[int, int] = {}
    distinct = [pair for pair in pairs if first.setdefault(pair[0], len(first)) == len(first) - 1 and _new(pair, pairs)]
    first = {address: row for row, (address, _) in enumerate(distinct)}
    others = [pair for pair in pairs if pair not in distinct]
    rows = [*distinct, *others]
    offsets = array("I", [0])
    for _, name in rows:
        offsets.append(offsets[-1] + len(name) + 1)
    data = {
        "addresses": array("Q", [address for address, _ in rows]),
        "name_offsets": offsets,
        "by_name": array("I", sorted(range(len(rows)), key=lambda row: rows[row][1].encode())),
        "aliases": array("I", [first[address] for address, _ in others]),
    }
    columns = {
        name: memoryview((data[name] if name in data else array(code, [0] * len(rows))).tobytes()).cast(code)
        for name, code in COLUMNS
    }
    return FunctionTable(
        names="".join(f"{name}\n" for _, name in rows).encode(), module_names=("",), columns=columns, evidence={}
    )


def _new(pair: tuple[int, str], pairs: list[tuple[int, str]]) -> bool:
    return next(other for other in pairs if other[0] == pair[0]) == pair


@given(st.lists(NAMES, max_size=30), GLOBS)
def test_globs_agree_with_fnmatch(names: list[str], glob: str) -> None:
    table = table_of(names)
    expected = [row for row in range(table.n) if fnmatchcase(table.name(row), glob)]
    assert list(match_glob(table, glob)) == expected


@given(st.lists(NAMES, min_size=1, max_size=30), NAMES)
def test_names_and_prefixes_are_found(names: list[str], wanted: str) -> None:
    table = table_of(names)
    assert table.rows_of_name(wanted) == [row for row in range(table.n) if table.name(row) == wanted]
    assert table.rows_of_prefix(wanted.encode()) == [
        row for row in range(table.n) if table.name(row).startswith(wanted)
    ]


@given(st.data())
def test_sets_behave_like_sets_and_keep_their_order(data: st.DataObject) -> None:
    addresses = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=16))
    named = sorted(set(zip(addresses, data.draw(st.lists(NAMES, min_size=16, max_size=16)), strict=False)))
    table = table_of([name for _, name in named], [address for address, _ in named])

    def draw() -> FunctionSet:
        rows = data.draw(st.lists(st.integers(0, table.n - 1), unique=True))
        return FunctionSet(table, in_order(table, rows))

    one, other = draw(), draw()
    assert list(one.addresses()) == sorted(set(one.addresses()))
    both = one | other
    assert len(set(both.addresses())) == len(both)
    assert set(both.addresses()) == set(one.addresses()) | set(other.addresses())
    assert list(both.rows)[: len(one)] == list(one.rows)
    theirs = set(other.addresses())
    assert list((one & other).rows) == [row for row in one.rows if table.addresses[row] in theirs]
    assert list((one - other).rows) == [row for row in one.rows if table.addresses[row] not in theirs]
    assert list((one | one).rows) == list(one.rows)
    assert len(one - one) == 0


@given(st.lists(NAMES, max_size=12), st.data())
def test_a_harmed_file_is_never_taken_for_a_table(names: list[str], data: st.DataObject) -> None:
    good = cache.encode(table_of(names), KEY)
    assert cache.decode(good, KEY) is not None
    harms = data.draw(st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(1, 255)), min_size=1, max_size=3))
    broken = bytearray(good)
    for place, mask in harms:
        broken[place] ^= mask
    if bytes(broken) != good:
        assert cache.decode(bytes(broken), KEY) is None
    assert cache.decode(good[: data.draw(st.integers(0, len(good) - 1))], KEY) is None
    assert cache.decode(data.draw(st.binary(max_size=600)), KEY) is None


@given(st.lists(st.integers(0, 255), max_size=40), st.integers(0, 15))
def test_masks_split_without_loss(masks: list[int], mask: int) -> None:
    from multiprobe.functions.sets import _selectors

    yes, no = (bytes(masks).translate(_selectors(mask, wanted=wanted)) for wanted in (True, False))
    assert all(one + other == 1 for one, other in zip(yes, no, strict=True))
    assert sum(yes) == reduce(lambda n, bits: n + bool(bits & mask), masks, 0)
