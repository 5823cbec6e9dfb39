"""Each construct of the language, run on the test machine."""

from __future__ import annotations

import pytest
from runner import Bench

import multiprobe as mp
from multiprobe.compiler.frontend import expressions
from multiprobe.compiler.program import ATTRIBUTES as ASKED

out = mp.Array(mp.i64, 8)
LIMIT = 100
MASK = (1 << 64) - 1


def result(program: object, *arguments: int) -> int:
    """What the program left in out[0]."""
    bench = Bench(program)  # type: ignore[arg-type]
    bench.hit(*arguments)
    assert bench.losses() == {}
    return bench.array("out")[0]


@mp.program
def arithmetic(ctx):
    a = mp.i64(ctx.arg(0))
    b = mp.i64(ctx.arg(1))
    out[0] = a + b
    out[1] = a - b
    out[2] = a * b
    out[3] = a // b
    out[4] = a % b
    out[5] = -a
    out[6] = ~a
    out[7] = abs(a)


@pytest.mark.parametrize(("a", "b"), [(7, 2), (-7, 2), (7, -2), (-7, -2), (0, 5), (6, 3), (-6, 3), (1, -1)])
def test_signed_arithmetic_is_pythons(a: int, b: int) -> None:
    bench = Bench(arithmetic).hit(a, b)
    assert bench.array("out") == [a + b, a - b, a * b, a // b, a % b, -a, ~a, abs(a)]


@pytest.mark.parametrize("a", [5, -5, 0])
def test_division_by_zero_gives_zero_and_leaves_the_rest(a: int) -> None:
    bench = Bench(arithmetic).hit(a, 0)
    assert bench.array("out")[3:5] == [0, a]


def test_the_smallest_number_wraps() -> None:
    smallest = -(1 << 63)
    assert Bench(arithmetic).hit(smallest, -1).array("out")[3] == smallest


@mp.program
def unsigned(ctx):
    a = ctx.arg(0)
    out[0] = a // 10
    out[1] = a % 10
    out[2] = a >> 60
    out[3] = a > 5
    out[4] = a - 6 > 0


def test_arguments_have_no_sign() -> None:
    assert Bench(unsigned).hit(-1).array("out")[:5] == [MASK // 10, MASK % 10, 15, 1, 1]
    assert Bench(unsigned).hit(5).array("out")[4] == 1, "5 - 6 wraps"


@mp.program
def shifts(ctx):
    a = mp.i64(ctx.arg(0))
    n = ctx.arg(1)
    out[0] = a << n
    out[1] = a >> n
    out[2] = ctx.arg(0) >> n
    out[3] = a << 64
    out[4] = a >> 64
    out[5] = 1 << n


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 1 << 40])
def test_shifts_by_64_and_more_shift_everything_out(n: int) -> None:
    a = -12345
    expected = [a << n if n < 64 else 0, a >> min(n, 63), (a & MASK) >> n if n < 64 else 0, 0, -1]
    found = Bench(shifts).hit(a, n).array("out")
    assert [number & MASK for number in found[:5]] == [number & MASK for number in expected]
    assert found[5] & MASK == (1 << n if n < 64 else 0)


@mp.program
def conversions(ctx):
    a = ctx.arg(0)
    out[0] = mp.u8(a)
    out[1] = mp.i8(a)
    out[2] = mp.u16(a)
    out[3] = mp.i16(a)
    out[4] = mp.u32(a)
    out[5] = mp.i32(a)
    out[6] = mp.bool_(a)
    out[7] = bool(a >> 8)


@pytest.mark.parametrize("a", [0, 1, 127, 128, 255, 256, 0x8000, 0xFFFF, 0x80000000, 0xFFFFFFFF, MASK])
def test_conversions_are_those_of_the_types(a: int) -> None:
    types = (mp.u8, mp.i8, mp.u16, mp.i16, mp.u32, mp.i32, mp.bool_)
    assert Bench(conversions).hit(a).array("out") == [*(type_(a) for type_ in types), a > 255]


@mp.program
def comparisons(ctx):
    a = mp.i64(ctx.arg(0))
    b = ctx.arg(1)
    out[0] = a < b
    out[1] = a <= b
    out[2] = a > b
    out[3] = a >= b
    out[4] = a == b
    out[5] = a != b
    out[6] = b < a
    out[7] = max(a, b) == b


@pytest.mark.parametrize("a", [-1, 0, 1, -(1 << 63), (1 << 63) - 1])
@pytest.mark.parametrize("b", [0, 1, MASK, 1 << 63, (1 << 63) - 1])
def test_comparisons_between_signs_are_exact(a: int, b: int) -> None:
    expected = [a < b, a <= b, a > b, a >= b, a == b, a != b, b < a]
    assert Bench(comparisons).hit(a, b).array("out")[:7] == expected


