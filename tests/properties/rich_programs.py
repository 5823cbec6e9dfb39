"""Random programs with everything that a kernel's verifier looks at: helper calls, maps of every kind, strings, events,
the kernel's types. No reference says what they do; the compiler must take them, and every verifier after it.
"""

from __future__ import annotations

import linecache
import re
from typing import Annotated, Any

from random_programs import N_ITEMS, N_OUT, Generator

import multiprobe as mp
from multiprobe.compiler.program import Program

PROLOGUE = ("u0 = ctx.arg(0)", "u1 = ctx.arg(1)", "s0 = mp.i64(ctx.arg(2))", "s1 = mp.i64(ctx.arg(3))", "b0 = u0 > 7")
UNSIGNED = (
    *("ctx.time", "ctx.pid", "ctx.tid", "ctx.cpu", "ctx.cookie", "ctx.ip", "ctx.arg_count", "ctx.arg(1)", "ctx.arg(5)"),
    "ctx.stack_pointer",
)
SIGNED = ("ctx.function", "ctx.ns_pid", "ctx.ns_tid")
POINTERS = ("ctx.task", "ctx.task.group_leader", 'mp.cast("struct task_struct *", ctx.arg(0))')
MEMBERS = ("pid", "tgid", "flags", "mm.map_count", "se.vruntime", "comm[3]", "real_parent.tgid", "cred.uid.val")
_GONE = re.compile(r"ctx\.(arg\(\d+\)|stack_pointer)")
"""What is not known at the return."""
TEXTS = ("", "bash", "a name of nineteen.", "x" * 128)


class Record(mp.Event):
    number: mp.u64
    small: mp.i16
    is_set: mp.bool_
    comm: Annotated[str, mp.string(16)]
    text: Annotated[str, mp.string(40)]
    raw: Annotated[bytes, mp.bytes_(24)]
    many: Annotated[tuple[int, ...], mp.array_of(mp.u32, 3)]


