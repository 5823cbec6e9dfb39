"""The matrix of users and settings that the kernel says no to: attaching works, or the advice of its error does.

    python tests/kernel/rights.py [--kernel 6.12]    boots a guest for each level of lockdown: make rights KERNEL=6.12
    python tests/kernel/rights.py                    in a guest, as root: its cells alone

A cell is a child process that gives up capabilities, enters namespaces, or meets changed settings, and attaches by one
mechanism, or by the one that is chosen for it. Where that fails, the error must say what `doctor` says, and each
alternative of its advice is followed, word by word, until it works.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import functools
import json
import os
import re
import resource
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

sys.path[:0] = [str(Path(__file__).parents[1])]

import forked  # noqa: E402, F401  (imports the command line, and what that needs)
import multiprobe as mp  # noqa: E402
from multiprobe.cachedir import cache_directory, write_own  # noqa: E402
from multiprobe.functions import cache  # noqa: E402
from multiprobe.kernel.mechanism import Mechanism  # noqa: E402
from places import IS_GUEST  # noqa: E402

if TYPE_CHECKING:
    from multiprobe.kernel.examine import State

LIBC = ctypes.CDLL(None, use_errno=True)
BITS = {
    "CAP_DAC_READ_SEARCH": 2, "CAP_NET_ADMIN": 12, "CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21, "CAP_SYS_RESOURCE": 24,
    "CAP_SYSLOG": 34, "CAP_PERFMON": 38, "CAP_BPF": 39,
}  # fmt: skip
MATTER = tuple(name for name in BITS if name != "CAP_NET_ADMIN")
NEEDED = ("CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG")
NEWNS, NEWPID, NEWUSER, NEWNET, NEWIPC, NEWUTS = (
    0x00020000, 0x20000000, 0x10000000, 0x40000000, 0x08000000, 0x04000000,
)  # fmt: skip
CONTAINER = NEWPID | NEWNS | NEWNET | NEWIPC | NEWUTS
NOBODY = 65534
MECHANISMS = ("tracing_multi", "kprobe_multi", "trampoline", "kprobe")
ANY = "any"
LEVELS = ("none", "integrity", "confidentiality")
LOCKDOWN = Path("/sys/kernel/security/lockdown")
KPROBES = "/sys/kernel/debug/kprobes/enabled"
SYSCTLS = ("kptr_restrict", "perf_event_paranoid", "unprivileged_bpf_disabled", "ftrace_enabled")
CGROUP = Path("/sys/fs/cgroup/rights")
MANY = 40
MAP_MIB = 512
MOST_STEPS = 5
REFUSED = (4, 5)
WORKS, CURED, ELSEWHERE, WRONG = "works", "refused with tried advice", "refused until another boot", "wrong"
UNTRIED = "not tried"
KINDS = (WORKS, CURED, ELSEWHERE, UNTRIED, WRONG)
calls = mp.PerFunction(mp.u64)
large = mp.Array(mp.u64, MAP_MIB << 17)


@mp.program
def count(ctx):
    calls[ctx.function] += 1


@mp.program
def fill(ctx):
    large[ctx.function] += 1


@dataclass(frozen=True)
class Cell:
    """A user and settings; without differences: root, as the guest was booted. The name doesn't distinguish.

    capabilities: None for all
    settings: contents of files, by path; covered: directories that an empty one is mounted over
    flags: namespaces to enter; has_sysfs, has_tracefs: mounted; is_container: chrooted into a bound copy
    nofile: RLIMIT_NOFILE, 0 for as it is; memory_mib: memory.max, for a map of MAP_MIB; 0: without a large map
    n_functions: to attach to
    commands: of advice, run as root when all else is set up
    """

    name: str
    capabilities: tuple[str, ...] | None = None
    uid: int = 0
    settings: tuple[tuple[str, str], ...] = ()
    covered: tuple[str, ...] = ()
    flags: int = 0
    has_sysfs: bool = True
    has_tracefs: bool = True
    is_container: bool = False
    has_filter: bool = False
    nofile: int = 0
    memory_mib: int = 0
    n_functions: int = 1
    commands: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def users() -> list[Cell]:
    """Users, their capabilities, namespaces and limits; the settings are as the guest was booted."""
    found = [
        Cell("root"),
        Cell("user", (), NOBODY),
        Cell("user namespace", flags=NEWUSER),
        Cell("user namespace of a user", (), NOBODY, flags=NEWUSER),
        Cell("pid namespace", flags=NEWPID | NEWNS),
        Cell("container with all capabilities", flags=CONTAINER, is_container=True, has_tracefs=False),
        Cell("container without sysfs", flags=CONTAINER, is_container=True, has_sysfs=False),
        Cell("container", ("CAP_DAC_READ_SEARCH",), flags=CONTAINER, is_container=True, has_tracefs=False),
        Cell("container, seccomp", ("CAP_DAC_READ_SEARCH",), flags=CONTAINER, is_container=True, has_filter=True),
        Cell("seccomp", has_filter=True),
        Cell("no tracefs", flags=NEWNS, has_tracefs=False),
        Cell("no tracefs, user", (), NOBODY, flags=NEWNS, has_tracefs=False),
        Cell("no BTF", flags=NEWNS, covered=("/sys/kernel/btf",)),
        *(Cell(f"{n} descriptors, {MANY} functions", nofile=n, n_functions=MANY) for n in (16, 64, 1024)),
        Cell("16 descriptors, 1 function", nofile=16),
        Cell(f"a cgroup of {MAP_MIB // 2} MiB", memory_mib=MAP_MIB // 2),
    ]
    needed = ("CAP_DAC_READ_SEARCH", *NEEDED)
    sets = [(), *((name,) for name in MATTER), *combinations(MATTER, 2), NEEDED]
    found += [Cell(f"uid 0 with {' and '.join(names) or 'no capability'}", names) for names in sets]
    sets = [*((name,) for name in MATTER), NEEDED, needed, ("CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH")]
    return found + [Cell(f"user with {' and '.join(names)}", names, NOBODY) for names in sets]


def cells() -> list[Cell]:
    """All of them."""
    values = {
        "perf_event_paranoid": range(-1, 5), "kptr_restrict": range(3), "unprivileged_bpf_disabled": (0, 2),
        "ftrace_enabled": (0,),
    }  # fmt: skip
    settings = [(f"/proc/sys/kernel/{name}", str(value)) for name, each in values.items() for value in each]
    settings.append((KPROBES, "0"))
    varied = (Cell("root"), Cell("user", (), NOBODY), Cell("uid 0 with CAP_BPF, CAP_PERFMON and CAP_SYSLOG", NEEDED))
    return users() + [
        replace(user, name=f"{user}, {Path(path).name} = {value}", settings=((path, value),))
        for path, value in settings
        for user in varied
    ]


def locked() -> list[Cell]:
    """Those that are tried under lockdown: it refuses root what others are refused for other reasons."""
    names = ("root", "user", "user namespace", "container", "seccomp", "no tracefs", "no BTF")
    return [
        *(cell for cell in users() if cell.name in names or cell.name.endswith("with no capability")),
        Cell("uid 0 with CAP_BPF, CAP_PERFMON and CAP_SYSLOG", NEEDED),
    ]


# In the child


def in_child(work: Callable[[], dict[str, object]]) -> dict[str, object]:
    """What `work` returns in a forked child."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writing, 3)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))  # the limit on descriptors is for those of `work` alone
        try:
            os.write(3, json.dumps(work()).encode())
        except BaseException as error:
            os.write(3, json.dumps({"trouble": f"{type(error).__name__}: {error}"}).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        answer = file.read()
    _, status = os.waitpid(child, 0)
    found: dict[str, object] = json.loads(answer) if answer else {"trouble": f"ended with status {status}"}
    if "trouble" in found:
        raise RuntimeError(f"in the child: {found['trouble']}")
    return found


def enter(cell: Cell) -> None:
    """Become the user of a cell, but for what only a process of its pid namespace can do."""
    if cell.memory_mib:
        CGROUP.joinpath("cgroup.procs").write_text(str(os.getpid()))
    if cell.uid and cell.flags & NEWUSER:
        become(cell.uid)
    unshare(cell.flags & ~NEWPID)
    if cell.flags & NEWUSER:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {cell.uid} 1"), ("gid_map", f"0 {cell.uid} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    if cell.flags & NEWNS:
        run("mount --make-rprivate /")
    for directory in cell.covered:
        run(f"mount -t tmpfs tmpfs {directory}")
    if not cell.has_tracefs and not cell.is_container:
        run("umount /sys/kernel/tracing; umount -l /sys/kernel/debug")
    unshare(cell.flags & NEWPID)  # the next child is its first process, and its end that of the namespace


def enter_inside(cell: Cell, root: str) -> None:
    """The rest, in a process of the pid namespace."""
    if cell.is_container:
        run(f"mount --bind / {root} && mount -t proc proc {root}/proc")
        for has, kind, place in ((cell.has_sysfs, "sysfs", "sys"), (cell.has_tracefs, "tracefs", "sys/kernel/tracing")):
            if has and cell.has_sysfs:
                run(f"mount -t {kind} {kind} {root}/{place}")
        os.chroot(root)
        os.chdir("/")
    elif cell.flags & NEWPID:
        run("mount -t proc proc /proc")
    if not cell.is_container:  # or else by its own root, as far as that may
        run_all(cell.commands)
    if cell.nofile:
        resource.setrlimit(resource.RLIMIT_NOFILE, (cell.nofile, cell.nofile))
    if cell.uid and not cell.flags & NEWUSER:
        become(cell.uid)
    if cell.capabilities is not None and not cell.flags & NEWUSER:
        keep_only(*cell.capabilities)
    if cell.is_container:
        run_all(cell.commands)
    if cell.has_filter:
        refuse_system_calls()


def become(uid: int) -> None:
    """Another user and group, with the capabilities of before where they are permitted."""
    LIBC.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    LIBC.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: /proc/self stays its own


def keep_only(*names: str) -> None:
    """Give up all capabilities but these (capset(2), version 3)."""
    mask = sum(1 << BITS[name] for name in names)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("<Ii", 0x20080522, 0)
    sets = struct.pack("<6I", low, low, 0, high, high, 0)
    if LIBC.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


def refuse_system_calls() -> None:
    """A seccomp filter as of a container: bpf and perf_event_open answer EPERM (seccomp(2))."""
    from multiprobe.syscalls.raw import BPF, PERF_EVENT_OPEN

    refused = (BPF, PERF_EVENT_OPEN)
    rules = [(0x20, 0, 0, 0)]  # the number of the call
    rules += [(0x15, len(refused) - n, 0, number) for n, number in enumerate(refused)]
    rules += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050001)]  # allow; EPERM
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *rule) for rule in rules))
    program = struct.pack("<HxxxxxxQ", len(rules), ctypes.addressof(code))
    LIBC.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    if LIBC.prctl(22, 2, program):  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise OSError(ctypes.get_errno(), "seccomp")


