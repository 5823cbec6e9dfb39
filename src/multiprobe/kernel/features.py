"""Feature probes: does this kernel have it, for this process? Asked of the kernel itself, never of its version.

A probe loads a program of two instructions, or asks for something that no kernel grants and reads from the errno how
far the kernel came; none of them ever attaches to anything. The answer is yes, no (with the evidence) or inconclusive,
and only yes and no are remembered. Knows what the kernel's answers mean; must not know what a user should do about it
(that is `diagnosis`).
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NamedTuple

from multiprobe.errors import DataError, KernelError, MultiprobeError, NotPermittedError, VerifierError, errno_name
from multiprobe.kernel.btf import format as btf_format
from multiprobe.kernel.evidence import Evidence
from multiprobe.syscalls import bpf, perf
from multiprobe.syscalls.fd import FileDescriptor
from multiprobe.syscalls.raw import BPF, address_of, call_opening
from multiprobe.uapi import bpf as uapi
from multiprobe.uapi.bpf import AttachType, Cmd, FuncId, MapType, ProgType

if TYPE_CHECKING:
    from collections.abc import Callable

YES, NO, INCONCLUSIVE = "yes", "no", "inconclusive"

RETURN_0 = bytes.fromhex("b7000000000000009500000000000000")
#: r1 = r10 - 8, r2 = 8, r3 = 0: the arguments of bpf_probe_read_kernel
READ_NOTHING = bytes.fromhex("bfa100000000000007010000f8ffffffb702000008000000b703000000000000")
CALL = bytes.fromhex("85000000")
#: An address that no process has mapped: a list that stands there answers EFAULT, once everything before it is right.
UNREADABLE = 8
RING_BUFFER_BYTES = 1 << 20
PASSING = (errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE)
#: Functions to load (not attach) a trampoline program for: made for tests, and one that every kernel has.
TARGETS = ("bpf_fentry_test1", "vfs_read")
BTF = "sys/kernel/btf/vmlinux"
KPROBE_PMU = "sys/bus/event_source/devices/kprobe"
#: ftrace's direct calls, under the names that they have had.
DIRECT_CALLS = ("register_ftrace_direct", "update_ftrace_direct_add")
#: Symbols that are there only if a feature was built in, all of them.
SYMBOLS = {
    "kprobe_multi": ("bpf_kprobe_multi_link_attach", "register_fprobe_ips"),
    "kprobe_session": ("register_fprobe_ips", "bpf_session_is_return"),
    "tracing_multi": ("bpf_tracing_multi_attach",),
    "trampoline": ("bpf_trampoline_link_prog", "register_ftrace_direct"),
    "fsession": ("bpf_jit_supports_fsession",),
    "kprobe": ("register_kprobe", "perf_kprobe_init"),
    "uprobe_multi": ("bpf_uprobe_multi_link_attach", "uprobe_register"),
}


class Answer(NamedTuple):
    """`verdict`: "yes", "no" or "inconclusive"; `evidence`: what it rests on, as a part of a sentence.

    `is_forbidden`: the kernel refused for want of rights. `is_built_in`: what its symbols say, None if unreadable.
    """

    verdict: str
    evidence: str
    is_forbidden: bool = False
    is_built_in: bool | None = None

    @property
    def is_yes(self) -> bool:
        """Does the kernel have it?"""
        return self.verdict == YES

    @property
    def is_no(self) -> bool:
        """Does the kernel lack it?"""
        return self.verdict == NO


def yes(evidence: str) -> Answer:
    """The kernel has it."""
    return Answer(YES, evidence)


def no(evidence: str) -> Answer:
    """The kernel lacks it."""
    return Answer(NO, evidence)


def forbidden(evidence: str) -> Answer:
    """The kernel wouldn't say."""
    return Answer(INCONCLUSIVE, evidence, is_forbidden=True)


