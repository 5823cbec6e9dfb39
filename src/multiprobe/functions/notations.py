"""Recognizes requests that are written as other tools write them, and says how to write them here.

bpftrace and its like name the kind of a probe before the function (`kprobe:vfs_read`); people name a system call by its
name in C, a function with its parentheses, or a function of the C library.
"""

from __future__ import annotations

import os
import re

from multiprobe.arch import find
from multiprobe.errors import PatternError
from multiprobe.plurals import plural_text

SYSTEM_CALL = "syscall"
"""`syscall:openat` is the kernel's function for a system call, on any architecture."""

_HEXADECIMAL = "[0-9a-fA-F]{16}"
_FTRACE = frozenset({"p", "r"})
_ENTRY = frozenset({"kprobe", "k", "fentry", "f", "kfunc", "p"})
_RETURN = frozenset({"kretprobe", "kr", "fexit", "fr", "kretfunc", "r"})
_EVENTS = frozenset({"tracepoint", "t", "rawtracepoint", "rt", "syscalls", "raw_syscalls", "sched"})
_SYSTEM_CALLS = frozenset({"syscalls", "raw_syscalls"})
_USER = frozenset({"uprobe", "u"})
_USER_RETURN = frozenset({"uretprobe", "ur"})
_USDT = frozenset({"usdt", "U"})
_OTHERS = dict.fromkeys(("profile", "interval", "software", "hardware", "watchpoint", "iter"), " events")
NO_SOURCES = "functions are chosen by name, module and type, not by source file: 'tcp_*', 'ext4:*', --takes TYPE"
_SYSTEM_CALL_EVENT = re.compile(r"(?:syscalls:)?sys_(?:enter|exit)_(\w+)")
_ATTACHES = "multiprobe attaches to functions"
#: Functions of the C library that people ask for, and that no kernel has.
_C_LIBRARY = (
    r"[mc]alloc|realloc|free|f?printf|puts|strlen|strcpy|strdup|f(open|close|read|write|gets)|getenv|main|exit|execve|popen"
    r"|system|pthread_\w+|getaddrinfo|readline|dlopen|SSL_\w+"
)


def refuse_other_notations(text: str, kind: str, rest: str) -> None:
    """Raise PatternError if `text`, which is `kind`:`rest`, is a probe in the notation of bpftrace."""
    name = (rest.strip(":").split() or [rest])[0]
    if kind in _ENTRY or kind in _RETURN:
        tool = "ftrace" if kind in _FTRACE else "bpftrace"
        how = "a return is measured with --return, when='return'" if kind in _RETURN else ""
        raise PatternError(
            f"invalid pattern {text!r}: {kind} is a kind of probe in {tool}, not a module",
            pattern=text,
            hint=f"write {name!r}: multiprobe chooses the mechanism; {how or 'to choose it, use --mechanism'}",
        )
    if kind in _EVENTS:
        call = _SYSTEM_CALL_EVENT.fullmatch(rest)
        others = "write 'syscall:*' for the system calls" if kind in _SYSTEM_CALLS else "bpftrace does"
        hint = f"write 'syscall:{call[1]}' for the system call" if call else others
        raise PatternError(f"invalid pattern {text!r}: {_ATTACHES}, not to tracepoints", pattern=text, hint=hint)
    if kind in _USER or kind in _USER_RETURN:
        how = "; a return is measured with --return, when='return'" if kind in _USER_RETURN else ""
        raise PatternError(
            f"invalid pattern {text!r}: {kind} is a kind of probe in bpftrace",
            pattern=text,
            hint=f"write {name!r}: the file, and the function in it{how}",
        )
    if kind in _USDT:
        file, _, probe = rest.partition(":")
        raise PatternError(
            f"invalid pattern {text!r}: {kind} is a kind of probe in bpftrace",
            pattern=text,
            hint=f"write '{file}:usdt:{probe or '*'}': the file, and the USDT probe in it",
        )
    if kind in _OTHERS:
        message = f"invalid pattern {text!r}: {_ATTACHES}, not to {kind}{_OTHERS[kind]}"
        raise PatternError(message, pattern=text, hint="bpftrace does")
    if kind.endswith(".ko"):
        message = f"invalid pattern {text!r}: a module is named without .ko"
        raise PatternError(message, pattern=text, hint=f"write '{kind.removesuffix('.ko')}:{rest}'")