def unshare(flags: int) -> None:
    """unshare(2)."""
    if flags and LIBC.unshare(flags):
        raise OSError(ctypes.get_errno(), "unshare")


def run_all(commands: tuple[str, ...]) -> None:
    """Run lines of shell."""
    for command in commands:
        run(command)


def run(script: str) -> None:
    """Run a line of shell."""
    ran = subprocess.run(["sh", "-c", script], check=False, capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"{script}: {ran.stderr.strip()}")


def try_mechanisms(cell: Cell, mechanisms: tuple[str, ...]) -> dict[str, object]:
    """What doctor says of each mechanism, and what attaching by it answers."""
    from multiprobe.cli.doctor import text_lines
    from multiprobe.kernel import examine
    from multiprobe.kernel.diagnosis import diagnose_mechanism, diagnose_mechanisms, diagnose_needs

    state = examine.examine()
    examine.examine = lambda: state  # it is the same for the error of each mechanism
    kernel = seen_kernel(state)
    found: dict[str, object] = {}
    every = diagnose_mechanisms(state)
    lines = text_lines(state, every, diagnose_needs(state))
    text = ["".join(part for part, _ in line) for line in lines]
    functions, program = ["vfs_read"], fill if cell.memory_mib else count
    if cell.n_functions > 1:
        carried = kernel.functions("tcp_*").attachable(Mechanism.TRAMPOLINE)
        few = zip(carried, carried.slots(), strict=True)  # arguments: trampolines of 6.1 save no more than six
        functions = [function.name for function, slots in few if slots <= 6][: cell.n_functions]
    for mechanism in mechanisms:
        chosen = [one for one in every if one.subject in (mechanisms if mechanism == ANY else (mechanism,))]
        finding = diagnose_mechanism(state, mechanism) if mechanism != ANY else None
        usable = finding.usable if finding else any(one.usable for one in chosen)
        answers: dict[str, object] = {"usable": usable, "says": [[one.why, one.remedy] for one in chosen]}
        answers["is_told"] = all(any(one.why in line for line in text) for one in chosen)
        only = None if mechanism == ANY else mechanism
        attach = functools.partial(mp.attach, program, functions, mechanisms=only, kernel=kernel)
        answers |= error_of(functools.partial(attach, on_bad="error"))
        if answers["error"] and len(functions) == 1:
            answers["skipping"] = error_of(attach)
        found[mechanism] = answers
    return found


