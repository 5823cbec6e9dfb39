from __future__ import annotations

import pytest

from multiprobe.kernel.resolve import ResolvedAddress, Resolver
from multiprobe.kernel.symbols import parse_kallsyms

KALLSYMS = (
    b"ffffffff81000000 T _text\n"
    b"ffffffff81000010 t alias_of_two\n"
    b"ffffffff81000010 T do_two\n"
    b"ffffffff81000018 d some_data\n"
    b"ffffffff81000020 t do_three\n"
    b"ffffffffc0001000 t ovl_open\t[overlay]\n"
    b"ffffffffc0002000 t bpf_prog_6deef7357e7b4530_count\t[bpf]\n"
)


@pytest.fixture(scope="module")
def resolver() -> Resolver:
    return Resolver(parse_kallsyms(KALLSYMS))


@pytest.mark.parametrize(
    ("address", "label", "offset"),
    [
        (0xFFFFFFFF81000000, "_text", 0),
        (0xFFFFFFFF8100000F, "_text", 15),
        (0xFFFFFFFF81000010, "do_two", 0),
        (0xFFFFFFFF8100001A, "do_two", 10),
        (0xFFFFFFFF81000020, "do_three", 0),
        (0xFFFFFFFFC0001004, "ovl_open [overlay]", 4),
        (0xFFFFFFFFC0002001, "bpf_prog_6deef7357e7b4530_count [bpf]", 1),
    ],
)
def test_places(resolver: Resolver, address: int, label: str, offset: int) -> None:
    place = resolver.resolve(address)
    assert (place.address, place.label, place.offset) == (address, label, offset)
    assert place.is_generated == ("bpf" in label)


@pytest.mark.parametrize("address", [0, 0xFFFFFFFF80FFFFFF, 0xFFFFFFFF81000020 + (2 << 20), (1 << 64) - 1])
def test_where_no_symbol_is(resolver: Resolver, address: int) -> None:
    assert resolver.resolve(address) == ResolvedAddress(address, "", 0, "")
    assert resolver.resolve(address).label == f"{address:#x}"


def test_a_return_address_belongs_to_what_called(resolver: Resolver) -> None:
    assert resolver.resolve(0xFFFFFFFF81000020).name == "do_three"
    assert resolver.caller(0xFFFFFFFF81000020) == ResolvedAddress(0xFFFFFFFF81000020, "do_two", 16, "")
    assert resolver.caller(0xFFFFFFFF81000024).offset == 4


def test_hidden_addresses_resolve_to_nothing() -> None:
    resolver = Resolver(parse_kallsyms(b"0000000000000000 T _text\n0000000000000000 t do_one\n"))
    assert resolver.resolve(0xFFFFFFFF81000010).name == ""
