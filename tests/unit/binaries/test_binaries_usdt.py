"""USDT probes: notes, also hostile ones, and how they are selected, combined and refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from struct import pack

import pytest
from elf_writer import BASE, GLOBAL, N_FUNCTIONS, OBJECT, Made, make_elf

from multiprobe.binaries import usdt_notes
from multiprobe.binaries.binary import Binary
from multiprobe.binaries.mixed import MixedFunctionSet, joined
from multiprobe.binaries.naming import BinaryRequest, request_of, requests, split_binary
from multiprobe.binaries.usdt import UsdtProbeSet, has_returns
from multiprobe.binaries.usdt_notes import UsdtNote, read_notes
from multiprobe.binaries.usdt_table import build_usdt_table
from multiprobe.elf import PF_W, PF_X, PT_LOAD, ElfSection, Segment
from multiprobe.errors import DataError, PatternError, UsageError

CODE = Segment(PT_LOAD, 0x100, 0x1000, 0x200, PF_X)
DATA = Segment(PT_LOAD, 0x400, 0x3000, 0x100, PF_W)


def note(
    name: str = "sold",
    location: int = BASE,
    arguments: str = "",
    *,
    provider: str = "shop",
    semaphore: int = 0,
    base: int = 0,
    owner: bytes = b"stapsdt\0",
    kind: int = 3,
) -> bytes:
    """A note about a site."""
    desc = pack("<QQQ", location, base, semaphore) + f"{provider}\0{name}\0{arguments}\0".encode()
    return pack("<III", len(owner), len(desc), kind) + owner + desc + bytes(-len(desc) % 4)


def parse(data: bytes, *, base: int | None = None) -> list[UsdtNote]:
    sections = [ElfSection(".note.stapsdt", 7, 0, len(data), 0)]
    if base is not None:
        sections.append(ElfSection(".stapsdt.base", 1, 0, 1, 0, base))
    return read_notes(data, sections)


@pytest.fixture
def binary(write: Callable[..., Path]) -> Binary:
    notes = [
        note("sold", BASE + 2, "8@%rdi"),
        note("sold", BASE + 18, "8@%rsi"),
        note("sold", 0x999000),
        note("lost", 0x999000),
        note("bought", BASE + 1, "4@$1 8@%rax"),
        note("sold", BASE + 33, provider="fair"),
    ]
    return Binary(write(make_elf([Made("work", 0)], extra={".note.stapsdt": b"".join(notes)})))


def test_a_note() -> None:
    assert parse(note("sold", 16, "8@%rdi  -4@$5", semaphore=32)) == [UsdtNote("shop", "sold", 16, 32, "8@%rdi -4@$5")]


def test_a_file_that_was_moved() -> None:
    """Where the linker or prelink has put the base section elsewhere, everything has moved with it."""
    assert parse(note(location=100, semaphore=200, base=50), base=60) == [UsdtNote("shop", "sold", 110, 210, "")]
    assert parse(note(location=100, base=60), base=50) == [UsdtNote("shop", "sold", 90, 0, "")]
    assert parse(note(location=100, base=60)) == [UsdtNote("shop", "sold", 100, 0, "")]


def test_notes_of_others_are_passed_over() -> None:
    data = note(owner=b"GNU\0") + note(kind=1) + note("mine")
    assert [one.name for one in parse(data)] == ["mine"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (note()[:-8], "cut off"),
        (pack("<III", 8, 1 << 31, 3) + b"stapsdt\0", "cut off"),
        (pack("<III", 0xFFFFFFFF, 0xFFFFFFFF, 3) + b"stapsdt\0", "cut off"),
        (note(provider=""), "note 0"),
        (note("good") + note(""), "note 1"),
        (pack("<III", 8, 4, 3) + b"stapsdt\0abcd", "note 0"),
        (pack("<III", 8, 32, 3) + b"stapsdt\0" + bytes(24) + b"no end!!", "note 0"),
    ],
)
def test_damaged_notes_have_a_sentence(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse(data)


def test_no_more_notes_than_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usdt_notes, "MAX_NOTES", 3)
    assert len(parse(note() * 3)) == 3
    with pytest.raises(DataError, match="more than 3 notes"):
        parse(note() * 4)


def test_probes_and_sites(binary: Binary) -> None:
    probes = binary.usdt()
    assert [probe.name for probe in probes] == ["fair:sold", "shop:bought", "shop:lost", "shop:sold"]
    assert isinstance(probes, UsdtProbeSet)
    sold = probes[3]
    assert [site.arguments for site in sold.sites] == ["8@%rdi", "8@%rsi", ""]
    assert [site.verdict.code for site in sold.sites] == ["", "", "no_code"]
    assert [site.address for site in sold.sites] == [BASE + 2, BASE + 18, 0x999000]
    assert (sold.verdict.code, probes[2].verdict.code) == ("", "no_code")
    assert (sold.address, sold.source, sold.module) == (BASE + 2, ".note.stapsdt", "program")
    (sentence,) = probes.notes()
    assert sentence.startswith(
        "1 of 3 sites of shop:sold can't be attached to: one is outside of the executable segments"
    )
    sites = probes.sites()
    assert list(sites.positions) == [0, 1, 3, 3]
    assert list(sites.offsets) == [sites.offsets[1] + n for n in (32, 0, 1, 17)]


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["*"], ["fair:sold", "shop:bought", "shop:lost", "shop:sold"]),
        (["sold"], ["fair:sold", "shop:sold"]),
        (["shop:sold"], ["shop:sold"]),
        (["shop:*"], ["shop:bought", "shop:lost", "shop:sold"]),
        (["*:sold"], ["fair:sold", "shop:sold"]),
        (["s*", "!fair:*"], ["shop:bought", "shop:lost", "shop:sold"]),
        (["/(lost|bought)/"], ["shop:bought", "shop:lost"]),
        (["/shop:.*/", "!*t"], ["shop:sold"]),
        (["!sold"], ["shop:bought", "shop:lost"]),
        (["lost", "bought"], ["shop:lost", "shop:bought"]),
    ],
)
def test_patterns(binary: Binary, patterns: list[str], names: list[str]) -> None:
    assert [probe.name for probe in binary.usdt(*patterns)] == names


def test_names_that_are_not_there(binary: Binary) -> None:
    (refusal,) = binary.usdt("shop:sod").unresolved
    assert (refusal.code, str(refusal)) == (
        "unknown_name", f"shop:sod: no USDT probe of {binary.path} is called shop:sod; there is shop:sold",
    )  # fmt: skip
    assert [one.code for one in binary.usdt("sold+0x4").unresolved] == ["wrong_offset"] * 2


def test_a_file_without_probes(write: Callable[..., Path]) -> None:
    (refusal,) = Binary(write(make_elf([Made("work", 0)]))).usdt("*").unresolved
    assert refusal.code == "no_usdt"


def test_damaged_notes_leave_the_functions(write: Callable[..., Path]) -> None:
    binary = Binary(write(make_elf([Made("work", 0)], extra={".note.stapsdt": note()[:-9]})))
    assert len(binary.functions()) == 1
    with pytest.raises(DataError, match=r"program: .note.stapsdt is cut off"):
        binary.usdt()


def test_a_file_that_has_changed(binary: Binary) -> None:
    Path(binary.path).write_bytes(b"another")
    with pytest.raises(DataError, match="has changed"):
        binary.usdt()


def test_the_algebra(binary: Binary) -> None:
    every, sold = binary.usdt(), binary.usdt("sold")
    assert [str(probe) for probe in every - sold] == ["shop:bought", "shop:lost"]
    assert [str(probe) for probe in every & sold] == ["fair:sold", "shop:sold"]
    assert isinstance(sold | every, UsdtProbeSet)
    assert [str(probe) for probe in sold | every][2:] == ["shop:bought", "shop:lost"]
    assert "shop:sold" in sold
    assert "sold" in sold
    assert "bought" not in sold
    assert "USDT probes" in repr(every)
    with pytest.raises(UsageError, match="the other one its USDT probes"):
        every | binary.functions()  # type: ignore[operator]


def test_functions_and_probes_of_one_file_stay_apart(binary: Binary) -> None:
    both = joined([binary.functions(), binary.usdt("bought"), binary.usdt("sold")])
    assert isinstance(both, MixedFunctionSet)
    assert [str(one) for one in both] == ["work", "shop:bought", "fair:sold", "shop:sold"]
    assert has_returns(both)
    assert not has_returns(binary.usdt())


def test_probes_have_no_return(binary: Binary) -> None:
    assert [refusal.code for refusal in binary.usdt("shop:sold").refusals(when="return")] == ["usdt_return"]
    assert binary.usdt("shop:sold").n_attachable() == 1


def test_semaphores() -> None:
    notes = [
        UsdtNote("a", "guarded", 0x1001, 0x3010, ""),
        UsdtNote("a", "nowhere", 0x1002, 0x9000, ""),
        UsdtNote("a", "at_the_end", 0x1003, 0x30FF, ""),
        UsdtNote("b", "other_counter", 0x1001, 0x3020, ""),
        UsdtNote("c", "same_counter", 0x1001, 0x3010, ""),
    ]
    table = build_usdt_table(notes, [CODE, DATA], path="p", key=(), build_id="")
    probes = UsdtProbeSet(table, [(n, 0) for n in range(5)])
    codes = {probe.name: probe.verdict.code for probe in probes}
    assert codes == {
        "a:guarded": "", "a:nowhere": "semaphore", "a:at_the_end": "semaphore", "b:other_counter": "semaphore",
        "c:same_counter": "",
    }  # fmt: skip
    assert list(probes.sites().counters or ()) == [0x410, 0x410]


def test_a_site_that_is_noted_twice_is_probed_once() -> None:
    notes = [UsdtNote("a", "b", 0x1001, 0, "8@%rdi"), UsdtNote("a", "b", 0x1001, 0, "8@%rsi")]
    (row,) = build_usdt_table(notes, [CODE], path="p", key=(), build_id="").sites
    assert len(row) == 1


def test_the_site_at_an_address_of_a_process(binary: Binary) -> None:
    probes = binary.usdt("shop:sold")
    first, second = probes.sites().offsets
    assert probes.offset_of(0, 0x7F0000000000 + first) == first
    assert probes.offset_of(0, 0x7F0000000000 + second) == second


def test_how_binaries_are_named() -> None:
    def never(_: str) -> bool:
        return False

    assert split_binary("python3:usdt:function__entry", is_library=never) == ("python3", "usdt:function__entry")
    assert split_binary("./a.out:usdt::area", is_library=never) == ("./a.out", "usdt::area")
    found, others = requests(
        ["./a.out:usdt:shop:*", "!./a.out:usdt:*sold", "./a.out:ma*", "./a.out:usdt::area", "!*x"], is_library=never
    )
    assert found == [
        BinaryRequest("./a.out", ("shop:*", "!*sold", "!*x"), is_usdt=True),
        BinaryRequest("./a.out", ("ma*", "usdt::area", "!*x")),
    ]
    assert others == []
    assert request_of("./a.out", "usdt:a:b") == BinaryRequest("./a.out", ("a:b",), is_usdt=True)
    with pytest.raises(PatternError):
        split_binary("./a.out:", is_library=never)


def test_thousands_of_notes(write: Callable[..., Path]) -> None:
    notes = b"".join(note(f"n{n}", BASE + n % (16 * N_FUNCTIONS)) for n in range(20_000))
    probes = Binary(write(make_elf([Made("work", 0)], extra={".note.stapsdt": notes}))).usdt()
    assert len(probes) == len(probes.sites().offsets) == 20_000


@pytest.mark.parametrize(
    ("arguments", "operands"),
    [
        ("-4@stock(%rip) 8@%rdi", "-4@8192(%site) 8@%rdi"),
        ("8@prices+16(%rip)", "8@8464(%site)"),
        ("8@4+prices(%rip) 4@other(%rip)", "8@8452(%site) 4@other(%rip)"),
        ("8@before-8(%rip)", "8@-4104(%site)"),
    ],
)
def test_variables_are_found_by_their_symbols(arguments: str, operands: str) -> None:
    note = UsdtNote("a", "b", 0x1000, 0, arguments)
    known = {"stock": 0x3000, "prices": 0x3100, "before": 0}
    table = build_usdt_table([note], [CODE], path="p", key=(), build_id="", variables=known)
    ((site,),) = table.sites
    assert (site.arguments, site.operands) == (arguments, operands)


def test_variables_of_a_file(write: Callable[..., Path]) -> None:
    symbols = [Made("work", 0), Made("stock", 3, GLOBAL | OBJECT), Made("other", 4, GLOBAL | OBJECT)]
    data = make_elf(symbols, extra={".note.stapsdt": note("sold", BASE + 2, "4@stock(%rip)")})
    (probe,) = Binary(write(data)).usdt()
    assert probe.sites[0].operands == "4@46(%site)"