def seen_kernel(state: State) -> mp.Kernel:
    """The kernel as this user sees it, parsed once for all cells that see the same of it."""
    key = repr((os.getuid(), state.hides_addresses, state.traceable, state.answers["btf"].verdict)).encode()
    path = os.path.join(cache_directory(), f"seen-{crc32(key):08x}")
    table = cache.load_table(path, key)
    if table is None:
        table = mp.Kernel(use_cache=False).table
        write_own(path, cache.encode(table, key))
    return mp.Kernel.of(table)


def error_of(attach: Callable[[], mp.Attachment]) -> dict[str, object]:
    """The error that attaching raises, its hint and exit status."""
    try:
        attach().detach()
    except mp.MultiprobeError as failed:
        return {"error": str(failed), "hint": failed.hint, "status": failed.exit_status}
    except Exception as failed:
        return {"error": f"{type(failed).__name__}: {failed}", "hint": "", "status": -1}
    return {"error": "", "hint": "", "status": 0}


@functools.cache
def outcome(cell: Cell, mechanisms: tuple[str, ...]) -> dict[str, dict[str, object]]:
    """What happened in a cell, by mechanism."""
    cell = replace(cell, name="")
    with tempfile.TemporaryDirectory() as root, settings(dict(cell.settings)), cgroup(cell.memory_mib):

        def inside() -> dict[str, object]:
            enter_inside(cell, root)
            os.environ["MULTIPROBE_CACHE"] = f"/tmp/rights-{os.getuid()}"
            return try_mechanisms(cell, mechanisms)

        def work() -> dict[str, object]:
            enter(cell)
            return in_child(inside) if cell.flags & NEWPID else inside()

        return in_child(work)  # type: ignore[return-value]