class Features:
    """The features of the running kernel, probed when asked for. `root` is where the system's files stand.

    `target`: the BTF id of a function that a trampoline program may be loaded for, when the caller knows one.
    """

    def __init__(self, *, root: str = "/", target: int | None = None, evidence: Evidence | None = None) -> None:
        self._root = root
        self._target = (target, f"BTF id {target}") if target is not None else None
        self._known: dict[str, Answer] = {}
        self.evidence = evidence or Evidence(root=root)

    def probe(self, feature: str) -> Answer:
        """Ask the kernel for one of `FEATURES`; KeyError for any other name."""
        known = self._known.get(feature)
        if known is None:
            built_in = self._is_built_in(feature)
            known = PROBES[feature](self)
            known = Answer(known.verdict, known.evidence, known.is_forbidden, built_in)
            if known.verdict != INCONCLUSIVE:
                self._known[feature] = known
        return known

    def _is_built_in(self, feature: str) -> bool | None:
        states = [self.evidence.has_symbol(name) for name in SYMBOLS.get(feature, ())]
        return None if not states or None in states else all(states)

    # One probe each

    def bpf(self) -> Answer:
        """Programs at all."""
        return self._load("a socket filter", ProgType.SOCKET_FILTER)

    def kprobe_program(self) -> Answer:
        """Programs of type kprobe."""
        return self._load("a kprobe program", ProgType.KPROBE)

    def kprobe_multi(self) -> Answer:
        """One link on many functions, by fprobe."""
        return self._multi(ProgType.KPROBE, AttachType.TRACE_KPROBE_MULTI)

    def kprobe_session(self) -> Answer:
        """The same, entry and return in one program."""
        return self._multi(ProgType.KPROBE, AttachType.TRACE_KPROBE_SESSION)

    def uprobe_multi(self) -> Answer:
        """One link on many functions of a binary."""
        return self._multi(ProgType.KPROBE, AttachType.TRACE_UPROBE_MULTI)

    def uprobe_session(self) -> Answer:
        """The same, entry and return in one program."""
        return self._multi(ProgType.KPROBE, AttachType.TRACE_UPROBE_SESSION)

    def tracing_multi(self) -> Answer:
        """One link on many functions, by trampolines."""
        return self._multi(ProgType.TRACING, AttachType.TRACE_FENTRY_MULTI)

    def tracing_session_multi(self) -> Answer:
        """The same, entry and return in one program."""
        return self._multi(ProgType.TRACING, AttachType.TRACE_FSESSION_MULTI)

    def trampoline(self) -> Answer:
        """fentry and fexit, one function a link."""
        answer = self._load_for_target("an fentry program", AttachType.TRACE_FENTRY)
        if answer.is_yes and not any(self.evidence.has_symbol(name) is not False for name in DIRECT_CALLS):
            return Answer(INCONCLUSIVE, f"{answer.evidence}, but ftrace seems to be built without direct calls")
        return answer

    def fsession(self) -> Answer:
        """Entry and return in one trampoline program, one function a link."""
        return self._load_for_target("an fsession program", AttachType.TRACE_FSESSION)

    def kprobe(self) -> Answer:
        """Single kprobes, by perf events."""
        try:
            with open(os.path.join(self._root, KPROBE_PMU, "type"), "rb") as file:
                pmu = int(file.read())
        except FileNotFoundError:
            if not os.path.isdir(os.path.join(self._root, os.path.dirname(KPROBE_PMU))):
                return Answer(INCONCLUSIVE, "sysfs, where the kernel would list it, can't be read")
            return no(f"/{KPROBE_PMU} doesn't exist")
        except (OSError, ValueError) as error:
            return Answer(INCONCLUSIVE, f"/{KPROBE_PMU}/type can't be read: {error}")
        return self._kprobe_inside(pmu)

    def _kprobe_inside(self, pmu: int) -> Answer:
        """Ask for a kprobe inside an instruction: refused as such only after all rights have been checked."""
        answered = []
        for name in TARGETS:
            where = f"a kprobe inside the first instruction of {name}"
            try:
                perf.open_kprobe(pmu, symbol=name, offset=1).close()
            except NotPermittedError:
                return forbidden(f"asked for {where}, the kernel permits none")
            except KernelError as error:
                if error.errno == errno.EILSEQ:
                    return yes(f"asked for {where}, the kernel answers EILSEQ, as it should")
                answered.append(f"asked for {where}, the kernel answers {_name(error.errno or 0)}")
        return Answer(INCONCLUSIVE, answered[-1] if answered else "the kernel grants kprobes inside instructions")

    def attach_cookie(self) -> Answer:
        """bpf_get_attach_cookie in kprobe programs."""
        return self._helper("bpf_get_attach_cookie", FuncId.GET_ATTACH_COOKIE)

    def func_ip(self) -> Answer:
        """bpf_get_func_ip in kprobe programs."""
        return self._helper("bpf_get_func_ip", FuncId.GET_FUNC_IP)

    def read_kernel(self) -> Answer:
        """bpf_probe_read_kernel, which lockdown for confidentiality takes away."""
        code = READ_NOTHING + CALL + FuncId.PROBE_READ_KERNEL.to_bytes(4, "little") + RETURN_0
        return self._load("a kprobe program that calls bpf_probe_read_kernel", ProgType.KPROBE, code=code)

    def ring_buffer(self) -> Answer:
        """Ring buffer maps."""
        return _outcome(
            "creating a ring buffer", lambda: bpf.map_create(MapType.RINGBUF, 0, 0, RING_BUFFER_BYTES, name="mp_probe")
        )

    def btf(self) -> Answer:
        """Types of the kernel."""
        if os.access(os.path.join(self._root, BTF), os.R_OK):
            return yes(f"/{BTF} can be read")
        if os.path.exists(os.path.join(self._root, BTF)):
            return forbidden(f"/{BTF} can't be read")
        if not os.path.isdir(os.path.join(self._root, "sys/kernel")):
            return Answer(INCONCLUSIVE, "sysfs isn't mounted")
        return no(f"/{BTF} doesn't exist")

    # How they ask

    def _load(self, what: str, kind: int, *, code: bytes = RETURN_0, attach_type: int = 0, target: int = 0) -> Answer:
        def load() -> FileDescriptor:
            return bpf.prog_load(kind, code, name="mp_probe", expected_attach_type=attach_type, attach_btf_id=target)

        return _outcome(f"loading {what}", load)

    def _helper(self, name: str, number: int) -> Answer:
        code = CALL + number.to_bytes(4, "little") + RETURN_0
        return self._load(f"a kprobe program that calls {name}", ProgType.KPROBE, code=code)

    def _load_for_target(self, what: str, attach_type: int) -> Answer:
        try:
            target, name = self._find_target()
        except FileNotFoundError:
            return self.btf()
        except (OSError, DataError) as error:
            return Answer(INCONCLUSIVE, f"/{BTF} can't be read: {error}")
        if not target:
            return Answer(INCONCLUSIVE, f"the kernel's types describe neither {' nor '.join(TARGETS)}")
        return self._load(f"{what} for {name}", ProgType.TRACING, attach_type=attach_type, target=target)

    def _find_target(self) -> tuple[int, str]:
        if self._target is not None:
            return self._target
        with open(os.path.join(self._root, BTF), "rb", buffering=0) as file:
            sections = btf_format.parse_sections(file.read(), is_split=False)
        for name in TARGETS:
            type_id = btf_format.find_function(sections, name)
            if type_id is not None:
                self._target = type_id, name
                return self._target
        return 0, ""

    def _multi(self, kind: int, attach_type: int) -> Answer:
        """Load a program for a multi link, then ask for a link on a list that can't be read.

        EFAULT: the kernel knows this link and went to read the list. EINVAL: it doesn't. EOPNOTSUPP: built without.
        """
        try:
            prog = bpf.prog_load(kind, RETURN_0, name="mp_probe", expected_attach_type=attach_type)
        except NotPermittedError:
            return forbidden("loading its program: EPERM")
        except MultiprobeError as error:
            return Answer(INCONCLUSIVE if _is_passing(error) else NO, f"loading its program: {_reason(error)}")
        with prog:
            attr = _unreadable_link(prog.fileno(), kind, attach_type)
            result = call_opening(BPF, Cmd.LINK_CREATE, address_of(attr), len(attr))
        if not isinstance(result, int):
            result.close()
            result = 0
        asked = "asked for a link on an unreadable list, the kernel answers"
        if result == -errno.EFAULT:
            return yes(f"{asked} EFAULT, as it should")
        if result in (-errno.EINVAL, -errno.EOPNOTSUPP, -errno.ENOSYS):
            return no(f"{asked} {_name(-result)}")
        if result in (-errno.EPERM, -errno.EACCES):
            return forbidden(f"{asked} {_name(-result)}")
        return Answer(INCONCLUSIVE, f"{asked} {_name(-result) if result < 0 else 'with a link'}")


