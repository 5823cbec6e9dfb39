"""Code for what programs collect: events into ring buffers, numbers into histograms, stacks.

Knows the kernel's helpers and how these maps lie in memory; must not know Python's syntax.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.compiler import ir
from multiprobe.compiler.backend.contexts import count_if
from multiprobe.compiler.backend.numbers import bit_length
from multiprobe.compiler.backend.strings import prepare, store_bytes, write
from multiprobe.compiler.code import CONSTANT, MAP
from multiprobe.compiler.ir import I64, LITERAL, Const, Expression
from multiprobe.maps.buckets import Linear, Log2
from multiprobe.maps.events import RingBuffer
from multiprobe.maps.histogram import Histogram
from multiprobe.maps.layout import OUT_OF_RANGE
from multiprobe.maps.rows import TABLE, USED
from multiprobe.maps.specs import Hash, RowArray
from multiprobe.maps.stacks import COLLISIONS, FAILED
from multiprobe.maps.types import Bytes, StringType, Vector
from multiprobe.uapi.bpf import F_USER_STACK, RB_AVAIL_DATA, RB_FORCE_WAKEUP, RB_NO_WAKEUP, FuncId

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multiprobe.compiler.backend.emitter import Emitter
    from multiprobe.compiler.backend.evaluator import Evaluator
    from multiprobe.maps.specs import MapSpec

_EEXIST = -17


# Events


def send(g: Evaluator, node: ir.Send, specs: Sequence[MapSpec]) -> str:
    """Send a record: whether there was room, as i1."""
    spec = specs[node.map]
    assert isinstance(spec, RingBuffer)
    e, key, record = g.e, f"map{node.map}", spec.record
    # All that may leave the program comes first: a reserved record must be submitted. What can't waits until its field
    # is written: the verifier of 6.1 follows every combination of values that are kept.
    is_plain = not any(isinstance(part, _CHANGING) for part in _parts(node.parts))
    operands = [
        [*prepare(g, part, field.type.size)]
        if isinstance(part, ir.String)
        else [None if is_plain and _can_wait(specs, value) else g.integer(value) for value in part]
        for field, part in zip(record.fields, node.parts, strict=True)
    ]
    result, room, lost, end = e.stack("i1"), e.label("room"), e.label("lost"), e.label("end")
    answer = e.call(FuncId.RINGBUF_RESERVE, f"i64 {e.hole(MAP, key)}", f"i64 {record.size}", "i64 0")
    pointer = e.make(f"inttoptr i64 {answer} to ptr")
    e.branch(e.make(f"icmp ne ptr {pointer}, null"), room, lost)
    e.begin(room)
    at = 0
    for field, part, values in zip(record.fields, node.parts, operands, strict=True):
        store_bytes(e, pointer, at, bytes(field.offset - at))
        at = field.offset + field.type.size
        if isinstance(field.type, StringType | Bytes):
            assert isinstance(part, ir.String)
            assert values[0] is not None
            write(e, part, values[0], pointer, field.offset, field.type.size, limit=values[1])
        else:
            item = field.type.item if isinstance(field.type, Vector) else field.type
            for n in range(field.type.size // item.size):
                value = values[n] if n < len(values) else "0"
                if value is None:
                    assert not isinstance(part, ir.String)
                    with e.maybe():
                        value = g.integer(part[n])
                assert isinstance(value, str)
                e.store(e.at(pointer, field.offset + n * item.size), value, item.size)
    store_bytes(e, pointer, at, bytes(record.size - at))
    e.call(FuncId.RINGBUF_SUBMIT, f"ptr {pointer}", f"i64 {_wake(e, key)}")
    e.do(f"store i1 true, ptr {result}")
    e.jump(end)
    e.begin(lost)
    _count(e, f"{key}.lost", 0)
    e.do(f"store i1 false, ptr {result}")
    e.begin(end)
    return e.make(f"load i1, ptr {result}")


_WAITING = (
    ir.Const, ir.Local, ir.BinaryOperation, ir.BitLength, ir.Compare, ir.Logical, ir.Not, ir.Conditional, ir.Convert,
    ir.Load, ir.Inline, ir.Assign, ir.If, ir.Leave,
)  # fmt: skip
"""What never leaves the program and changes nothing."""
_CHANGING = (ir.Store, ir.StoreString, ir.Exchange, ir.Update, ir.Delete, ir.SetSession, ir.Send, ir.Tally)
"""What a look into a table may see the effects of, so that its turn matters."""


def _can_wait(specs: Sequence[MapSpec], value: object) -> bool:
    """Whether a value is the moment's (time, CPU) or is looked up in hash tables, and nothing else is done for it."""
    if isinstance(value, ir.Convert) and isinstance(value.operand, ir.Read):
        return value.operand.name in ("time", "cpu")
    parts = list(_parts(value))
    loads = [part for part in parts if isinstance(part, ir.Load)]
    is_hash = all(isinstance(specs[load.map], Hash | RowArray) for load in loads)
    return bool(loads) and is_hash and all(isinstance(part, _WAITING) for part in parts)