def is_readable(path: str) -> bool:
    """Lockdown lets nobody open files of debugfs."""
    try:
        Path(path).read_bytes()
    except OSError:
        return False
    return True


@contextmanager
def settings(wanted: dict[str, str]) -> Iterator[None]:
    """Change settings, and put back whatever the cell or its advice changed."""
    paths = [Path("/proc/sys/kernel", name) for name in SYSCTLS]
    paths += [Path(KPROBES)] if is_readable(KPROBES) else []
    before = {path: path.read_text() for path in paths}
    try:
        for path, value in wanted.items():
            put(path, value)
        yield
    finally:
        for path, text in before.items():
            if path.read_text() != text:
                path.write_text(text)


class NoSuchSettingError(Exception):
    """This kernel doesn't let anybody have this setting: 7.3 can't switch ftrace off, lockdown keeps debugfs shut."""


def put(path: str, value: str) -> None:
    """Write a setting. Raises NoSuchSettingError."""
    try:
        Path(path).write_text(value)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
            raise
        raise NoSuchSettingError(f"this kernel refuses {Path(path).name} = {value}") from error


@contextmanager
def cgroup(memory_mib: int) -> Iterator[None]:
    """A cgroup with a limit on memory; 0: none."""
    if not memory_mib:
        yield
        return
    Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory")
    CGROUP.mkdir()
    try:
        CGROUP.joinpath("memory.max").write_text(str(memory_mib << 20))
        yield
    finally:
        CGROUP.rmdir()


