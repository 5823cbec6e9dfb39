"""The cached table: used only if it is intact, has the expected key, and is of this boot; fast to open."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import pytest
from kernel_files import Files

from multiprobe.functions import cache
from multiprobe.functions.kernel import Kernel
from multiprobe.functions.table import COLUMNS, FunctionTable

KEY = cache.make_key(boot_id="b", modules=b"", uid=0)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "cache"
    monkeypatch.setenv("MULTIPROBE_CACHE", str(place))
    return place


def same(one: FunctionTable, other: FunctionTable) -> bool:
    columns = all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name, _ in COLUMNS)
    return columns and (one.names, one.module_names, one.evidence) == (other.names, other.module_names, other.evidence)


def only_file(directory: Path) -> Path:
    (file,) = directory.iterdir()
    return file


def test_a_table_comes_back_as_it_was(kernel: Kernel) -> None:
    back = cache.decode(cache.encode(kernel.table, KEY), KEY)
    assert back is not None
    assert same(back, kernel.table)


def test_every_cut_and_every_flipped_byte_is_noticed(kernel: Kernel) -> None:
    data = cache.encode(kernel.table, KEY)
    assert all(cache.decode(data[:length], KEY) is None for length in range(0, len(data), 7))
    for place in range(0, len(data), 5):
        broken = bytearray(data)
        broken[place] ^= 0x10
        assert cache.decode(bytes(broken), KEY) is None, place


def test_sections_out_of_place_are_noticed_though_the_checksum_is_right(kernel: Kernel) -> None:
    """What could make columns of wrong lengths, of which rows are read later, outside of them."""
    data = cache.encode(kernel.table, KEY)
    for place in range(24, 8 * cache.N_HEADER, 8):
        for number in (1, 8, len(data) - 8, len(data), 1 << 63, (1 << 64) - 1):
            broken = bytearray(data)
            broken[place : place + 8] = number.to_bytes(8, "little")
            broken[16:24] = crc32(broken[24:]).to_bytes(8, "little")
            back = cache.decode(bytes(broken), KEY)
            if back is not None:  # a text, or the list of aliases, may end within its padding
                lengths = {name: len(getattr(back, name)) for name, _ in COLUMNS if name != "aliases"}
                assert lengths == {name: len(getattr(kernel.table, name)) for name in lengths}, (place, number)


def test_another_key_is_another_table(kernel: Kernel) -> None:
    data = cache.encode(kernel.table, KEY)
    assert cache.decode(data, cache.make_key(boot_id="c", modules=b"", uid=0)) is None
    assert cache.decode(data, cache.make_key(boot_id="b", modules=b"", uid=1)) is None
    assert cache.decode(data, cache.make_key(boot_id="b", modules=b"m 1 0 - Live 0x1\n", uid=0)) is None


def test_use_counts_of_modules_dont_matter_but_their_states_do() -> None:
    def key(line: bytes) -> bytes:
        return cache.make_key(boot_id="b", modules=line, uid=0)

    assert key(b"nf 300 1 - Live 0x10\n") == key(b"nf 300 2 other, Live 0x10\n")
    assert key(b"nf 300 1 - Live 0x10\n") != key(b"nf 300 1 - Loading 0x10\n")
    assert key(b"nf 300 1 - Live 0x10\n") != key(b"nf 300 1 - Live 0x20\n")


def test_the_second_kernel_reads_only_the_cache(files: Files, directory: Path) -> None:
    root = files.root()
    first = Kernel(root=str(root)).table
    (root / "proc/kallsyms").unlink()
    second = Kernel(root=str(root)).table
    assert same(first, second)
    assert only_file(directory).stat().st_mode & 0o777 == 0o600


def test_a_new_module_means_a_new_table(files: Files, directory: Path) -> None:
    root = files.root()
    before = Kernel(root=str(root)).table.n
    with (root / "proc/kallsyms").open("a") as file:
        file.write("ffffffff83000000 t late_hook\t[late]\n")
    assert Kernel(root=str(root)).table.n == before
    with (root / "proc/modules").open("a") as file:
        file.write("late 300 0 - Live 0xffffffff83000000\n")
    assert Kernel(root=str(root)).table.n == before + 1
    assert only_file(directory)


@pytest.mark.parametrize("harm", ["cut", "flip", "mode", "link", "empty"])
def test_a_file_that_cant_be_believed_is_made_anew(files: Files, directory: Path, harm: str, tmp_path: Path) -> None:
    root = files.root()
    good = Kernel(root=str(root)).table
    file = only_file(directory)
    data = file.read_bytes()
    if harm == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif harm == "flip":
        file.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    elif harm == "mode":
        file.chmod(0o666)
    elif harm == "empty":
        file.write_bytes(b"")
    else:
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    assert cache.load_table(str(file), cache.make_key(boot_id="11111111-2222", modules=b"", uid=os.geteuid())) is None
    assert same(Kernel(root=str(root)).table, good)
    assert only_file(directory).read_bytes() == data
    assert not only_file(directory).is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_not_read(kernel: Kernel, directory: Path) -> None:
    path = str(directory / "functions-x")
    assert cache.save_table(path, KEY, kernel.table)
    assert cache.load_table(path, KEY) is not None
    os.chown(path, 12345, 12345)
    assert cache.load_table(path, KEY) is None


def test_what_is_incomplete_is_not_kept(files: Files, directory: Path) -> None:
    root = files.root()
    (root / "proc/kallsyms").write_bytes((files.directory / "zeroed").read_bytes())
    assert Kernel(root=str(root)).table.is_zeroed
    assert not directory.exists()


def test_addresses_that_are_hidden_by_now_do_not_come_from_the_cache(files: Files, directory: Path) -> None:
    root = files.root()
    assert not Kernel(root=str(root)).table.is_zeroed
    kept = only_file(directory).read_bytes()
    (root / "proc/kallsyms").write_bytes((files.directory / "zeroed").read_bytes())
    assert Kernel(root=str(root)).table.is_zeroed, "another process of this user, without CAP_SYSLOG"
    assert only_file(directory).read_bytes() == kept, "it serves the next one that sees addresses"


def test_a_cache_that_cant_be_written_is_no_error(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MULTIPROBE_CACHE", str(tmp_path / "file" / "below"))
    assert Kernel(root=str(files.root())).table.n


def test_old_tables_are_dropped(directory: Path) -> None:
    directory.mkdir()
    for age in range(12):
        file = directory / f"functions-b00d-{age}"
        file.touch()
        os.utime(file, (1000 - age, 1000 - age))
    others = ["code-1", "functions-", "functions-b00d-1.txt", "functions-of mine"]
    for name in others:
        (directory / name).touch()
    (directory / "functions-b00d-77").symlink_to(directory / "code-1")
    (directory / "functions-b00d-78").mkdir()
    cache.drop_old_tables(str(directory))
    kept = sorted(file.name for file in directory.iterdir())
    assert kept == sorted(
        [*others, "functions-b00d-77", "functions-b00d-78", *(f"functions-b00d-{age}" for age in range(8))]
    )


HEAVY = ("numpy", "rich", "llvmlite", "pyarrow", "textual")


def test_choosing_from_the_cache_imports_nothing_heavy(files: Files, directory: Path) -> None:
    root = files.root()
    Kernel(root=str(root)).table  # noqa: B018  (reads it)
    code = f"""
import sys
import multiprobe as mp
for pattern in (["tcp_*"], ["*"], ["tcp_sendmsg"], ["*msg", "!tcp_r*"]):
    chosen = mp.Kernel(root={str(root)!r}).functions(*pattern)
    assert chosen.attachable(2).addresses()
print(*(name for name in {HEAVY!r} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, env=os.environ | {})
    assert done.stderr == ""
    assert done.stdout.split() == []
