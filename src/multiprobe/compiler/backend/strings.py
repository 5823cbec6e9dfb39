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
_MEMORY_READERS = {"kernel": FuncId.PROBE_READ_KERNEL, "user": FuncId.PROBE_READ_USER}
_BYTE_READERS = {"kernel_bytes": FuncId.PROBE_READ_KERNEL, "user_bytes": FuncId.PROBE_READ_USER}
_MEMORY_READERS |= _BYTE_READERS
_PAGE = 4096
_MOST_STORES = 128
"""Larger memory than this is cleared by a helper."""


def prepare(g: Evaluator, string: ir.String, size: int) -> tuple[str, str | None]:
    """Calculate what `write` needs for `size` bytes: an operand, and the `limit` of a string that has a size.

    A sleepable program waits here for the pages of user memory: later it may hold what others wait for.
    """
    if string.source == "task":
        return g.hook.current_task(), None
    operand = "0" if string.address is None else g.integer(string.address)
    limit = None if string.size is None else g.integer(string.size)
    if string.source in ("user", "user_bytes") and g.hook.shape.is_sleepable:
        _fault_in(g.e, operand, size if limit is None else _smaller(g.e, limit, size))
    return operand, limit


def _smaller(e: Emitter, number: str, most: int) -> str:
    return e.make(f"select i1 {e.make(f'icmp ult i64 {number}, {most}')}, i64 {number}, i64 {most}")


def _fault_in(e: Emitter, address: str, size: int | str) -> None:
    """Bring the pages of the `size` bytes (at most a page) into memory. Where there is none, reading fails as ever."""
    byte, more, end = e.stack("i64"), e.label("more"), e.label("end")
    e.call(FuncId.COPY_FROM_USER, f"ptr {byte}", "i32 1", f"i64 {address}")
    behind = e.make(f"add i64 {e.make(f'and i64 {address}, {_PAGE - 1}')}, {size}")
    e.branch(e.make(f"icmp ugt i64 {behind}, {_PAGE}"), more, end)
    e.begin(more)
    last = e.make(f"add i64 {address}, {e.make(f'sub i64 {size}, 1')}")
    e.call(FuncId.COPY_FROM_USER, f"ptr {byte}", "i32 1", f"i64 {last}")
    e.begin(end)


def write(
    e: Emitter, string: ir.String, operand: str, base: str, offset: int, size: int, *, limit: str | None = None
) -> None:
    """Fill the `size` bytes at `offset` of `base` (aligned to 8) with the string, a NUL, and zeros.

    With `limit`, at most so many bytes are read; there may be others than zeros after a NUL.
    """
    if string.source == "task":
        _copy_name(e, string, operand, base, offset)
        clear(e, base, offset + COMM_SIZE, size - COMM_SIZE)
        return
    if limit is not None:
        clear(e, base, offset, size)
        most = size if string.source in _BYTE_READERS else size - 1
        _read_at_most(e, string, operand, e.at(base, offset), limit, most)
        return
    if string.source == "text":
        store_bytes(e, base, offset, string.text[: size - 1].ljust(size, b"\0"))
        return
    if string.source in _BYTE_READERS and limit is None:  # a read that fails leaves zeros
        answer = e.call(_BYTE_READERS[string.source], f"ptr {e.at(base, offset)}", f"i32 {size}", f"i64 {operand}")
        count_if(e, e.make(f"icmp ne i64 {answer}, 0"), FAILED_READS)
        return
    # The kernel fills what it is given for a process's name (strscpy_pad), or leaves zeros.
    given = min(size, COMM_SIZE) if string.source == "comm" else 0
    clear(e, base, offset + given, size - given)
    _read(e, string, operand, e.at(base, offset), size)


