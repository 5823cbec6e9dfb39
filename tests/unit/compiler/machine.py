"""A machine that runs BPF instructions, written from the instruction set's standard (RFC 9669), for tests only.

Memory is a set of regions at made-up addresses; every access outside of one is an error, as it would be for the
verifier. Knows nothing of the compiler.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import pack, unpack_from

MASK = (1 << 64) - 1
STACK_SIZE = 512
SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}


class MachineError(Exception):
    """What a program must never do."""


@dataclass
class Ring:
    """A ring buffer: its room in bytes, records under way by address, and what was submitted."""

    size: int
    waiting: dict[int, int] = field(default_factory=dict)
    records: list[bytes] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    used: int = 0


@dataclass
class HashTable:
    key_size: int
    value_size: int
    max_entries: int
    places: dict[bytes, int] = field(default_factory=dict)


class Machine:
    """Runs programs. `arrays` are map values by descriptor, `tables` hash tables by descriptor."""

    def __init__(self, *, max_steps: int = 2_000_000) -> None:
        self.regions: list[tuple[int, bytearray]] = []
        self.arrays: dict[int, int] = {}
        self.tables: dict[int, HashTable] = {}
        self.handles: dict[int, int] = {}
        self.rings: dict[int, Ring] = {}
        self.stacks: dict[int, int] = {}
        self.user: dict[int, bytes] = {}
        self.comm = b"bash"
        self.max_steps = max_steps
        self.n_steps = 0
        self.facts: dict[str, int] = {}
        self.namespaces: dict[tuple[int, int], int] = {}
        self.swapped: set[int] = set()
        self.arguments: list[int] = []
        self.kfuncs: dict[int, str] = {}
        self.variables: dict[int, int] = {}
        self.n_reads = 0
        self._next = 0xFFFF_8880_0000_0000

    # Memory

    def allocate(self, size: int) -> int:
        """A new region; its address."""
        address = self._next
        self._next += (size + 0x1FFF) & ~0xFFF
        self.regions.append((address, bytearray(size)))
        return address

    def find(self, address: int, size: int) -> tuple[bytearray, int]:
        for start, memory in reversed(self.regions):  # the stack is the last one
            if start <= address and address + size <= start + len(memory):
                return memory, address - start
        raise MachineError(f"access of {size} bytes at {address:#x}")

    def read(self, address: int, size: int) -> int:
        memory, offset = self.find(address, size)
        return int.from_bytes(memory[offset : offset + size], "little")

    def write(self, address: int, size: int, number: int) -> None:
        memory, offset = self.find(address, size)
        memory[offset : offset + size] = (number & ((1 << 8 * size) - 1)).to_bytes(size, "little")

    def add_array(self, fd: int, size: int) -> int:
        if fd not in self.arrays:
            self.arrays[fd] = self.allocate(size)
        return self.arrays[fd]

    def add_table(self, fd: int, key_size: int, value_size: int, max_entries: int) -> HashTable:
        if fd not in self.tables:
            self.tables[fd] = HashTable(key_size, value_size, max_entries)
            self.handles[self.allocate(8)] = fd
        return self.tables[fd]

    def add_storage(self, fd: int, value_size: int) -> HashTable:
        """Values by task: a table whose keys are what the helper answers for the current task."""
        return self.add_table(fd, 8, value_size, 1 << 20)

    def add_ring(self, fd: int, size: int) -> Ring:
        if fd not in self.rings:
            self.rings[fd] = Ring(size)
            self.handles[self.allocate(8)] = fd
        return self.rings[fd]

    def add_stacks(self, fd: int) -> None:
        """Stacks by the flags of the helper: the id that it answers."""
        self.handles[self.allocate(8)] = fd

    def put(self, content: bytes) -> int:
        """Bytes somewhere in memory; their address."""
        address = self.allocate(len(content))
        memory, _ = self.find(address, len(content))
        memory[:] = content
        return address

    # Running

    def run(self, insns: bytes, context: bytes = b"", *, at: int = 0) -> int:
        """Run a program to its exit: the value of r0. The context stands `at` an address, if one is given."""
        registers = [0] * 11
        registers[1] = at or self.allocate(max(1, len(context)))
        if at:
            self.regions.append((at, bytearray(context)))
        self.regions[-1][1][: len(context)] = context
        registers[10] = self.allocate(STACK_SIZE) + STACK_SIZE
        passing = self.regions[-2:]
        self.context = registers[1]
        self.n_steps = 0
        try:
            return self._run(insns, registers)
        finally:
            self.regions = [region for region in self.regions if region not in passing]

    def _run(self, insns: bytes, r: list[int]) -> int:
        place = 0
        while True:
            self.n_steps += 1
            if self.n_steps > self.max_steps:
                raise MachineError("too many steps")
            opcode, registers, offset, immediate = unpack_from("<BBhi", insns, place * 8)
            dst, src, kind = registers & 15, registers >> 4, opcode & 7
            place += 1
            if opcode == 0x18:
                (high,) = unpack_from("<i", insns, place * 8 + 4)
                r[dst] = self._immediate(src, immediate, high)
                place += 1
            elif kind in (4, 7):
                self._alu(r, opcode, dst, src, immediate, offset, is_wide=kind == 7)
            elif opcode == 0x85:
                r[0] = self._call(src, immediate, r) & MASK
                r[1:6] = [0xDEAD_BEEF_DEAD_BEEF] * 5
            elif opcode == 0x95:
                return r[0]
            elif kind in (5, 6):
                if self._jumps(r, opcode, dst, src, immediate, is_wide=kind == 5):
                    place += immediate if opcode == 0x06 else offset
            else:
                self._memory(r, opcode, dst, src, offset, immediate)

    def _immediate(self, src: int, low: int, high: int) -> int:
        if src == 0:
            return (low & 0xFFFFFFFF) | (high & 0xFFFFFFFF) << 32
        if src == 1:
            return next(address for address, fd in self.handles.items() if fd == low)
        if src == 2:
            return self.arrays[low] + high
        if src == 3:
            return self.variables[low]
        raise MachineError(f"64-bit immediate with source {src}")

    def _alu(
        self, r: list[int], opcode: int, dst: int, src: int, immediate: int, offset: int, *, is_wide: bool
    ) -> None:
        bits = 64 if is_wide else 32
        mask = (1 << bits) - 1
        operation = opcode & 0xF0
        b = (r[src] if opcode & 8 else immediate) & mask
        a = r[dst] & mask
        if operation == 0xB0 and offset:  # a move that extends the sign
            b = signed(b, offset)
        if operation in (0x30, 0x90) and offset:
            raise MachineError("signed division is not for cpu v3")
        results = {
            0x00: lambda: a + b,
            0x10: lambda: a - b,
            0x20: lambda: a * b,
            0x30: lambda: a // b if b else 0,
            0x40: lambda: a | b,
            0x50: lambda: a & b,
            0x60: lambda: a << (b & (bits - 1)),
            0x70: lambda: a >> (b & (bits - 1)),
            0x80: lambda: -a,
            0x90: lambda: a % b if b else a,
            0xA0: lambda: a ^ b,
            0xB0: lambda: b,
            0xC0: lambda: signed(a, bits) >> (b & (bits - 1)),
        }
        r[dst] = results[operation]() & mask

    def _jumps(self, r: list[int], opcode: int, dst: int, src: int, immediate: int, *, is_wide: bool) -> bool:
        bits = 64 if is_wide else 32
        mask = (1 << bits) - 1
        a, b = r[dst] & mask, (r[src] if opcode & 8 else immediate) & mask
        x, y = signed(a, bits), signed(b, bits)
        return {
            0x00: True,
            0x10: a == b,
            0x20: a > b,
            0x30: a >= b,
            0x40: bool(a & b),
            0x50: a != b,
            0x60: x > y,
            0x70: x >= y,
            0xA0: a < b,
            0xB0: a <= b,
            0xC0: x < y,
            0xD0: x <= y,
        }[opcode & 0xF0]

    def _memory(self, r: list[int], opcode: int, dst: int, src: int, offset: int, immediate: int) -> None:
        kind, size, mode = opcode & 7, SIZES[opcode & 0x18], opcode & 0xE0
        if kind == 1 and mode in (0x60, 0x80):
            loaded = self.read((r[src] + offset) & MASK, size)
            r[dst] = (signed(loaded, 8 * size) if mode == 0x80 else loaded) & MASK
        elif kind in (2, 3) and mode == 0x60:
            self.write((r[dst] + offset) & MASK, size, r[src] if kind == 3 else immediate)
        elif kind == 3 and mode == 0xC0:
            self._atomic(r, (r[dst] + offset) & MASK, size, src, immediate)
        else:
            raise MachineError(f"opcode {opcode:#x}")

    def _atomic(self, r: list[int], address: int, size: int, src: int, operation: int) -> None:
        if address % size:
            raise MachineError("an atomic operation on what is not aligned")
        old = self.read(address, size)
        b = r[src]
        if operation == 0xF1:  # compare r0 and exchange
            self.write(address, size, b if old == r[0] else old)
            r[0] = old
            return
        new = {0x00: old + b, 0x40: old | b, 0x50: old & b, 0xA0: old ^ b, 0xE0: b}[operation & 0xF0]
        self.write(address, size, new)
        if operation & 1:
            r[src] = old

    # Helpers

    def _call(self, src: int, number: int, r: list[int]) -> int:
        if src == 2:
            return self.facts[self.kfuncs[number]]
        simple = {
            5: "time",
            8: "cpu",
            14: "pid_tgid",
            35: "task",
            153: "per_cpu",
            154: "this_cpu",
            158: "task_btf",
            173: "ip",
            174: "cookie",
            175: "user_registers",
            185: "arg_count",
        }
        if number in simple:
            return self.facts[simple[number]]
        if number in (1, 2, 3):
            return self._table(number, r)
        if number in (156, 157):
            return self._storage(number, r)
        if number == 148:
            self.swapped = {page for page in self.swapped if page != r[3] >> 12}
            return 0
        if number == 112:
            return self._probe_read_user(r[1], r[2], r[3])
        if number == 113:
            return self._probe_read(r[1], r[2], r[3])
        if number in (114, 115):
            return self._probe_read_str(r[1], r[2], r[3], is_user=number == 114)
        if number == 16:
            self.fill(r[1], r[2], self.comm[: r[2] - 1].ljust(r[2], b"\0"))
            return 0
        if number == 27:
            if self.handles[r[2]] in self.rings or r[1] != self.context:
                raise MachineError("a stack needs the context, and a map of stacks")
            return self.stacks[r[3]]
        if number == 120:
            numbers = self.namespaces.get((r[1], r[2]), 0)
            self.write(r[3], 8, numbers)
            return 0 if numbers else -22
        if number in (131, 132, 134):
            return self._ring(number, r)
        if number == 183:
            if r[2] >= len(self.arguments):
                return -22
            self.write(r[3], 8, self.arguments[r[2]])
            return 0
        if number == 184:
            self.write(r[2], 8, self.facts["ret"])
            return 0
        raise MachineError(f"helper {number}")

    def _probe_read(self, to: int, size: int, source: int) -> int:
        self.n_reads += 1
        try:
            found = self.read(source, size & 0xFFFFFFFF)
        except MachineError:
            self.write(to, size & 0xFFFFFFFF, 0)
            return -14
        self.write(to, size & 0xFFFFFFFF, found)
        return 0

    def _probe_read_user(self, to: int, size: int, source: int) -> int:
        """What lies behind the memory that a test has put there can't be read."""
        found = b"" if self._is_swapped(source, size) else self.user.get(source, b"")
        self.fill(to, size, found[:size] if size <= len(found) else bytes(size))
        return 0 if size <= len(found) else -14

    def _is_swapped(self, address: int, size: int) -> bool:
        """Whether pages of user memory aren't there: only a program that may sleep gets them, page by page."""
        return not self.swapped.isdisjoint(range(address >> 12, (address + max(size, 1) - 1 >> 12) + 1))

    def fill(self, to: int, size: int, content: bytes) -> None:
        memory, offset = self.find(to, size)
        memory[offset : offset + size] = content

    def _probe_read_str(self, to: int, size: int, source: int, *, is_user: bool) -> int:
        """What lies behind the NUL is left as it was, as the kernel's helper may do."""
        found = self.user.get(source)
        if is_user and found and self._is_swapped(source, min(size, len(found.partition(b"\0")[0]) + 1)):
            found = None
        if not is_user:
            region = next(((s, m) for s, m in self.regions if s <= source < s + len(m)), None)
            found = bytes(region[1][source - region[0] :]) if region else None
        if found is None:
            self.fill(to, size, bytes(size))
            return -14
        text = found.partition(b"\0")[0][: size - 1] + b"\0"
        self.fill(to, len(text), text)
        return len(text)

    def _ring(self, number: int, r: list[int]) -> int:
        if number == 132:
            ring = next(ring for ring in self.rings.values() if r[1] in ring.waiting)
            size = ring.waiting.pop(r[1])
            memory, offset = self.find(r[1], size)
            ring.records.append(bytes(memory[offset : offset + size]))
            ring.flags.append(r[2])
            self.regions = [region for region in self.regions if region[0] != r[1]]
            return 0
        ring = self.rings[self.handles[r[1]]]
        if number == 134:
            return ring.used
        need = 8 + -(-r[2] // 8) * 8
        if ring.used + need > ring.size - 1:
            return 0
        ring.used += need
        address = self.put(b"\xaa" * r[2])  # what a record held before is still there
        ring.waiting[address] = r[2]
        return address

    def _table(self, number: int, r: list[int]) -> int:
        table = self.tables[self.handles[r[1]]]
        memory, offset = self.find(r[2], table.key_size)
        key = bytes(memory[offset : offset + table.key_size])
        if number == 1:
            return table.places.get(key, 0)
        if number == 3:
            return 0 if table.places.pop(key, None) is not None else -2
        if key in table.places and r[4] == 1:
            return -17
        if key not in table.places:
            if len(table.places) >= table.max_entries:
                return -7
            table.places[key] = self.allocate(table.value_size)
        self.write(table.places[key], table.value_size, self.read(r[3], table.value_size))
        return 0

    def _storage(self, number: int, r: list[int]) -> int:
        table, key = self.tables[self.handles[r[1]]], r[2].to_bytes(8, "little")
        if number == 157:
            return 0 if table.places.pop(key, None) is not None else -2
        if key not in table.places and r[4] == 1 and len(table.places) < table.max_entries:
            table.places[key] = self.allocate(table.value_size)
        return table.places.get(key, 0)

    def contents(self, fd: int) -> dict[bytes, int]:
        """A hash table as a dict."""
        table = self.tables[fd]
        return {key: self.read(place, table.value_size) for key, place in table.places.items()}


def signed(number: int, bits: int) -> int:
    """The low `bits` of a number, with their sign."""
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> (bits - 1) else number


def words(*numbers: int) -> bytes:
    """64-bit numbers in memory, as a context."""
    return pack(f"<{len(numbers)}Q", *(number & MASK for number in numbers))
