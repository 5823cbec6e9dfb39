"""x86-64: registers, system calls, ftrace call sites, virtual machine.

Offsets are those of arch/x86/include/asm/ptrace.h, numbers those of arch/x86/entry/syscalls/syscall_64.tbl.
"""

from __future__ import annotations

from multiprobe.arch.facts import Arch, CallSite, GuestMachine, RegisterLayout, UprobeCall

_SITE_SIZE = 5
_ENDBR = b"\xf3\x0f\x1e\xfa"
# What a kernel puts over ENDBR where no indirect call may land (gen_endbr_poison, arch/x86/include/asm/ibt.h).
_SEALED = (b"\x66\x0f\x1f\x00", b"\x0f\x1f\x40\xd6")
_NOPS = (b"\x0f\x1f\x44\x00\x00", b"\x66\x66\x66\x66\x90")
_CALL, _JUMP, _BREAKPOINT = 0xE8, 0xE9, 0xCC
_ADDRESS_MASK = (1 << 64) - 1
_OVER_RED_ZONE = b"\x48\x8d\x64\x24\x80"  # lea -0x80(%rsp), %rsp
_NOP_OF_TEN = b"\x66\x2e\x0f\x1f\x84"  # cs nopw, with an index and four bytes of displacement behind it


def parse_site(code: bytes, function: int) -> CallSite:
    """Decode the entry of the function at address `function` from its first bytes."""
    skip = len(_ENDBR) if code[:4] == _ENDBR or code[:4] in _SEALED else 0
    site = code[skip : skip + _SITE_SIZE]
    address, kind, target = function + skip, "none", None
    if site in _NOPS:
        kind = "nop"
    elif len(site) == _SITE_SIZE and site[0] in (_CALL, _JUMP):
        kind = "call" if site[0] == _CALL else "jump"
        target = (address + _SITE_SIZE + int.from_bytes(site[1:], "little", signed=True)) & _ADDRESS_MASK
    elif site and site[0] == _BREAKPOINT:
        kind = "breakpoint"
    return CallSite(address, code, kind, target, _SITE_SIZE)


def parse_uprobe_call(code: bytes, address: int) -> UprobeCall | None:
    """The call that replaces a nop under a uprobe; since 7.2 a `lea` stands before it.

    Of that one, the kernel takes only the `lea` back, and the call remains as the displacement of the nop.
    Linux kernel commits ba2bfc97b462 (in v6.18) and 554ba38456da (in v7.2).
    """
    skip = _SITE_SIZE if code[:_SITE_SIZE] in (_OVER_RED_ZONE, _NOP_OF_TEN) else 0
    call = code[skip : skip + _SITE_SIZE]
    if len(call) < _SITE_SIZE or call[0] != _CALL:
        return None
    target = address + skip + _SITE_SIZE + int.from_bytes(call[1:], "little", signed=True) & _ADDRESS_MASK
    return UprobeCall(target, code.startswith(_NOP_OF_TEN))


X86_64 = Arch(
    machine="x86_64",
    target="bpfel",
    registers=RegisterLayout(
        arguments=(112, 104, 96, 88, 72, 64),
        argument_names=("di", "si", "dx", "cx", "r8", "r9"),
        returned=80,
        stack_pointer=152,
        stack_offset=8,  # the return address lies between
        stack_alignment=8,
        # arch/x86/net/bpf_jit_comp.c: the returned value, and rbp. If the trampoline is called, not jumped to, the
        # address to go on at lies above them.
        context_offset=16,
        entry=(120, 112, 104, 96, 56, 128, 152, 40, 32),  # orig_ax, di, si, dx, r10, ip, sp, bx, bp
        has_result_argument=True,
    ),
    system_calls={
        "bpf": 321, "membarrier": 324, "mount": 165, "mount_setattr": 442, "perf_event_open": 298, "prctl": 157,
        "setgroups": 116, "umount2": 166, "unshare": 272,
    },
    system_call_arguments=("di", "si", "dx", "r10", "r8", "r9"),
    wrappers=("__x64_sys_", "__ia32_sys_"),
    open_flags={"O_DIRECT": 0o40000, "O_LARGEFILE": 0o100000, "O_DIRECTORY": 0o200000, "O_NOFOLLOW": 0o400000},
    guest=GuestMachine(
        debian="amd64",
        qemu="qemu-system-x86_64",
        qemu_package="qemu-system-x86",
        console="ttyS0",
        # Documentation/arch/x86/boot.rst: boot_flag at 0x1fe, header at 0x202
        image_marks=((0x1FE, b"\x55\xaa"), (0x202, b"HdrS")),
    ),
    breakpoint=b"\xcc",  # int3
    parse_site=parse_site,
    parse_uprobe_call=parse_uprobe_call,
)  # fmt: skip