def _copy_name(e: Emitter, string: ir.String, task: str, base: str, offset: int) -> None:
    """Copy the name of a task: two loads, where the kernel's helper takes 176 instructions (measured on 6.12)."""
    for at in range(0, COMM_SIZE, 8):
        loaded = e.make(f"load volatile i64, ptr {e.at(task, string.offset + at)}, align 8")
        e.store(e.at(base, offset + at), loaded)


def _read(e: Emitter, string: ir.String, operand: str, pointer: str, size: int) -> None:
    if string.source == "comm":
        e.call(FuncId.GET_CURRENT_COMM, f"ptr {pointer}", f"i32 {min(size, COMM_SIZE)}")
        return
    answer = e.call(_READERS[string.source], f"ptr {pointer}", f"i32 {size}", f"i64 {operand}")
    count_if(e, e.make(f"icmp slt i64 {answer}, 0"), FAILED_READS)


def _read_at_most(e: Emitter, string: ir.String, operand: str, pointer: str, limit: str, most: int) -> None:
    """Read `limit` bytes, at most `most`.

    The verifier knows the bound of the very register that is compared: LLVM knows nothing of it, on either side of the
    comparison (see `Emitter.item`).
    """
    number, part, whole, end = e.opaque(limit), e.label("part"), e.label("whole"), e.label("end")
    e.branch(e.make(f"icmp ult i64 {number}, {most}"), part, whole)
    e.begin(part)
    _read_memory(e, string, operand, pointer, e.opaque(number))
    e.jump(end)
    e.begin(whole)
    _read_memory(e, string, operand, pointer, str(most))
    e.begin(end)


def _read_memory(e: Emitter, string: ir.String, operand: str, pointer: str, length: str) -> None:
    answer = e.call(_MEMORY_READERS[string.source], f"ptr {pointer}", f"i64 {length}", f"i64 {operand}")
    count_if(e, e.make(f"icmp ne i64 {answer}, 0"), FAILED_READS)


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
    if node.string.size is not None:
        return _is_same_within(g, node.string, text)
    # One byte more than the text and its NUL shows what goes on after it.
    wanted = COMM_SIZE if node.string.source == "comm" else len(text) + 2
    size = -(-wanted // 8) * 8
    operand, _ = prepare(g, node.string, wanted)
    buffer = e.stack(f"[{size} x i8]")
    if node.string.source != "comm":
        store_bytes(e, buffer, 0, bytes(size))
    _read(e, node.string, operand, buffer, wanted)
    return _is_equal(e, buffer, text, size)


def _is_equal(e: Emitter, buffer: str, text: bytes, size: int) -> str:
    """Whether `size` bytes are the text and zeros, as i1."""
    result = "true"
    for at in range(0, size, 8):
        number = int.from_bytes(text.ljust(size, b"\0")[at : at + 8], "little", signed=True)
        same = e.make(f"icmp eq i64 {e.load(e.at(buffer, at))}, {number}")
        result = same if result == "true" else e.make(f"and i1 {result}, {same}")
    return result


def _is_same_within(g: Evaluator, string: ir.String, text: bytes) -> str:
    """The same for a string that has a size: it has the bytes of the text, and then it ends or has a NUL."""
    e, size = g.e, -(-(len(text) + 1) // 8) * 8
    operand, limit = prepare(g, string, len(text) + 1)
    buffer, result = e.stack(f"[{size} x i8]"), e.stack("i1")
    read, end = e.label("read"), e.label("end")
    e.do(f"store i1 false, ptr {result}")
    e.branch(e.make(f"icmp uge i64 {limit}, {len(text)}"), read, end)
    e.begin(read)
    store_bytes(e, buffer, 0, bytes(size))
    is_longer = e.make(f"zext i1 {e.make(f'icmp ugt i64 {limit}, {len(text)}')} to i64")
    _read_memory(e, string, operand, buffer, e.make(f"add i64 {is_longer}, {len(text)}"))
    e.do(f"store i1 {_is_equal(e, buffer, text, size)}, ptr {result}")
    e.begin(end)
    return e.make(f"load i1, ptr {result}")
