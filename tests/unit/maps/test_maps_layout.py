"""Declarations, types, layouts and the index by address: the pure parts of maps."""

from __future__ import annotations

import os
import random
from array import array

import pytest

import multiprobe as mp
from multiprobe.errors import DataError, KernelError, UsageError
from multiprobe.maps.cpus import parse_n_cpus
from multiprobe.maps.index import BLOCK_BITS, DIRECTORY_SIZE, block_size, build_index
from multiprobe.maps.layout import CACHE_LINE, constants, layout
from multiprobe.syscalls import bpf
from multiprobe.syscalls.fd import FileDescriptor

ALL = (mp.u8, mp.u16, mp.u32, mp.u64, mp.i8, mp.i16, mp.i32, mp.i64)


@pytest.mark.parametrize("type_", ALL)
def test_types_wrap(type_: mp.maps.types.Integer) -> None:
    bits = 8 * type_.size
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if type_.is_signed else (0, (1 << bits) - 1)
    assert (type_(low), type_(high), type_(high + 1), type_(low - 1)) == (low, high, low, high)
    assert type_(1 << 64) == 0


def test_bool() -> None:
    assert (mp.bool_(0), mp.bool_(256), mp.bool_(-1)) == (False, True, True)


def test_specs_are_compared_by_identity() -> None:
    one, other = mp.PerFunction(mp.u64), mp.PerFunction(mp.u64)
    assert one != other
    assert len({one, other, one}) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: mp.PerFunction(int),
        lambda: mp.PerFunction(8),
        lambda: mp.Array(mp.u64, 0),
        lambda: mp.Array(mp.u64, True),
        lambda: mp.Array(mp.u64, 1 << 30),
        lambda: mp.Hash(mp.u64, mp.u64, 0),
        lambda: mp.Hash((), mp.u64),
        lambda: mp.Hash((mp.u64, "u64"), mp.u64),
    ],
)
def test_what_makes_no_map(make: object) -> None:
    with pytest.raises(UsageError):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("keys", "offsets", "size"),
    [
        ((mp.u8,), (0,), 1),
        ((mp.u8, mp.u64), (0, 8), 16),
        ((mp.u64, mp.u8), (0, 8), 16),
        ((mp.u8, mp.u16, mp.u8, mp.u32), (0, 2, 4, 8), 12),
    ],
)
def test_keys_are_aligned(keys: tuple[mp.maps.types.Integer, ...], offsets: tuple[int, ...], size: int) -> None:
    spec = mp.Hash(keys, mp.u64)
    assert (spec.key_offsets(), spec.key_size) == (offsets, size)


@pytest.mark.parametrize("type_", ALL)
@pytest.mark.parametrize(("n_functions", "n_cpus"), [(1, 1), (7, 3), (45_000, 8)])
def test_rows_of_cpus_share_no_cache_line(type_: mp.maps.types.Integer, n_functions: int, n_cpus: int) -> None:
    spec = mp.PerFunction(type_)
    made = layout(spec, n_functions, n_cpus)
    assert made.row_size % CACHE_LINE == 0
    assert made.row_size >= (n_functions + 1) * type_.size
    assert made.value_size == made.row_size * n_cpus
    numbers = constants(spec, made, "map3", n_functions=n_functions)
    last = (n_cpus - 1) * numbers["map3.stride"] + n_functions
    assert last <= numbers["map3.limit"] < made.value_size // type_.size


def test_too_large_for_a_program() -> None:
    with pytest.raises(UsageError, match="a program can reach"):
        layout(mp.PerFunction(mp.u64), 60_000, 2048)


def find(data: bytes, shift: int, address: int) -> int:
    """What a program reads: written from the description of the table, in bytes."""
    size = block_size(shift)
    slot = size + 4 * (address >> BLOCK_BITS & (DIRECTORY_SIZE // 4 - 1))
    block = int.from_bytes(data[slot : slot + 4], "little")
    at = block + ((address & (1 << BLOCK_BITS) - 1) >> shift << 2)
    return int.from_bytes(data[at : at + 4], "little")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("is_sorted", [True, False])
def test_every_function_is_found_and_nothing_else(seed: int, is_sorted: bool) -> None:
    chosen = random.Random(seed)
    text = {0xFFFFFFFF81000000 + 16 * chosen.randrange(1 << 20) for _ in range(3000)}
    modules = {0xFFFFFFFFC0000000 + 16 * chosen.randrange(1 << 22) for _ in range(500)}
    addresses = sorted(text | modules)
    if not is_sorted:
        chosen.shuffle(addresses)
    made = build_index(array("Q", addresses))
    assert made.shift == 4
    assert made.limit == 4 * (len(made.table) - 1)
    table = made.table.tobytes()
    for place, address in enumerate(addresses):
        assert find(table, made.shift, address) == place + 1
    known = {address >> 4 for address in addresses}
    for _ in range(3000):
        address = 0xFFFFFFFF80000000 + chosen.randrange(1 << 31)
        if address >> 4 not in known:
            assert find(table, made.shift, address) == 0


@pytest.mark.parametrize(("step", "shift"), [(16, 4), (8, 2), (4, 2), (1, 0), (3, 0)])
def test_the_coarsest_shift_that_keeps_functions_apart(step: int, shift: int) -> None:
    addresses = [0xFFFFFFFF81000000 + step * place for place in range(40)]
    made = build_index(addresses)
    assert made.shift == shift
    assert [find(made.table.tobytes(), shift, address) for address in addresses] == list(range(1, 41))


def test_no_functions_at_all() -> None:
    assert not any(build_index([]).table)


@pytest.mark.parametrize("addresses", [[0xFFFFFFFF81000000] * 2, [0xFFFFFFFF01000000, 0xFFFFFFFF81000000]])
def test_what_makes_no_index(addresses: list[int]) -> None:
    with pytest.raises(UsageError):
        build_index(addresses)


@pytest.mark.parametrize(("text", "n"), [("0\n", 1), ("0-3\n", 4), ("0-3,8", 9), ("0,2,5-6\n", 7)])
def test_possible_cpus(text: str, n: int) -> None:
    assert parse_n_cpus(text) == n


@pytest.mark.parametrize("text", ["", "x", "0-"])
def test_not_cpus(text: str) -> None:
    with pytest.raises(DataError):
        parse_n_cpus(text)


def test_memory_that_can_not_be_mapped_is_an_error_of_ours() -> None:
    with (
        FileDescriptor(os.open("/", os.O_RDONLY), "a map") as fd,
        pytest.raises(KernelError, match="EACCES"),
    ):
        bpf.map_memory(fd, 4096)