# What must be true


@dataclass(frozen=True)
class Judgement:
    """What became of a mechanism in a cell: one of KINDS; and the advice, or what is wrong."""

    kind: str
    text: str = ""


def alternatives(hint: str) -> list[str]:
    """The pieces of advice of which one must do, without the virtual machine, which always does."""
    pieces = [piece for piece in hint.split("; ") if piece and "--vm" not in piece and "multiprobe doctor" not in piece]
    choices = [re.split(r",? or (?=(?:run|start|with|as root)\b)", piece) for piece in pieces]
    if not pieces:
        return []
    return ["; ".join((*(each[0] for each in choices[:n]), one, *(each[0] for each in choices[n + 1 :])))
            for n, each in enumerate(choices) for one in (each if n == 0 else each[1:])]  # fmt: skip


def follow(cell: Cell, advice: str) -> Cell | None:
    """The cell after its user did what the advice says; None if it says nothing that can be done."""
    changed = cell
    for piece in advice.split("; "):
        changed = _follow_piece(changed, piece)
    return None if changed == cell else changed


def _follow_piece(cell: Cell, advice: str) -> Cell:
    if found := re.search(r"\bas root: (.*)", advice):
        return replace(cell, commands=(*cell.commands, found[1]))
    if found := re.search(r"\bwith (CAP_\w+(?:(?:, | and )CAP_\w+)*)", advice):
        names = re.findall(r"CAP_\w+", found[1])
        return replace(cell, capabilities=tuple(dict.fromkeys((*(cell.capabilities or ()), *names))))
    if "with -v /sys/kernel/tracing" in advice:
        return replace(cell, has_tracefs=True)
    if "outside of the user namespace" in advice:
        return replace(cell, flags=cell.flags & ~NEWUSER, capabilities=None, uid=0)
    if "start the container with --privileged" in advice:
        return replace(cell, capabilities=None, uid=0, has_sysfs=True, has_tracefs=False, has_filter=False)
    if "seccomp" in advice:
        return replace(cell, has_filter=False)
    if "run as root" in advice:
        return replace(cell, capabilities=None, uid=0)
    if found := re.search(r"`ulimit -n ?(\d*)`", advice):
        return replace(cell, nofile=int(found[1] or 1024))
    if "memory.max" in advice:
        return replace(cell, memory_mib=4 * MAP_MIB)
    return cell


def is_elsewhere(answers: dict[str, object]) -> bool:
    """Whether only another boot or another kernel helps: it is the one of the cells without lockdown, and with BTF."""
    advice = alternatives(str(answers["hint"]))
    lacks = re.search(r"this kernel lacks it|btf/vmlinux doesn't exist", str(answers["error"]))
    return all("without lockdown" in one for one in advice) and bool(advice or lacks)


