"""Maps on a real kernel: values written from either side are read from the other."""

from __future__ import annotations

from array import array
from struct import pack

import numpy as np
import pytest

import multiprobe as mp
from multiprobe.errors import UsageError
from multiprobe.maps.layout import layout
from multiprobe.maps.maps import ArrayMap, HashMap
from multiprobe.maps.opening import open_map
from multiprobe.maps.set_spec import MapSetSpec
from multiprobe.maps.store import MapSet
from multiprobe.syscalls import bpf

N_CPUS, N_FUNCTIONS = 3, 20


def open_array(spec) -> ArrayMap:
    opened = open_map(spec, layout(spec, N_FUNCTIONS, N_CPUS))
    assert isinstance(opened, ArrayMap)
    return opened


@pytest.mark.parametrize("type_", [mp.u64, mp.i64, mp.u32, mp.i16, mp.u8])
def test_per_function_sums_over_cpus(type_) -> None:
    spec = mp.PerFunction(type_)
    opened = open_array(spec)
    value = bytearray(opened.size)
    for cpu in range(N_CPUS):
        for slot in range(N_FUNCTIONS + 1):
            at = cpu * opened.layout.row_size + slot * type_.size
            value[at : at + type_.size] = (type_(slot * 5 - 7) & (1 << 8 * type_.size) - 1).to_bytes(
                type_.size, "little"
            )
    bpf.map_update(opened.fd, bytes(4), bytes(value))
    one = [type_((index + 1) * 5 - 7) for index in range(N_FUNCTIONS)]
    wrap = mp.i64 if type_.is_signed else mp.u64
    sums = [wrap(N_CPUS * number) for number in one]
    assert list(opened.totals()) == opened.read().tolist() == sums
    assert opened.read(per_cpu=True).tolist() == [one] * N_CPUS
    assert opened.unknown() == N_CPUS * type_(-7)
    opened.clear()
    found = bpf.map_lookup(opened.fd, bytes(4), opened.size)
    opened.close()
    assert found == bytes(len(value))


def test_an_array_is_one_row() -> None:
    opened = open_array(mp.Array(mp.i32, 7))
    opened.memory[:28] = pack("<7i", *range(-3, 4))
    found = bpf.map_lookup(opened.fd, bytes(4), opened.size)
    totals, numbers, per_cpu = opened.totals(), opened.read(), opened.read(per_cpu=True)
    opened.close()
    assert found is not None
    assert found[:28] == pack("<7i", *range(-3, 4))
    assert list(totals) == numbers.tolist() == list(range(-3, 4))
    assert per_cpu.shape == (1, 7)
    assert numbers.dtype == np.int32
    assert numbers.tolist() == list(range(-3, 4)), "a copy outlives the map"


@pytest.mark.parametrize("n", [0, 1, 5000, 20_000])
def test_hash_tables_are_read_in_batches(n: int) -> None:
    spec = mp.Hash(mp.u32, mp.i64, max_entries=max(n, 1))
    opened = open_map(spec, layout(spec, N_FUNCTIONS, N_CPUS))
    assert isinstance(opened, HashMap)
    for key in range(n):
        bpf.map_update(opened.fd, pack("<I", key), pack("<q", -key))
    found, numbers = opened.as_dict(), opened.read()
    taken, left = opened.clear(), opened.as_dict()
    opened.close()
    assert found == taken == {key: -key for key in range(n)}
    assert dict(zip(numbers["key"].tolist(), numbers["value"].tolist(), strict=True)) == found
    assert left == {}


def test_keys_of_several_parts() -> None:
    spec = mp.Hash((mp.u8, mp.i32, mp.u16), mp.u32, max_entries=10)
    opened = open_map(spec, layout(spec, N_FUNCTIONS, N_CPUS))
    assert isinstance(opened, HashMap)
    bpf.map_update(opened.fd, pack("<B3xiH2x", 250, -5, 60_000), pack("<I", 77))
    found, numbers = opened.as_dict(), opened.read()
    opened.close()
    assert found == {(250, -5, 60_000): 77}
    assert numbers.tolist() == [(250, -5, 60_000, 77)]
    assert numbers.dtype.names == ("key0", "key1", "key2", "value")


def test_what_is_taken_is_taken_once() -> None:
    opened = open_array(mp.PerFunction(mp.u8))
    opened.memory[1:4] = bytes((250, 3, 0))
    first = opened.take()
    opened.memory[1:4] = bytes((4, 3, 9))
    second, third = opened.take(), opened.take()
    opened.close()
    assert first[:3].tolist() == [250, 3, 0]
    assert second[:3].tolist() == [10, 0, 9]
    assert not third.any()


def test_a_table_that_never_fills_up() -> None:
    spec = mp.LruHash(mp.u32, mp.u64, max_entries=100)
    opened = open_map(spec, layout(spec, N_FUNCTIONS, N_CPUS))
    assert isinstance(opened, HashMap)
    for key in range(1000):
        bpf.map_update(opened.fd, pack("<I", key), pack("<Q", key))
    found = opened.as_dict()
    opened.close()
    assert 0 < len(found) <= 128
    assert all(key == number for key, number in found.items())
    assert 999 in found


def test_strings_are_keys() -> None:
    spec = mp.Hash((mp.u16, mp.string(10)), mp.u32)
    opened = open_map(spec, layout(spec, N_FUNCTIONS, N_CPUS))
    assert isinstance(opened, HashMap)
    bpf.map_update(opened.fd, pack("<H10s", 7, b"eth0"), pack("<I", 5))
    found, numbers = opened.as_dict(), opened.read()
    opened.close()
    assert found == {(7, "eth0"): 5}
    assert numbers.tolist() == [(7, b"eth0", 5)]


def test_a_store_closes_everything() -> None:
    specs = [mp.PerFunction(mp.u64), mp.Hash(mp.u64, mp.u64), mp.Array(mp.u8, 3)]
    with MapSet(MapSetSpec(tuple(specs), n_functions=5, n_cpus=2, cookies=array("Q", range(5)))) as store:
        values = store.values(specs)
        descriptors = [store.map(spec).fd for spec in specs]
        with pytest.raises(UsageError):
            store.map(mp.Array(mp.u8, 3))
    assert all(descriptor.is_closed for descriptor in descriptors)
    assert {"control", "cookies", "cookies.limit", "map0", "map0.stride", "map0.limit", "map1", "map2"} <= values.keys()
    assert "index" not in values


def test_closing_twice_is_allowed() -> None:
    opened = open_array(mp.PerFunction(mp.u64))
    opened.close()
    opened.close()
