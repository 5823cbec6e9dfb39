"""How each kind of hook answers a program's questions: what `ctx.ip`, `ctx.arg(n)`, `ctx.function`… become.

Knows the kernel's helpers and contexts (sources: kernel/trace/bpf_trace.c, and the measured rules that are quoted where
they matter); must not know the language.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.arch import native
from multiprobe.compiler.backend import sessions
from multiprobe.compiler.backend.emitter import Emitter
from multiprobe.compiler.code import CONSTANT, MAP_VALUE
from multiprobe.compiler.shape import PER_FUNCTION, Shape
from multiprobe.errors import NotSupportedError
from multiprobe.kernel.btf.format import RETURNS_BITS, RETURNS_NOTHING, RETURNS_SIGNED
from multiprobe.maps.index import BLOCK_BITS, DIRECTORY_SIZE
from multiprobe.maps.layout import FAILED_READS
from multiprobe.uapi.bpf import FuncId

if TYPE_CHECKING:
    from collections.abc import Callable

_LOW_HALF = (1 << 32) - 1
_MIXER = 0x2545_F491
"""An odd number that fits in an instruction."""


class HookContext:
    """What all hooks share. Every answer is a 64-bit operand (`is_return`: i1), calculated once if possible."""

    def __init__(self, emitter: Emitter, *, when: str, shape: Shape, needs: frozenset[str] = frozenset()) -> None:
        self.e = emitter
        self.when = when
        self.shape = shape
        self.needs = needs
        self.arch = native().registers
        self._registers: dict[int, str] = {}
        self._session = ""

    @property
    def idle_skips_return(self) -> bool:
        """Whether an entry that is not this program's to handle skips its return side."""
        return False

    def open(self) -> None:
        """Emit what comes before the program's guards."""

    def begin(self) -> None:
        """Emit what comes before the program's body: its half of a session that two programs make together."""
        if self.shape.session_side == "entry":
            self._session = sessions.open_record(self.e, self.frame(), self.owner())
        elif self.shape.session_side == "return":
            self._session = sessions.take_record(self.e, self.frame(), self.owner())
            if "veto" in self.needs:
                self._end_if_skipped()

    def skip_return(self) -> None:
        """End an entry so that the program doesn't run at the call's return: the session holds `_skipped`."""
        self.e.store(self.session_pointer(), self._skipped())
        self.e.jump(self.e.end)

    def _end_if_skipped(self) -> None:
        go = self.e.label("go")
        is_skipped = self.e.make(f"icmp eq i64 {self.e.load(self.session_pointer())}, {self._skipped()}")
        self.e.branch(is_skipped, self.e.end, go)
        self.e.begin(go)

    def _skipped(self) -> str:
        """The session's value for a skipped return: the control map's address, which no program can know."""
        return self.e.hole(MAP_VALUE, "control")

    def read(self, name: str, index: int) -> str:
        """The answer to `ctx.NAME` or `ctx.arg(index)`."""
        key = (name, index)
        found = self.e.known(key)
        if found is None:
            found = self.arg(index) if name == "arg" else getattr(self, name)()
            if name not in ("time", "session"):
                self.e.remember(key, found)
        return found

    def refuse(self, what: str, hint: str) -> NotSupportedError:
        return NotSupportedError(what, hint=hint)

    # The same everywhere

    def pid(self) -> str:
        return self.e.make(f"lshr i64 {self._pid_tgid()}, 32")

    def tid(self) -> str:
        return self.e.make(f"and i64 {self._pid_tgid()}, 4294967295")

    def _pid_tgid(self) -> str:
        known = self.e.known("pid_tgid")
        return known or self.e.remember("pid_tgid", self.e.call(FuncId.GET_CURRENT_PID_TGID))

    def process(self) -> str:
        """The process id as the user's pid namespace numbers it; 0 for processes that are not in it."""
        return self.e.make(f"lshr i64 {self._ns_pid_tgid()}, 32") if self.shape.is_in_namespace else self.read("pid", 0)

    def ns_pid(self) -> str:
        return self._or_negative(self.process(), "pid")

    def ns_tid(self) -> str:
        if not self.shape.is_in_namespace:
            return self.read("tid", 0)
        return self._or_negative(self.e.make(f"and i64 {self._ns_pid_tgid()}, 4294967295"), "tid")

    def _or_negative(self, found: str, name: str) -> str:
        """The id in the pid namespace; for a task that isn't in it, the negative of its id in the first one."""
        if not self.shape.is_in_namespace:
            return found
        outside = self.e.make(f"sub i64 0, {self.read(name, 0)}")
        return self.e.make(f"select i1 {self.e.make(f'icmp ne i64 {found}, 0')}, i64 {found}, i64 {outside}")

    def _ns_pid_tgid(self) -> str:
        e = self.e
        known = e.known("ns_pid_tgid")
        if known:
            return known
        found = e.stack("i64")  # struct bpf_pidns_info: pid (of the thread), tgid; zeros on failure
        device, high, low = (e.hole(CONSTANT, f"namespace.{name}") for name in ("device", "inode.high", "inode.low"))
        inode = e.make(f"or i64 {e.make(f'shl i64 {high}, 16')}, {low}")  # a constant has 31 bits
        e.store(found, "0")
        e.call(FuncId.GET_NS_CURRENT_PID_TGID, f"i64 {device}", f"i64 {inode}", f"ptr {found}", "i32 8")
        return e.remember("ns_pid_tgid", e.load(found))

    def task(self) -> str:
        return self.e.call(FuncId.GET_CURRENT_TASK)

    def current_task(self) -> str:
        """The current task as a pointer of which the verifier knows the type: programs can load from it."""
        known = self.e.known("task_btf")
        task = known or self.e.remember("task_btf", self.e.call(FuncId.GET_CURRENT_TASK_BTF))
        return self.e.make(f"inttoptr i64 {task} to ptr")

    def cpu(self) -> str:
        return self.e.call(FuncId.GET_SMP_PROCESSOR_ID)

    def time(self) -> str:
        return self.e.call(FuncId.KTIME_GET_NS)

    def ip(self) -> str:
        return self.e.call(FuncId.GET_FUNC_IP, "ptr %ctx")

    def is_return(self) -> str:
        if self.when != "session":
            return "true" if self.when == "return" else "false"
        if self.shape.session_side:
            return "true" if self.shape.session_side == "return" else "false"
        answer = self.e.call_kfunc("bpf_session_is_return", "ptr %ctx")
        return self.e.make(f"trunc i64 {answer} to i1")

    def session(self) -> str:
        return self.e.load(self.session_pointer())

    def session_pointer(self) -> str:
        """The address of the session's 8 bytes. The kernels that take no context there don't look at the register."""
        if self.when != "session":
            raise self.refuse("ctx.session is only there in a session", 'use when="session"')
        if self.shape.session_side:
            return self._session
        known = self.e.known("session_pointer")
        if known is None:
            answer = self.e.call_kfunc("bpf_session_cookie", "ptr %ctx")
            known = self.e.remember("session_pointer", self.e.make(f"inttoptr i64 {answer} to ptr"))
        return known

    def ret(self) -> str:
        return self._at_return(self._narrowed)

    def return_register(self) -> str:
        return self._at_return(lambda register: register)

    def _at_return(self, answer: Callable[[str], str]) -> str:
        """What `answer` makes of the return register; 0 at the entry of a session."""
        if self.shape.session_side == "entry":
            return "0"  # as in the kernel's sessions
        if self.when == "entry":
            raise self.refuse("ctx.ret is not known when a function is entered", 'use when="return" or "session"')
        found = answer(self.returned())
        if self.when == "return" or self.shape.session_side:
            return found
        return self.e.make(f"select i1 {self.read('is_return', 0)}, i64 {found}, i64 0")

    def _narrowed(self, register: str) -> str:
        """What a function returned, in the width and with the sign of its type: the rest of the register is noise."""
        e, code = self.e, self.shape.returns
        if code != PER_FUNCTION:
            shift, name = code & RETURNS_BITS, "ashr" if code & RETURNS_SIGNED else "lshr"
            if code & RETURNS_NOTHING or not shift:
                return "0" if code & RETURNS_NOTHING else register
            return e.make(f"{name} i64 {e.make(f'shl i64 {register}, {shift}')}, {shift}")
        offset = self.bounded(self.slot(), "returns.limit")
        code_ = e.load(e.at(e.map_value("returns"), offset), 1)
        shift_ = e.make(f"and i64 {code_}, {RETURNS_BITS}")
        shifted = e.make(f"shl i64 {register}, {shift_}")
        is_signed = e.make(f"icmp ne i64 {e.make(f'and i64 {code_}, {RETURNS_SIGNED}')}, 0")
        signed, unsigned = (e.make(f"{name} i64 {shifted}, {shift_}") for name in ("ashr", "lshr"))
        found = e.make(f"select i1 {is_signed}, i64 {signed}, i64 {unsigned}")
        is_nothing = e.make(f"icmp ne i64 {e.make(f'and i64 {code_}, {RETURNS_NOTHING}')}, 0")
        return e.make(f"select i1 {is_nothing}, i64 0, i64 {found}")

    def stack_pointer(self) -> str:
        if self.when == "return":
            raise self.refuse("ctx.stack_pointer is not known at the return", 'use when="entry" or "session"')
        found = self.pointer_at_call()
        if self.when != "session" or self.shape.session_side:
            return "0" if self.shape.session_side == "return" else found
        return self.e.make(f"select i1 {self.read('is_return', 0)}, i64 0, i64 {found}")

    # The function's index among the attached

    def slot(self) -> str:
        """ctx.function + 1, or 0 for a function that isn't known. The verifier knows nothing of its size."""
        known = self.e.known("slot")
        if known is None:
            from_cookie = self.shape.function_from == "cookie"
            known = self.e.remember("slot", self._slot_from_cookie() if from_cookie else self._slot_from_ip())
        return known

    def _slot_from_cookie(self) -> str:
        return self.e.make(f"add i64 {self.link_cookie()}, 1")

    def _slot_from_ip(self) -> str:
        e, shift = self.e, self.shape.index_shift
        ip, table = self.read("ip", 0), e.map_value("index")
        entries = DIRECTORY_SIZE // 4
        block_size = 4 << (BLOCK_BITS - shift)
        directory = e.make(f"and i64 {e.make(f'lshr i64 {ip}, {BLOCK_BITS}')}, {entries - 1}")
        entry = e.at(e.at(table, e.make(f"shl i64 {directory}, 2")), block_size)
        block = e.load(entry, 4)
        inside = e.make(f"shl i64 {e.make(f'lshr i64 {ip}, {shift}')}, 2")
        inside = e.make(f"and i64 {inside}, {block_size - 4}")
        offset = e.make(f"add i64 {block}, {inside}")
        # The verifier needs a bound; what the table holds never passes it.
        offset = self.bounded(offset, "index.limit")
        return e.load(e.at(table, offset), 4)

    def bounded(self, offset: str, limit: str) -> str:
        """`offset`; the program ends where it is above the linked constant `limit`."""
        # LLVM would compare the number that the offset was made of, and the verifier knows nothing of the offset then.
        e, go, offset = self.e, self.e.label("go"), self.e.opaque(offset)
        e.branch(e.make(f"icmp ule i64 {offset}, {e.hole(CONSTANT, limit)}"), go, e.end)
        e.begin(go)
        return offset

    def function(self) -> str:
        return self.e.make(f"sub i64 {self.slot()}, 1")

    def cookie(self) -> str:
        if self.shape.function_from == "ip":
            return self._cookie_from_table()
        return self.link_cookie()

    def link_cookie(self) -> str:
        """The number that the link gave to this function."""
        return self.e.call(FuncId.GET_ATTACH_COOKIE, "ptr %ctx")

    def _cookie_from_table(self) -> str:
        # Under kprobe.multi the helper searches all addresses at every hit, and reads 0 where functions start with
        # ENDBR (measured on 6.12).
        offset = self.bounded(self.e.make(f"shl i64 {self.slot()}, 3"), "cookies.limit")
        return self.e.load(self.e.at(self.e.map_value("cookies"), offset))

    def word(self, offset: int) -> str:
        """The 8 bytes at `offset` of the context."""
        # Loaded at the program's start: LLVM would otherwise merge loads into one from a calculated address, which
        # the verifier refuses ("dereference of modified ctx ptr").
        if offset not in self._registers:
            pointer = self.e.at_entry(f"getelementptr i8, ptr %ctx, i64 {offset}")
            self._registers[offset] = self.e.at_entry(f"load volatile i64, ptr {pointer}, align 8")
        return self._registers[offset]

    # Different everywhere

    def frame(self) -> str:
        """An address in this call's stack frame, the same at entry and at return: no other call has it meanwhile."""
        raise NotImplementedError

    def owner(self) -> str:
        """What tells calls apart that share a frame: a function may end by jumping to another one."""
        raise NotImplementedError

    def kernel_entry(self) -> str:
        e = self.e
        found = e.call(FuncId.TASK_PT_REGS, f"ptr {self.current_task()}")
        registers = e.make(f"inttoptr i64 {found} to ptr")
        mixed = "0"
        for offset in self.arch.entry:
            register = e.make(f"load volatile i64, ptr {e.at(registers, offset)}, align 8")
            mixed = e.make(f"mul i64 {e.make(f'xor i64 {mixed}, {register}')}, {_MIXER}")
        return e.make(f"lshr i64 {mixed}, 32")

    def pointer_at_call(self) -> str:
        """The low 32 bits of the stack pointer at the call; bit 0: a tail call may have the same."""
        raise NotImplementedError

    def arg(self, index: int) -> str:
        raise NotImplementedError

    def arg_count(self) -> str:
        raise NotImplementedError

    def returned(self) -> str:
        raise NotImplementedError


