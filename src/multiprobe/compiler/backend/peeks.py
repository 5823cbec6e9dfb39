"""Reading memory from a program: one bpf_probe_read_kernel, or bpf_probe_read_user, for each link of a chain of
pointers.

What was read is not read again on the same straight way, as long as the pointer stays the same and no loop goes round.
What successive assignments read from one address is read at once, if it is close together. Knows helpers; must not
know types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.compiler import ir
from multiprobe.compiler.backend.contexts import count_if
from multiprobe.compiler.ir import BOOL
from multiprobe.maps.layout import FAILED_READS
from multiprobe.uapi.bpf import FuncId

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multiprobe.compiler.backend.emitter import Emitter
    from multiprobe.compiler.backend.evaluator import Evaluator

MAX_TOGETHER = 64
"""Bytes that are read at once: hardly dearer than 8."""
PSEUDO_BTF_ID = 3
"""The source register of a 64-bit immediate that is the address of a variable, by its BTF id."""


class Peeks:
    """The reads of one program, through 8 bytes on its stack."""

    def __init__(self, generator: Evaluator) -> None:
        self.g = generator
        self.e = generator.e
        self._buffer = ""
        self._versions: dict[str, int] = {}
        self._round = 0

    def forget(self, name: str) -> None:
        """A local gets another value."""
        self._versions[name] = self._versions.get(name, 0) + 1

    def forget_all(self) -> None:
        """A loop begins, goes round or ends: memory may have changed, and so may every local."""
        self._round += 1

    def read_ahead(self, statements: Sequence[ir.Statement]) -> None:
        """Read at once what the first of these statements read from one address."""
        nodes = {self.identity(node): node for node in _neighbours(statements)}
        is_user = any(node.is_user for node in nodes.values())
        low = min((node.offset for node in nodes.values()), default=0)
        size = max((node.offset + node.size for node in nodes.values()), default=0) - low
        if len(nodes) < 2 or None in nodes or size > MAX_TOGETHER or any(map(self.e.known, nodes)):
            return
        e, buffer = self.e, self.e.stack(f"[{-(-size // 8) * 8} x i8]")
        address = self.g.integer(next(iter(nodes.values())).address)
        failed, end = e.label("failed"), e.label("end")
        e.branch(e.make(f"icmp ne i64 {self._copy(buffer, address, low, size, is_user=is_user)}, 0"), failed, end)
        e.begin(failed)  # one by one: some may be readable
        for node in nodes.values():
            place = e.at(buffer, node.offset - low)
            answer = self._copy(place, address, node.offset, node.size, is_user=is_user)
            count_if(e, e.make(f"icmp ne i64 {answer}, 0"), FAILED_READS)
        e.begin(end)
        for key, node in nodes.items():
            e.remember(key, self._value(e.at(buffer, node.offset - low), node))

    def load(self, node: ir.Peek) -> str:
        """The value as an operand of the node's kind."""
        key = self.identity(node)
        known = None if key is None else self.e.known(key)
        if known is None:
            known = self._load(node)
            if key is not None:
                self.e.remember(key, known)
        return known

    def identity(self, node: ir.Expression) -> object | None:
        """What tells that two expressions yield the same in this round; None where nothing does."""
        key = self._key(node)
        return None if key is None else (self._round, key)

    def _key(self, node: ir.Expression) -> object | None:
        if isinstance(node, ir.Peek):
            address = self._key(node.address)
            if address is None:
                return None
            return ("peek", address, node.offset, node.size, node.is_signed, node.shift, node.bits, node.is_user)
        if isinstance(node, ir.Local):
            return ("local", node.name, self._versions.get(node.name, 0))
        if isinstance(node, ir.Read) and node.is_steady:
            return ("read", node.name, node.index)
        if isinstance(node, ir.Const):
            return node.value
        if isinstance(node, ir.Convert) and node.type.size == 8:
            return self._key(node.operand)
        if isinstance(node, ir.BinaryOperation):
            left, right = self._key(node.left), self._key(node.right)
            return None if left is None or right is None else (node.op, left, right)
        return None

    def _load(self, node: ir.Peek) -> str:
        if node.is_task:
            return self._member_of_task(node)
        e, address = self.e, self.g.integer(node.address)
        self._buffer = self._buffer or e.stack("i64")
        if node.bits:
            e.store(self._buffer, "0")  # the verifier wants all of what is loaded to be written
        failed = self._copy(self._buffer, address, node.offset, node.size, is_user=node.is_user)
        count_if(e, e.make(f"icmp ne i64 {failed}, 0"), FAILED_READS)
        return self._bits(e.load(self._buffer), node) if node.bits else self._value(self._buffer, node)

    def _member_of_task(self, node: ir.Peek) -> str:
        # Volatile: LLVM would otherwise load neighbours at once, which the verifier refuses.
        pointer = self.e.at(self.g.hook.current_task(), node.offset)
        loaded = self.e.make(f"load volatile i{8 * node.size}, ptr {pointer}, align {node.size}")
        widened = self.e.widen(loaded, node.size, is_signed=node.is_signed)
        return self.e.make(f"icmp ne i64 {widened}, 0") if node.kind == BOOL else widened

    def _value(self, buffer: str, node: ir.Peek) -> str:
        loaded = self.e.load(buffer, node.size, is_signed=node.is_signed)
        return self.e.make(f"icmp ne i64 {loaded}, 0") if node.kind == BOOL else loaded

    def _copy(self, buffer: str, address: str, offset: int, size: int, *, is_user: bool) -> str:
        """Copy memory into the buffer: zeros, and an answer that isn't 0, if it can't be read."""
        if offset:
            address = self.e.make(f"add i64 {address}, {offset}")
        reader = FuncId.PROBE_READ_KERNEL
        if is_user:  # a sleepable program waits for pages that are not in memory
            reader = FuncId.COPY_FROM_USER if self.g.hook.shape.is_sleepable else FuncId.PROBE_READ_USER
        return self.e.call(reader, f"ptr {buffer}", f"i32 {size}", f"i64 {address}")

    def _bits(self, word: str, node: ir.Peek) -> str:
        up = 64 - node.shift - node.bits
        shifted = self.e.make(f"shl i64 {word}, {up}") if up else word
        return self.e.make(f"{'ashr' if node.is_signed else 'lshr'} i64 {shifted}, {64 - node.bits}")

    def per_cpu(self, node: ir.PerCpu) -> str:
        e = self.e
        variable = e.make(f"call i64 @llvm.bpf.pseudo(i64 {PSEUDO_BTF_ID}, i64 {node.variable}) #0")
        if node.cpu is None:
            pointer = e.call(FuncId.THIS_CPU_PTR, f"i64 {variable}")
        else:
            cpu = e.make(f"trunc i64 {self.g.integer(node.cpu)} to i32")
            pointer = e.call(FuncId.PER_CPU_PTR, f"i64 {variable}", f"i32 {cpu}")
        return plain(e, pointer)


def _neighbours(statements: Sequence[ir.Statement]) -> Iterator[ir.Peek]:
    """What the first of these statements, all of them assignments, read from the address that one local holds: all of
    it of the kernel, or all of the process."""
    address, is_user = None, False
    for statement in statements:
        if not isinstance(statement, ir.Assign):
            return
        node = statement.value
        if isinstance(node, ir.Peek) and isinstance(node.address, ir.Local) and not node.bits:
            if address is not None and (address, is_user) != (node.address, node.is_user):
                return
            address, is_user = node.address, node.is_user
            yield node
        if address is not None and statement.name == address.name:
            return


def plain(e: Emitter, pointer: str) -> str:
    """A pointer of the verifier's as a mere number, with which a program may do as it likes."""
    kept, copy = e.stack("i64"), e.stack("i64")
    e.store(kept, pointer)
    e.store(copy, "0")
    e.call(FuncId.PROBE_READ_KERNEL, f"ptr {copy}", "i32 8", f"ptr {kept}")
    return e.load(copy)
