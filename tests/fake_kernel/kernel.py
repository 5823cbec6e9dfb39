"""The fake kernel: its state, who refers to what, and the faults that it is told to make."""

from __future__ import annotations

import errno
import mmap
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from fake_kernel import commands, perf
from fake_kernel.btf import make_types
from fake_kernel.files import LISTS_OF_FUNCTIONS, Redirection, write_files
from fake_kernel.functions import FUNCTIONS, FakeFunction, evidence, placed
from fake_kernel.memory import Attr, Refused
from fake_kernel.objects import Btf, Event, Link, Map, Object, Program
from fake_kernel.profiles import LIKE_7_3, Profile
from multiprobe import arch
from multiprobe.syscalls import raw
from multiprobe.uapi.bpf import Cmd

MEMBARRIER = arch.system_call_number("membarrier")
NAMES = {raw.PERF_EVENT_OPEN: "perf_event_open", MEMBARRIER: "membarrier"}
OBJ_PIN, OBJ_GET, LINK_DETACH = 6, 7, 34
_COMMANDS = {int(command): command.name for command in Cmd}
_COMMANDS |= {OBJ_PIN: "OBJ_PIN", OBJ_GET: "OBJ_GET", LINK_DETACH: "LINK_DETACH"}


@dataclass
class Fault:
    """Answer `number` to call number `call` (1 is the next one), of `command` if one is named, and so on `times`."""

    number: int
    call: int = 1
    command: str = ""
    times: int = 1
    n_made: int = field(default=0, init=False)

    def takes(self, command: str) -> bool:
        """Whether this call is one to fail."""
        if self.command and command != self.command:
            return False
        self.n_made += 1
        return self.call <= self.n_made < self.call + self.times


