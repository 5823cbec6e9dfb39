"""The values of `ctx` under each kind of hook, run on the test machine."""

from __future__ import annotations

import pytest
from runner import GENERATION, Bench

import multiprobe as mp
from multiprobe.compiler.compiling import compile_program
from multiprobe.compiler.shape import PER_FUNCTION, Shape
from multiprobe.errors import NotSupportedError, UsageError

calls = mp.PerFunction(mp.u64)
narrow = mp.PerFunction(mp.u16)
out = mp.Array(mp.u64, 8)
ADDRESSES = (0xFFFFFFFF81000010, 0xFFFFFFFF81000040, 0xFFFFFFFF8100FFF0, 0xFFFFFFFF81230000, 0xFFFFFFFFC0800100)
HOOKS = [
    ("kprobe_multi", "ip"),
    ("tracing", "cookie"),
    ("tracing", "ip"),
    ("kprobe", "cookie"),
    ("kprobe", "ip"),
    ("uprobe", "cookie"),
]
MASK = (1 << 64) - 1


def registers(*arguments: int, ax: int = 0, sp: int = 0) -> bytes:
    """A pt_regs of x86-64 with its arguments."""
    places = dict(zip((112, 104, 96, 88, 72, 64), arguments, strict=False)) | {80: ax, 152: sp}
    image = bytearray(168)
    for offset, number in places.items():
        image[offset : offset + 8] = (number & MASK).to_bytes(8, "little")
    return bytes(image)


def facts(index: int, function_from: str) -> dict[str, int]:
    """What the kernel's helpers would say at a hit of that function."""
    return {"ip": ADDRESSES[index], "cookie": index if function_from == "cookie" else 7000 + index}


@mp.program
def count(ctx):
    calls[ctx.function] += 1


@pytest.mark.parametrize(("context", "function_from"), HOOKS)
def test_counting_per_function_and_cpu(context: str, function_from: str) -> None:
    bench = Bench(count, context, shape=Shape(function_from=function_from), addresses=ADDRESSES, n_cpus=3)
    for index, cpu in ((0, 0), (1, 0), (1, 0), (2, 2), (3, 1), (4, 2)):
        bench.hit(context=registers(), cpu=cpu, **facts(index, function_from))
    assert bench.per_function("calls") == [[0, 1, 2, 0, 0, 0], [0, 0, 0, 0, 1, 0], [0, 0, 0, 1, 0, 1]]


@pytest.mark.parametrize(("context", "function_from"), HOOKS)
def test_counting_is_cheap(context: str, function_from: str) -> None:
    bench = Bench(count, context, shape=Shape(function_from=function_from), addresses=ADDRESSES)
    bench.hit(context=registers(), **facts(0, function_from))
    assert bench.machine.n_steps <= (31 if function_from == "ip" else 20)


@pytest.mark.parametrize(("context", "function_from"), HOOKS)
def test_only_the_generation_whose_turn_it_is_acts_and_counts_hits(context: str, function_from: str) -> None:
    shape = Shape(function_from=function_from, has_gate=True)
    bench = Bench(count, context, shape=shape, addresses=ADDRESSES, n_cpus=3)
    bench.turn(1, GENERATION)
    bench.turn(2, GENERATION - 1)
    for cpu, index in ((0, 0), (1, 1), (1, 1), (1, 4), (2, 2)):
        bench.hit(context=registers(), cpu=cpu, **facts(index, function_from))
    expected = [[0] * 6, [0, 0, 2, 0, 0, 1], [0] * 6]
    assert bench.per_function("calls") == expected
    assert bench.hits() == expected


def test_hits_are_counted_of_what_is_switched_off_or_another_process() -> None:
    bench = Bench(count, "kprobe_multi", shape=Shape(has_gate=True, has_pid=True), addresses=ADDRESSES)
    bench.turn(0, GENERATION)
    bench.hit(context=registers(), **facts(0, "ip"), pid_tgid=78 << 32)
    bench.machine.write(bench.control, 8, 0)
    bench.hit(context=registers(), **facts(0, "ip"))
    assert bench.hits() == [[0, 2, 0, 0, 0, 0]]
    assert bench.per_function("calls") == [[0] * 6]


