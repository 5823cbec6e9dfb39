"""Every construct of the language that yields a value, once: run on the test machine, in kernels and as plain Python.

Each is the body of a function of `a`, `b` (without a sign), `s`, `t` (with one); docs/language.md names them in this
order.
"""

from __future__ import annotations

CONSTRUCTS = {
    # Values
    "wrapping": "return a + b * 3 - 7",
    "signed arithmetic": "return s * t - 7 * s",
    "mixed signs": "return a + s",
    "exact comparison": "return (s < a) + (a <= s) * 2 + (s == a) * 4 + (t > b) * 8",
    "floor division": "return s // t",
    "floor remainder": "return s % t",
    "division without a sign": "return a // (b | 1) + a % (b | 1)",
    "division by zero": "return a // (b - b) + s // (t - t)",
    "remainder by zero": "return a % (b - b) + s % (t - t)",
    "division by constants": "return s // 10 + s % -7 + mp.i64(a // 1000)",
    "shifts": "return (a << b % 64) ^ (s >> a % 64)",
    "wide shifts": "return (a << 64) + (a >> 70) + (s >> 64) + (1 << b)",
    "known numbers": "return (1 << 100 >> 98) + 7 ** 5 - 2 // 3",
    "conversions": "return mp.u8(a) + mp.u16(a) * 2 + mp.u32(a) * 3 + mp.u64(s)",
    "signed conversions": "return mp.i8(a) + mp.i16(a) * 2 + mp.i32(a) * 3 + mp.i64(a)",
    "truth": "return bool(a) + mp.bool_(b) + (not a) + True",
    "a local's kind": "x = 5\nif a > b:\n    x = s\nreturn x >> 1",
    "annotated": "x: mp.u16 = a & 0xFFFF\nreturn x + 1",
    # Expressions
    "unary": "return -a + ~b + +s - -t + ~(a > b)",
    "bits": "return (a & b) | (a ^ 0xFF) & ~b",
    "comparisons": "return (a == b) + (a != b) * 2 + (a < b) * 4 + (a <= b) * 8 + (a > b) * 16 + (a >= b) * 32",
    "chains": "return (1 < a < 100 <= b) + (s < 0 == (t < 0)) * 2",
    "and": "return a and b",
    "or": "return a or b",
    "logic of three": "return (a and s < 0 or b) + (not (a or b))",
    "conditional": "return s if a > 5 else t if b else 3",
    "min and max": "return min(a, b, 9) + max(s, t)",
    "abs": "return abs(s) + abs(t)",
    "bit_length": "return a.bit_length() * 100 + s.bit_length() * 10_000 + (b & 3).bit_length() + (t - t).bit_length()",
    "constants from outside": "return NUMBER + a",
    "functions": "return twice(a) + twice(3)",
    "ctx in functions": "return first(ctx) + 1",
    # Statements
    "assignment to two": "x = y = a\nx += 1\nreturn x - y",
    "swapping": "x, y = a, b\nx, y = y, x + 1\nreturn x * 3 + y",
    "augmented": "x = a\nx += 3\nx -= b\nx *= 5\nx //= 3\nx %= 1000\nx &= 0xFFF\n"
    "x |= 1\nx ^= b\nx <<= 2\nx >>= 1\nreturn x",
    "if and elif": "if a == b:\n    return 1\nelif a > b:\n    x = 2\nelse:\n    x = 3\nreturn x + 10",
    "early return": "if a > 10:\n    return 1\nif b > 10:\n    return 2\nreturn 3",
    "for": "n = 0\nfor i in range(10):\n    n += i * a\nreturn n",
    "for backwards": "n = 0\nfor i in range(20, 2, -3):\n    n ^= i << (n & 3)\nreturn n",
    "break and continue": "n = 0\nfor i in range(50):\n    if i == a % 40:\n        break\n"
    "    if i & 1:\n        continue\n    n += i\nreturn n",
    "nested loops": "n = 0\nfor i in range(4):\n    for j in range(3):\n        if j == b % 4:\n            break\n"
    "        n += i * j + 1\nreturn n",
    "while": "n = a % 50\nx = 0\nwhile n > 3 and x < 100:\n    x += n\n    n -= 4\nreturn x",
    "while with break": "n = 0\nwhile True:\n    n += 1\n    if n >= b % 20:\n        break\nreturn n",
    "pass": "if a:\n    pass\nreturn 4",
    # Maps
    "array": "array[3] = a\narray[4] += array[3] - 1\nreturn array[3] + array[4] + array[7] + array[1 << 40]",
    "narrow array": "small[1] = a\nsmall[2] -= 1\nsmall[2] *= 3\nreturn small[1] * 5 + small[2]",
    "atomic updates": "array[5] = 12\narray[5] += a\narray[5] |= 3\narray[5] &= 0xFFFF\narray[5] ^= 5\narray[5] -= 2\n"
    "return array[5]",
    "atomic extremes": "array[5] = 12\narray[5] = max(array[5], a)\narray[6] = min(b, array[6])\n"
    "table[a] = max(table[a], s)\ntable[b] = min(table[b], t)\n"
    "return array[5] + array[6] * 3 + table[a] * 5 + table[b] * 7",
    "hash": "table[a] = s\ntable[a] += 3\nx = table[a]\nreturn x + table[a + 1]",
    "in": "table[7] = 1\nx = (7 in table) + (8 in table) * 2 + (8 not in table) * 4\ndel table[7]\n"
    "return x + (7 in table) * 8",
    "one of several": "return (a in (3, 5, 7)) + (s not in (-1, 7)) * 2 + (t + 1 in CHOICES) * 4 + (3 in (1, 2)) * 8",
    "tuples as keys": "pairs[a, s] = 5\npairs[a, s] += 1\nreturn pairs[a, s] + ((a, s) in pairs) + pairs[a, 99]",
}

HEAD = """
@mp.helper
def twice(x):
    return x + x

@mp.helper
def first(c):
    return c.arg(0)

"""
PARAMETERS = "a = ctx.arg(0)\nb = ctx.arg(1)\ns = mp.i64(ctx.arg(2))\nt = mp.i64(ctx.arg(3))"
NUMBER = 12345
CHOICES = (3, 4, -1)
PER_PROGRAM = 12
#: Arguments to run them with.
HITS = ((5, 3, 7, 2), (100, 100, -100 % (1 << 64), 3), ((1 << 64) - 1, 1 << 63, (1 << 64) - 7, (1 << 64) - 2), (0,) * 4)


def sources() -> list[tuple[list[str], str]]:
    """Programs that hold them all: the names of the constructs in each, and its source; `out[i]` gets a value each.

    A loop has a program of its own: the verifier walks all of its rounds, once for each way to where it begins.
    """
    loops = [name for name, body in CONSTRUCTS.items() if "for " in body or "while " in body]
    names = [name for name in CONSTRUCTS if name not in loops]
    groups = [names[at : at + PER_PROGRAM] for at in range(0, len(names), PER_PROGRAM)]
    return [(chosen, source(chosen)) for chosen in (*groups, *([name] for name in loops))]


def source(names: list[str]) -> str:
    text = HEAD
    for place, name in enumerate(names):
        body = f"{PARAMETERS}\n{CONSTRUCTS[name]}".replace("\n", "\n    ")
        text += f"@mp.helper\ndef case_{place}(ctx):\n    {body}\n\n"
    calls = "".join(f"    out[{place}] = case_{place}(ctx)\n" for place in range(len(names)))
    return f"{text}@mp.program\ndef program(ctx):\n{calls}"
