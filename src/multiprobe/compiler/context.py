"""Types for annotations in programs: `Context` of the parameter `ctx`, `Value` of values of the kernel's types.

No program runs in Python, so neither has an implementation: the compiler's front end gives them their meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, overload


class Value(int):
    """A value of one of the kernel's types, in a program: a number, a truth value or a pointer.

    `p.member` reads a member, `p[i]` an item of an array; both are values of the kernel's types again.
    """

    if TYPE_CHECKING:

        def __getattr__(self, member: str) -> Value: ...
        def __getitem__(self, index: int) -> Value: ...


class Arguments(Protocol):
    """`ctx.args`: the arguments of the traced function by name."""

    def __getattr__(self, name: str) -> Value: ...


class Context(Protocol):
    """A program's parameter: `def count(ctx: mp.Context) -> None`. What the program asks about the call it runs for.

    A session's program may return a truth value: at the entry, True (or 1) skips the return side of that call.
    """

    session: int
    """In a session: 8 bytes kept from the entry to the return of a call."""

    @property
    def function(self) -> int:
        """The index of the function among the attached functions."""

    @property
    def cookie(self) -> int:
        """The function's cookie, as passed to `mp.attach`."""

    @property
    def ip(self) -> int:
        """The function's address."""

    @overload
    def arg(self, n: int) -> int: ...
    @overload
    def arg(self, n: int, type_: str) -> Value: ...
    def arg(self, n: int, type_: str = "") -> int:
        """Argument `n`, from 0: the 64-bit register, or with `type_` a value of that C type ("struct sock *")."""

    @property
    def args(self) -> Arguments:
        """The arguments by name, each as a value of its type."""

    @property
    def arg_count(self) -> int:
        """The number of arguments."""

    @property
    def ret(self) -> int:
        """The return value, with the width and sign of the function's return type. Not at entry."""

    @property
    def return_register(self) -> int:
        """The whole return register, whatever the function's return type. Not at entry."""

    @property
    def is_return(self) -> bool:
        """Whether this is the return side. Always False at entry."""

    @property
    def pid(self) -> int:
        """The process id of the current task, in the first pid namespace."""

    @property
    def tid(self) -> int:
        """The thread id of the current task, in the first pid namespace."""

    @property
    def ns_pid(self) -> int:
        """The process id in the pid namespace of the process that attached; outside of it, see `ns_tid`."""

    @property
    def ns_tid(self) -> int:
        """The thread id in the pid namespace of the process that attached.

        A task outside of that namespace has no id there: its id in the first namespace, negative.
        """

    @property
    def comm(self) -> str:
        """The name of the current task, up to 15 bytes."""

    @property
    def task(self) -> Value:
        """The current task, a `struct task_struct *`."""

    @property
    def cpu(self) -> int:
        """The number of this CPU."""

    @property
    def time(self) -> int:
        """Nanoseconds since boot (the monotonic clock)."""

    @property
    def stack_pointer(self) -> int:
        """Where this call is on its stack: the low 32 bits of the stack pointer at the call. 0 at the return side.

        A call in progress has a higher one than the calls that it makes on the same stack. Bit 0 is set under kprobes:
        there, a function that this one ends with (a tail call) has the same one. Between system calls of a task it may
        differ by 1 kB (CONFIG_RANDOMIZE_KSTACK_OFFSET).
        """

    @property
    def kernel_entry(self) -> int:
        """A digest (32 bits) of the registers with which the current task last entered the kernel from user space.

        It differs between system calls, unless they come from the same place with the same arguments, and is the same
        during one, unless that sets the user's registers (exec, the delivery of a signal).
        """
