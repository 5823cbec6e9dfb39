"""Finds the processes that hold BPF links and perf events, from /proc/*/fd and fdinfo.

The parsers are pure. Processes that exit during the walk, or that can't be read, are skipped.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from multiprobe.names import decode_name

_NUMBER = re.compile("[0-9]{1,20}")
_LINK_FILES = ("anon_inode:bpf_link", "anon_inode:[bpf_link]")
_PERF_FILE = "anon_inode:[perf_event]"
_HEAD = 4096


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that holds a link open, from /proc/*/fdinfo.

    pid: its id; command: its name; fd: the number of the descriptor
    """

    pid: int
    command: str
    fd: int


@dataclass(frozen=True, slots=True)
class Holders:
    """Owners by link id, the perf events of each process, and the number of processes that could not be read."""

    by_link: dict[int, tuple[Owner, ...]]
    perf_events: tuple[Owner, ...]
    n_hidden: int


@dataclass(frozen=True, slots=True)
class FunctionLine:
    """A function listed in a link's fdinfo; ids are 0 if it has none."""

    btf_obj_id: int
    btf_id: int
    cookie: int
    symbol: str


def parse_fdinfo(text: str) -> dict[str, str]:
    """The `name: value` lines of an fdinfo file."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name.strip(): found.strip() for name, found in pairs}


def parse_functions(text: str) -> tuple[FunctionLine, ...]:
    """The functions that a link's fdinfo lists with their cookies (7.2 on; older kernels list none)."""
    lines = iter(text.splitlines())
    for line in lines:
        titles = line.split()
        if titles in (["cookie", "func"], ["obj-id", "btf-id", "cookie", "func"]):
            break
    else:
        return ()
    found = []
    for line in lines:
        fields = line.split(None, len(titles) - 1)
        if len(fields) != len(titles) or not all(_NUMBER.fullmatch(field) for field in fields[:-1]):
            break
        numbers = [0, 0, *map(int, fields[:-1])][-3:]
        found.append(FunctionLine(numbers[0], numbers[1], numbers[2], fields[-1].partition("+")[0]))
    return tuple(found)


def read_fdinfo(owner: Owner, *, proc: str = "/proc", limit: int = -1) -> str:
    """The fdinfo of a descriptor (its first `limit` bytes), or "" if it is closed or can't be read."""
    try:
        with open(f"{proc}/{owner.pid}/fdinfo/{owner.fd}", "rb", buffering=0) as file:
            data = file.read(limit) if limit >= 0 else file.readall()
            return data.decode(errors="replace")
    except OSError:
        return ""


def find_holders(*, proc: str = "/proc") -> Holders:
    """Look at every process's descriptors."""
    by_link: dict[int, list[Owner]] = {}
    events: list[Owner] = []
    n_hidden = 0
    for name in os.listdir(proc):
        if not name.isdecimal():
            continue
        try:
            owners = list(_descriptors(proc, int(name)))
        except PermissionError:
            n_hidden += 1
            continue
        except OSError:
            continue  # it ended
        for kind, owner in owners:
            if kind == _PERF_FILE:
                events.append(owner)
                continue
            link_id = parse_fdinfo(read_fdinfo(owner, proc=proc, limit=_HEAD)).get("link_id", "")
            if link_id.isdecimal():
                by_link.setdefault(int(link_id), []).append(owner)
    return Holders({link: tuple(owners) for link, owners in by_link.items()}, tuple(events), n_hidden)


def _descriptors(proc: str, pid: int) -> list[tuple[str, Owner]]:
    found = []
    command = ""
    for name in os.listdir(f"{proc}/{pid}/fd"):
        try:
            kind = os.readlink(f"{proc}/{pid}/fd/{name}")
        except FileNotFoundError:
            continue
        if kind in _LINK_FILES or kind == _PERF_FILE:
            command = command or command_of(proc, pid)
            found.append((kind, Owner(pid, command, int(name))))
    return found


def command_of(proc: str, pid: int) -> str:
    try:
        with open(f"{proc}/{pid}/comm", "rb") as file:
            return decode_name(file.read().removesuffix(b"\n"))
    except OSError:
        return ""