def refuse_user_space(text: str) -> None:
    """Raise PatternError for a function of a program or a library."""
    raise PatternError(
        f"invalid pattern {text!r}: a kernel has no functions of programs and libraries",
        pattern=text,
        hint=f"write '{text}:*' for all of this file, '{text}:NAME' for one; in Python, mp.Binary({text!r}) has them",
    )


def refuse_no_name(text: str, name: str) -> None:
    """Raise PatternError for a name with parentheses, commas or braces, for an address without 0x, a tracepoint, a
    duration, a source file."""
    if re.fullmatch(r"\d{1,6}", name):
        hint = f"-d {name} measures for {plural_text(int(name), 'second')}; an address begins with 0x"
    elif name.endswith("%return") or name.startswith("&"):
        how = "; a return is measured with --return, when='return'" if "%" in name else ""
        hint = f"write {name.removesuffix('%return').removeprefix('&')!r}{how}"
    elif "/" in name or re.search(r"\w\.(c|h|rs)$", name):
        hint = NO_SOURCES
    elif name.endswith("()"):
        hint = f"write {name[:-2]!r}"
    elif re.fullmatch(r"[\w*?]*\{[\w*?,]*,[\w*?,]*\}[\w*?]*", name):
        hint = f"write {name} without quotes, so that the shell expands the braces"
    elif re.fullmatch(r"\^?[\w.*+?\\]*([|^$]|\([\w|]+\))[\w.*+?\\()|$]*", name):
        hint = f"write '/{name}/': a regular expression, which matches whole names, stands between slashes"
    elif call := _SYSTEM_CALL_EVENT.fullmatch(name):
        hint = f"{name} is a tracepoint: write 'syscall:{call[1]}' for the system call"
    elif "," in name:
        before = text.removesuffix(name)
        parts = " ".join(before + part for part in name.split(",") if part)
        hint = f"write {parts}: several patterns are several arguments"
    elif "{" in name or "(" in name or ";" in name:
        hint = "programs are written in Python: see `multiprobe run --help`"
    elif re.fullmatch(_HEXADECIMAL, name):
        hint = f"write 0x{name} for the address"
    else:
        return
    raise PatternError(f"invalid pattern {text!r}: no function has such a name", pattern=text, hint=hint)


def hint_on_spaces(text: str) -> str:
    """What to write instead of a pattern with spaces."""
    called = re.match(r"!?\s*([\w:*?]+)\s*\(", text)
    if called:
        return f"write {called[1]!r}; a condition is a --filter: multiprobe trace {called[1]} --filter 'ret < 0'"
    return "pass several patterns as several arguments"


def system_call_function(name: str) -> str:
    """The kernel's function (or a glob of them) for a system call's name, as `__x64_sys_openat` for `openat`."""
    arch = find(os.uname().machine)
    wrapper = arch.wrappers[0] if arch else "sys_"
    return wrapper + name.removeprefix(wrapper).removeprefix("sys_")


def why_in_user_space(name: str, module: str) -> str:
    """Why a kernel has no function of this name, if the name is one of the C library's; else ""."""
    if module and not module.startswith("lib") and re.fullmatch(_C_LIBRARY, name):
        return f"{name} is a function of programs and libraries, and {module} no module: write the path of the file"
    if module.startswith("lib") or re.fullmatch(_C_LIBRARY, name):
        return f"{name} is a function of programs and libraries: write the file before it, as 'libc:{name}'"
    return ""
