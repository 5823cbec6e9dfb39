"""Reading and writing maps from a program: plain memory for arrays, helpers for hash tables.

A key that was looked up is not looked up again on the same straight way, as long as no loop goes round and the program
changes nothing else in that table: `h[k]` and then `h[k] += 1` are one lookup. Tables of which a program deletes keys
are left out, because what another CPU deletes meanwhile may already belong to another key.

Knows how maps lie in memory (from `maps.layout`); must not know Python's syntax.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from multiprobe.compiler import ir
from multiprobe.compiler.backend.atomics import EXTREMES, replace_by_extreme
from multiprobe.compiler.backend.contexts import count_if
from multiprobe.compiler.backend.strings import prepare, write
from multiprobe.compiler.code import CONSTANT, MAP
from multiprobe.compiler.ir import BOOL, Expression
from multiprobe.maps.layout import FULL_MAPS, OUT_OF_RANGE
from multiprobe.maps.specs import Array, Hash, MapSpec, PerFunction, RowArray
from multiprobe.maps.tasks import PerTask
from multiprobe.maps.types import StringType
from multiprobe.uapi.bpf import F_STORAGE_CREATE, FuncId

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multiprobe.compiler.backend.evaluator import Evaluator

ANY, NO_EXIST = 0, 1
_EBUSY = -16


class Access:
    """The maps of one program, each with memory for a key and a value on the stack."""

    def __init__(self, generator: Evaluator, specs: Sequence[MapSpec], *, deleted_from: frozenset[int]) -> None:
        """`deleted_from`: the maps of which the program deletes keys."""
        self.g = generator
        self.e = generator.e
        self.specs = specs
        self._deleted_from = deleted_from
        self._changes = dict.fromkeys(range(len(specs)), 0)
        self._keys: dict[int, str] = {}
        self._values: dict[int, str] = {}

    # What statements and expressions ask for

    def load(self, node: ir.Load) -> str:
        """The value at a key as an operand of the node's kind; 0 where there is none."""
        e, type_ = self.e, self.specs[node.map].value
        result, end = e.stack("i64"), e.label("end")
        e.store(result, "0")
        pointer = self._find(node.map, node.key, end)
        e.store(result, e.load(pointer, type_.size, is_signed=type_.is_signed))
        e.begin(end)
        loaded = e.load(result)
        return e.make(f"icmp ne i64 {loaded}, 0") if node.kind == BOOL else loaded

    def contains(self, node: ir.Contains) -> str:
        # Opaque: LLVM would otherwise join the pointer with other numbers that are compared with 0, which the verifier
        # refuses ("pointer arithmetic on map_value_or_null").
        e = self.e
        is_task = isinstance(self.specs[node.map], PerTask)
        pointer = self._of_task(node.map) if is_task else self._lookup(node.map, self._key(node.map, node.key))
        is_there = e.make(f"icmp ne ptr {pointer}, null")
        return e.make(f"icmp ne i64 {e.opaque(e.make(f'zext i1 {is_there} to i64'))}, 0")

    def store(self, node: ir.Store) -> None:
        spec = self.specs[node.map]
        value = self.g.integer(node.value)
        if isinstance(spec, Hash):
            self._changes[node.map] += 1
            self._put(node.map, self._key(node.map, node.key), value)
            return
        lost, end = self.e.label("lost"), self.e.label("end")
        pointer = self._find(node.map, node.key, lost, is_change=True)
        self.e.store(pointer, value, spec.value.size)
        self.e.jump(end)
        self._lose(spec, lost, end)

    def store_string(self, node: ir.StoreString) -> None:
        pointer = self._find(node.map, node.key, self.e.end)
        write(self.e, node.string, prepare(self.g, node.string, node.size)[0], pointer, 0, node.size)

    def exchange(self, node: ir.Exchange) -> str:
        """What was there before; 0 where there is no such item, which is counted."""
        e, spec = self.e, self.specs[node.map]
        value = e.narrow(self.g.integer(node.value), spec.value.size)
        expected = node.expected and e.narrow(self.g.integer(node.expected), spec.value.size)
        result, lost, end = e.stack("i64"), e.label("lost"), e.label("end")
        e.store(result, "0")
        pointer, type_ = self._find(node.map, node.key, lost), f"i{8 * spec.value.size}"
        # seq_cst: for a monotonic one, LLVM takes the instruction that doesn't tell what was there.
        if expected is None:
            before = e.make(f"atomicrmw add ptr {pointer}, {type_} {value} seq_cst, align {spec.value.size}")
        else:
            pair = e.make(f"cmpxchg ptr {pointer}, {type_} {expected}, {type_} {value} seq_cst seq_cst")
            before = e.make(f"extractvalue {{ {type_}, i1 }} {pair}, 0")
        e.store(result, e.widen(before, spec.value.size, is_signed=spec.value.is_signed))
        e.jump(end)
        self._lose(spec, lost, end)
        return e.load(result)

    def update(self, node: ir.Update) -> None:
        spec = self.specs[node.map]
        value = self.g.integer(node.value)
        missing, end = self.e.label("missing"), self.e.label("end")
        pointer = self._find(node.map, node.key, missing, is_change=True)
        self._atomic(node.op, pointer, value, spec.value.size)
        self.e.jump(end)
        if isinstance(spec, Hash):
            self._changes[node.map] += 1
            self.e.begin(missing)
            self._insert(node, value)
            self.e.begin(end)
        else:
            self._lose(spec, missing, end)

    def delete(self, node: ir.Delete) -> None:
        if isinstance(self.specs[node.map], PerTask):
            self._delete_of_task(node.map)
            return
        key = self._key(node.map, node.key)
        self.e.call(FuncId.MAP_DELETE_ELEM, f"i64 {self._map(node.map)}", f"ptr {key}")

    def _delete_of_task(self, index: int) -> None:
        arguments = (f"i64 {self._map(index)}", f"ptr {self.g.hook.current_task()}")
        answer = self.e.call(FuncId.TASK_STORAGE_DELETE, *arguments)
        count_if(self.e, self.e.make(f"icmp eq i64 {answer}, {_EBUSY}"), FULL_MAPS)

    # Finding

    def _find(self, index: int, key: ir.Key, missing: str, *, is_change: bool = False) -> str:
        """The address of the value at a key; the program goes on at `missing` if there is none.

        A task gets its value when it is first changed.
        """
        spec = self.specs[index]
        if isinstance(spec, PerTask):
            return self._existing(self._of_task_once(index, is_change=is_change), missing)
        if isinstance(spec, RowArray):
            return self._find_in_array_row(index, spec, key, missing)
        if isinstance(spec, Hash):
            return self._existing(self._lookup_once(index, key), missing)
        assert not isinstance(key[0], ir.String)
        if isinstance(spec, PerFunction):
            return self._find_slot(index, spec, key[0], missing)
        assert isinstance(spec, Array)
        return self._find_item(index, spec, key[0], missing)

    def _existing(self, pointer: str, missing: str) -> str:
        found = self.e.label("found")
        self.e.branch(self.e.make(f"icmp ne ptr {pointer}, null"), found, missing)
        self.e.begin(found)
        return pointer

    def _find_item(self, index: int, spec: Array, key: Expression, missing: str) -> str:
        e, item = self.e, self.g.integer(key)
        if spec.per_cpu:
            cpu, inside = self.g.hook.read("cpu", 0), e.label("inside")
            e.branch(e.make(f"icmp ult i64 {item}, {spec.size}"), inside, missing)
            e.begin(inside)
            return self._find_in_row(index, spec.value.size, cpu, item, missing)
        return e.item(f"map{index}", item, spec.value.size, str(spec.size - 1), missing)

    def _find_slot(self, index: int, spec: PerFunction, key: Expression, missing: str) -> str:
        """One comparison for the verifier's sake; another one where the index isn't the hook's own."""
        e = self.e
        if isinstance(key, ir.Read) and key.name == "function":
            return self._find_own_slot(index, spec)
        item, inside = self.g.integer(key), e.label("inside")
        cpu = self.g.hook.read("cpu", 0)  # before the branch: it is remembered for what follows
        e.branch(e.make(f"icmp ult i64 {item}, {e.hole(CONSTANT, 'n_functions')}"), inside, missing)
        e.begin(inside)
        slot = e.make(f"add i64 {item}, 1")
        return self._find_in_row(index, spec.value.size, cpu, slot, missing)

    def _find_own_slot(self, index: int, spec: PerFunction) -> str:
        """Slots of equal specs have equal numbers: what one was calculated and compared for serves the others."""
        e, size = self.e, spec.value.size
        kind = ("own slot", size, spec.shared)
        number = e.known(kind)
        if number is None:
            slot, cpu = self.g.hook.slot(), self.g.hook.read("cpu", 0)
            inside = e.below(self._number_in_row(index, cpu, slot), e.hole(CONSTANT, f"map{index}.limit"), e.end)
            number = e.remember(kind, inside)
        return e.at(e.map_value(f"map{index}"), e.make(f"mul i64 {number}, {size}"))

    def _find_in_row(self, index: int, size: int, cpu: str, slot: str, missing: str) -> str:
        key = f"map{index}"
        number = self._number_in_row(index, cpu, slot)
        return self.e.item(key, number, size, self.e.hole(CONSTANT, f"{key}.limit"), missing)

    def _number_in_row(self, index: int, cpu: str, slot: str) -> str:
        e, spec, key = self.e, self.specs[index], f"map{index}"
        if isinstance(spec, PerFunction) and spec.shared:
            cpu = e.make(f"and i64 {cpu}, {e.hole(CONSTANT, f'{key}.mask')}")
        row = e.make(f"mul i64 {cpu}, {e.hole(CONSTANT, f'{key}.stride')}")
        return e.make(f"add i64 {row}, {slot}")

    def _find_in_array_row(self, index: int, spec: RowArray, key: ir.Key, missing: str) -> str:
        """One bounds check for all values of a row; the program ends where there is no such row."""
        row, place = key
        assert not isinstance(row, ir.String)
        found = self._array_row(index, spec, row)  # before the place, which may be missing: it is remembered
        return self.e.at(found, self._offset_in_row(spec.width, spec.value.size, place, missing))

    def _array_row(self, index: int, spec: RowArray, row: Expression) -> str:
        """The address of a row."""
        e, identity = self.e, self.g.identity(row)
        known = None if identity is None else e.known(("row", index, identity))
        if known is not None:
            return known
        gone, inside = e.label("gone"), e.label("inside")
        pointer = e.item(f"map{index}", self.g.integer(row), spec.width * spec.value.size, str(spec.n_rows - 1), gone)
        e.jump(inside)
        e.begin(gone)
        count_if(e, "true", OUT_OF_RANGE)
        e.jump(e.end)
        e.begin(inside)
        return pointer if identity is None else e.remember(("row", index, identity), pointer)

    def _offset_in_row(self, width: int, size: int, place: Expression | ir.String, missing: str) -> str | int:
        assert not isinstance(place, ir.String)
        number = self.g.integer(place)
        if number.isdecimal() and int(number) < width:
            return int(number) * size
        return self.e.make(f"mul i64 {self.e.below(number, str(width - 1), missing)}, {size}")

    def _or_else(self, pointer: str, make: Callable[[], str]) -> str:
        """`pointer`, or the one that `make` makes if it is null."""
        e, result, first, end = self.e, self.e.stack("ptr"), self.e.label("first"), self.e.label("end")
        e.do(f"store ptr {pointer}, ptr {result}")
        e.branch(e.make(f"icmp ne ptr {pointer}, null"), end, first)
        e.begin(first)
        with e.maybe():
            e.do(f"store ptr {make()}, ptr {result}")
        e.begin(end)
        return e.make(f"load ptr, ptr {result}")

    def _lookup_once(self, index: int, key: ir.Key) -> str:
        buffer, identity = self._key(index, key), self._identity(index, key)
        if identity is None:
            return self._lookup(index, buffer)
        return self.e.known(identity) or self.e.remember(identity, self._lookup(index, buffer))

    def _identity(self, index: int, key: ir.Key) -> object | None:
        """What tells that two lookups find the same; None where nothing does."""
        if index in self._deleted_from:
            return None
        parts = tuple(None if isinstance(part, ir.String) else self.g.identity(part) for part in key)
        if None in parts:
            return None
        return ("lookup", index, self._changes[index], parts)

    def _lookup(self, index: int, key: str) -> str:
        answer = self.e.call(FuncId.MAP_LOOKUP_ELEM, f"i64 {self._map(index)}", f"ptr {key}")
        return self.e.make(f"inttoptr i64 {answer} to ptr")

    def _of_task_once(self, index: int, *, is_change: bool) -> str:
        """The address of the current task's value, or null; a change makes a value where there is none."""
        if index in self._deleted_from:
            return self._of_task(index, F_STORAGE_CREATE if is_change else 0)
        found, made = ("of task", index), ("made of task", index)
        known = self.e.known(made) or self.e.known(found)
        if not is_change:
            return known or self.e.remember(found, self._of_task(index))
        create = partial(self._of_task, index, F_STORAGE_CREATE)
        return self.e.known(made) or self.e.remember(made, self._or_else(known, create) if known else create())

    def _of_task(self, index: int, flags: int = 0) -> str:
        """The address of the current task's value, or null."""
        arguments = (f"i64 {self._map(index)}", f"ptr {self.g.hook.current_task()}", "i64 0", f"i64 {flags}")
        return self.e.make(f"inttoptr i64 {self.e.call(FuncId.TASK_STORAGE_GET, *arguments)} to ptr")

    # Changing

    def _atomic(self, op: str, pointer: str, value: str, size: int) -> None:
        if op in EXTREMES:
            replace_by_extreme(self.e, EXTREMES[op], pointer, value)
            return
        value = self.e.narrow(value, size)
        self.e.do(f"atomicrmw {op} ptr {pointer}, i{8 * size} {value} monotonic, align {size}")

    def _insert(self, node: ir.Update, value: str) -> None:
        """The first update of a key: insert it; if another CPU was faster, update what it inserted."""
        e, spec = self.e, self.specs[node.map]
        key = self._keys[node.map]
        buffer = self._value(node.map, self._first_value(node.op, value))
        arguments = (f"i64 {self._map(node.map)}", f"ptr {key}", f"ptr {buffer}", f"i64 {NO_EXIST}")
        failed = e.make(f"icmp ne i64 {e.call(FuncId.MAP_UPDATE_ELEM, *arguments)}, 0")
        again, end = e.label("again"), e.label("end")
        e.branch(failed, again, end)
        e.begin(again)
        pointer = self._lookup(node.map, key)
        is_there, full = e.label("there"), e.label("full")
        e.branch(e.make(f"icmp ne ptr {pointer}, null"), is_there, full)
        e.begin(is_there)
        self._atomic(node.op, pointer, value, spec.value.size)
        e.jump(end)
        e.begin(full)
        count_if(e, "true", FULL_MAPS)
        e.begin(end)

    def _first_value(self, op: str, value: str) -> str:
        """What the first update makes of a missing value, which counts as 0."""
        if op in EXTREMES:
            return self.e.make(f"select i1 {self.e.make(f'icmp {EXTREMES[op]} i64 {value}, 0')}, i64 {value}, i64 0")
        return "0" if op == "and" else value

    def _put(self, index: int, key: str, value: str) -> None:
        buffer = self._value(index, value)
        arguments = (f"i64 {self._map(index)}", f"ptr {key}", f"ptr {buffer}", f"i64 {ANY}")
        answer = self.e.call(FuncId.MAP_UPDATE_ELEM, *arguments)
        count_if(self.e, self.e.make(f"icmp ne i64 {answer}, 0"), FULL_MAPS)

    def _lose(self, spec: MapSpec, label: str, end: str) -> None:
        self.e.begin(label)
        count_if(self.e, "true", FULL_MAPS if isinstance(spec, PerTask) else OUT_OF_RANGE)
        self.e.begin(end)

    # Memory

    def _map(self, index: int) -> str:
        return self.e.hole(MAP, f"map{index}")

    def _key(self, index: int, parts: ir.Key) -> str:
        """The key's address; padding between its parts is zero."""
        spec = self.specs[index]
        assert isinstance(spec, Hash)
        operands = [
            prepare(self.g, part, type_.size)[0] if isinstance(part, ir.String) else self.g.integer(part)
            for part, type_ in zip(parts, spec.keys, strict=True)
        ]
        if index not in self._keys:
            self._keys[index] = self.e.stack(f"[{spec.key_size} x i8]")
        buffer = self._keys[index]
        if sum(type_.size for type_ in spec.keys) < spec.key_size:
            for offset in range(0, spec.key_size, 8):
                size = min(8, spec.key_size - offset)
                self.e.store(self.e.at(buffer, offset), "0", size)
        for part, operand, offset, type_ in zip(parts, operands, spec.key_offsets(), spec.keys, strict=True):
            if isinstance(type_, StringType):
                assert isinstance(part, ir.String)
                write(self.e, part, operand, buffer, offset, type_.size)
                continue
            if type_.name == "bool":
                operand = self.e.make(f"zext i1 {self.e.make(f'icmp ne i64 {operand}, 0')} to i64")
            self.e.store(self.e.at(buffer, offset), operand, type_.size)
        return buffer

    def _value(self, index: int, operand: str) -> str:
        size = self.specs[index].value.size
        if index not in self._values:
            self._values[index] = self.e.stack(f"[{size} x i8]")
        self.e.store(self._values[index], operand, size)
        return self._values[index]
