"""The typed program to LLVM IR: expressions and control flow.

Knows the meaning of the language's operations; asks `HookContext` for what the hook provides and `Access` for maps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from multiprobe.compiler import ir
from multiprobe.compiler.backend import collecting, numbers, strings
from multiprobe.compiler.backend.access import Access
from multiprobe.compiler.backend.contexts import count_if
from multiprobe.compiler.backend.emitter import Emitter
from multiprobe.compiler.backend.gate import pass_gate
from multiprobe.compiler.backend.guards import pass_guards
from multiprobe.compiler.backend.hooks import HOOKS
from multiprobe.compiler.backend.peeks import Peeks
from multiprobe.compiler.ir import BOOL, I64, LITERAL, U64, Const, Expression, Statement
from multiprobe.maps.layout import CUT_LOOPS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multiprobe.compiler.shape import Shape
    from multiprobe.maps.specs import MapSpec

_SIGN = 1 << 63


def generate(
    routine: ir.Routine, specs: Sequence[MapSpec], *, context: str, when: str, shape: Shape, target: str
) -> Emitter:
    """The program's LLVM module, in an emitter that also knows the holes."""
    emitter = Emitter(target)
    generator = Generator(emitter, routine, specs, context=context, when=when, shape=shape)
    generator.program()
    return emitter


