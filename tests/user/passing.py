"""Makes programs in C whose functions take parameters of all kinds, and print what they were given.

What they print is the oracle for what is read of the registers and of the stack.
"""

from __future__ import annotations

import random

INTEGERS = {
    "signed char": (8, True), "unsigned char": (8, False), "short": (16, True), "unsigned short": (16, False),
    "int": (32, True), "unsigned int": (32, False), "long": (64, True), "unsigned long": (64, False),
}  # fmt: skip
OTHERS = ("enum color", "bool", "void *", "const char *")
OF_VECTORS = ("float", "double", "long double")
STRUCTS = {
    "struct one": "char a;",
    "struct four": "int a;",
    "struct mixed8": "int a; float b;",
    "struct floats": "float a, b;",
    "struct three": "int a, b, c;",
    "struct mixed": "long a; double b;",
    "struct mixed2": "double a; long b;",
    "struct longs": "long a, b;",
    "struct doubles": "double a, b;",
    "struct big": "long a, b, c;",
    "struct bytes": "char a[16];",
    "struct nested": "struct four a; struct floats b;",
    "struct bits": "int a : 3, b : 20; unsigned c : 30;",
    "union any": "int a; float b; long c;",
}
MEMBERS = {
    "struct one": "a", "struct four": "a", "struct mixed8": "a", "struct three": "abc", "struct mixed": "a",
    "struct mixed2": "b", "struct longs": "ab", "struct big": "abc", "struct bits": "abc",
}  # fmt: skip
"""Of structs passed by value, the members that can be shown: all but numbers with a point."""
WIDE = ("__int128", "struct wide", "struct packed", "struct precise")
HEAD = """
#include <stdio.h>
#include <stdbool.h>
#include <string.h>
#ifdef __cplusplus
extern "C" {
#endif
enum color { RED = 1, GREEN = 2, BLUE = -3 };
%s
struct wide { long double a; };
struct packed { char a; int b; } __attribute__((packed));
struct precise { __int128 a; };
static const char *const names[] = {"", "BLUE", "", "", "RED", "GREEN"};
"""
CODES = ("%lld", "%llu")
COLORS = {"RED": 1, "GREEN": 2, "BLUE": -3}


class Maker:
    """Makes one program. Functions are called f0, f1, …; those of odd numbers are static.

    Of each four, the compiler may change how the last two are called.
    """

    def __init__(self, seed: int, n: int) -> None:
        self.random = random.Random(seed)
        self.returned: dict[str, str] = {}
        declared = "\n".join(f"{name} {{ {members} }};" for name, members in STRUCTS.items())
        functions = [self._function(number) for number in range(n)]
        main = "".join(f"  {self._call(name, kinds)}\n" for name, kinds, _ in functions)
        self.source = "".join(
            (HEAD % declared, *(text for _, _, text in functions), f"int main(void) {{\n{main}  return 0;\n}}\n",
             "#ifdef __cplusplus\n}\n#endif\n")
        )  # fmt: skip

    def _kind(self) -> str:
        chance = self.random.random()
        if chance < 0.5:
            return self.random.choice(list(INTEGERS))
        if chance < 0.65:
            return self.random.choice(OTHERS)
        if chance < 0.8:
            return self.random.choice(OF_VECTORS)
        return self.random.choice([*STRUCTS, *WIDE])

    def _function(self, number: int) -> tuple[str, list[str], str]:
        name, kinds = f"f{number}", [self._kind() for _ in range(self.random.randint(0, 11))]
        returned = self.random.choice(
            [*INTEGERS, *OTHERS, "void", "double", "struct big", "struct longs", "struct wide"]
        )
        self.returned[name] = returned
        printed = "".join(f"  {_print(f'p{n}', kind)}\n" for n, kind in enumerate(kinds))
        parameters = ", ".join(f"{kind} p{n}" for n, kind in enumerate(kinds)) or "void"
        static = "static " if number % 2 else ""
        result = "" if returned == "void" else f"  {returned} r = {self._value(returned)};\n"
        shown = "" if returned == "void" else f"  {_print('=', returned, 'r')}\n"
        back = "" if returned == "void" else "  return r;\n"
        text = (
            f"{static}__attribute__(({'noipa' if number % 4 < 2 else 'noinline'})) {returned} {name}({parameters}) {{\n"
            f'  printf("{name}");\n{printed}{result}{shown}  printf("\\n");\n{back}}}\n'
        )
        return name, kinds, text

    def _call(self, name: str, kinds: list[str]) -> str:
        return f"{name}({', '.join(map(self._value, kinds))});"

    def _value(self, kind: str) -> str:
        number = self.random.getrandbits(62)
        if kind in INTEGERS:
            bits, _ = INTEGERS[kind]
            number &= (1 << bits) - 1
            return f"({kind}){number}{'' if bits < 64 else 'UL'}"
        if kind == "enum color":
            return self.random.choice(list(COLORS))
        if kind == "bool":
            return self.random.choice(("true", "false"))
        if kind == "void *":
            return f"(void *){number | 1 << 40}UL"
        if kind == "const char *":
            return f'"text {number % 1000}"'
        if kind in OF_VECTORS or kind == "__int128":
            return f"({kind}){number % 1000}"
        if kind in MEMBERS:
            n = len(MEMBERS[kind]) + kind.startswith("struct mixed")
            return f"({kind}){{{', '.join(str(number % (50 + k)) for k in range(n))}}}"
        return f"({kind}){{{number % 50}}}" if kind != "struct bytes" else f'({kind}){{"{number % 1000}"}}'


def _print(label: str, kind: str, name: str = "") -> str:
    name = name or label
    if kind in INTEGERS or kind == "bool":
        signed = kind == "bool" or INTEGERS[kind][1]
        cast, code = ("long long", "%lld") if signed else ("unsigned long long", "%llu")
        return f'printf("|{label}={code}", ({cast}){name});'
    if kind == "enum color":
        return f'printf("|{label}=%s", names[{name} + 4 == 1 ? 1 : {name} + 3]);'
    if kind == "void *":
        return f'printf("|{label}=%p", {name});'
    if kind == "const char *":
        return f'printf("|{label}=\\"%s\\"", {name});'
    if kind in MEMBERS and label != "=":
        shown = ", ".join(f"'{member}': %lld" for member in MEMBERS[kind])
        values = ", ".join(f"(long long){name}.{member}" for member in MEMBERS[kind])
        return f'printf("|{label}={{{shown}}}", {values});'
    return f'printf("|{label}=?"); fflush(stdout);'


def expected(line: str) -> tuple[str, dict[str, str]]:
    """The name and the values that a function printed; "?" for those that can't be compared."""
    name, *parts = line.split("|")
    return name, dict(part.split("=", 1) if not part.startswith("==") else ("=", part[2:]) for part in parts)
