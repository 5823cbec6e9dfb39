"""Members of the kernel's structs are where bpftool says that they are.

Those of every struct and union with MULTIPROBE_LAYOUTS=1; of every fourth without, which takes a guest long enough.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

import multiprobe as mp
from multiprobe.kernel.btf.layout import fields, is_record

STEP = 1 if os.environ.get("MULTIPROBE_LAYOUTS") else 4
BTF = "/sys/kernel/btf/vmlinux"
TYPE = re.compile(r"\[(\d+)\] (\w+) '([^']*)'(?:.*? type_id=(\d+))?(?:.*? size=(\d+))?(?:.*? nr_elems=(\d+))?")
MEMBER = re.compile(r"\t'([^']*)' type_id=(\d+) bits_offset=(\d+)(?: bitfield_size=(\d+))?")
MODIFIERS = {"TYPEDEF", "CONST", "VOLATILE", "RESTRICT", "TYPE_TAG"}


class Told:
    """What bpftool tells of all types, with an own idea of how it fits together."""

    def __init__(self, text: str) -> None:
        self.kinds: dict[int, tuple[str, str, int, int, int]] = {}
        self.members: dict[int, list[tuple[str, int, int, int]]] = {}
        for line in text.splitlines():
            if line[0] == "[":
                found = TYPE.match(line)
                assert found, line
                number, kind, name, *numbers = found.groups()
                current = int(number)
                target, size, n = (int(one or 0) for one in numbers)
                self.kinds[current] = kind, name, target, size, n
            elif found := MEMBER.match(line):
                name, target, offset, bits = found.groups()
                self.members.setdefault(current, []).append((name, int(target), int(offset), int(bits or 0)))

    def bare(self, number: int) -> int:
        while number and self.kinds[number][0] in MODIFIERS:
            number = self.kinds[number][2]
        return number

    def size(self, number: int) -> int:
        number = self.bare(number)
        if not number:
            return 0
        kind, _, target, size, n = self.kinds[number]
        return 8 if kind == "PTR" else n * self.size(target) if kind == "ARRAY" else size

    def flat(self, number: int, base: int = 0) -> list[tuple[str, int, int, int]]:
        """All named members, those of unnamed ones in their place."""
        found = []
        for name, target, offset, bits in self.members.get(number, []):
            inner = self.bare(target)
            if name != "(anon)":
                found.append((name, target, base + offset, bits))
            elif self.kinds[inner][0] in ("STRUCT", "UNION"):
                found += self.flat(inner, base + offset)
        return found


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


@pytest.fixture(scope="module")
def told() -> Told:
    tool = shutil.which("bpftool", path="/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin")
    assert tool, "this test compares with bpftool: install it (Debian: bpftool)"
    shown = subprocess.run([tool, "btf", "dump", "file", BTF, "format", "raw"], capture_output=True, check=True)
    return Told(shown.stdout.decode("ascii", "backslashreplace"))


def test_every_member_is_where_bpftool_says(told: Told, kernel: mp.Kernel) -> None:
    btf = kernel.btf
    n = 0
    for number, (kind, name, _, size, _) in told.kinds.items():
        if kind not in ("STRUCT", "UNION") or number % STEP:
            continue
        assert is_record(btf, number), name
        assert btf.size(number) == size, name
        found = [(field.name, field.type_id, field.bit_offset, field.bits) for field in fields(btf, number)]
        expected = told.flat(number)
        assert found == expected, f"{kind} {name}"
        for member, target, _, _ in expected:
            assert btf.size(target) == told.size(target), f"{name}.{member}"
        n += len(found)
    assert n > 40_000 // STEP
    print(f"{n} members")


@pytest.mark.parametrize("name", ["task_struct", "sock", "file", "page"])
def test_layouts_for_python_agree(name: str, told: Told, kernel: mp.Kernel) -> None:
    (number,) = [n for n, (kind, of, *_) in told.kinds.items() if kind == "STRUCT" and of == name][:1]
    struct = mp.struct(name, kernel=kernel)
    expected = told.flat(number)
    assert [(m.name, m.bit_offset, m.bits) for m in struct.members] == [(m, at, bits) for m, _, at, bits in expected]
    assert [struct.offset(member) for member, *_ in expected[::10]] == [
        offset // 8 for _, _, offset, _ in expected[::10]
    ]
    dtype = struct.dtype
    for member, target, offset, bits in expected:
        if not bits and told.size(target):
            of, at = dtype.fields[member][:2]
            assert (at, of.itemsize) == (offset // 8, told.size(target)), member
    assert dtype.itemsize == struct.size == told.kinds[number][3]
