"""Binaries by the loader's name, by program, and by process."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from struct import pack

import pytest

import multiprobe as mp
from multiprobe.binaries import libraries, locating
from multiprobe.binaries.binary import Binary
from multiprobe.binaries.libraries import LOADER_CACHE, find_library
from multiprobe.binaries.loader_cache import find_soname, parse_levels, parse_loader_cache
from multiprobe.binaries.locating import find_binary, follow_links, library_of, program_of
from multiprobe.binaries.naming import BinaryRequest, requests, split_binary
from multiprobe.errors import NoMatchError, NotPermittedError, PatternError, UsageError

X86_64, X32, I386 = 0x0303, 0x0803, 0x0003


def cache(*entries: tuple[int, str, str, int], old_format: bool = False) -> bytes:
    text, places = b"", []
    begin = 48 + 24 * len(entries)
    for _, name, path, _ in entries:
        places.append((begin + len(text), begin + len(text) + len(name) + 1))
        text += name.encode() + b"\0" + path.encode() + b"\0"
    head = pack("<20sII20x", b"glibc-ld.so.cache1.1", len(entries), len(text))
    body = b"".join(
        pack("<iIIIQ", flags, *place, 0, hardware)
        for (flags, _, _, hardware), place in zip(entries, places, strict=True)
    )
    return (b"ld.so-1.7.0\0" + bytes(20) if old_format else b"") + head + body + text


LIBRARIES = cache(
    (X86_64, "libssl.so.3", "/lib/v3/libssl.so.3", 1 << 62),
    (X86_64, "libssl.so.3", "/lib/libssl.so.3", 0),
    (X86_64, "libssl.so.10", "/lib/libssl.so.10", 0),
    (I386, "libc.so.6", "/lib32/libc.so.6", 0),
    (X86_64, "libc.so.6", "/lib64/libc.so.6", 0),
    (X32, "libx.so.1", "/libx32/libx.so.1", 0),
    (X86_64, "libcap.so", "/lib/libcap.so", 0),
)


@pytest.mark.parametrize("data", [LIBRARIES, b"ld.so-1.7.0\0" + bytes(20) + LIBRARIES], ids=["new", "both"])
def test_the_cache(data: bytes) -> None:
    found = parse_loader_cache(data, "x86_64")
    assert found == {
        "libssl.so.3": "/lib/libssl.so.3",
        "libssl.so.10": "/lib/libssl.so.10",
        "libc.so.6": "/lib64/libc.so.6",
        "libcap.so": "/lib/libcap.so",
    }
    assert find_soname("libc", found) == "/lib64/libc.so.6"
    assert find_soname("libssl", found) == "/lib/libssl.so.10"
    assert find_soname("libssl.so", found) == "/lib/libssl.so.10"
    assert find_soname("libssl.so.3", found) == "/lib/libssl.so.3"
    assert find_soname("libcap", found) == "/lib/libcap.so"
    assert find_soname("libx", found) == find_soname("lib", found) == ""
    assert parse_loader_cache(data, "riscv64") == {}


def test_every_cut_of_the_cache_is_read_or_empty() -> None:
    for end in range(len(LIBRARIES)):
        assert len(parse_loader_cache(LIBRARIES[:end], "x86_64")) <= 5


@pytest.mark.skipif(not shutil.which("ldconfig") or os.uname().machine != "x86_64", reason="no ldconfig")
def test_the_cache_of_this_machine() -> None:
    program = shutil.which("ldconfig")
    assert program
    text = subprocess.run([program, "-p"], capture_output=True, text=True, check=False).stdout
    expected: dict[str, str] = {}
    for name, path in re.findall(r"^\t(\S+) \(libc6,x86-64\) => (.*)$", text, re.MULTILINE):
        expected.setdefault(name, path)
    if not expected:
        pytest.skip("no cache")
    assert parse_loader_cache(Path(LOADER_CACHE).read_bytes(), "x86_64") == expected


V2 = "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3"
V3 = f"{V2} abm avx avx2 bmi1 bmi2 f16c fma movbe xsave"


@pytest.mark.parametrize(
    ("flags", "levels"),
    [("", []), ("cx16 ssse3", []), (V2, ["x86-64-v2"]), (V3, ["x86-64-v2", "x86-64-v3"]), (V3[9:], [])],
)
def test_levels_of_processors(flags: str, levels: list[str]) -> None:
    assert parse_levels(f"processor\t: 0\nflags\t\t: fpu {flags}\nbugs\t\t:\n\nprocessor\t: 1\n") == levels
    assert parse_levels("Features\t: fp asimd\n") == []


@pytest.mark.skipif(
    not (shutil.which("gcc") and shutil.which("ldconfig")) or os.geteuid() or os.uname().machine != "x86_64",
    reason="ldconfig writes a cache as root",
)
def test_variants_for_processors_in_a_cache_by_ldconfig(tmp_path: Path) -> None:
    folders = ["", "glibc-hwcaps/x86-64-v2", "glibc-hwcaps/x86-64-v3"]
    for folder in folders:
        (tmp_path / "usr/lib" / folder).mkdir(parents=True, exist_ok=True)
        library = tmp_path / "usr/lib" / folder / "libtried.so.1"
        words = ["gcc", "-shared", "-nostdlib", "-Wl,-soname,libtried.so.1", "-o", str(library), "-x", "c", "/dev/null"]
        subprocess.run(words, check=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/ld.so.conf").write_text("/usr/lib\n")
    subprocess.run([shutil.which("ldconfig") or "", "-r", str(tmp_path)], check=True, capture_output=True)
    data = (tmp_path / "etc/ld.so.cache").read_bytes()
    for n in range(3):
        found = parse_loader_cache(data, "x86_64", ["x86-64-v2", "x86-64-v3"][:n])
        assert found["libtried.so.1"] == f"/usr/lib/{folders[n]}/libtried.so.1".replace("//", "/")


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_binary("./x") == "./x"
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "tool").write_text("")
    (tmp_path / "tool").chmod(0o700)
    assert find_binary("tool", loader_cache="/nonexistent") == f"{tmp_path}/tool"
    with pytest.raises(NoMatchError, match="no library libnone"):
        find_binary("libnone")
    monkeypatch.setattr(libraries, "LIBRARY_FOLDERS", (str(tmp_path),))
    (tmp_path / "libown.so").write_text("")
    assert find_library("libown", loader_cache="/nonexistent") == f"{tmp_path}/libown.so"


def test_a_process_has_a_program_and_libraries() -> None:
    own = Binary.of(os.getpid())
    assert own.path == f"/proc/{os.getpid()}/exe"
    assert own.build_id == mp.Binary(os.path.realpath(sys.executable)).build_id
    libc = Binary.of(os.getpid(), "libc")
    assert libc.path.startswith(f"/proc/{os.getpid()}/root/")
    assert "malloc" in libc.functions("malloc")


def test_a_program_that_was_deleted_is_read(tmp_path: Path) -> None:
    copy = tmp_path / "copied"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", copy)
    with subprocess.Popen([str(copy), "60"]) as process:
        try:
            build_id = Binary(copy).build_id
            copy.unlink()
            assert Binary.of(process.pid).build_id == build_id
        finally:
            process.kill()


def fake_process(folder: Path, maps: str) -> Path:
    """A folder like /proc with process 7, whose root folder is `folder`/7/root."""
    (folder / "7" / "root").mkdir(parents=True)
    (folder / "7" / "maps").write_text(maps)
    return folder


def test_processes_that_have_none(tmp_path: Path) -> None:
    proc = str(
        fake_process(tmp_path, "7f00-7f10 r-xp 00000000 08:01 5   /lib/libc.so.6 (deleted)\n7f20-7f30 rw-p 0 0:0 0\n")
    )
    with pytest.raises(NoMatchError, match="process 7 has no program"):
        program_of(7, proc=proc)
    with pytest.raises(NoMatchError, match="there is no process 8"):
        program_of(8, proc=proc)
    with pytest.raises(NoMatchError, match="process 7 has no library libm"):
        library_of(7, "libm", proc=proc)
    with pytest.raises(NoMatchError, match=r"/lib/libc\.so\.6 was deleted or replaced"):
        library_of(7, "libc", proc=proc)
    for pid in (0, -1, True):
        with pytest.raises(UsageError, match="invalid pid"):
            Binary.of(pid)


def test_a_library_of_a_container(tmp_path: Path) -> None:
    root = tmp_path / "7" / "root"
    fake_process(tmp_path, "")
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("/usr/lib")  # absolute: not that of this machine
    (root / "usr/lib/libc-2.31.so").write_text("")
    inode = (root / "usr/lib/libc-2.31.so").stat().st_ino
    (tmp_path / "7/maps").write_text(f"7f00-7f10 r-xp 00000000 08:01 {inode}   /lib/libc-2.31.so\n")
    for name in ("libc", "libc-2*", "lib?-*.so"):
        assert library_of(7, name, proc=str(tmp_path)) == f"{root}/usr/lib/libc-2.31.so"
    with pytest.raises(NoMatchError, match="has no library libc-3"):
        library_of(7, "libc-3*", proc=str(tmp_path))


def test_a_library_below_a_root_folder_without_a_namespace(tmp_path: Path) -> None:
    """After chroot alone, /proc/PID/maps has paths as they are outside."""
    outside = tmp_path / "outside/libc.so.6"
    outside.parent.mkdir()
    outside.write_text("")
    fake_process(tmp_path, f"7f00-7f10 r-xp 00000000 08:01 {outside.stat().st_ino}   {outside}\n")
    assert library_of(7, "libc", proc=str(tmp_path)) == str(outside)


def test_no_right_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proc = str(fake_process(tmp_path, ""))

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "no")

    monkeypatch.setattr(locating.os, "readlink", refuse)
    with pytest.raises(NotPermittedError, match="no right to look at process 7"):
        program_of(7, proc=proc)
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(NotPermittedError, match="no right to look at process 7"):
        library_of(7, "libc", proc=proc)


def test_links_stay_in_their_root(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("/b/../../../c")
    (tmp_path / "c").symlink_to("d")
    (tmp_path / "circle").symlink_to("/circle")
    assert follow_links(str(tmp_path), "a") == f"{tmp_path}/d"
    assert follow_links(str(tmp_path), "../../a/./x") == f"{tmp_path}/d/x"
    with pytest.raises(NoMatchError, match="circle of links"):
        follow_links(str(tmp_path), "circle")
    own = os.path.realpath(sys.executable)
    assert find_binary(f"/proc/{os.getpid()}/root{own}") == f"/proc/{os.getpid()}/root{own}"


def is_library(name: str) -> bool:
    return name in ("libc", "libssl.so.3")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/usr/bin/python3:Py*", ("/usr/bin/python3", "Py*")),
        ("./a.out:main", ("./a.out", "main")),
        ("!./a.out:main", ("./a.out", "!main")),
        ("libc:mem*", ("libc", "mem*")),
        ("libssl.so.3:/SSL_.*/", ("libssl.so.3", "/SSL_.*/")),
        ("/bin/x:/a/", ("/bin/x", "/a/")),
        ("./go:net/http.(*Server).Serve", ("./go", "net/http.(*Server).Serve")),
        ("./x:a::b", ("./x", "a::b")),
        ("libata:*", None),  # a module of the kernel
        ("lib*:*", None),
        ("nf_tables:*", None),
        ("syscall:openat", None),
        ("/tcp_v[46]:.*/", None),
        ("tcp_*", None),
        ("!tcp_*", None),
    ],
)
def test_patterns_of_binaries(text: str, expected: tuple[str, str] | None) -> None:
    assert split_binary(text, is_library=is_library) == expected


def test_a_binary_without_a_function() -> None:
    with pytest.raises(PatternError, match="names no function"):
        split_binary("libc:", is_library=is_library)


def test_requests_for_each_binary() -> None:
    found = requests(["./a:x", "libc:y", "./a:z", "!w", "tcp_*"], is_library=is_library)
    assert found == ([BinaryRequest("./a", ("x", "z", "!w")), BinaryRequest("libc", ("y", "!w"))], ["!w", "tcp_*"])
    assert requests(["./a:x", "!w"], is_library=is_library) == ([BinaryRequest("./a", ("x", "!w"))], [])
    assert requests(["!w"], is_library=is_library) == ([], ["!w"])
