"""Writing LLVM IR: temporaries, labels, stack slots, source locations, and the holes that `Code` leaves open.

Knows LLVM's text and BPF's calling convention; must not know the language or the hooks.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from multiprobe.compiler.code import CONSTANT, CONSTANT_SOURCE, KFUNC, MAP, MAP_VALUE

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLE = {MAP: 1, MAP_VALUE: 2, CONSTANT: CONSTANT_SOURCE}
"""The source register that marks a 64-bit immediate as a hole of each kind, until it is linked."""
KFUNC_CALL = 0x40000000
"""Calls to "helpers" from here on are holes for kernel functions."""
LOW_HALF_CALL = KFUNC_CALL - 1
"""Calls to this "helper" become a move of 32 bits, in `compile_now`."""

_HEAD = """\
target datalayout = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"
target triple = "{target}"
declare i64 @llvm.bpf.pseudo(i64, i64)
attributes #0 = {{ nounwind willreturn memory(none) }}
attributes #1 = {{ nounwind "no-builtins" "no-jump-tables"="true" }}
!llvm.dbg.cu = !{{!0}}
!llvm.module.flags = !{{!1}}
!0 = distinct !DICompileUnit(language: DW_LANG_C99, file: !2, emissionKind: FullDebug)
!1 = !{{i32 2, !"Debug Info Version", i32 3}}
!2 = !DIFile(filename: "program", directory: "")
!3 = !DISubroutineType(types: !4)
!4 = !{{!5}}
!5 = !DIBasicType(name: "long", size: 64, encoding: DW_ATE_signed)
!6 = distinct !DISubprogram(name: "program", file: !2, line: 1, type: !3, unit: !0, spFlags: DISPFlagDefinition)
"""
_FIRST_LOCATION = 7


class Emitter:
    """One function in the making. Operands are strings: temporaries ("%3") or numbers.

    holes: (kind, key) of each number that is left open; n_arguments: of each helper that is called
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.location = 0
        self.holes: list[tuple[str, str]] = []
        self.n_arguments: dict[int, int] = {}
        self._entry: list[str] = []
        self._body: list[str] = []
        self._locations: dict[int, int] = {}
        self._n = 0
        self._known: list[dict[object, str]] = [{}]
        self.is_open = True
        self.end = self.label("end")

    def text(self) -> str:
        """The module."""
        lines = [
            _HEAD.format(target=self.target),
            "define i64 @program(ptr %ctx) #1 !dbg !6 {",
            *self._entry,
            "  br label %begin",
            "begin:",
            *self._body,
            "}",
        ]
        for location, node in self._locations.items():
            lines.append(f"!{node} = !DILocation(line: {(location >> 10) + 1}, column: {location & 1023}, scope: !6)")
        return "\n".join(lines) + "\n"

    # Instructions

    def make(self, instruction: str) -> str:
        """Emit an instruction that yields a value."""
        self._n += 1
        name = f"%t{self._n}"
        self._body.append(f"  {name} = {instruction}{self._location()}")
        return name

    def do(self, instruction: str) -> None:
        """Emit an instruction that yields nothing."""
        self._body.append(f"  {instruction}{self._location()}")

    def _location(self) -> str:
        node = self._locations.setdefault(self.location, _FIRST_LOCATION + len(self._locations))
        return f", !dbg !{node}"

    def at_entry(self, instruction: str) -> str:
        """Emit an instruction before everything else: memory on the stack, loads from the context."""
        self._n += 1
        name = f"%t{self._n}"
        self._entry.append(f"  {name} = {instruction}{self._location()}")
        return name

    def stack(self, type_: str, *, align: int = 8) -> str:
        """Memory on the stack; its address."""
        return self.at_entry(f"alloca {type_}, align {align}")

    # Blocks

    def label(self, hint: str = "b") -> str:
        self._n += 1
        return f"{hint}{self._n}"

    def begin(self, label: str) -> None:
        """Start a block; the one before must be ended, or falls into it."""
        if self.is_open:
            self.do(f"br label %{label}")
        self._body.append(f"{label}:")
        self.is_open = True

    def jump(self, label: str) -> None:
        if self.is_open:
            self.do(f"br label %{label}")
        self.is_open = False

    def branch(self, test: str, then: str, other: str) -> None:
        self.do(f"br i1 {test}, label %{then}, label %{other}")
        self.is_open = False

    @contextmanager
    def maybe(self) -> Iterator[None]:
        """What is calculated inside is not known to have been calculated afterwards."""
        self._known.append({})
        yield
        self._known.pop()

    def known(self, key: object) -> str | None:
        """A value calculated earlier on every path to here."""
        return next((level[key] for level in self._known if key in level), None)

    def remember(self, key: object, operand: str) -> str:
        self._known[-1][key] = operand
        return operand

    def opaque(self, operand: str) -> str:
        """The same number, about which LLVM knows nothing."""
        return self.make(f'call i64 asm "", "=r,0"(i64 {operand}) #0')

    # BPF

    def hole(self, kind: str, key: str) -> str:
        """A 64-bit number that `Code.link` fills in."""
        return self.make(f"call i64 @llvm.bpf.pseudo(i64 {HOLE[kind]}, i64 {self._hole(kind, key)}) #0")

    def _hole(self, kind: str, key: str) -> int:
        if (kind, key) not in self.holes:
            self.holes.append((kind, key))
        return self.holes.index((kind, key)) + 1

    def map_value(self, key: str) -> str:
        """The address of a single-entry array's value."""
        return self.make(f"inttoptr i64 {self.hole(MAP_VALUE, key)} to ptr")

    def rare_map_value(self, key: str) -> str:
        """The same where the program seldom comes by: LLVM doesn't keep it in a register from the start for that."""
        number = self.make(f"call i64 @llvm.bpf.pseudo(i64 {HOLE[MAP_VALUE]}, i64 {self._hole(MAP_VALUE, key)}) #1")
        return self.make(f"inttoptr i64 {number} to ptr")

    def call(self, helper: int, *arguments: str) -> str:
        """Call a helper; arguments are typed ("ptr %ctx")."""
        self.n_arguments[helper] = max(len(arguments), self.n_arguments.get(helper, 0))
        return self.make(f"call i64 inttoptr (i64 {helper} to ptr)({', '.join(arguments)}) #1")

    def low_half(self, pointer: str) -> str:
        """The low 32 bits of a pointer, as a number.

        The verifier allows nothing but a move of 32 bits for that, and LLVM knows better ways: this stays a call.
        """
        return self.call(LOW_HALF_CALL, f"ptr {pointer}")

    def call_kfunc(self, name: str, *arguments: str) -> str:
        return self.call(KFUNC_CALL + self._hole(KFUNC, f"kfunc:{name}"), *arguments)

    def item(self, key: str, number: str, size: int, last: str, missing: str) -> str:
        """The address of item `number` of an array in a map's value; goes to `missing` if that is above `last`.

        The verifier knows only the bounds of the very register that was compared. LLVM would compare another one (a
        right shift and a bound become a larger bound, a multiplication after a shift becomes a mask), or calculate the
        address before the comparison. So it knows nothing of the number on either side of the comparison.
        """
        if number.isdecimal() and last.isdecimal() and int(number) <= int(last):
            return self.at(self.map_value(key), int(number) * size)
        return self.at(self.map_value(key), self.make(f"mul i64 {self.below(number, last, missing)}, {size}"))

    def below(self, number: str, last: str, missing: str) -> str:
        """The same number, of which the verifier knows that it isn't above `last`; goes to `missing` if it is."""
        number, inside = self.opaque(number), self.label("inside")
        # The bound is on the number, before it becomes an offset: 6.1's verifier forgets what is aligned, otherwise.
        self.branch(self.make(f"icmp ule i64 {number}, {last}"), inside, missing)
        self.begin(inside)
        return self.opaque(number)

    # Memory

    def at(self, pointer: str, offset: str | int) -> str:
        """The address `offset` bytes further."""
        if offset == 0:
            return pointer
        return self.make(f"getelementptr i8, ptr {pointer}, i64 {offset}")

    def load(self, pointer: str, size: int = 8, *, is_signed: bool = False) -> str:
        """Load `size` bytes and widen to 64 bits."""
        loaded = self.make(f"load i{8 * size}, ptr {pointer}, align {size}")
        return self.widen(loaded, size, is_signed=is_signed)

    def store(self, pointer: str, operand: str, size: int = 8) -> None:
        """Store the low `size` bytes of a 64-bit operand."""
        self.do(f"store i{8 * size} {self.narrow(operand, size)}, ptr {pointer}, align {size}")

    def narrow(self, operand: str, size: int) -> str:
        return operand if size == 8 else self.make(f"trunc i64 {operand} to i{8 * size}")

    def widen(self, operand: str, size: int, *, is_signed: bool) -> str:
        if size == 8:
            return operand
        return self.make(f"{'sext' if is_signed else 'zext'} i{8 * size} {operand} to i64")