def disagreements(answers: dict[str, object]) -> Iterator[str]:
    """Where doctor and the error of one mechanism don't say the same."""
    error, hint = str(answers["error"]), str(answers["hint"])
    if answers["status"] == -1:
        yield f"not an error of ours: {error}"
    elif error and ("EMFILE" in error or "descriptors" in error or "ENOMEM" in error):
        if not alternatives(hint):
            yield f"no advice: {error} ({hint})"
    elif error:
        if answers["usable"] is True:
            yield f"doctor says that it can be used, attaching says {error}"
        says = [(why, remedy) for why, remedy in answers["says"]]  # type: ignore[attr-defined]
        for why, remedy in says:
            if why not in error or not all(piece in hint for piece in remedy.split("; ")):
                yield f"doctor says {why!r} ({remedy}), attaching says {error!r} ({hint})"
        if answers["status"] not in REFUSED:
            yield f"exit status {answers['status']}: {error}"
        if not answers["is_told"]:
            yield f"`multiprobe doctor` doesn't print {says}"
    elif answers["usable"] is not True:
        yield f"doctor says it can't be used: {answers['says']}; it is attached"


def judge(cell: Cell, mechanism: str, mechanisms: tuple[str, ...], steps: int = MOST_STEPS) -> Judgement:
    """Try a mechanism in a cell, and follow each alternative of the advice until it works."""
    try:
        answers = outcome(cell, mechanisms)[mechanism]
    except RuntimeError as error:
        return Judgement(WRONG, str(error))
    forms = [answers, answers | answers.get("skipping", {})]  # type: ignore[operator]
    if wrong := "; ".join(dict.fromkeys(one for form in forms for one in disagreements(form))):
        return Judgement(WRONG, wrong)
    if not answers["error"]:
        return Judgement(WORKS)
    hint = str(answers["hint"])
    if is_elsewhere(answers):
        return Judgement(ELSEWHERE, "boot it without lockdown" if "lockdown" in hint else "use another kernel")
    if not steps:
        return Judgement(WRONG, f"still refused: {answers['error']} ({hint})")
    return _judge_advice(cell, mechanism, mechanisms, steps, answers)


def _judge_advice(
    cell: Cell, mechanism: str, mechanisms: tuple[str, ...], steps: int, answers: dict[str, object]
) -> Judgement:
    followed: list[str] = []
    kinds = {CURED}
    for advice in alternatives(str(answers["hint"])):
        better = follow(cell, advice)
        if better is None:
            return Judgement(WRONG, f"can't be followed: {advice!r} of {answers['error']} ({answers['hint']})")
        judged = judge(better, mechanism, mechanisms, steps - 1)
        if judged.kind == WRONG:
            return Judgement(WRONG, f"after {advice!r}: {judged.text}")
        kinds.add(ELSEWHERE if judged.kind == ELSEWHERE else CURED)
        first = judged.text.partition(" | ")[0]
        followed.append(f"{advice}, then {first}" if first else advice)
    if not followed:
        return Judgement(WRONG, f"no advice: {answers['error']} ({answers['hint']})")
    return Judgement(ELSEWHERE if ELSEWHERE in kinds else CURED, " | ".join(followed))


def judge_all(cell: Cell, mechanisms: tuple[str, ...]) -> dict[str, Judgement]:
    """What became of each mechanism in a cell."""
    try:
        return {mechanism: judge(cell, mechanism, mechanisms) for mechanism in mechanisms}
    except NoSuchSettingError as error:
        return dict.fromkeys(mechanisms, Judgement(UNTRIED, str(error)))


def usable_mechanisms() -> tuple[str, ...]:
    """Those that this kernel has, and the choice among them; under lockdown it isn't known, and all are tried."""
    kernel = mp.Kernel()
    return (*(tuple(name for name in MECHANISMS if kernel.has(name)) or MECHANISMS), ANY)