@mp.program
def logic(ctx):
    a = ctx.arg(0)
    b = ctx.arg(1)
    out[0] = a and b
    out[1] = a or b
    out[2] = not a
    out[3] = 1 < a < 10 < b
    out[4] = 5 if a == b else 6 if a > b else 7
    out[5] = (a > 1 and b > 1) or (a == 0 and not b)
    out[6] = True + (a > 1)
    out[7] = min(a, b, 3)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 0), (2, 3), (5, 20), (20, 5), (0, 9)])
def test_logic_is_pythons(a: int, b: int) -> None:
    expected = [
        a and b,
        a or b,
        not a,
        1 < a < 10 < b,
        5 if a == b else 6 if a > b else 7,
        (a > 1 and b > 1) or (a == 0 and not b),
        True + (a > 1),
        min(a, b, 3),
    ]
    assert Bench(logic).hit(a, b).array("out") == expected


@mp.program
def control_flow(ctx):
    a = ctx.arg(0)
    if a == 0:
        return
    if a < 5:
        x = 1
    elif a < 10:
        x = 2
    else:
        x = 3
        if a > LIMIT:
            out[1] = 1
            return
    x, y = x + 10, x
    out[0] = x * 100 + y


@pytest.mark.parametrize(("a", "expected"), [(0, 0), (4, 1101), (9, 1202), (10, 1303), (100, 1303), (101, 0)])
def test_branches_and_early_returns(a: int, expected: int) -> None:
    assert result(control_flow, a) == expected


@mp.program
def counting_loops(ctx):
    total = 0
    for i in range(2, 20, 3):
        if i == 5:
            continue
        if i > ctx.arg(0):
            break
        total += i
    for j in range(3, 0, -1):
        total = total * 10 + j
    for _ in range(0):
        total = 0
    out[0] = total
    out[1] = i


@pytest.mark.parametrize("n", [0, 5, 11, 100])
def test_counting_loops(n: int) -> None:
    total = 0
    for i in range(2, 20, 3):
        if i == 5:
            continue
        if i > n:
            break
        total += i
    total = total * 1000 + 321
    found = Bench(counting_loops).hit(n).array("out")
    assert found[:2] == [total, i]


@mp.program(loop_limit=50)
def collatz(ctx):
    n = ctx.arg(0)
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
        if steps == 45:
            break
    out[0] = steps


@mp.program(loop_limit=50)
def endless(ctx):
    n = 0
    while True:
        n += 1
        out[0] = n


def test_while() -> None:
    assert result(collatz, 6) == 8
    assert result(collatz, 27) == 45


def test_a_loop_at_its_limit_is_cut_off_and_counted() -> None:
    bench = Bench(endless).hit()
    assert bench.array("out")[0] == 50
    assert bench.losses() == {"cut_loops": 1}


@mp.helper
def clamp(x, low, high):
    """Helpers have locals, branches and returns of their own."""
    result = x
    if x < low:
        return low
    if x > high:
        result = high
    return result


@mp.helper
def note(ctx, place):
    out[place] = ctx.arg(1)


@mp.program
def helped(ctx):
    x = clamp(ctx.arg(0), 3, 9) + clamp(100, 0, clamp(50, 0, 10))
    note(ctx, 1)
    note(ctx, 2)
    out[0] = x


@pytest.mark.parametrize(("a", "expected"), [(0, 13), (5, 15), (50, 19)])
def test_helpers(a: int, expected: int) -> None:
    assert Bench(helped).hit(a, 44).array("out")[:3] == [expected, 44, 44]


@mp.program
def annotated(ctx):
    small: mp.u8 = ctx.arg(0)
    small2: mp.i8 = small + 100
    out[0] = small
    out[1] = small2
    total = 0
    total += ctx.arg(0)
    total -= 1
    out[2] = total > 0


def test_annotated_locals_have_their_width() -> None:
    assert Bench(annotated).hit(300).array("out")[:3] == [44, -112, 1]


table = mp.Hash(mp.u64, mp.u64, 4)
pairs = mp.Hash((mp.u8, mp.u32), mp.i32, 10)


@mp.program
def tables(ctx):
    a = ctx.arg(0)
    table[a] += 2
    table[7] = table[a] + 1
    if a in table and 99 not in table:
        table[7] -= 1
    pairs[a, 5] += 1
    pairs[1, 2] = -3
    pairs[1, 2] *= 2
    if a == 3:
        del table[7]
    table[a] |= 64


