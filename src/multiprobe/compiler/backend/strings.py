"""Code for strings: reading them into memory, and comparing them with what is known.

Knows the kernel's helpers for strings; must not know Python's syntax.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.compiler import ir
from multiprobe.compiler.backend.contexts import count_if
from multiprobe.maps.layout import FAILED_READS
from multiprobe.uapi.bpf import FuncId

if TYPE_CHECKING:
    from multiprobe.compiler.backend.emitter import Emitter
    from multiprobe.compiler.backend.evaluator import Evaluator

COMM_SIZE = 16
_READERS = {"kernel": FuncId.PROBE_READ_KERNEL_STR, "user": FuncId.PROBE_READ_USER_STR}
_MOST_STORES = 128
"""Larger memory than this is cleared by a helper."""


def prepare(g: Evaluator, string: ir.String) -> str:
    """Calculate whatever `write` needs: an operand."""
    return "0" if string.address is None else g.integer(string.address)


def write(e: Emitter, string: ir.String, operand: str, base: str, offset: int, size: int) -> None:
    """Fill the `size` bytes at `offset` of `base` (aligned to 8) with the string, a NUL, and zeros."""
    if string.source == "text":
        store_bytes(e, base, offset, string.text[: size - 1].ljust(size, b"\0"))
        return
    if string.source == "bytes":  # a read that fails leaves zeros
        answer = e.call(FuncId.PROBE_READ_KERNEL, f"ptr {e.at(base, offset)}", f"i32 {size}", f"i64 {operand}")
        count_if(e, e.make(f"icmp ne i64 {answer}, 0"), FAILED_READS)
        return
    # The kernel fills what it is given for a process's name (strscpy_pad), or leaves zeros.
    given = min(size, COMM_SIZE) if string.source == "comm" else 0
    clear(e, base, offset + given, size - given)
    _read(e, string, operand, e.at(base, offset), size)


def _read(e: Emitter, string: ir.String, operand: str, pointer: str, size: int) -> None:
    if string.source == "comm":
        e.call(FuncId.GET_CURRENT_COMM, f"ptr {pointer}", f"i32 {min(size, COMM_SIZE)}")
        return
    answer = e.call(_READERS[string.source], f"ptr {pointer}", f"i32 {size}", f"i64 {operand}")
    count_if(e, e.make(f"icmp slt i64 {answer}, 0"), FAILED_READS)


def clear(e: Emitter, base: str, offset: int, size: int) -> None:
    """Set memory to zero."""
    if size > _MOST_STORES:
        # A read from an address that can't be read leaves zeros: the kernel promises memory that is initialized.
        e.call(FuncId.PROBE_READ_KERNEL, f"ptr {e.at(base, offset)}", f"i32 {size}", "i64 0")
    else:
        store_bytes(e, base, offset, bytes(size))


def store_bytes(e: Emitter, base: str, offset: int, content: bytes) -> None:
    """Store bytes that are known, as many at once as alignment allows."""
    end, at = offset + len(content), offset
    while at < end:
        size = next(size for size in (8, 4, 2, 1) if at % size == 0 and at + size <= end)
        number = int.from_bytes(content[at - offset : at - offset + size], "little", signed=True)
        e.store(e.at(base, at), str(number), size)
        at += size


def is_same(g: Evaluator, node: ir.SameString) -> str:
    """Whether a string is exactly the known text, as i1."""
    e, text = g.e, node.text
    if node.string.source == "comm" and len(text) >= COMM_SIZE:
        return "false"
    # One byte more than the text and its NUL shows what goes on after it.
    wanted = COMM_SIZE if node.string.source == "comm" else len(text) + 2
    size = -(-wanted // 8) * 8
    operand = prepare(g, node.string)
    buffer = e.stack(f"[{size} x i8]")
    if node.string.source != "comm":
        store_bytes(e, buffer, 0, bytes(size))
    _read(e, node.string, operand, buffer, wanted)
    result = "true"
    for at in range(0, size, 8):
        number = int.from_bytes(text.ljust(size, b"\0")[at : at + 8], "little", signed=True)
        same = e.make(f"icmp eq i64 {e.load(e.at(buffer, at))}, {number}")
        result = same if result == "true" else e.make(f"and i1 {result}, {same}")
    return result
