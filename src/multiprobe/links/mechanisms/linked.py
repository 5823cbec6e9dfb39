"""What a mechanism is asked to attach, and what it returns."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from struct import pack
from typing import TYPE_CHECKING, NamedTuple, Protocol

from multiprobe.functions.sets import FunctionSet
from multiprobe.links.mechanisms.parallel import close_all
from multiprobe.syscalls import bpf
from multiprobe.threads import uninterrupted

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterator, Sequence

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.kernel.mechanism import Mechanism
    from multiprobe.links.mechanisms.link import Link
    from multiprobe.syscalls.fd import FileDescriptor


class Hook(NamedTuple):
    """What a program is loaded for.

    kind, attach_type: a ProgType and an AttachType
    btf_id: the traced function, for a single trampoline; target_btf_fd: the BTF object of its module, 0 for vmlinux
    session_side: "entry" or "return" for one half of a session that two programs make, else ""
    arguments: where a site of a USDT probe keeps its arguments, as its note says; None for functions
    """

    kind: int
    attach_type: int = 0
    btf_id: int = 0
    target_btf_fd: int = 0
    session_side: str = ""
    arguments: str | None = None

    def load(
        self,
        insns: bytes,
        *,
        name: str,
        flags: int = 0,
        btf_fd: int = 0,
        func_info: tuple[int, bytes] = (0, b""),
        line_info: tuple[int, bytes] = (0, b""),
    ) -> FileDescriptor:
        """Load a program for this hook; `func_info` and `line_info` refer to its own BTF, `btf_fd`."""
        return bpf.prog_load(
            self.kind,
            insns,
            name=name,
            expected_attach_type=self.attach_type,
            attach_btf_id=self.btf_id,
            attach_btf_obj_fd=self.target_btf_fd,
            flags=flags,
            btf_fd=btf_fd,
            func_info=func_info,
            line_info=line_info,
        )


class LoadProgram(Protocol):
    """Loads one more instance of a program, for that hook; the caller owns it."""

    def __call__(self, hook: Hook) -> FileDescriptor: ...


_RETURN_0 = pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)


def load_empty(hook: Hook) -> FileDescriptor:
    """Load a program that returns 0 and does nothing else."""
    return hook.load(_RETURN_0, name="empty")


class LinkRequest(NamedTuple):
    """Functions to attach by one mechanism.

    functions: what to attach to; indices: the index of each in the attachment
    cookies: what the kernel is told for each, or None
    when: "entry", "return" or "session"; load: loads an instance of the program
    is_paired: a session is two programs, one for each side
    may_misfit: the program's code may fit some functions and not others: the verifier's refusal is about one function
    progress: called with the number done, where functions go one by one
    pid: the only process, where the mechanism can be told, or None
    reads_arguments: sites of USDT probes that keep their arguments in other places need other programs
    """

    functions: AnyFunctionSet
    indices: Sequence[int]
    cookies: array[int] | None
    when: str
    load: LoadProgram
    progress: Callable[[int], None] | None = None
    is_paired: bool = False
    may_misfit: bool = False
    pid: int | None = None
    reads_arguments: bool = False

    @property
    def of_kernel(self) -> FunctionSet:
        """The functions, all of the kernel."""
        assert isinstance(self.functions, FunctionSet)
        return self.functions

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides that get a program each. The return comes first: where an entry is seen, its return is too."""
        return ("return", "entry") if self.is_paired else (self.when,)

    def cookie(self, position: int) -> int:
        """The cookie of the function at `position`; 0 without cookies."""
        return self.cookies[position] if self.cookies else 0


@dataclass(slots=True)
class Linked:
    """What one mechanism attached: `links`, and `refused`, the errno of each function (by index) that it could not.

    programs: those that several links share; verdicts: the verifier's reason, of functions that it refused
    notes: what a reader of the report should know, a sentence each. Owns links and programs; must be closed.
    """

    mechanism: Mechanism
    links: list[Link] = field(default_factory=list)
    refused: dict[int, int] = field(default_factory=dict)
    programs: list[FileDescriptor] = field(default_factory=list)
    verdicts: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def open_programs(self) -> list[FileDescriptor]:
        """Every program behind the links."""
        own = [link.program for link in self.links if link.program is not None]
        return [program for program in (*self.programs, *own) if not program.is_closed]

    def missed(self) -> dict[str, int]:
        """`link_misses` and `recursion_misses` of everything that is still open (see `Attachment.missed`)."""
        recursion = sum(bpf.prog_info(program).recursion_misses for program in self.open_programs())
        return {"link_misses": sum(link.missed() for link in self.links), "recursion_misses": recursion}

    def split(self, functions: set[int]) -> Linked:
        """Take away the links that are on these functions alone."""
        leaving = Linked(self.mechanism, [link for link in self.links if functions.issuperset(link.functions)])
        self.links = [link for link in self.links if not functions.issuperset(link.functions)]
        return leaving

    def close(self) -> None:
        """Detach: links first, many at a time; then the programs."""
        try:
            close_all(self.links)
        finally:
            for program in self.programs:
                program.close()


@contextmanager
def filling(mechanism: Mechanism) -> Iterator[Linked]:
    """A Linked to be filled in the block; an error there closes it."""
    linked = Linked(mechanism)
    try:
        yield linked
    except BaseException:
        uninterrupted(linked.close)
        raise