class Generator:
    """Generates one program."""

    def __init__(
        self,
        emitter: Emitter,
        routine: ir.Routine,
        specs: Sequence[MapSpec],
        *,
        context: str,
        when: str,
        shape: Shape,
    ) -> None:
        self.e = emitter
        self.routine = routine
        self.shape = shape
        self.hook = HOOKS[context](emitter, when=when, shape=shape, needs=routine.needs)
        self.access = Access(self, specs, deleted_from=ir.deleted_from(routine.body))
        self.peeks = Peeks(self)
        self.locals: dict[str, str] = {}
        self.leave: list[tuple[str, ir.Local | None]] = []
        self.loops: list[tuple[str, str]] = []

    def program(self) -> None:
        """The whole body, behind the questions whether the attachment is active and the process is the right one."""
        e = self.e
        # A call whose entry was not ours has no return side either: its session would be what another call left there.
        skip = e.label("skip")
        self.idle = skip if self.hook.idle_skips_return else e.end
        self.skip = e.end if self.shape.session_side == "return" else skip
        self.hook.open()
        if self.shape.has_gate:
            pass_gate(e, self.hook, self.idle)
        pass_guards(e, self.hook, self.idle)
        self.hook.begin()
        self.leave.append((e.end, None))
        self.block(self.routine.body)
        e.location = 0
        e.begin(e.end)
        # Opaque: LLVM would keep what to return in a register from the start, for all ways to leave.
        e.do(f"ret i64 {e.opaque('0')}")
        e.is_open = False
        if self.idle == skip or (self.skip == skip and "veto" in self.routine.needs):
            e.begin(skip)
            self.hook.skip_return()

    # Locals

    def address_of(self, name: str) -> str:
        """A local's address."""
        if name not in self.locals:
            self.locals[name] = self.e.stack(_type(self.routine.locals[name]))
        return self.locals[name]

    def assign(self, name: str, value: Expression) -> None:
        kind = self.routine.locals[name]
        self.e.do(f"store {_type(kind)} {self.as_kind(value, kind)}, ptr {self.address_of(name)}")
        self.peeks.forget(name)

    # Expressions

    def identity(self, expression: Expression) -> object | None:
        """What is equal for two evaluations, on the same straight way, that yield the same; None where nothing is."""
        return self.peeks.identity(expression)

    def value(self, expression: Expression) -> str:
        """An operand of the expression's own kind: i1 for BOOL, i64 otherwise."""
        before = self.e.location
        if isinstance(expression, ir.Located) and expression.at >= 0:
            self.e.location = expression.at
        made = self._VALUES[type(expression)](self, expression)
        self.e.location = before
        return made

    def integer(self, expression: Expression) -> str:
        """The value in 64 bits."""
        made = self.value(expression)
        if expression.kind != BOOL:
            return made
        if isinstance(expression, Const):
            return str(expression.value)
        return self.e.make(f"zext i1 {made} to i64")

    def truth(self, expression: Expression) -> str:
        """Whether the value is not zero, as i1."""
        if expression.kind == BOOL:
            return self.value(expression)
        if isinstance(expression, Const):
            return "true" if expression.value else "false"
        return self.e.make(f"icmp ne i64 {self.value(expression)}, 0")

    def as_kind(self, expression: Expression, kind: str) -> str:
        return self.truth(expression) if kind == BOOL else self.integer(expression)

    def _const(self, const: Const) -> str:
        if const.kind == BOOL:
            return "true" if const.value else "false"
        return str(_signed(const.value))

    def _local(self, local: ir.Local) -> str:
        return self.e.make(f"load {_type(self.routine.locals[local.name])}, ptr {self.address_of(local.name)}")

    def _binary(self, node: ir.BinaryOperation) -> str:
        left, right = self.integer(node.left), self.integer(node.right)
        if node.op in ("floordiv", "mod"):
            return self._divide(node, left, right)
        if node.op in ("shl", "shr"):
            return self._shift(node, left, right)
        return self.e.make(f"{node.op} i64 {left}, {right}")

    def _shift(self, node: ir.BinaryOperation, left: str, right: str) -> str:
        """Counts of 64 and more shift everything out."""
        e = self.e
        name = "shl" if node.op == "shl" else "ashr" if node.kind != U64 else "lshr"
        if isinstance(node.right, Const):
            count = node.right.value
            if count < 64:
                return e.make(f"{name} i64 {left}, {count}")
            return e.make(f"ashr i64 {left}, 63") if name == "ashr" else "0"
        is_out = e.make(f"icmp ugt i64 {right}, 63")
        if name == "ashr":
            return e.make(f"ashr i64 {left}, {e.make(f'select i1 {is_out}, i64 63, i64 {right}')}")
        shifted = e.make(f"{name} i64 {left}, {e.make(f'and i64 {right}, 63')}")
        return e.make(f"select i1 {is_out}, i64 0, i64 {shifted}")

    def _divide(self, node: ir.BinaryOperation, left: str, right: str) -> str:
        """Rounds down, as Python does; x // 0 is 0 and x % 0 is x.

        Opaque: LLVM knows how large the result can be, and leaves out the ends of loops that it makes superfluous. The
        verifier of many kernels doesn't, and would walk the loop for ever.
        """
        e = self.e
        quotient = self._signed_quotient(left, right) if node.kind != U64 else self._quotient(left, right)
        if node.op == "floordiv":
            return e.opaque(quotient)
        return e.opaque(e.make(f"sub i64 {left}, {e.make(f'mul i64 {quotient}, {right}')}"))

    def _quotient(self, left: str, right: str) -> str:
        e = self.e
        if right.lstrip("-").isdigit():
            return e.make(f"udiv i64 {left}, {right}") if int(right) else "0"
        # LLVM makes a shift of a division by what it knows to be a power of two, and counts zeros in a table, which
        # would have to be a map.
        right = e.opaque(right)
        is_zero = e.make(f"icmp eq i64 {right}, 0")
        safe = e.make(f"select i1 {is_zero}, i64 1, i64 {right}")
        return e.make(f"select i1 {is_zero}, i64 0, i64 {e.make(f'udiv i64 {left}, {safe}')}")

    def _signed_quotient(self, left: str, right: str) -> str:
        # BPF divides without a sign only (signed division is younger than 6.1)
        e = self.e
        left_size, right_size = self._magnitude(left), self._magnitude(right)
        quotient = self._quotient(left_size, right_size)
        rest = e.make(f"sub i64 {left_size}, {e.make(f'mul i64 {quotient}, {right_size}')}")
        is_inexact = e.make(f"zext i1 {e.make(f'icmp ne i64 {rest}, 0')} to i64")
        is_nothing = e.make(f"icmp eq i64 {right}, 0")
        down = e.make(f"sub i64 0, {e.make(f'add i64 {quotient}, {is_inexact}')}")
        is_negative = e.make(f"icmp slt i64 {e.make(f'xor i64 {left}, {right}')}, 0")
        found = e.make(f"select i1 {is_negative}, i64 {down}, i64 {quotient}")
        return e.make(f"select i1 {is_nothing}, i64 0, i64 {found}")

    def _magnitude(self, operand: str) -> str:
        if operand.lstrip("-").isdigit():
            return str(_signed(abs(int(operand))))
        negative = self.e.make(f"icmp slt i64 {operand}, 0")
        return self.e.make(f"select i1 {negative}, i64 {self.e.make(f'sub i64 0, {operand}')}, i64 {operand}")

    def _compare(self, node: ir.Compare) -> str:
        return self._compared(node.op, node.left, self.integer(node.left), node.right, self.integer(node.right))

    def _compared(self, op: str, left: Expression, left_value: str, right: Expression, right_value: str) -> str:
        signs = {_sign(left, right), _sign(right, left)}
        if len(signs) == 2:
            return self._compare_exactly(op, left_value, right_value, is_left_signed=_sign(left, right))
        predicate = op if op in ("eq", "ne") else ("s" if signs == {True} else "u") + op
        return self.e.make(f"icmp {predicate} i64 {left_value}, {right_value}")

    def _compare_exactly(self, op: str, left: str, right: str, *, is_left_signed: bool) -> str:
        """One operand has a sign: if it is negative, the answer is known; otherwise the signs don't matter."""
        e = self.e
        is_negative = e.make(f"icmp slt i64 {left if is_left_signed else right}, 0")
        when_negative = {"eq": False, "ne": True, "lt": is_left_signed, "le": is_left_signed}.get(
            op, not is_left_signed
        )
        usual = e.make(f"icmp {op if op in ('eq', 'ne') else 'u' + op} i64 {left}, {right}")
        return e.make(f"select i1 {is_negative}, i1 {'true' if when_negative else 'false'}, i1 {usual}")

    def _not(self, node: ir.Not) -> str:
        return self.e.make(f"xor i1 {self.truth(node.operand)}, true")

    def _convert(self, node: ir.Convert) -> str:
        operand = self.integer(node.operand)
        return self.e.widen(self.e.narrow(operand, node.type.size), node.type.size, is_signed=node.type.is_signed)

    def _extreme(self, node: ir.Extreme) -> str:
        left, right = self.integer(node.left), self.integer(node.right)
        is_left = self._compared("ge" if node.is_max else "le", node.left, left, node.right, right)
        made = self.e.make(f"select i1 {is_left}, i64 {left}, i64 {right}")
        return self.e.make(f"icmp ne i64 {made}, 0") if node.kind == BOOL else made

    def _bitlength(self, node: ir.BitLength) -> str:
        operand = self.integer(node.operand)
        return numbers.bit_length(self.e, operand if node.operand.kind == U64 else self._magnitude(operand))

    def _read(self, node: ir.Read) -> str:
        return self.hook.read(node.name, node.index)

    def _load(self, node: ir.Load) -> str:
        return self.access.load(node)

    def _contains(self, node: ir.Contains) -> str:
        return self.access.contains(node)

    def _peek(self, node: ir.Peek) -> str:
        return self.peeks.load(node)

    def _percpu(self, node: ir.PerCpu) -> str:
        return self.peeks.per_cpu(node)

    def _samestring(self, node: ir.SameString) -> str:
        return strings.is_same(self, node)

    def _send(self, node: ir.Send) -> str:
        return collecting.send(self, node, self.access.specs)

    def _tally(self, node: ir.Tally) -> str:
        has_hot_rows = self.routine.maps[node.map] in self.shape.hot_maps
        return collecting.tally(self, node, self.access.specs[node.map], has_hot_rows=has_hot_rows)

    def _exchange(self, node: ir.Exchange) -> str:
        return self.access.exchange(node)

    def _stackid(self, node: ir.StackId) -> str:
        if self.shape.is_sleepable:
            hint = "take stacks in a program that is not sleepable, attached to the same functions"
            raise self.hook.refuse("a sleepable program can't take stacks: the kernel allows it no stack maps", hint)
        return collecting.stack_id(self.e, node)

    def _logical(self, node: ir.Logical) -> str:
        e, kind = self.e, node.kind
        result, more, end = e.stack(_type(kind)), e.label("more"), e.label("done")
        test = self.value(node.left)
        left = test if node.left.kind == kind else self._changed(test, node.left.kind, kind)
        e.do(f"store {_type(kind)} {left}, ptr {result}")
        test = test if node.left.kind == BOOL else e.make(f"icmp ne i64 {test}, 0")
        e.branch(test, *((more, end) if node.is_and else (end, more)))
        e.begin(more)
        with e.maybe():
            e.do(f"store {_type(kind)} {self.as_kind(node.right, kind)}, ptr {result}")
        e.begin(end)
        return e.make(f"load {_type(kind)}, ptr {result}")

    def _changed(self, operand: str, kind: str, to: str) -> str:
        if BOOL not in (kind, to):
            return operand
        if to == BOOL:
            return self.e.make(f"icmp ne i64 {operand}, 0")
        return self.e.make(f"zext i1 {operand} to i64")

    def _conditional(self, node: ir.Conditional) -> str:
        e, type_ = self.e, _type(node.kind)
        result, end = e.stack(type_), e.label("done")
        then, other = e.label("then"), e.label("else")
        self.branch(node.test, then, other)
        for label, value in ((then, node.then), (other, node.other)):
            e.begin(label)
            with e.maybe():
                e.do(f"store {type_} {self.as_kind(value, node.kind)}, ptr {result}")
            e.jump(end)
        e.begin(end)
        return e.make(f"load {type_}, ptr {result}")

    def _inline(self, node: ir.Inline) -> str:
        end = self.e.label("returned")
        self.leave.append((end, node.result))
        n = ir.n_certain(node.body)
        self.block(node.body[:n])  # what is calculated here serves what follows the call
        with self.e.maybe():
            self.block(node.body[n:])
        self.leave.pop()
        self.e.begin(end)
        return self._local(node.result)

    # Statements

    def block(self, body: Sequence[Statement]) -> None:
        for position, statement in enumerate(body):
            if statement.line >= 0:
                self.e.location = statement.line
            if isinstance(statement, ir.Assign) and isinstance(statement.value, ir.Peek):
                self.peeks.read_ahead(body[position:])
            self._STATEMENTS[type(statement)](self, statement)

    def branch(self, test: Expression, then: str, other: str) -> None:
        """Go to `then` if `test` holds, else to `other`, without asking more than needed."""
        if isinstance(test, ir.Not):
            self.branch(test.operand, other, then)
        elif isinstance(test, ir.Logical):
            more = self.e.label("more")
            self.branch(test.left, *((more, other) if test.is_and else (then, more)))
            self.e.begin(more)
            with self.e.maybe():
                self.branch(test.right, then, other)
        else:
            self.e.branch(self.truth(test), then, other)

    def _do_assign(self, node: ir.Assign) -> None:
        self.assign(node.name, node.value)

    def _do_store(self, node: ir.Store) -> None:
        self.access.store(node)

    def _do_storestring(self, node: ir.StoreString) -> None:
        self.access.store_string(node)

    def _do_update(self, node: ir.Update) -> None:
        self.access.update(node)

    def _do_delete(self, node: ir.Delete) -> None:
        self.access.delete(node)

    def _do_setsession(self, node: ir.SetSession) -> None:
        value = self.integer(node.value)
        self.e.store(self.hook.session_pointer(), value)

    def _do_evaluate(self, node: ir.Evaluate) -> None:
        self.value(node.value)

    def _do_if(self, node: ir.If) -> None:
        e = self.e
        then, other, end = e.label("then"), e.label("else"), e.label("end")
        self.branch(node.test, then, other)
        for label, body in ((then, node.then), (other, node.other)):
            e.begin(label)
            with e.maybe():
                self.block(body)
            e.jump(end)
        e.begin(end)

    def _do_count(self, node: ir.Count) -> None:
        e, values = self.e, node.values
        counter = e.stack("i64")
        head, body, step, end = e.label("head"), e.label("body"), e.label("step"), e.label("end")
        e.store(counter, "0")
        self.peeks.forget_all()
        e.begin(head)
        n = e.load(counter)
        e.branch(e.make(f"icmp ult i64 {n}, {len(values)}"), body, end)
        e.begin(body)
        number = e.make(f"add i64 {e.make(f'mul i64 {n}, {values.step}')}, {values.start}")
        e.do(f"store i64 {number}, ptr {self.address_of(node.name)}")
        self._loop_body(node.body, end, step)
        e.begin(step)
        e.store(counter, e.make(f"add i64 {e.load(counter)}, 1"))
        e.jump(head)
        e.begin(end)

    def _loop_body(self, body: Sequence[Statement], end: str, step: str) -> None:
        self.loops.append((end, step))
        with self.e.maybe():
            self.block(body)
        self.loops.pop()
        self.peeks.forget_all()

    def _do_while(self, node: ir.While) -> None:
        e = self.e
        counter = e.stack("i64")
        head, bounded, body, step, end = (e.label(hint) for hint in ("head", "bounded", "body", "step", "end"))
        e.store(counter, "0")
        self.peeks.forget_all()
        e.begin(head)
        with e.maybe():
            self.branch(node.test, bounded, end)
        e.begin(bounded)
        # Opaque: whatever LLVM finds out about the loop, the verifier must see this end of it.
        is_over = e.make(f"icmp uge i64 {e.opaque(e.load(counter))}, {node.limit}")
        count_if(e, is_over, CUT_LOOPS)
        e.branch(is_over, end, body)
        e.begin(body)
        self._loop_body(node.body, end, step)
        e.begin(step)
        e.store(counter, e.make(f"add i64 {e.load(counter)}, 1"))
        e.jump(head)
        e.begin(end)

    def _do_jump(self, node: ir.Jump) -> None:
        end, step = self.loops[-1]
        self.e.jump(end if node.is_break else step)

    def _do_leave(self, node: ir.Leave) -> None:
        label, result = self.leave[-1]
        if node.value is not None and result is None:
            self.branch(node.value, self.skip, label)
            return
        if node.value is not None and result is not None:
            self.assign(result.name, node.value)
        self.e.jump(label)

    _VALUES: ClassVar[dict[type[Expression], Callable[..., str]]] = {
        Const: _const,
        ir.Local: _local,
        ir.BinaryOperation: _binary,
        ir.Compare: _compare,
        ir.Not: _not,
        ir.BitLength: _bitlength,
        ir.Convert: _convert,
        ir.Extreme: _extreme,
        ir.Read: _read,
        ir.Load: _load,
        ir.Contains: _contains,
        ir.Peek: _peek,
        ir.PerCpu: _percpu,
        ir.SameString: _samestring,
        ir.Send: _send,
        ir.Tally: _tally,
        ir.Exchange: _exchange,
        ir.StackId: _stackid,
        ir.Logical: _logical,
        ir.Conditional: _conditional,
        ir.Inline: _inline,
    }
    _STATEMENTS: ClassVar[dict[type[Statement], Callable[..., None]]] = {
        ir.Assign: _do_assign,
        ir.Store: _do_store,
        ir.StoreString: _do_storestring,
        ir.Update: _do_update,
        ir.Delete: _do_delete,
        ir.SetSession: _do_setsession,
        ir.Evaluate: _do_evaluate,
        ir.If: _do_if,
        ir.Count: _do_count,
        ir.While: _do_while,
        ir.Jump: _do_jump,
        ir.Leave: _do_leave,
    }


def _type(kind: str) -> str:
    return "i1" if kind == BOOL else "i64"


def _signed(number: int) -> int:
    number &= ir.MASK
    return number - (1 << 64) if number & _SIGN else number


def _sign(one: Expression, other: Expression) -> bool:
    """Whether `one` is compared as a number with a sign; what is never negative follows the other."""
    if one.kind in (U64, I64):
        return one.kind == I64
    if one.kind == LITERAL and not isinstance(one, Const):
        return True
    if isinstance(one, Const) and (one.value < 0 or one.value >= _SIGN):
        return one.value < 0
    return other.kind != U64