class Registers(HookContext):
    """Probes of which the context is the processor's registers: kprobes of both kinds, and uprobes."""

    reads_stack_by = FuncId.PROBE_READ_KERNEL

    def arg(self, index: int) -> str:
        if self.when == "return":
            raise self.refuse(
                f"ctx.arg({index}) is gone when a function returns to a kprobe",
                'use when="session" and keep it, or a tracing mechanism',
            )
        fewest, most = self.shape.n_arguments
        if index >= most:
            return "0"  # as from a trampoline: what the register holds is no argument
        if index < len(self.arch.arguments):
            found = self.word(self.arch.arguments[index])
        else:
            found = self._from_stack(index - len(self.arch.arguments))
        if index >= fewest:
            has_it = self.e.make(f"icmp ugt i64 {self._argument_limit()}, {index}")
            found = self.e.make(f"select i1 {has_it}, i64 {found}, i64 0")
        if self.when == "session":
            return self.e.make(f"select i1 {self.read('is_return', 0)}, i64 0, i64 {found}")
        return found

    def _argument_limit(self) -> str:
        """The number of the function's arguments, ANY_NUMBER where it isn't known."""
        known = self.e.known("arg_limit")
        if known is None:
            offset = self.bounded(self.slot(), "arg_limits.limit")
            known = self.e.remember("arg_limit", self.e.load(self.e.at(self.e.map_value("arg_limits"), offset), 1))
        return known

    def _from_stack(self, slot: int) -> str:
        offset = self.arch.stack_offset + 8 * slot
        return self.read_memory(self.e.make(f"add i64 {self.word(self.arch.stack_pointer)}, {offset}"), 8)

    def read_memory(self, address: str, size: int) -> str:
        """The number of `size` bytes at an address; 0, which is counted, if it can't be read."""
        e = self.e
        buffer = e.stack("i64")
        e.store(buffer, "0")
        failed = e.call(self.reads_stack_by, f"ptr {buffer}", f"i32 {size}", f"i64 {address}")
        count_if(e, e.make(f"icmp ne i64 {failed}, 0"), FAILED_READS)
        return e.load(buffer)

    def arg_count(self) -> str:
        offset = self.bounded(self.slot(), "arg_counts.limit")
        return self.e.load(self.e.at(self.e.map_value("arg_counts"), offset), 1)

    def pointer_at_call(self) -> str:
        at = self.e.make(f"and i64 {self.word(self.arch.stack_pointer)}, {_LOW_HALF}")
        return self.e.make(f"or i64 {at}, 1")

    def returned(self) -> str:
        return self.word(self.arch.returned)


