"""What this kernel's own symbols and types say, read without asking multiprobe what it can do."""

from __future__ import annotations

import functools
from pathlib import Path

from multiprobe.kernel.btf.types import load_btf


@functools.cache
def words() -> set[str]:
    """The kernel's symbols, and the values of enum bpf_attach_type."""
    symbols = {line.split()[2] for line in Path("/proc/kallsyms").read_text().splitlines()}
    btf = load_btf()
    return symbols.union(*(btf.enumerators(one) for one in btf.type_ids("bpf_attach_type")))
