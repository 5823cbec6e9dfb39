"""Reading memory from a program: one bpf_probe_read_kernel, or bpf_probe_read_user, for each link of a chain of
pointers.

What was read is not read again on the same straight way, as long as the pointer stays the same and no loop goes round.
Knows helpers; must not know types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.compiler import ir
from multiprobe.compiler.backend.contexts import count_if
from multiprobe.compiler.ir import BOOL
from multiprobe.maps.layout import FAILED_READS
from multiprobe.uapi.bpf import FuncId

if TYPE_CHECKING:
    from multiprobe.compiler.backend.emitter import Emitter
    from multiprobe.compiler.backend.evaluator import Evaluator

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
        e = self.e
        address = self.g.integer(node.address)
        if node.offset:
            address = e.make(f"add i64 {address}, {node.offset}")
        self._buffer = self._buffer or e.stack("i64")
        buffer = self._buffer
        if node.bits:
            e.store(buffer, "0")  # the verifier wants all of what is loaded to be written
            self._read(address, node)
            return self._bits(e.load(buffer), node)
        self._read(address, node)
        loaded = e.load(buffer, node.size, is_signed=node.is_signed)
        return e.make(f"icmp ne i64 {loaded}, 0") if node.kind == BOOL else loaded

    def _read(self, address: str, node: ir.Peek) -> None:
        """Read the bytes of a node from `address` into the buffer: zeros if they can't be read."""
        e, reader = self.e, FuncId.PROBE_READ_KERNEL
        if node.is_user:  # a sleepable program waits for pages that are not in memory
            reader = FuncId.COPY_FROM_USER if self.g.hook.shape.is_sleepable else FuncId.PROBE_READ_USER
        failed = e.call(reader, f"ptr {self._buffer}", f"i32 {node.size}", f"i64 {address}")
        count_if(e, e.make(f"icmp ne i64 {failed}, 0"), FAILED_READS)

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


def plain(e: Emitter, pointer: str) -> str:
    """A pointer of the verifier's as a mere number, with which a program may do as it likes."""
    kept, copy = e.stack("i64"), e.stack("i64")
    e.store(kept, pointer)
    e.store(copy, "0")
    e.call(FuncId.PROBE_READ_KERNEL, f"ptr {copy}", "i32 8", f"ptr {kept}")
    return e.load(copy)
