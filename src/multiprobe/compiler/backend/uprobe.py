"""How links on binaries answer a program's questions: the registers are those of the traced program."""

from __future__ import annotations

from multiprobe.arch import native
from multiprobe.arch.operands import Operand, parse_operands
from multiprobe.compiler.backend.contexts import KprobeMulti
from multiprobe.errors import DataError
from multiprobe.uapi.bpf import FuncId


class Uprobe(KprobeMulti):
    """Links of uprobe.multi and their sessions. The link's cookie is ctx.function."""

    reads_stack_by = FuncId.PROBE_READ_USER

    def cookie(self) -> str:
        return self._cookie_from_table()

    def kernel_entry(self) -> str:
        return "0"  # each hit is an entry of its own

    def arg(self, index: int) -> str:
        """By the calling convention, or of a USDT probe as its site says. Raises DataError if that can't be read."""
        if self.shape.operands is None:
            return super().arg(index)
        operands = self._operands()
        if index >= len(operands):
            return "0"
        found = operands[index]
        if isinstance(found, str):
            raise DataError(f"argument {index} of the site, {found}, can't be read")
        return self._value(found)

    def arg_count(self) -> str:
        if self.shape.operands is not None:
            return str(len(self._operands()))
        raise self.refuse(
            "ctx.arg_count is not known for functions of a binary", "ctx.arg(n) reads the n-th argument register"
        )

    def _operands(self) -> list[Operand | str]:
        return parse_operands(self.shape.operands or "", native().machine)

    def _value(self, operand: Operand) -> str:
        """The operand in 64 bits: with its sign, if it has one, else with zeros above it."""
        e = self.e
        if operand.register is not None:
            found = self.word(operand.register.offset)
            if operand.register.byte:
                found = e.make(f"lshr i64 {found}, {8 * operand.register.byte}")
        elif operand.is_memory:
            found = self.read_memory(self._address(operand), operand.size)
        else:
            found = str(operand.constant)
        unused = 64 - 8 * operand.size
        if not unused:
            return found
        shifted = e.make(f"shl i64 {found}, {unused}")
        return e.make(f"{'ashr' if operand.is_signed else 'lshr'} i64 {shifted}, {unused}")

    def _address(self, operand: Operand) -> str:
        e, address = self.e, str(operand.constant)
        if operand.base is not None:
            address = e.make(f"add i64 {self.word(operand.base.offset)}, {address}")
        if operand.index is not None:
            scaled = e.make(f"mul i64 {self.word(operand.index.offset)}, {operand.scale}")
            address = e.make(f"add i64 {address}, {scaled}")
        return address