def test_an_unknown_address_is_booked_apart() -> None:
    bench = Bench(count, "kprobe_multi", addresses=ADDRESSES)
    for address in (0xFFFFFFFF81000020, 0xFFFFFFFF80000000, 0xFFFFFFFFFFFFFFF0, 0x10):
        bench.hit(context=registers(), ip=address)
    assert bench.per_function("calls") == [[4, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("shift", [4, 2, 0])
def test_every_shift_of_the_index(shift: int) -> None:
    step = 1 << shift
    addresses = tuple(ADDRESSES[0] + step * place for place in range(50)) + ADDRESSES[3:]
    bench = Bench(count, "kprobe_multi", shape=Shape(index_shift=shift), addresses=addresses)
    assert bench.index.shift == shift
    for address in addresses:
        bench.hit(context=registers(), ip=address)
    assert bench.per_function("calls") == [[0] + [1] * len(addresses)]


@mp.program
def by_number(ctx):
    narrow[ctx.arg(0)] = 5
    out[0] = narrow[ctx.arg(0)] + (ctx.function == 2)


def test_indexing_by_any_number_stays_inside() -> None:
    bench = Bench(by_number, "kprobe_multi", addresses=ADDRESSES)
    for number, expected in ((2, 5), (4, 5), (5, 0), (-1, 0), (1 << 40, 0)):
        bench.hit(context=registers(number), ip=ADDRESSES[1])
        assert bench.array("out")[0] == expected
    assert bench.losses() == {"out_of_range": 3}
    assert bench.per_function("narrow") == [[0, 0, 0, 5, 0, 5]]


@mp.program
def everything(ctx):
    out[0] = ctx.ip
    out[1] = ctx.cookie
    out[2] = ctx.arg(0) + ctx.arg(5) * 1000
    out[3] = ctx.pid
    out[4] = ctx.tid
    out[5] = ctx.time
    out[6] = ctx.is_return
    out[7] = ctx.cpu


@pytest.mark.parametrize(("context", "function_from"), HOOKS)
def test_every_question_has_its_answer(context: str, function_from: str) -> None:
    cookies = tuple(7000 + index for index in range(len(ADDRESSES)))
    shape = Shape(function_from=function_from)
    bench = Bench(everything, context, shape=shape, addresses=ADDRESSES, cookies=cookies, n_cpus=4)
    bench.hit(3, 0, 0, 0, 0, 9, context=registers(3, 0, 0, 0, 0, 9), cpu=3, **facts(2, function_from))
    cookie = 2 if function_from == "cookie" and context != "uprobe" else 7002  # the cookie of a uprobe is its index
    assert bench.array("out") == [ADDRESSES[2], cookie, 9003, 77, 78, 1000, 0, 3]


@mp.program
def eighth(ctx):
    out[0] = ctx.arg(7)
    out[1] = ctx.arg_count


def test_arguments_on_the_stack() -> None:
    bench = Bench(eighth, "kprobe_multi", addresses=ADDRESSES)
    stack = bench.machine.allocate(64)
    bench.machine.write(stack + 8 + 8, 8, 4242)  # above the return address and the seventh
    bench.hit(context=registers(sp=stack), ip=ADDRESSES[3])
    assert bench.array("out")[:2] == [4242, 4]
    bench.hit(context=registers(sp=0x1000), ip=ADDRESSES[3])
    assert bench.array("out")[0] == 0
    assert bench.losses() == {"failed_reads": 1}


def test_arguments_of_a_trampoline() -> None:
    bench = Bench(eighth, "tracing", shape=Shape(function_from="cookie"), addresses=ADDRESSES)
    bench.hit(*range(10, 20), context=b"", arg_count=10, cookie=0)
    assert bench.array("out")[:2] == [17, 10]
    bench.hit(1, 2, context=b"", arg_count=2, cookie=0)
    assert bench.array("out")[:2] == [0, 2]


@mp.program
def third(ctx):
    out[0] = ctx.arg(2)
    out[1] = ctx.arg(2)


KPROBES = [hook for hook in HOOKS if hook[0] != "tracing"]


@pytest.mark.parametrize(("context", "function_from"), KPROBES)
def test_arguments_past_the_last_are_zero(context: str, function_from: str) -> None:
    limits = bytes([0, 2, 3, 12, 255])
    shape = Shape(function_from=function_from, n_arguments=(0, 255))
    bench = Bench(third, context, shape=shape, addresses=ADDRESSES, arg_limits=limits)
    for index, expected in enumerate([0, 0, 42, 42, 42]):
        bench.hit(context=registers(40, 41, 42), **facts(index, function_from))
        assert bench.array("out")[:2] == [expected] * 2


def test_what_is_no_argument_on_the_stack_is_zero() -> None:
    shape = Shape(n_arguments=(6, 10))
    bench = Bench(eighth, "kprobe_multi", shape=shape, addresses=ADDRESSES, arg_limits=bytes([6, 7, 8, 10, 10]))
    stack = bench.machine.allocate(64)
    bench.machine.write(stack + 8 + 8, 8, 4242)
    for index, expected in enumerate([0, 0, 4242]):
        bench.hit(context=registers(sp=stack), ip=ADDRESSES[index])
        assert bench.array("out")[0] == expected


@pytest.mark.parametrize(("context", "function_from"), KPROBES)
@pytest.mark.parametrize(("n_arguments", "expected"), [((3, 255), 42), ((3, 3), 42), ((0, 2), 0), ((2, 2), 0)])
def test_what_all_functions_have_or_none_costs_nothing(
    context: str, function_from: str, n_arguments: tuple[int, int], expected: int
) -> None:
    bench = Bench(third, context, shape=Shape(function_from=function_from, n_arguments=n_arguments))
    bench.hit(context=registers(40, 41, 42))
    assert bench.array("out")[:2] == [expected] * 2
    plain = Bench(third, context, shape=Shape(function_from=function_from)).hit(context=registers(40, 41, 42))
    assert bench.machine.n_steps <= plain.machine.n_steps


def test_at_the_return_side_no_argument_is_there() -> None:
    @mp.program(when="session")
    def both(ctx):
        out[ctx.is_return] = ctx.arg(2)

    shape = Shape(n_arguments=(0, 255))
    bench = Bench(both, "kprobe_multi", "session", shape=shape, addresses=ADDRESSES, arg_limits=bytes([2, 3, 3, 3, 3]))
    pointer = bench.machine.allocate(8)
    for index, expected in enumerate([0, 42]):
        for side in (0, 1):
            answers = {"kfunc:bpf_session_is_return": side, "kfunc:bpf_session_cookie": pointer}
            bench.hit(context=registers(40, 41, 42), ip=ADDRESSES[index], **answers)
        assert bench.array("out")[:2] == [expected, 0]


@mp.program(when="return")
def returned(ctx):
    if ctx.ret < 0:
        out[0] += 1
    if mp.i32(ctx.ret) < 0:
        out[1] += 1
    out[2] = ctx.is_return


@pytest.mark.parametrize(("context", "function_from"), HOOKS)
def test_returns(context: str, function_from: str) -> None:
    bench = Bench(returned, context, "return", shape=Shape(function_from=function_from), addresses=ADDRESSES)
    for ret in (0, -22, 0xFFFFFFEA, 5):
        bench.hit(context=registers(ax=ret), ret=ret)
    assert bench.array("out")[:3] == [1, 2, 1]


@mp.program(when="session")
def session(ctx):
    if not ctx.is_return:
        ctx.session = ctx.time
        out[2] = ctx.ret
    elif ctx.ret != 0:
        calls[ctx.function] += ctx.time - ctx.session
        out[3] += ctx.arg(0)


@pytest.mark.parametrize(("context", "function_from"), HOOKS[:3])
def test_sessions(context: str, function_from: str) -> None:
    bench = Bench(session, context, "session", shape=Shape(function_from=function_from), addresses=ADDRESSES)
    cookie = bench.machine.allocate(8)
    kfuncs = {"kfunc:bpf_session_cookie": cookie} | facts(1, function_from)
    if context == "tracing":
        bench.machine.arguments = [0]
    bench.hit(0, context=registers(0, ax=99), time=500, ret=0, **kfuncs, **{"kfunc:bpf_session_is_return": 0})
    assert bench.machine.read(cookie, 8) == 500
    assert bench.array("out")[2] == 0, "there is no return value yet"
    bench.hit(0, context=registers(5, ax=1), time=730, ret=1, **kfuncs, **{"kfunc:bpf_session_is_return": 1})
    assert bench.per_function("calls")[0][2] == 230
    assert bench.array("out")[3] == 0, "registers no longer hold the arguments"


@mp.program(when="session")
def sometimes(ctx):
    if not ctx.is_return:
        if ctx.arg(0):
            ctx.session = 7
    else:
        out[0] = ctx.session


def test_a_session_of_kprobe_multi_never_sees_what_another_call_left() -> None:
    bench = Bench(sometimes, "kprobe_multi", "session", shape=Shape(has_pid=True), addresses=ADDRESSES)
    cookie = bench.machine.allocate(8)
    entry, back = ({"kfunc:bpf_session_cookie": cookie, "kfunc:bpf_session_is_return": side} for side in (0, 1))
    bench.machine.write(cookie, 8, 99)
    bench.hit(context=registers(0), **facts(1, "ip"), **entry)
    bench.hit(context=registers(0), **facts(1, "ip"), **back)
    assert bench.array("out")[0] == 0
    for active, pid in ((0, 77), (1, 78)):  # not ours: 1 tells the kernel to leave the return out
        bench.machine.write(bench.control, 8, active)
        bench.machine.facts = {"pid_tgid": pid << 32, **facts(1, "ip"), **entry}
        assert bench.machine.run(bench.insns, registers(1)) == 1


@mp.program(when="session")
def choosy(ctx):
    """Only calls with an argument above 10 have a return side."""
    if ctx.is_return:
        calls[ctx.function] += 1
        out[0] = ctx.session
        return True
    ctx.session = 7
    if ctx.arg(0) == 0:
        return 0
    if ctx.arg(0) == 1:
        return True
    return ctx.arg(0) <= 10


KEEPS, SKIPS = (0, 11, 1 << 63), (1, 10)


def test_an_entry_of_kprobe_multi_returns_1_to_skip_the_return() -> None:
    bench = Bench(choosy, "kprobe_multi", "session", addresses=ADDRESSES)
    cookie = bench.machine.allocate(8)
    bench.machine.facts = {
        "kfunc:bpf_session_cookie": cookie, "kfunc:bpf_session_is_return": 0, **facts(1, "ip")
    }  # fmt: skip
    for n in KEEPS + SKIPS:
        assert bench.machine.run(bench.insns, registers(n)) == (n in SKIPS)
        assert bench.machine.read(cookie, 8) == 7


@pytest.mark.parametrize("has_pid", [False, True])
def test_an_entry_of_a_trampoline_skips_the_return(has_pid: bool) -> None:
    """The kernel takes nothing but 0 from these programs, and calls them at the return: they end there."""
    shape = Shape(function_from="cookie", has_pid=has_pid)
    bench = Bench(choosy, "tracing", "session", shape=shape, addresses=ADDRESSES)
    cookie = bench.machine.allocate(8)

    def hit(n: int, **more: int) -> int:
        before = bench.per_function("calls")[0][2]
        bench.machine.write(cookie, 8, 0)
        for side in (0, 1):
            kfuncs = {"kfunc:bpf_session_cookie": cookie, "kfunc:bpf_session_is_return": side}
            bench.hit(n, context=b"", cookie=1, **kfuncs, **more)
        return bench.per_function("calls")[0][2] - before

    for n in KEEPS + SKIPS:
        bench.machine.write(bench.machine.arrays[bench._fd("out")], 8, 0)
        assert hit(n) == (n in KEEPS)
        assert bench.array("out")[0] == (7 if n in KEEPS else 0)
    if has_pid:
        assert hit(0, pid_tgid=78 << 32) == 0
    bench.machine.write(bench.control, 8, 0)
    bench.machine.write(cookie, 8, 0)
    kfuncs = {"kfunc:bpf_session_cookie": cookie, "kfunc:bpf_session_is_return": 0}
    bench.hit(0, context=b"", cookie=1, **kfuncs)
    bench.machine.write(bench.control, 8, 1)
    before = bench.per_function("calls")
    bench.hit(0, context=b"", cookie=1, **kfuncs | {"kfunc:bpf_session_is_return": 1})
    assert bench.per_function("calls") == before, "its entry was before the attachment was active"


@mp.program(sleepable=True)
def takes_stacks(ctx):
    out[0] = stacks.id(ctx)


stacks = mp.StackTraces()


def test_what_a_sleepable_program_cannot_do() -> None:
    shape = Shape(is_sleepable=True)
    with pytest.raises(NotSupportedError, match="a sleepable program can't take stacks") as caught:
        compile_program(takes_stacks, context="tracing", when="entry", shape=shape)
    assert caught.value.hint
    with pytest.raises(UsageError, match="a program at a kprobe can't be sleepable"):
        compile_program(count, context="kprobe", when="entry", shape=shape)


def test_a_pid_filter() -> None:
    bench = Bench(count, "tracing", shape=Shape(function_from="cookie", has_pid=True), addresses=ADDRESSES)
    bench.hit(context=b"", cookie=0)
    bench.hit(context=b"", cookie=0, pid_tgid=(78 << 32) | 77)
    assert bench.per_function("calls") == [[0, 1, 0, 0, 0, 0]]
    assert "pid" in bench.code.keys


def test_what_a_program_needs_is_known() -> None:
    code = compile_program(session, context="kprobe_multi", when="session", shape=Shape())
    assert code.needs == {"is_return", "session", "time", "ret", "function", "cpu", "arg"}
    assert code.maps == ("out", "calls")
    assert session.asks_for >= code.needs - {"cpu"}


@pytest.mark.parametrize(
    ("program", "context", "when", "message"),
    [
        (returned, "kprobe_multi", "entry", "ctx.ret is not known when a function is entered"),
        (returned, "tracing", "entry", "ctx.ret is not known when a function is entered"),
        (everything, "kprobe_multi", "return", r"ctx.arg\(0\) is gone when a function returns to a kprobe"),
        (session, "kprobe_multi", "return", "ctx.session is only there in a session"),
        (count, "raw_tracepoint", "entry", "a raw tracepoint has no function"),
    ],
)
def test_what_a_hook_cannot_answer_is_said(program: object, context: str, when: str, message: str) -> None:
    with pytest.raises(NotSupportedError, match=message) as caught:
        compile_program(program, context=context, when=when, shape=Shape())  # type: ignore[arg-type]
    assert caught.value.hint


@pytest.mark.parametrize(
    ("context", "when", "shape"),
    [
        ("uprobe", "entry", Shape()),
        ("kprobe", "never", Shape()),
        ("kprobe", "entry", Shape(function_from="nowhere")),
        ("kprobe_multi", "entry", Shape(function_from="cookie")),
    ],
)
def test_words_that_mean_nothing(context: str, when: str, shape: Shape) -> None:
    with pytest.raises(UsageError):
        compile_program(count, context=context, when=when, shape=shape)


RETURNS = (0x40, 0x40 | 32, 32, 0x40 | 48, 56, 0x80)
"""What each of six functions returns: long, int, unsigned int, short, bool, void."""
RETURNED = [
    (0xFFFF_FFFF_FFFF_FFF5, (-11, -11, 0xFFFF_FFF5, -11, 0xF5, 0)),
    (0x0000_0000_FFFF_FFF5, (0xFFFF_FFF5, -11, 0xFFFF_FFF5, -11, 0xF5, 0)),
    (0xDEAD_BEEF_0000_0001, (0xDEAD_BEEF_0000_0001 - (1 << 64), 1, 1, 1, 1, 0)),
]


@mp.program(when="return")
def returning(ctx):
    out[0] = ctx.ret
    out[1] = ctx.ret < 0


@pytest.mark.parametrize("is_session", [False, True])
@pytest.mark.parametrize("by_table", [False, True])
@pytest.mark.parametrize(("context", "function_from"), HOOKS)
@pytest.mark.parametrize(("register", "expected"), RETURNED)
def test_ret_has_the_width_of_the_return_type(
    context: str, function_from: str, register: int, expected: tuple[int, ...], *, by_table: bool, is_session: bool
) -> None:
    addresses = (*ADDRESSES, 0xFFFFFFFFC0900100)
    if is_session and context == "kprobe":
        return
    for index, code in enumerate(RETURNS):
        shape = Shape(function_from=function_from, returns=PER_FUNCTION if by_table else code)
        when = "session" if is_session else "return"
        bench = Bench(returning, context, when=when, shape=shape, addresses=addresses, returns=bytes(RETURNS))
        told = {"ip": addresses[index], "cookie": index if function_from == "cookie" else 7}
        told["bpf_session_is_return"] = 1
        bench.machine.facts = {}
        bench.hit(context=registers(ax=register), ret=register, **told, **{"kfunc:bpf_session_is_return": 1})
        assert bench.array("out")[:2] == [expected[index] & MASK, expected[index] < 0]
