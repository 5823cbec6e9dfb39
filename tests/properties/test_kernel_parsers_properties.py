"""The column parsers against plain Python loops, and against files that were cut off or damaged."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiprobe.errors import DataError, UsageError
from multiprobe.kernel.btf import format as fmt
from multiprobe.kernel.btf.columns import find_records
from multiprobe.kernel.btf.types import Btf
from multiprobe.kernel.symbols import parse_kallsyms
from multiprobe.kernel.tracing import parse_available, parse_mounts

NAMES = st.text("abcxyz_.$0189", min_size=1, max_size=12)
MODULES = st.sampled_from(["", "", "ext4", "overlay", "bpf"])
ADDRESSES = st.integers(0, (1 << 64) - 1)


def kallsyms(rows: list[tuple[int, str, str, str]]) -> bytes:
    return "".join(f"{a:016x} {t} {n}" + (f"\t[{m}]\n" if m else "\n") for a, t, n, m in rows).encode()


@given(st.lists(st.tuples(ADDRESSES, st.sampled_from("tTwWdDA"), NAMES, MODULES), max_size=40))
def test_kallsyms_columns_are_what_the_lines_say(rows: list[tuple[int, str, str, str]]) -> None:
    symbols = parse_kallsyms(kallsyms(rows))
    names = [symbols.module_names[index] for index in symbols.modules]
    assert rows == [
        (int(symbols.addresses[row]), chr(symbols.types[row]), symbols.name(row), names[row])
        for row in range(len(symbols))
    ]


@given(st.lists(st.tuples(ADDRESSES, NAMES, MODULES), max_size=40), st.booleans())
def test_available_columns_are_what_the_lines_say(rows: list[tuple[int, str, str]], with_addresses: bool) -> None:
    lines = [(f"{a:016x} " if with_addresses else "") + n + (f" [{m}]" if m else "") for a, n, m in rows]
    found = parse_available("".join(f"{line}\n" for line in lines).encode(), with_addresses=with_addresses)
    assert [found.name(row) for row in range(len(found))] == [name for _, name, _ in rows]
    assert [found.module_names[index] for index in found.modules] == [module for *_, module in rows]
    assert (found.addresses is not None) == with_addresses
    if found.addresses is not None:
        assert found.addresses.tolist() == [address for address, *_ in rows]


@given(st.binary(max_size=200) | st.text("0123456789abcdef tT[]\t\nx", max_size=200).map(str.encode))
def test_no_text_breaks_the_list_parsers(data: bytes) -> None:
    for parse in (
        parse_kallsyms,
        lambda text: parse_available(text, with_addresses=True),
        lambda text: parse_available(text, with_addresses=False),
    ):
        try:
            parse(data)
        except DataError:
            continue
    parse_mounts(data, "tracefs")


# BTF: random records, written by hand; a loop is the oracle for where they stand.

KINDS = {
    1: (1, 0),
    2: (0, 0),
    3: (3, 0),
    4: (0, 3),
    6: (0, 2),
    8: (0, 0),
    10: (0, 0),
    12: (0, 0),
    13: (0, 2),
    19: (0, 3),
}


@st.composite
def btf_files(draw: Any) -> tuple[bytes, list[int]]:
    """A BTF file whose references all stay inside, and the words at which its records start."""
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), max_size=60))
    words: list[int] = []
    starts = []
    any_id = st.integers(0, len(kinds))
    prototypes = [place + 1 for place, kind in enumerate(kinds) if kind == 13]
    for kind in kinds:
        if kind == 12 and not prototypes:
            kind = 2
        starts.append(len(words))
        n_fixed, n_element = KINDS[kind]
        vlen = draw(st.integers(0, 5)) if n_element else 0
        target = draw(st.sampled_from(prototypes)) if kind == 12 else draw(any_id)
        words += [draw(st.integers(0, 6)), kind << 24 | vlen, target]
        if kind == 13:
            words += [word for _ in range(vlen) for word in (0, draw(any_id))]
        else:
            words += draw(
                st.lists(st.integers(0, 255), min_size=n_fixed + vlen * n_element, max_size=n_fixed + vlen * n_element)
            )
    types = struct.pack(f"<{len(words)}I", *words)
    strings = b"\0int\0ab\0"
    return struct.pack(
        "<HBBIIIII", fmt.MAGIC, 1, 0, 24, 0, len(types), len(types), len(strings)
    ) + types + strings, starts


@given(btf_files())
def test_records_are_found_where_they_stand(case: tuple[bytes, list[int]]) -> None:
    data, starts = case
    assert find_records(fmt.parse_sections(data, is_split=False)).tolist() == starts


def ask_everything(btf: Btf) -> None:
    """Ask all questions; only DataError may come of it."""
    questions = [
        lambda: btf.functions,
        lambda: btf.functions_taking("int *"),
        lambda: btf.functions_returning("struct ab"),
    ]
    for type_id in range(min(len(btf), 20)):
        for ask in (
            btf.type_name,
            btf.members,
            btf.parameters,
            btf.enumerators,
            btf.array,
            btf.size,
            btf.signature,
            btf.name,
        ):
            questions.append(lambda ask=ask, type_id=type_id: ask(type_id))
    for question in questions:
        try:
            question()
        except DataError:
            continue


@given(btf_files())
def test_every_whole_file_can_be_asked(case: tuple[bytes, list[int]]) -> None:
    ask_everything(Btf.parse(case[0]))


@given(btf_files(), st.data())
def test_cut_off_files_are_data_errors(case: tuple[bytes, list[int]], data: st.DataObject) -> None:
    file = case[0]
    end = data.draw(st.integers(0, len(file) - 1))
    with pytest.raises(DataError, match=r"cut off|byte"):
        Btf.parse(file[:end])


@given(btf_files(), st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_files_are_data_errors_or_harmless(case: tuple[bytes, list[int]], harm: list[tuple[int, int]]) -> None:
    file = bytearray(case[0])
    for place, byte in harm:
        file[place % len(file)] = byte
    try:
        btf = Btf.parse(bytes(file))
    except DataError:
        return
    ask_everything(btf)


@given(st.binary(max_size=100))
def test_noise_is_no_btf(noise: bytes) -> None:
    for head in (b"", struct.pack("<HBBI", fmt.MAGIC, 1, 0, 24)):
        try:
            ask_everything(Btf.parse(head + noise))
        except DataError:
            continue


@given(st.text(max_size=30))
def test_any_text_is_a_spelling_or_a_usage_error(text: str) -> None:
    btf = Btf.parse(struct.pack("<HBBIIIII", fmt.MAGIC, 1, 0, 24, 0, 0, 0, 1) + b"\0")
    try:
        assert not btf.functions_taking(text).any()
    except UsageError:
        return
