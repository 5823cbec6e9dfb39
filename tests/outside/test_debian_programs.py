"""Functions in C++ and Rust, and of a container's libc, from files as Debian ships them: every call is counted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packages import unpack

import multiprobe as mp
from compiled import compiled_program
from multiprobe.instruments.count import calls, count
from multiprobe.kernel.features import Features

PIPE = subprocess.PIPE
LIBC = "lib/x86_64-linux-gnu/libc.so.6"
CONTAINER = ("unshare", "--mount")
APPENDS = r"""
#include <cstdio>
#include <cstdlib>
#include <string>
int main(int, char **argv) {
    std::string narrow;
    std::wstring wide;
    const int n = std::atoi(argv[1]);
    for (int i = 0; i < n; i++) narrow.append(argv[1]);
    for (int i = 0; i < 2 * n; i++) wide.append(L"wide");
    std::printf("%zu\n", narrow.size() + wide.size());
}
"""
CONVERTS = r"""
#include <stdio.h>
#include <stdlib.h>
int main(void) {
    puts("ready");
    fflush(stdout);
    while (getchar() != '\n') { }
    for (int i = 0; i < 300; i++) if (strtol("17", NULL, 10) != 17) return 1;
    return 0;
}
"""


@pytest.fixture(autouse=True)
def _attachable() -> None:
    answer = Features().probe("uprobe_multi")
    if not answer.is_yes:
        pytest.skip(f"this kernel has no uprobe_multi, for this user: {answer.evidence}")


def counted(pattern: str, environment: dict[str, str], *command: str | Path) -> tuple[dict[str, int], str]:
    """The calls of each function, and what the command printed."""
    pytest.importorskip("pycxxfilt", reason="the extra `demangle` is not installed")
    words = [sys.executable, "-m", "multiprobe", "count", "--json", pattern, "--", "env"]
    words += [*(f"{name}={value}" for name, value in environment.items()), *map(str, command)]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    *rows, _ = map(json.loads, ran.stdout.splitlines())
    return {row["function"]: row["calls"] for row in rows}, ran.stderr


def test_templates_in_cpp(tmp_path: Path) -> None:
    """Instances of a template in Debian's libstdc++ are told apart."""
    source = tmp_path / "appends.cpp"
    source.write_text(APPENDS)
    program = compiled_program(source, tmp_path / "appends", "-O1")
    library = Path(shutil.copy(mp.Binary("libstdc++").path, tmp_path / "libstdc++.so.6"))
    found, printed = counted(f"{library}:*basic_string*::_M_append", {"LD_LIBRARY_PATH": str(tmp_path)}, program, "123")
    assert str(3 * 123 + 4 * 246) in printed.splitlines()
    ours = {name: n for name, n in found.items() if n >= 123}
    narrow, wide = sorted(ours, key=ours.__getitem__)
    assert ("<char," in narrow, ours[narrow]) == (True, 123)
    assert ("<wchar_t," in wide, ours[wide]) == (True, 246)


def test_rust(tmp_path: Path) -> None:
    """Debian's rustc is linked to Rust's standard library, and prints its version by `println!`, line by line."""
    tree = unpack(tmp_path, "rustc", "libstd-rust-1.63")
    folder = next(path.parent for path in tree.rglob("libstd-*.so"))
    command = (next(tree.glob("usr/bin/rustc")), "-vV")
    environment = {"LD_LIBRARY_PATH": str(folder)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        pytest.skip(f"it does not run here: {ran.stderr[-200:]}")
    (library,) = folder.glob("libstd-*.so")
    assert mp.Binary(library).sources == (".dynsym",)
    found, _ = counted(f"{library}:std::*", environment, *command)
    assert found["std::rt::lang_start_internal"] == 1
    assert found["std::io::stdio::_print"] == len(ran.stdout.splitlines()) > 3


@pytest.mark.parametrize("namespace", [CONTAINER, ()], ids=["container", "chroot"])
def test_the_libc_of_a_container(namespace: tuple[str, ...], tmp_path: Path) -> None:
    """A process in a root folder of its own, whose libc is Debian's package; that of the machine has no probe."""
    if os.geteuid():
        pytest.skip("chroot takes root")
    source = tmp_path / "converts.c"
    source.write_text(CONVERTS)
    converts = compiled_program(source, tmp_path / "converts")
    root = unpack(tmp_path, "libc6")
    shutil.copy(converts, root / "converts")
    with subprocess.Popen([*namespace, "chroot", root, "/converts"], stdin=PIPE, stdout=PIPE, text=True) as inside:
        try:
            assert inside.stdout is not None
            assert inside.stdout.readline() == "ready\n"
            libc = mp.Binary.of(inside.pid, "libc")
            assert os.path.samefile(libc.path, next(root.rglob("libc.so.6")))
            assert os.path.samefile(mp.Binary(f"/proc/{inside.pid}/root/{LIBC}").path, libc.path)
            with mp.attach(count, libc.functions("strtol")) as attachment:
                subprocess.run([converts], input="\n", text=True, check=True)
                assert inside.poll() is None
                inside.communicate("\n")
                assert inside.returncode == 0
                assert list(attachment.totals(calls)) == [300]
        finally:
            inside.kill()