class FakeKernel:
    """A kernel that lives in this process while it is entered.

    refusals: {(mechanism, function name): errno}, what the kernel answers to links that have the function in them
    refused_programs: {program name: the verifier's log}
    told_addresses: {address: what link info says instead}
    max_functions: links on more functions are ENOMEM, as where per-function memory is allocated in one piece
    calls: names of all system calls made, and "close KIND ID"; faults: see `Fault`
    directory: where its files are, and what multiprobe keeps of them (`cache`); kernels that are alike may share it
    probe_ns: what a probe of each mechanism adds to a call, for PROG_TEST_RUN
    """

    def __init__(
        self,
        directory: Path,
        profile: Profile = LIKE_7_3,
        *,
        functions: Iterable[FakeFunction] = FUNCTIONS,
        n_cpus: int = 4,
    ) -> None:
        self.profile = profile
        self.n_cpus = n_cpus
        self.cache = directory / "cache"
        self.functions = placed((*functions, *evidence(profile)))
        self.refusals: dict[tuple[str, str], int] = {}
        self.refused_programs: dict[str, str] = {}
        self.told_addresses: dict[int, int] = {}
        self.tracepoints = {"sched_process_fork"}
        self.max_functions = 1 << 20
        self.max_descriptors = 1 << 16
        self.probe_ns = {"kprobe_multi": 80, "tracing_multi": 40, "trampoline": 40, "kprobe": 200}
        self.faults: list[Fault] = []
        self.calls: list[str] = []
        self.objects: dict[int, Object] = {}
        self.descriptors: dict[int, Object] = {}
        self.pins: dict[str, Object] = {}
        self._numbers: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._active = ExitStack()
        self._close = os.close
        told = list(os.uname())
        self._uname = os.uname_result((told[0], told[1], profile.release, told[3], told[4]))
        self._by_name: dict[str, list[FakeFunction]] = {}
        self.by_address = {one.address: one for one in self.functions}
        self.by_call_site = {one.call_site: one for one in self.functions}
        for one in self.functions:
            self._by_name.setdefault(one.name, []).append(one)
        types = make_types(self.functions)
        self.root = write_files(directory, self.functions, types, profile, n_cpus)
        self._redirection = Redirection(self.root, profile)
        for one in types:
            self.add(Btf(types=one, data=one.data, n_references=1))

    # Active

    def __enter__(self) -> FakeKernel:
        self._active.enter_context(self._redirection)
        self._active.enter_context(patch.object(mmap, "mmap", self._mmap(mmap.mmap)))
        self._active.enter_context(patch.object(os, "close", self.close))
        self._active.enter_context(patch.object(os, "uname", lambda: self._uname))
        self._active.enter_context(patch.dict(os.environ, {"MULTIPROBE_CACHE": str(self.cache)}))
        self._active.enter_context(raw.using(self.call))
        return self

    def __exit__(self, *_: object) -> None:
        self._active.close()

    def call(self, nr: int, *arguments: int) -> int:
        """A system call: its result, or -errno."""
        with self._lock:
            name = self._name(nr, arguments)
            self.calls.append(name)
            try:
                for fault in self.faults:
                    if fault.takes(name):
                        raise Refused(fault.number)
                return self._made(nr, arguments, name)
            except Refused as refused:
                return -refused.number
            except OSError as error:  # an object of the fake's is a file of this process
                if error.errno != errno.EMFILE:
                    raise
                return -errno.EMFILE

    def _name(self, nr: int, arguments: tuple[int, ...]) -> str:
        return _COMMANDS.get(arguments[0], f"command {arguments[0]}") if nr == raw.BPF else NAMES.get(nr, f"call {nr}")

    def _made(self, nr: int, arguments: tuple[int, ...], name: str) -> int:
        if nr == raw.BPF:
            handler: Callable[[FakeKernel, Attr], int] | None = getattr(commands, name.lower(), None)
            if handler is None:
                raise Refused(errno.EINVAL)
            return handler(self, Attr(arguments[1], arguments[2]))
        if nr == raw.PERF_EVENT_OPEN:
            return perf.perf_event_open(self, *arguments)
        if nr == MEMBARRIER:
            return 0
        raise Refused(errno.ENOSYS)

    def fault(self, number: int, *, call: int = 1, command: str = "", times: int = 1) -> Fault:
        """From now on, fail a call: see `Fault`."""
        made = Fault(number, call, command, times)
        self.faults.append(made)
        return made

    # Objects

    def add(self, made: Object) -> Object:
        """A new object, with the next id of its kind."""
        kind = type(made).__name__
        self._numbers[kind] += 1
        made.number = self._numbers[kind]
        self.objects[id(made)] = made
        for held in made.holds:
            held.n_references += 1
        return made

    def install(self, made: Object) -> int:
        """A new descriptor of an object."""
        try:
            if len(self.descriptors) >= self.max_descriptors:
                raise OSError(errno.EMFILE, "the fake's limit")
            fd = made.open()
        except OSError as error:  # the limit of this process, too
            if not made.n_references:
                self._drop(made)
            raise Refused(error.errno or errno.EMFILE) from None
        self.descriptors[fd] = made
        made.n_references += 1
        return fd

    def get(self, fd: int, kind: type[Object]) -> Object:
        """The object behind a descriptor: EBADF if there is none, EINVAL if it is of another kind."""
        found = self.descriptors.get(fd)
        if found is None:
            raise Refused(errno.EBADF)
        if not isinstance(found, kind):
            raise Refused(errno.EINVAL)
        return found

    def put(self, one: Object) -> None:
        """One reference less."""
        one.n_references -= 1
        if not one.n_references:
            self._drop(one)

    def _drop(self, one: Object) -> None:
        if self.objects.pop(id(one), None) is None:
            return
        one.release()
        for held in one.holds:
            self.put(held)

    def close(self, fd: int) -> None:
        """os.close: of descriptors of ours it drops the reference as well."""
        with self._lock:
            one = self.descriptors.pop(fd, None)
            self._close(fd)
            if one is not None:
                self.calls.append(f"close {type(one).__name__} {one.number}")
                self.put(one)

    def pin(self, path: str, one: Object) -> None:
        """Give an object a name in the file system."""
        self.pins[path] = one
        one.n_references += 1

    def unpinned(self) -> None:
        """Drop what was unlinked meanwhile."""
        for path in [path for path in self.pins if not os.path.exists(path)]:
            self.put(self.pins.pop(path))

    def _mmap(self, real: type[mmap.mmap]) -> type[mmap.mmap]:
        fake = self

        class Mapping(real):  # type: ignore[misc, valid-type]
            """Maps a ring buffer's memory in place of the descriptor that is waited for."""

            def __new__(cls, fileno: int, *arguments: int, **options: int) -> Mapping:
                one = fake.descriptors.get(fileno)
                if isinstance(one, Map):
                    fake.calls.append("mmap")
                    one.check_mapping(options)
                    for fault in fake.faults:
                        if fault.takes("mmap"):
                            raise OSError(fault.number, os.strerror(fault.number))
                    fileno = one.file
                made: Mapping = super().__new__(cls, fileno, *arguments, **options)
                return made

        return Mapping

    # What happens

    def fire(
        self,
        name: str,
        *arguments: int,
        returned: int = 0,
        cpu: int = 0,
        tgid: int = 1,
        namespaces: dict[tuple[int, int], int] | None = None,
    ) -> None:
        """Call a function: the programs on it run (see `firing`)."""
        from fake_kernel.firing import Call, fire  # with the machine, which few tests need

        (function,) = self.named(name)
        fire(self, Call(function, arguments, returned, cpu, tgid, namespaces or {}))

    def fork(
        self, parent: int, child: int, *, cpu: int = 0, namespaces: dict[tuple[int, int], int] | None = None
    ) -> None:
        """Process `parent` forks; with its own id as `child`, it starts a thread. Programs on the tracepoint run."""
        from fake_kernel.firing import fork

        fork(self, parent, child, cpu, namespaces or {})

    def unload(self, module: str, *, is_listed: bool) -> None:
        """Unload a module; with `is_listed`, /proc/modules doesn't say so yet."""
        self.put(next(one for one in self.types if one.name == module))
        for one in [one for one in self.functions if one.module == module]:
            del self.by_address[one.address], self.by_call_site[one.call_site]
        if not is_listed:
            self.list_modules("")

    def list_modules(self, text: str) -> None:
        """Change /proc/modules, for as long as this kernel runs."""
        self._rewrite("proc/modules", lambda _: text)

    def hide(self, module: str) -> Callable[[], object]:
        """A module is not loaded yet: no file tells of it. Returns what loads it."""
        with ExitStack() as hidden:
            for name in LISTS_OF_FUNCTIONS:
                if (self.root / name).exists():
                    hidden.callback(self._rewrite(name, lambda text: _without_module(text, module)))
            return hidden.pop_all().close

    def _rewrite(self, name: str, change: Callable[[str], str]) -> Callable[[], object]:
        """Change a file, for as long as this kernel runs. Returns what undoes that at once."""
        file = self.root / name
        before = file.read_text()
        self._active.callback(file.write_text, before)
        file.write_text(change(before))
        return lambda: file.write_text(before)

    def hit(self, name: str, index: int, n: int) -> None:
        """Count `n` hits of function `index` in the map of that name: a row for each CPU, slot 0 for none."""
        one = next(one for one in self.maps if one.name == name)
        place = 8 * (1 + index)
        before = int.from_bytes(os.pread(one.file, 8, place), "little")
        os.pwrite(one.file, (before + n).to_bytes(8, "little"), place)

    # What there is

    def of(self, kind: type[Object]) -> list[Object]:
        """All objects of a kind that are alive."""
        with self._lock:
            self.unpinned()
            return [one for one in self.objects.values() if isinstance(one, kind)]

    def path(self, path: str) -> str:
        """Where a path of the kernel's leads."""
        return str(self._redirection.path(path))

    @property
    def links(self) -> list[Link]:
        return [one for one in self.of(Link) if isinstance(one, Link)]

    @property
    def programs(self) -> list[Program]:
        return [one for one in self.of(Program) if isinstance(one, Program)]

    @property
    def maps(self) -> list[Map]:
        return [one for one in self.of(Map) if isinstance(one, Map)]

    @property
    def events(self) -> list[Event]:
        return [one for one in self.of(Event) if isinstance(one, Event)]

    @property
    def types(self) -> list[Btf]:
        return [one for one in self.of(Btf) if isinstance(one, Btf) and one.types]

    def named(self, name: str) -> list[FakeFunction]:
        """The functions with that name, in the order of their addresses."""
        return self._by_name.get(name, [])

    def probes(self, name: str) -> list[tuple[str, str, int]]:
        """(mechanism, when, cookie) of every probe on a function now."""
        return [
            (link.mechanism, link.when, probe.cookie)
            for link in self.links
            for probe in link.probes
            if probe.function.name == name
        ]

    def attached(self) -> set[str]:
        """The names of all functions with a probe on them."""
        return {probe.function.name for link in self.links for probe in link.probes}

    def left(self) -> list[str]:
        """What a process that is done should not have left: objects, descriptors."""
        with self._lock:
            self.unpinned()
            found = [f"{type(one).__name__} {one.number}" for one in self.objects.values() if not _is_the_kernels(one)]
            return found + [f"descriptor {fd} of {type(one).__name__}" for fd, one in self.descriptors.items()]

    def forget(self) -> None:
        """Close what was left, so that the next one begins anew."""
        for fd in list(self.descriptors):
            self.close(fd)


def wait_until(is_so: Callable[[], bool], seconds: float = 20) -> bool:
    """Wait for another thread's doing."""
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.01)
    return is_so()


def _without_module(text: str, module: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if f"[{module}]" not in line and not line.startswith(f"{module} "))


def _is_the_kernels(one: Object) -> bool:
    return isinstance(one, Btf) and one.types is not None
