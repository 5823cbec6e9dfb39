"""A sample of what `make fuzz` tries, and what it found once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import fuzz
from multiprobe.instruments.stacks.user_symbols import Mapping, parse_maps
from multiprobe.vm.apt import parse_packages

NAMES = [
    "btf", "kallsyms", "addrs", "names", "blacklist", "pattern", "spelled type", "table cache",
    "table cache, checksum right", "program cache, checksum right", "program cache", "saved run",
    "saved run, end right", "saved run, gzip", "saved run, zstd", "commands on saved runs", "kernel.json",
    "accelerator", "tried", "culprits", "pins", "inlined functions", "dwarf",
    "btf sections", "filter", "command line", "elf", "binary",
    "go", "usdt probes", "patterns of binaries", "object types", "section name", "name", "trampoline", "verifier's log",
    "cpuinfo", "loader cache", "elf symbols", "enabled_functions", "kprobes", "fdinfo", "status", "mounts", "modules",
    "kernel configuration", "blacklist alone", "kallsyms alone", "list alone", "cpus", "event format", "maps",
    "call site", "package index", "apt sources",
]  # fmt: skip


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, fuzz.Target]:
    monkeypatch.setenv("MULTIPROBE_CACHE", str(tmp_path))
    return {target.name: target for target in fuzz.targets(tmp_path)}


@pytest.mark.parametrize("name", NAMES)
def test_hostile_input(name: str, made: dict[str, fuzz.Target]) -> None:
    target, chosen, tried = made[name], random.Random(f"20261128 {name}"), fuzz.Fuzz()
    inputs = target.inputs()
    mutations = [fuzz.mutate(chosen, chosen.choice(inputs), target.tokens) for _ in range(40)]
    assert [found for data in (*inputs, *mutations) if (found := tried.attempt(target, data))] == []


def test_good_input_is_answered(made: dict[str, fuzz.Target]) -> None:
    assert list(made) == NAMES
    for target in made.values():
        if target.name not in ("pattern", "filter"):
            target.call(target.seeds[0])


def test_what_is_kept_belongs_to_a_parser() -> None:
    assert {path.name for path in fuzz.CORPUS.iterdir()} <= set(NAMES)


def test_failures_are_findings() -> None:
    def fail(data: bytes) -> object:
        return {}[data]

    tried = fuzz.Fuzz()
    assert "KeyError" in tried.attempt(fuzz.Target("x", (b"",), fail), b"data")
    assert list(tried.findings.values()) == [b"data"]


def test_numbers_and_mappings_that_are_none() -> None:
    sizes = {one.name: one.size for one in parse_packages((fuzz.CORPUS / "package index/sizes").read_text())}
    assert sizes == {"a": 0, "b": 0, "c": 0}
    assert parse_packages("Package: a\nVersion: 1\nSize: 12\n")[0].size == 12
    text = "7f00-7f10 r-xp 00001000 08:01 1234   /a b (deleted)\n7f10-7f20 r--p 0 08:01 1 /a\nff0-ff1 --xp 0 0:0 0 \n"
    assert parse_maps(text) == [Mapping(0x7F00, 0x7F10, 0x1000, "/a b"), Mapping(0xFF0, 0xFF1, 0, "")]