def _unreadable_link(prog_fd: int, kind: int, attach_type: int) -> bytearray:
    if attach_type in (AttachType.TRACE_UPROBE_MULTI, AttachType.TRACE_UPROBE_SESSION):
        return uapi.link_create_uprobe_multi(
            prog_fd, attach_type=attach_type, flags=0, path=UNREADABLE, offsets=UNREADABLE, count=1
        )
    if kind == ProgType.KPROBE:
        return uapi.link_create_kprobe_multi(prog_fd, attach_type=attach_type, flags=0, count=1, addresses=UNREADABLE)
    return uapi.link_create_tracing_multi(prog_fd, attach_type=attach_type, ids=UNREADABLE, cookies=0, count=1)


def _outcome(what: str, make: Callable[[], FileDescriptor]) -> Answer:
    """Make a kernel object, drop it, and tell what came of it."""
    try:
        make().close()
    except NotPermittedError:
        return forbidden(f"{what}: EPERM")
    except KernelError as error:
        return Answer(INCONCLUSIVE if _is_passing(error) else NO, f"{what}: {_reason(error)}")
    return yes(f"{what} works")


def _is_passing(error: MultiprobeError) -> bool:
    """Whether the same question may be answered otherwise at another time: it says nothing about the kernel."""
    return isinstance(error, KernelError) and error.errno in PASSING


def _reason(error: MultiprobeError) -> str:
    if isinstance(error, VerifierError):
        return f"{_name(error.errno or 0)}, {error.cause}"
    return _name(error.errno or 0) if isinstance(error, KernelError) else str(error)


def _name(number: int) -> str:
    return "EOPNOTSUPP" if number == errno.EOPNOTSUPP else errno_name(number)


PROBES: dict[str, Callable[[Features], Answer]] = {
    "bpf": Features.bpf,
    "kprobe_program": Features.kprobe_program,
    "kprobe_multi": Features.kprobe_multi,
    "kprobe_session": Features.kprobe_session,
    "tracing_multi": Features.tracing_multi,
    "tracing_session_multi": Features.tracing_session_multi,
    "trampoline": Features.trampoline,
    "fsession": Features.fsession,
    "kprobe": Features.kprobe,
    "uprobe_multi": Features.uprobe_multi,
    "uprobe_session": Features.uprobe_session,
    "attach_cookie": Features.attach_cookie,
    "func_ip": Features.func_ip,
    "read_kernel": Features.read_kernel,
    "ring_buffer": Features.ring_buffer,
    "btf": Features.btf,
}
FEATURES = tuple(PROBES)