def _parts(value: object) -> Iterator[object]:
    """An expression or statement, and all that it consists of."""
    if isinstance(value, tuple):
        for part in value:
            yield from _parts(part)
    elif type(value).__module__ == ir.__name__:
        yield value
        for name in value.__match_args__:  # type: ignore[attr-defined]
            yield from _parts(getattr(value, name))


def _wake(e: Emitter, key: str) -> str:
    """The reader is woken when the ring fills up, and looks by itself before that: an interrupt for each event would
    cost more than the event."""
    waiting = e.call(FuncId.RINGBUF_QUERY, f"i64 {e.hole(MAP, key)}", f"i64 {RB_AVAIL_DATA}")
    is_much = e.make(f"icmp uge i64 {waiting}, {e.hole(CONSTANT, f'{key}.wake')}")
    return e.make(f"select i1 {is_much}, i64 {RB_FORCE_WAKEUP}, i64 {RB_NO_WAKEUP}")


def _count(e: Emitter, array: str, offset: int) -> None:
    e.do(f"atomicrmw add ptr {e.at(e.map_value(array), offset)}, i64 1 monotonic, align 8")


# Histograms


def tally(g: Evaluator, node: ir.Tally, spec: MapSpec, *, has_hot_rows: bool) -> str:
    """Count a number in its bucket: whether there was one, as i1."""
    assert isinstance(spec, Histogram)
    e, key = g.e, f"map{node.map}"
    number = g.integer(node.number)
    buckets, is_signed = spec.buckets, _is_signed(node.number)
    bucket = (
        _log2(e, buckets, number, is_signed=is_signed)
        if isinstance(buckets, Log2)
        else _linear(e, buckets, number, is_signed=is_signed)
    )
    result, lost, end = e.stack("i1"), e.label("lost"), e.label("end")
    e.do(f"store i1 false, ptr {result}")
    cpu = g.hook.read("cpu", 0)
    slot = _slot(g, node.function, lost)
    size = spec.value.size
    if has_hot_rows:
        first = _first_of_row(e, key, slot, cpu, buckets.n_buckets, lost)
    else:
        row = e.make(f"mul i64 {cpu}, {e.hole(CONSTANT, f'{key}.stride')}")
        first = e.make(f"add i64 {row}, {e.make(f'mul i64 {slot}, {buckets.n_buckets}')}")
    position = e.make(f"add i64 {first}, {bucket}")
    pointer = e.item(key, position, size, e.hole(CONSTANT, f"{key}.limit"), lost)
    e.do(f"atomicrmw add ptr {pointer}, i{8 * size} 1 monotonic, align {size}")
    e.do(f"store i1 true, ptr {result}")
    e.jump(end)
    e.begin(lost)
    count_if(e, "true", OUT_OF_RANGE)
    e.begin(end)
    return e.make(f"load i1, ptr {result}")


def _first_of_row(e: Emitter, key: str, slot: str, cpu: str, n_buckets: int, lost: str) -> str:
    """The place of a function's first counter in a histogram with hot rows (`maps.rows`): in the hot row that this CPU
    shares with others, if the function has hot rows; in the cold row otherwise."""

    def constant(name: str) -> str:
        return e.hole(CONSTANT, f"{key}.{name}")

    result = e.stack("i64")
    hot, cold, first, end = (e.label(hint) for hint in ("hot", "cold", "first", "end"))
    entry = e.item(key, e.make(f"add i64 {slot}, {TABLE // 4}"), 4, constant("table"), lost)
    number = e.load(entry, 4)
    place = e.make(f"sub i64 {number}, 1")  # without a number: larger than all
    e.branch(e.make(f"icmp ult i64 {place}, {constant('n_hot')}"), hot, cold)
    e.begin(hot)
    shared = e.make(f"and i64 {cpu}, {constant('mask')}")
    row = e.make(f"mul i64 {shared}, {constant('stride')}")
    inside = e.make(f"add i64 {e.make(f'mul i64 {place}, {n_buckets}')}, {constant('hot')}")
    e.store(result, e.make(f"add i64 {row}, {inside}"))
    e.jump(end)
    e.begin(cold)
    e.store(result, e.make(f"add i64 {e.make(f'mul i64 {slot}, {n_buckets}')}, {constant('cold')}"))
    e.branch(e.make(f"icmp eq i64 {number}, 0"), first, end)
    e.begin(first)
    # seq_cst: for a monotonic one, LLVM takes the instruction that doesn't tell what was there.
    given = e.make(f"atomicrmw add ptr {e.at(e.map_value(key), USED)}, i32 1 seq_cst, align 4")
    given = e.make(f"add i32 {given}, 1")
    e.make(f"cmpxchg ptr {entry}, i32 0, i32 {given} monotonic monotonic, align 4")
    e.begin(end)
    return e.load(result)