def warm_up() -> None:
    """Import what attaching needs, which another user may not be able to read."""
    from multiprobe.cli import doctor  # noqa: F401
    from multiprobe.kernel.examine import examine

    examine()
    for mechanism in usable_mechanisms()[:-1]:
        try:
            mp.attach(count, ["vfs_read"], mechanisms=mechanism).detach()
        except mp.MultiprobeError:
            continue


# Showing it


def lines(cell: Cell, judged: dict[str, Judgement]) -> Iterator[str]:
    """A line for each thing that happened in a cell, with the mechanisms that it happened to."""
    same: dict[Judgement, list[str]] = {}
    for mechanism, one in judged.items():
        same.setdefault(one, []).append(mechanism)
    name = str(cell)
    for one, mechanisms in same.items():
        text = f"{', '.join(mechanisms)}: {one.kind}{f': {one.text}' if one.text else ''}"
        yield from textwrap.wrap(text, 118, initial_indent=f"{name:48.48}  ", subsequent_indent=" " * 52)
        name = ""


def level() -> str:
    """How far the kernel is locked down."""
    return LOCKDOWN.read_text().partition("[")[2].partition("]")[0] if LOCKDOWN.exists() else "none"


def show(every: list[Cell], n: Counter[str]) -> None:
    """Try these cells, print what happened in each, and count it in `n`."""
    mechanisms = usable_mechanisms()
    for cell in every:
        judged = judge_all(cell, mechanisms)
        n.update(one.kind for one in judged.values())
        print("\n".join(lines(cell, judged)), flush=True)


def counted(n: Counter[str]) -> str:
    """The line of counts."""
    return f"{n.total()} cells: " + ", ".join(f"{kind}: {n[kind]}" for kind in KINDS)


def in_guest(only: str) -> int:
    """Try all cells of this guest, and those of a kernel that is locked down later; print them and their number."""
    began, n = time.monotonic(), Counter[str]()
    warm_up()
    every = [cell for cell in (cells() if level() == "none" else locked()) if re.search(only, cell.name)]
    show(every, n)
    later = [replace(cell, name=f"{cell}, locked down later") for cell in users()[:2]]
    later = [cell for cell in later if re.search(only, cell.name)]
    if level() == "none" and LOCKDOWN.exists() and later:
        LOCKDOWN.write_text("confidentiality")
        outcome.cache_clear()
        show(later, n)
    print(f"{os.uname().release}, booted with lockdown={BOOTED}, {time.monotonic() - began:.0f} s: {counted(n)}")
    print(json.dumps(n), file=sys.stderr)
    return 1 if n[WRONG] else 0


BOOTED = level()


def boot(kernel: str, lockdown: str) -> Counter[str]:
    """The cells of a guest that is booted with this level of lockdown: prints their table, returns their number."""
    words = [sys.executable, "-m", "multiprobe", "vm", "--kernel", kernel, "--append", f"lockdown={lockdown}"]
    ran = subprocess.run([*words, "--", sys.executable, __file__], stderr=subprocess.PIPE, text=True, check=False)
    try:
        return Counter(json.loads(ran.stderr.splitlines()[-1]))
    except (ValueError, IndexError):
        raise SystemExit(f"the guest didn't end well: {ran.stderr}") from None


def main() -> int:
    """Try all cells, in guests if this is none."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kernel", default="6.12", help="the series to boot")
    parser.add_argument("--only", default="", metavar="REGEX", help="in a guest: only cells whose name matches")
    chosen = parser.parse_args()
    if IS_GUEST:
        return in_guest(chosen.only)
    n: Counter[str] = sum((boot(chosen.kernel, lockdown) for lockdown in LEVELS), Counter())
    print(f"{chosen.kernel}: {counted(n)}")
    return 1 if n[WRONG] else 0


if __name__ == "__main__":
    sys.exit(main())
