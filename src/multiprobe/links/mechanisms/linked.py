"""What one mechanism is asked to do, and what it did: the values between the procedure and the mechanisms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.links.mechanisms.singles import close_all

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable

    from multiprobe.functions.sets import FunctionSet
    from multiprobe.kernel.mechanism import Mechanism
    from multiprobe.syscalls.fd import FileDescriptor

    Load = Callable[..., FileDescriptor]
    """load(kind, expected_attach_type=…, attach_btf_id=…, attach_btf_obj_fd=…, session_side=…): one more instance of
    the program."""


@dataclass(frozen=True, slots=True)
class Job:
    """Attach these functions by one mechanism.

    functions: in the order of their indices; cookies: what the kernel is told for each (or None: nothing)
    when: "entry", "return" or "session"; load: makes an instance of the program
    is_paired: a session is two programs to attach, one for each side
    progress: called with the number done, where functions go one by one
    """

    functions: FunctionSet
    cookies: array[int] | None
    when: str
    load: Load
    progress: Callable[[int], None] | None = None
    is_paired: bool = False

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides to attach a program of its own to, in this order: where an entry is seen, its return is too."""
        return ("return", "entry") if self.is_paired else (self.when,)


class Held:
    """What keeps one mechanism's share attached: its links, and the programs behind them.

    extra: each link's probe, at the link's place, or nothing
    places: where each function has links of its own, the place of each link's function (else empty)
    """

    __slots__ = ("extra", "links", "mechanism", "places", "programs")

    def __init__(self, mechanism: Mechanism) -> None:
        self.mechanism = mechanism
        self.links: list[FileDescriptor] = []
        self.extra: list[FileDescriptor] = []
        self.programs: list[FileDescriptor] = []
        self.places: list[int] = []

    def close(self) -> None:
        """Detach: each link, then its probe; then programs."""
        chains = zip(self.links, self.extra, strict=True) if self.extra else ((link,) for link in self.links)
        close_all(chains)
        for program in self.programs:
            program.close()