def _slot(g: Evaluator, function: Expression | None, lost: str) -> str:
    """The function's row; the only one if there is none for each."""
    if function is None:
        return "0"
    if isinstance(function, ir.Read) and function.name == "function":
        return g.hook.slot()
    index, inside = g.integer(function), g.e.label("inside")
    g.e.branch(g.e.make(f"icmp ult i64 {index}, {g.e.hole(CONSTANT, 'n_functions')}"), inside, lost)
    g.e.begin(inside)
    return g.e.make(f"add i64 {index}, 1")


def _is_signed(number: Expression) -> bool:
    if isinstance(number, Const):
        return number.value < 0
    return number.kind in (I64, LITERAL)


def _log2(e: Emitter, buckets: Log2, number: str, *, is_signed: bool) -> str:
    """`Log2.bucket`."""
    power, part = bit_length(e, _shifted(e, number, str(buckets.bits))), "0"
    if buckets.bits:
        is_any = e.make(f"lshr i64 {e.make(f'add i64 {power}, 127')}, 7")
        part = e.make(f"lshr i64 {number}, {e.make(f'sub i64 {power}, {is_any}')}")
        part = e.make(f"and i64 {part}, {(1 << buckets.bits) - 1}")
        power = e.make(f"shl i64 {power}, {buckets.bits}")
    made = e.make(f"add i64 {e.make(f'add i64 {power}, {part}')}, 1")
    if not is_signed:
        return made
    return e.make(f"select i1 {e.make(f'icmp slt i64 {number}, 0')}, i64 0, i64 {made}")


def _shifted(e: Emitter, number: str, count: str) -> str:
    return number if count == "0" else e.make(f"lshr i64 {number}, {count}")


def _linear(e: Emitter, buckets: Linear, number: str, *, is_signed: bool) -> str:
    """`Linear.bucket`."""
    s = "s" if is_signed else "u"
    distance = e.make(f"sub i64 {number}, {buckets.low}")
    made = e.make(f"add i64 {e.make(f'udiv i64 {distance}, {buckets.step}')}, 1")
    last = buckets.n_buckets - 1
    if is_signed or buckets.high > 0:
        is_above = e.make(f"icmp {s}ge i64 {number}, {buckets.high}")
        made = e.make(f"select i1 {is_above}, i64 {last}, i64 {made}")
    else:
        made = str(last)
    if is_signed or buckets.low > 0:
        is_below = e.make(f"icmp {s}lt i64 {number}, {buckets.low}")
        made = e.make(f"select i1 {is_below}, i64 0, i64 {made}")
    return made


# Stacks


def stack_id(e: Emitter, node: ir.StackId) -> str:
    """The id of the stack now; what there is none of is counted."""
    key = f"map{node.map}"
    flags = F_USER_STACK if node.is_user else 0
    answer = e.call(FuncId.GET_STACKID, "ptr %ctx", f"i64 {e.hole(MAP, key)}", f"i64 {flags}")
    failed, collided, other, end = e.label("failed"), e.label("collided"), e.label("other"), e.label("end")
    e.branch(e.make(f"icmp slt i64 {answer}, 0"), failed, end)
    e.begin(failed)
    e.branch(e.make(f"icmp eq i64 {answer}, {_EEXIST}"), collided, other)
    for label, counter in ((collided, COLLISIONS), (other, FAILED)):
        e.begin(label)
        _count(e, f"{key}.lost", counter)
        e.jump(end)
    e.begin(end)
    return answer