class KprobeMulti(Registers):
    """BPF links of kprobe.multi and its sessions."""

    @property
    def idle_skips_return(self) -> bool:
        return self.when == "session"

    def skip_return(self) -> None:
        # Linux kernel commit 535a3692ba72 ("bpf: Add support for kprobe session attach") (in v6.10): an entry that
        # returns 1 has no return side.
        self.e.do("ret i64 1")
        self.e.is_open = False

    def begin(self) -> None:
        """A session of kprobe.multi begins with what another call left there; ours is 0."""
        if self.when == "session" and "session" in self.needs:
            clear, go = self.e.label("clear"), self.e.label("go")
            pointer = self.session_pointer()
            self.e.branch(self.read("is_return", 0), go, clear)
            self.e.begin(clear)
            self.e.store(pointer, "0")
            self.e.begin(go)


class Kprobe(Registers):
    """A single kprobe through perf."""

    def cookie(self) -> str:
        return self.link_cookie()

    def frame(self) -> str:
        # Where the return address is, or was until the function returned.
        at = self.word(self.arch.stack_pointer)
        return self.e.make(f"sub i64 {at}, {self.arch.stack_offset}") if self.shape.session_side == "return" else at

    def owner(self) -> str:
        return self.read("ip", 0)


class Tracing(HookContext):
    """Trampolines, single and multi. A session's program must return 0: skipping the return is the program's own."""

    @property
    def idle_skips_return(self) -> bool:
        return self._is_fsession and "veto" in self.needs

    @property
    def _is_fsession(self) -> bool:
        return self.when == "session" and not self.shape.session_side

    def open(self) -> None:
        if self.idle_skips_return:
            self.read("is_return", 0)
            self.session_pointer()

    def begin(self) -> None:
        super().begin()
        if self.idle_skips_return:
            check, go = self.e.label("check"), self.e.label("go")
            self.e.branch(self.read("is_return", 0), check, go)
            self.e.begin(check)
            self._end_if_skipped()
            self.e.begin(go)

    def skip_return(self) -> None:
        if self._is_fsession:
            entry = self.e.label("entry")
            self.e.branch(self.read("is_return", 0), self.e.end, entry)
            self.e.begin(entry)
        super().skip_return()

    def cookie(self) -> str:
        return self.link_cookie()

    def frame(self) -> str:
        # The context lies in the trampoline's own frame, and both programs of a call get the same. The verifier takes
        # the difference of two pointers for a number (to whom it lets see addresses), but no pointer for one.
        at = self.e.make("ptrtoint ptr %ctx to i64")
        return self.e.opaque(self.e.make(f"sub i64 {at}, {self.e.hole(MAP_VALUE, 'sessions')}"))

    def owner(self) -> str:
        return "0"

    def arg(self, index: int) -> str:
        buffer = self.e.stack("i64")
        self.e.store(buffer, "0")
        self.e.call(FuncId.GET_FUNC_ARG, "ptr %ctx", f"i32 {index}", f"ptr {buffer}")
        return self.e.load(buffer)

    def arg_count(self) -> str:
        return self.e.call(FuncId.GET_FUNC_ARG_CNT, "ptr %ctx")

    def pointer_at_call(self) -> str:
        # The context, an array of the arguments, lies in the trampoline's frame, and the verifier takes the low half of
        # a pointer for a number. A function that is called through a trampoline has no tail call: it returns there.
        e, arch = self.e, self.arch
        low = e.low_half("%ctx")
        arguments = e.make(f"shl i64 {self.read('arg_count', 0)}, 3")
        above = e.make(f"add i64 {e.make(f'add i64 {low}, {arguments}')}, {arch.context_offset}")
        return e.make(f"and i64 {above}, {_LOW_HALF & -arch.stack_alignment}")

    def returned(self) -> str:
        buffer = self.e.stack("i64")
        self.e.store(buffer, "0")
        self.e.call(FuncId.GET_FUNC_RET, "ptr %ctx", f"ptr {buffer}")
        return self.e.load(buffer)


class RawTracepoint(HookContext):
    """A raw tracepoint: its arguments, and nothing else."""

    def arg(self, index: int) -> str:
        return self.word(8 * index)

    def ip(self) -> str:
        raise self.refuse("a raw tracepoint has no function", "it has arguments only")

    cookie = arg_count = returned = link_cookie = pointer_at_call = ip


def count_if(e: Emitter, test: str, counter: int) -> None:
    """Count a loss in the control map."""
    lost, on = e.label("lost"), e.label("on")
    e.branch(test, lost, on)
    e.begin(lost)
    e.do(f"atomicrmw add ptr {e.at(e.rare_map_value('control'), counter)}, i64 1 monotonic, align 8")
    e.begin(on)