def test_hash_tables() -> None:
    bench = Bench(tables).hit(1).hit(1).hit(3)
    found = {int.from_bytes(key, "little"): value for key, value in bench.table("table").items()}
    assert found == {1: (2 | 64) + 2 | 64, 3: 2 | 64}
    keys = bench.table("pairs")
    minus_six = (1 << 32) - 6
    assert keys == {
        bytes([1, 0, 0, 0, 5, 0, 0, 0]): 2,
        bytes([3, 0, 0, 0, 5, 0, 0, 0]): 1,
        bytes([1, 0, 0, 0, 2, 0, 0, 0]): minus_six,
    }
    assert bench.losses() == {}


def test_a_full_table_is_counted() -> None:
    bench = Bench(tables)
    for a in range(10, 16):
        bench.hit(a)
    assert len(bench.table("table")) == 4
    assert bench.losses()["full_maps"] > 0


small = mp.Array(mp.u8, 4)


@mp.program
def arrays(ctx):
    small[ctx.arg(0)] = ctx.arg(1)
    small[1] += 300
    out[0] = small[ctx.arg(0)]
    out[1] = small[3]
    out[2] += 5
    out[2] ^= 1


def test_arrays_and_what_lies_outside() -> None:
    bench = Bench(arrays).hit(3, 258)
    assert bench.array("small") == [0, 44, 0, 2]
    assert bench.array("out")[:3] == [2, 2, 4]
    bench.hit(4, 1)
    assert bench.array("out")[0] == 0
    assert bench.losses() == {"out_of_range": 1}


def test_closures_are_baked_in() -> None:
    def make(n: int) -> object:
        @mp.program
        def program(ctx):
            out[0] = n * 2

        return program

    assert result(make(21)) == 42
    assert result(make(4)) == 8


@mp.program
def nothing(ctx):
    """Only a docstring."""


def test_an_inactive_program_does_nothing() -> None:
    bench = Bench(arithmetic)
    bench.machine.write(bench.control, 8, 0)
    assert bench.hit(1, 1).array("out") == [0] * 8
    Bench(nothing).hit()


@mp.helper
def bump(x):
    out[2] = out[2] + 1
    return x


@mp.program
def update_after_calls(ctx):
    out[bump(1)] += out[2]
    out[out[2]] += bump(10) + out[2]


def test_updates_evaluate_the_key_before_the_value() -> None:
    assert Bench(update_after_calls).hit().array("out")[:4] == [0, 1 + 12, 2, 0]


def test_the_type_of_ctx_has_what_programs_can_ask() -> None:
    declared = {name for name in (*vars(mp.Context), *mp.Context.__annotations__) if not name.startswith("_")}
    assert declared == ASKED | {"comm"} == {*expressions.ATTRIBUTES, "arg", "args", "comm", "task"}


def test_extremes_keep_their_signs_in_loops() -> None:
    """LLVM would move the maximum into the loop, and compare it as unsigned there."""
    numbers, table, out = mp.Hash(mp.u32, mp.i32, 10), mp.Hash(mp.u64, mp.u64, 10), mp.Array(mp.u64, 1)

    @mp.program
    def program(ctx):
        many, found = ctx.arg(0), ctx.arg(1)
        few, other = mp.i64(ctx.arg(2)), mp.i64(ctx.arg(3))
        few %= ctx.arg(1) + numbers[mp.u64(-7)]
        for _ in range(10, 0, -3):
            if mp.i64(max(-128, few) > many - table[3]) if numbers[mp.u64(other)] // found != 2147483648 else other:
                found = mp.u64(7)
        out[0] = found

    bench = Bench(program)
    bench.hit(1 << 40, (1 << 64) - 2, 1 << 50, 5)
    assert bench.array("out")[0] == (1 << 64) - 2


def test_extremes_of_known_numbers_have_the_strongest_kind() -> None:
    """As those of unknown ones have: 64 bits and a sign are not lost because the number without a type is chosen."""
    out = mp.Array(mp.u64, 4)

    @mp.program
    def program(ctx):
        out[0] = min(mp.i64(256), 3) << 70
        out[1] = (min(mp.i64(256), 3) - 4) >> 1
        out[2] = (min(mp.u64(256), 3) - 4) >> 1
        out[3] = max(mp.i64(-1), mp.u64(1 << 63)) >> 1

    bench = Bench(program)
    bench.hit()
    assert bench.array("out") == [0, (1 << 64) - 1, (1 << 63) - 1, (1 << 64) - (1 << 62)]
