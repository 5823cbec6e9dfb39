"""kallsyms, ftrace's lists and mounts: what they say, and how they can be broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from multiprobe.errors import DataError, NotPermittedError, NotSupportedError
from multiprobe.kernel import tracing
from multiprobe.kernel.symbols import load_kallsyms, parse_kallsyms

KALLSYMS = (
    b"0000000000000000 A fixed_percpu_data\n"
    b"ffffffff81000000 T _text\n"
    b"ffffffff81000010 t do_one\n"
    b"ffffffffc0001000 t ovl_open\t[overlay]\n"
    b"ffffffffc0001010 d ovl_data\t[overlay]\n"
    b"ffffffffc0002000 t bpf_prog_6deef7357e7b4530\t[bpf]\n"
    b"ffffffffc0003000 t ftrace_trampoline\t[__builtin__ftrace]\n"
    b"ffffffffc0004000 w ext4_open\t[ext4]\n"
    b"ffffffffc0005000 t ovl_late\t[overlay]\n"
)


def test_kallsyms_columns() -> None:
    symbols = parse_kallsyms(KALLSYMS)
    assert len(symbols) == 9
    assert [symbols.name(row) for row in range(9)] == [line.split()[2].decode() for line in KALLSYMS.splitlines()]
    assert symbols.addresses.tolist() == [int(line.split()[0], 16) for line in KALLSYMS.splitlines()]
    assert symbols.types == b"ATttdttwt"
    assert symbols.module_names == ["", "overlay", "bpf", "__builtin__ftrace", "ext4"]
    assert symbols.modules.tolist() == [0, 0, 0, 1, 1, 2, 3, 4, 1]
    assert symbols.is_generated().tolist() == [False] * 5 + [True, True, False, False]
    assert symbols.generated_modules() == [2, 3]
    assert symbols.is_text().tolist() == [False, True, True, True, False, True, True, True, True]
    assert not symbols.is_zeroed
    assert symbols.names.endswith(b"ovl_late\n")
    assert symbols.name_offsets.tolist()[-1] == len(symbols.names)


def test_zeroed_addresses_are_noticed() -> None:
    assert parse_kallsyms(b"0000000000000000 T _text\n0000000000000000 t f\t[m]\n").is_zeroed
    assert not parse_kallsyms(b"").is_zeroed
    assert len(parse_kallsyms(b"")) == 0


def test_addresses_of_32_bits() -> None:
    symbols = parse_kallsyms(b"c0100000 T _text\nc0100010 t f\t[m]\n")
    assert symbols.addresses.tolist() == [0xC0100000, 0xC0100010]
    assert symbols.name(1) == "f"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (KALLSYMS[:-1], "cut off at byte .*, in line 9"),
        (KALLSYMS[:30], "cut off at byte 30, in line 1"),
        (b"ffffffff81000000 T a\n\nffffffff81000000 T b\n", "line 2 .byte 21.: no `address type name`"),
        (b"ffffffff81000000 T a\nffffffff81000000xT b\n", "line 2"),
        (b"ffffffff8100000g T a\n", "the address isn't hexadecimal"),
        (b"ffffffff81000000 T a\t[m\n", "no `.module.` after the tab"),
        (b"ffffffff81000000 T a\t[m]\t[n]\n", "no `.module.` after the tab"),
        (b"ffffffff81000000 T \t[m]\n", "no `.module.` after the tab"),
        (b"ffffffff81000000 T a\t[]\n", "no `.module.` after the tab"),
    ],
)
def test_broken_kallsyms(data: bytes, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        parse_kallsyms(data)


def test_load_kallsyms_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(NotSupportedError, match="doesn't exist"):
        load_kallsyms(str(tmp_path / "kallsyms"))
    (tmp_path / "kallsyms").touch()
    with pytest.raises(DataError, match="is empty"):
        load_kallsyms(str(tmp_path / "kallsyms"))
    (tmp_path / "kallsyms").write_bytes(KALLSYMS)
    assert len(load_kallsyms(str(tmp_path / "kallsyms"))) == 9


def test_available_with_and_without_addresses() -> None:
    plain = tracing.parse_available(b"do_one\novl_open [overlay]\nx.isra.0 [ext4]\n", with_addresses=False)
    assert [plain.name(row) for row in range(3)] == ["do_one", "ovl_open", "x.isra.0"]
    assert plain.addresses is None
    assert plain.module_names == ["", "overlay", "ext4"]
    assert plain.modules.tolist() == [0, 1, 2]
    both = tracing.parse_available(
        b"ffffffff81000014 do_one\nffffffffc0001004 ovl_open [overlay]\n", with_addresses=True
    )
    assert both.addresses is not None
    assert both.addresses.tolist() == [0xFFFFFFFF81000014, 0xFFFFFFFFC0001004]
    assert both.names == b"do_one\novl_open\n"
    assert both.modules.tolist() == [0, 1]
    assert len(tracing.parse_available(b"", with_addresses=True)) == 0


@pytest.mark.parametrize(
    ("data", "with_addresses"),
    [
        (b"do_one", False),
        (b"do_one\n\n", False),
        (b"do_one two\n", False),
        (b"do_one [m\n", False),
        (b"do_one [m] [n]\n", False),
        (b" [m]\n", False),
        (b"do_one\n", True),
        (b"ffffffff81000014 \n", True),
        (b"ffffffff81000014 a\nffffffff8100001z b\n", True),
        (b"ffffffff81000014 a b\n", True),
    ],
)
def test_broken_available(data: bytes, with_addresses: bool) -> None:
    with pytest.raises(DataError, match=tracing.AVAILABLE):
        tracing.parse_available(data, with_addresses=with_addresses)


def test_blacklist_and_error_injection() -> None:
    data = b"0xffffffff81000000-0xffffffff81000010\tdo_one\n0x0000000000000001-0x0000000000000002\t \nnonsense\n"
    assert tracing.parse_blacklist(data) == [
        tracing.KprobeRange(0xFFFFFFFF81000000, 0xFFFFFFFF81000010, "do_one"),
        tracing.KprobeRange(1, 2, ""),
    ]
    beyond = b"0x10000000000000000-0x10000000000000010\tfar\n-0x5-0x10\tbelow\n0x20-0x10\tbackwards\n"
    assert tracing.parse_blacklist(beyond) == []


def mount(root: Path, *lines: str) -> None:
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/mountinfo").write_text("".join(f"{line}\n" for line in lines))


def test_find_tracefs_in_the_usual_place(tmp_path: Path) -> None:
    assert tracing.find_tracefs(root=str(tmp_path)) is None
    usual = tmp_path / "sys/kernel/tracing"
    usual.mkdir(parents=True)
    assert tracing.find_tracefs(root=str(tmp_path)) is None
    (usual / "README").touch()
    assert tracing.find_tracefs(root=str(tmp_path)) == str(usual)


def test_find_tracefs_anywhere(tmp_path: Path) -> None:
    mount(
        tmp_path,
        "25 20 0:12 / /sys rw - sysfs sysfs rw",
        "30 25 0:13 / /gone rw - tracefs tracefs rw",
        r"31 25 0:13 / /my\040trace rw shared:1 - tracefs tracefs rw",
        "32 25 0:14 / /dbg rw - debugfs debugfs rw",
    )
    (tmp_path / "my trace").mkdir()
    (tmp_path / "dbg").mkdir()
    assert tracing.find_tracefs(root=str(tmp_path)) == str(tmp_path / "my trace")
    assert tracing.find_debugfs(root=str(tmp_path)) == str(tmp_path / "dbg")


def test_load_available_takes_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(NotSupportedError, match="doesn't exist"):
        tracing.load_available(str(tmp_path))
    (tmp_path / tracing.AVAILABLE).write_bytes(b"do_one\n")
    assert tracing.load_available(str(tmp_path)).addresses is None
    (tmp_path / tracing.AVAILABLE_ADDRESSES).write_bytes(b"ffffffff81000014 do_one\n")
    assert tracing.load_available(str(tmp_path)).addresses is not None


def test_a_closed_tracefs_is_not_permitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(NotPermittedError) as caught:
        tracing.load_available(str(tmp_path))
    assert "lockdown" in caught.value.hint


def test_optional_lists_are_none_where_they_cannot_be_read(tmp_path: Path) -> None:
    assert tracing.load_blacklist(None) is None
    assert tracing.load_blacklist(str(tmp_path)) is None
    (tmp_path / "kprobes").mkdir()
    (tmp_path / "kprobes/blacklist").write_bytes(b"0x1-0x2\tf\n")
    assert tracing.load_blacklist(str(tmp_path)) == [tracing.KprobeRange(1, 2, "f")]
