"""Builds and runs the peer in C: libbpf, which attaches an empty program to addresses (`libbpf.c`)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import llvmlite.binding as llvm

from multiprobe.errors import MultiprobeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from multiprobe.functions.sets import FunctionSet

_EMPTY = """
target triple = "bpf"
@_license = global [4 x i8] c"GPL\\00", section "license"
define i32 @empty(ptr %context) section "kprobe.multi" {
  ret i32 0
}
"""
_SOURCE = Path(__file__).with_name("libbpf.c")


class Peer:
    """The program in C, built in a directory."""

    def __init__(self, directory: Path) -> None:
        self._program, self._object, self._addresses = (directory / name for name in ("peer", "empty.o", "addresses"))

    def build(self) -> str:
        """Build it; returns why it can't be built, or ""."""
        compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), "")
        if not compiler:
            return "there is no C compiler"
        line = [compiler, "-O2", "-o", str(self._program), str(_SOURCE), "-lbpf"]
        if subprocess.run(line, capture_output=True, check=False).returncode:
            return "libbpf's headers (libbpf-dev) are not installed"
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        machine = llvm.Target.from_triple("bpf").create_target_machine(cpu="v3")
        self._object.write_bytes(machine.emit_object(llvm.parse_assembly(_EMPTY)))
        return ""

    def attach(self, functions: FunctionSet) -> Mapping[str, float]:
        """Seconds to load an empty program and attach it, and to detach it. Raises MultiprobeError if it fails."""
        self._addresses.write_bytes(functions.addresses().tobytes())
        line = [str(self._program), str(self._object), str(self._addresses)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MultiprobeError(f"libbpf failed: {' '.join(done.stderr.split()) or done.returncode}")
        attach, detach = map(float, done.stdout.split())
        return {"attach": attach, "detach": detach}


@contextmanager
def built(notes: list[str]) -> Iterator[Peer | None]:
    """The peer while the block runs; None, and a note, if it can't be built here."""
    with tempfile.TemporaryDirectory() as directory:
        peer = Peer(Path(directory))
        if why := peer.build():
            notes.append(f"attach: libbpf in C is left out: {why}")
        yield None if why else peer
