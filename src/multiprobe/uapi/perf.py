"""Constants and the structure of perf_event_open(2) for kprobes, from include/uapi/linux/perf_event.h."""

from __future__ import annotations

from struct import Struct

ATTR_SIZE = 128
F_FD_CLOEXEC = 8

_ATTR = Struct("=IIQQQQQIIQQ")


def kprobe_attr(pmu_type: int, *, is_return: bool, return_bit: int, symbol: int, offset_or_address: int) -> bytearray:
    """struct perf_event_attr for one kprobe: `symbol` is the address of a C string, or 0 for an absolute address.

    `return_bit` is the bit of `config` that makes it a return probe, from
    /sys/bus/event_source/devices/kprobe/format/retprobe.
    """
    config = (1 << return_bit) if is_return else 0
    packed = _ATTR.pack(pmu_type, ATTR_SIZE, config, 1, 0, 0, 0, 1, 0, symbol, offset_or_address)
    return bytearray(packed.ljust(ATTR_SIZE, b"\0"))
