"""Calling a function of the fake kernel: the programs on it run, on the machine of the compiler's tests, with its maps.

Entry and return of one call, no nesting. Sessions are those that the kernel keeps (kprobe_session, fsession), not the
ones that two programs make together.
"""

from __future__ import annotations

import mmap
import os
from struct import pack, pack_into
from typing import TYPE_CHECKING

from machine import Machine, words

from fake_kernel.functions import FakeFunction
from fake_kernel.objects import Link, Map, Probe
from multiprobe.uapi.bpf import MapType

if TYPE_CHECKING:
    from fake_kernel.kernel import FakeKernel

_NO_ARGUMENT = 0x6261_6761_7267
"""What the registers hold that carry no argument."""
_ARGUMENT_REGISTERS, _RETURN_REGISTER, _PT_REGS = (112, 104, 96, 88, 72, 64), 80, 168
_PAGE, _HEADER = mmap.PAGESIZE, 8
_SLOTS = 12


class Call:
    """One call of a function: its arguments, what it returns, and by which CPU and process."""

    def __init__(
        self,
        function: FakeFunction,
        arguments: tuple[int, ...],
        returned: int,
        cpu: int,
        tgid: int,
        namespaces: dict[tuple[int, int], int],
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.returned = returned
        self.cpu = cpu
        self.tgid = tgid
        self.namespaces = namespaces


def fire(kernel: FakeKernel, call: Call) -> None:
    """Run the programs of all links on the function, those at its entry first."""
    on = [(link, probe) for link in kernel.links for probe in link.probes if probe.function == call.function]
    sessions = {id(link): bytearray(8) for link, _ in on}
    skipped = set[int]()
    for is_return in (False, True):
        for link, probe in on:
            if link.when in ("session", "return" if is_return else "entry") and id(link) not in skipped:
                answer = _run(kernel, link, probe, call, sessions[id(link)], is_return=is_return)
                is_kprobe_session = link.when == "session" and link.mechanism == "kprobe_multi"
                assert answer == 0 or is_kprobe_session, "the verifier would refuse it"
                skipped |= {id(link)} if answer else set()


def _run(kernel: FakeKernel, link: Link, probe: Probe, call: Call, session: bytearray, *, is_return: bool) -> int:
    program, machine = link.program, Machine()
    assert program is not None
    at = machine.allocate(8)
    machine.regions[-1] = (at, session)
    mapped = [(fd, one, _put(machine, fd, one, call.cpu)) for fd, one in program.descriptors.items()]
    names = {number: function.name for number, function in _types(kernel).items()}
    machine.kfuncs = names
    machine.arguments = list(call.arguments)
    machine.namespaces = call.namespaces
    # Task storage knows a task by its id: this stands for its address, too.
    machine.regions.append((call.tgid, bytearray(pack("<ii16s", call.tgid, call.tgid, machine.comm))))
    machine.facts = {
        "cpu": call.cpu, "pid_tgid": call.tgid << 32 | call.tgid, "time": 1000, "ip": call.function.address,
        "cookie": probe.cookie, "arg_count": len(call.function.parameters), "ret": call.returned, "task": 0,
        "task_btf": call.tgid, "user_registers": machine.put(bytes(336)),
        "bpf_session_is_return": int(is_return), "bpf_session_cookie": at,
    }  # fmt: skip
    answer = machine.run(program.insns, _context(link, call))
    program.run_count += 1
    for fd, one, memory in mapped:
        _take(machine, fd, one, memory, kernel, call.cpu)
    return answer


def fork(kernel: FakeKernel, parent: int, child: int, cpu: int, namespaces: dict[tuple[int, int], int]) -> None:
    """Run the programs on the tracepoint of forks, in the parent: its arguments are the two tasks."""
    for link in kernel.links:
        if link.mechanism == "sched_process_fork" and link.program is not None:
            machine = Machine()
            mapped = [_put(machine, fd, one, cpu) for fd, one in link.program.descriptors.items()]
            tasks = [machine.put(pack("<iiq", one, one, 0)) for one in (parent, child)]
            machine.namespaces = namespaces
            machine.facts = {"cpu": cpu, "pid_tgid": parent << 32 | parent}
            machine.run(link.program.insns, words(*tasks))
            del mapped


def _types(kernel: FakeKernel) -> dict[int, FakeFunction]:
    types = kernel.types[0].types
    assert types is not None
    return types.functions


def _context(link: Link, call: Call) -> bytes:
    """struct pt_regs, or a trampoline's array of arguments with the return value behind it."""
    if link.mechanism in ("trampoline", "tracing_multi"):
        n = len(call.function.parameters)
        padded = [*call.arguments, *[0] * n][:n]
        return words(*padded, call.returned, *[0] * (_SLOTS - n))
    registers = bytearray(_PT_REGS)
    n = len(call.function.parameters)
    for place, offset in enumerate(_ARGUMENT_REGISTERS):
        given = call.arguments[place] if place < len(call.arguments) else 0
        pack_into("<Q", registers, offset, given if place < n else _NO_ARGUMENT)
    pack_into("<Q", registers, _RETURN_REGISTER, call.returned & (1 << 64) - 1)
    return bytes(registers)


def _put(machine: Machine, fd: int, one: Map, cpu: int) -> mmap.mmap | None:
    """Give a map to the machine, under the descriptor by which the program was loaded."""
    if one.kind == MapType.ARRAY:
        memory = mmap.mmap(one.file, os.fstat(one.file).st_size)
        machine.arrays[fd] = machine.allocate(one.value_size)
        machine.regions[-1] = (machine.arrays[fd], memoryview(memory)[: one.value_size])  # type: ignore[assignment]
        return memory
    if one.kind == MapType.RINGBUF:
        memory = mmap.mmap(one.file, os.fstat(one.file).st_size)
        ring = machine.add_ring(fd, one.max_entries)
        ring.used = _number(memory, _PAGE) - _number(memory, 0)
        return memory
    if one.kind == MapType.STACK_TRACE:
        machine.add_stacks(fd)
        machine.stacks = {0: 1, 256: 2}
        for number in machine.stacks.values():
            one.items[number.to_bytes(4, "little")] = pack("<Q", number).ljust(one.value_size, b"\0")
        return None
    key_size = 8 if one.kind == MapType.TASK_STORAGE else one.key_size
    table = machine.add_table(fd, key_size, one.value_size, one.max_entries or 1 << 20)
    start = _slot(one, cpu)
    for key, value in one.items.items():
        table.places[key] = machine.put(value[start : start + one.value_size])
    return None


def _slot(one: Map, cpu: int) -> int:
    is_per_cpu = one.kind in (MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH)
    return cpu * -(-one.value_size // 8) * 8 if is_per_cpu else 0


def _take(machine: Machine, fd: int, one: Map, memory: mmap.mmap | None, kernel: FakeKernel, cpu: int) -> None:
    """Bring back what the program left in a map that isn't memory of both."""
    if one.kind == MapType.RINGBUF and memory is not None:
        for record in machine.rings[fd].records:
            _send(memory, one, record)
    elif fd in machine.tables:
        start, size = _slot(one, cpu), -(-one.value_size // 8) * 8
        whole = kernel.n_cpus * size if start or _slot(one, 1) else one.value_size
        for key, value in machine.contents(fd).items():
            item = bytearray(one.items.get(key, bytes(whole)))
            item[start : start + one.value_size] = value.to_bytes(one.value_size, "little")
            one.items[key] = bytes(item)


def _send(memory: mmap.mmap, one: Map, record: bytes) -> None:
    """bpf_ringbuf_submit: the record behind its header, in both copies of the data; the producer's position last."""
    at = _number(memory, _PAGE)
    data = pack("<II", len(record), 0) + record
    for offset in range(len(data)):
        place = (at + offset) % one.max_entries
        for copy in (place, place + one.max_entries):
            memory[2 * _PAGE + copy] = data[offset]
    pack_into("<Q", memory, _PAGE, at + -(-len(data) // _HEADER) * _HEADER)
    one.wake()


def _number(memory: mmap.mmap, offset: int) -> int:
    return int.from_bytes(memory[offset : offset + 8], "little")