class RichGenerator(Generator):
    """Writes one program for a side of functions. has_types: it reads the kernel's structs, which takes its BTF."""

    def __init__(self, seed: int, *, when: str, has_types: bool = True) -> None:
        super().__init__(seed, is_small=True)
        self.when, self.has_types = when, has_types

    def source(self) -> str:
        """A helper with what takes no `ctx`, and the program."""
        self.lines = ["@mp.helper", "def helper(p, q):", "    u0 = mp.u64(p)", "    s0 = mp.i64(q)"]
        self.lines += ["    u1 = u0", "    s1 = s0", "    b0 = u0 > 5"]
        self.in_helper = True
        self.block(1, self.deepest)
        self.emit(f"return {self.certain('s', 2)}")
        self.in_helper = False
        self.lines += ["", f"@mp.program(when={self.when!r})", "def program(ctx):"]
        self.emit(*PROLOGUE)
        if self.when == "session":
            self.emit("if not ctx.is_return:", f"    ctx.session = {self.of('u', 1)}")
            if self.chance(0.5):
                self.emit(f"    return {self.of('b', 1)}")
            self.emit("u1 += ctx.session")
        self.block(3, 2 * self.depth + 2)
        self.rich()
        for place, name in enumerate(self.locals):
            self.emit(f"out[{place}] = {name}")
        text = "\n".join(self.lines) + "\n"
        return _GONE.sub("mp.u64(ctx.ret)", text) if self.when == "return" else text

    def atom(self) -> tuple[str, str]:
        """Values of the context, of maps, of memory."""
        if self.in_helper or self.chance(0.5):
            return super().atom()
        makers = (
            lambda: (self.random.choice(UNSIGNED), "u"),
            lambda: (self.random.choice(SIGNED), "s"),
            lambda: (f"per[{self.place()}]", "u"),
            lambda: (f"each[{self.index()}]", "u"),
            lambda: (f"pairs[{self.plain()}, {self.plain()}]", "u"),
            lambda: (f"recent[{self.plain()}]", "s"),
            lambda: (f"named[{self.text()}]", "u"),
            lambda: (f"(({self.plain()}, {self.plain()}) in pairs)", "b"),
            lambda: (f"({self.string()} {self.random.choice(('==', '!='))} {self.random.choice(TEXTS)!r})", "b"),
            lambda: (f"traces.id(ctx{self.random.choice(('', ', user=True'))})", "s"),
            lambda: (f"bool({self.sending()})", "b"),
            *([lambda: ("ctx.ret", "s")] if self.when == "return" else []),
            *(
                [lambda: (f"mp.u64({self.random.choice(POINTERS)}.{self.random.choice(MEMBERS)})", "u")]
                * 2
                * self.has_types
            ),
            *([lambda: (f"({self.random.choice(POINTERS)}.mm is None)", "b")] if self.has_types else []),
        )
        return self.random.choice(makers)()

    def plain(self) -> str:
        """A short expression, as part of a longer one."""
        return self.random.choice((*self.locals, *UNSIGNED, *SIGNED, self.literal(kind="u")))

    def place(self) -> str:
        """An index of a PerFunction."""
        return "ctx.function" if self.chance(0.6) else self.index()

    def text(self) -> str:
        """A string as a key."""
        address = self.random.choice(("u0", "u1", "ctx.arg(1)"))
        return self.random.choice(("ctx.comm", f"mp.kernel_string({address})", f"mp.user_string({address})"))

    def string(self) -> str:
        """A string in a comparison or an event."""
        if self.chance(0.5):
            return self.text()
        kind, size = self.random.choice(("kernel", "user")), self.random.choice(("u1", "s0", "3", "ctx.arg(2) & 63"))
        return f"mp.{kind}_string(u0, {size})"

    def sending(self) -> str:
        """An event."""
        comm = self.random.choice(("ctx.comm", repr(TEXTS[1]), self.string()))
        many = ", ".join(self.plain() for _ in range(self.random.randint(1, 3)))
        return (
            f"events.send(number={self.plain()}, small={self.plain()}, is_set={self.random.choice(('b0', 'True'))}, "
            f"comm={comm}, text={self.string()}, raw=mp.kernel_bytes({self.random.choice(('u0', 'ctx.arg(0)'))}), "
            f"many=({many},))"
        )

    def statement(self) -> None:
        """A third of them use a map."""
        if not self.in_helper and self.chance(0.35):
            self.rich()
        else:
            super().statement()

    def rich(self) -> None:
        """Maps of all kinds, written to."""
        target = self.random.choice(
            (
                f"per[{self.place()}]", f"each[{self.index()}]", f"pairs[{self.plain()}, {self.plain()}]",
                f"recent[{self.plain()}]", f"named[{self.text()}]", f"tasks[{self.plain()}, ctx.comm]",
            )
        )  # fmt: skip
        self.random.choice(
            (
                lambda: self.emit(
                    f"{target} {self.random.choice(('+=', '|=', '^=', '-=', '*=', '='))} {self.of('u', 2)}"
                ),
                lambda: self.emit(f"if not {target}:", f"    {target} = {self.of('u', 2)}"),
                lambda: self.emit(f"{self.random.choice(('powers', 'steps'))}.add({self.of('s', 2)})"),
                lambda: self.emit(f"spread.add({self.place()}, {self.of('u', 2)})"),
                lambda: self.emit(f"recent[traces.id(ctx)] += {self.of('u', 1)}"),
                lambda: self.emit(self.sending()),
                lambda: self.emit(f"if {self.sending()}:", f"    u0 ^= {self.of('u', 1)}"),
                lambda: self.emit(f"if ({self.plain()}, u0) in pairs:", f"    del pairs[{self.plain()}, u0]"),
                lambda: self.emit(f"if {self.string()} == {self.random.choice(TEXTS)!r}:", "    return"),
            )
        )()


def rich_program(seed: int, *, when: str, has_types: bool = True) -> Program:
    """The program of that seed, with maps of its own."""
    source = RichGenerator(seed, when=when, has_types=has_types).source()
    filename = f"<rich program {when} {seed}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    names: dict[str, Any] = {
        "mp": mp,
        "out": mp.Array(mp.i64, N_OUT),
        "items": mp.Array(mp.u16, N_ITEMS),
        "table": mp.Hash(mp.u64, mp.u64, 1000),
        "narrow": mp.Hash(mp.u32, mp.i32, 1000),
        "per": mp.PerFunction(mp.u32),
        "each": mp.Array(mp.u8, N_ITEMS, per_cpu=True),
        "pairs": mp.Hash((mp.u32, mp.i64), mp.u64, 1000),
        "recent": mp.LruHash(mp.i32, mp.i64, 1000, per_cpu=True),
        "named": mp.Hash(mp.string(16), mp.u16, 1000),
        "tasks": mp.Hash((mp.i8, mp.string(16)), mp.u64, 1000, per_cpu=True),
        "powers": mp.Histogram(mp.log2(bits=2)),
        "steps": mp.Histogram(mp.linear(-100, 1000, 7)),
        "spread": mp.Histogram(per_function=True),
        "traces": mp.StackTraces(max_entries=256),
        "events": mp.RingBuffer(Record, size=1 << 16),
    }
    exec(compile(source, filename, "exec"), names)
    made = names["program"]
    assert isinstance(made, Program)
    return made
