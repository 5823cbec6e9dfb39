"""The functions of a fake kernel. Their names are those of real kernels, so that the same requests fit both."""

from __future__ import annotations

from dataclasses import dataclass, replace

BASE = 0xFFFFFFFF81000000
MODULE_BASE = 0xFFFFFFFFC0000000
SIZE = 0x100
CALL_OFFSET = 4


@dataclass(frozen=True)
class FakeFunction:
    """One function; `address` and `btf_id` are given by `placed` and when its types are written.

    parameters: names of types of `btf.TYPES`; `returns`: one of them, or "void"
    """

    name: str
    module: str = ""
    parameters: tuple[str, ...] = ("long", "long")
    returns: str = "long"
    is_traceable: bool = True
    has_btf: bool = True
    on_blacklist: bool = False
    on_deny_list: bool = False
    is_noreturn: bool = False
    address: int = 0

    @property
    def call_site(self) -> int:
        return self.address + CALL_OFFSET

    @property
    def may_sleep(self) -> bool:
        """Whether sleepable programs may run on it: system calls are on the error-injection list."""
        return self.name.startswith("__x64_sys_")

    @property
    def label(self) -> str:
        return f"{self.name} [{self.module}]" if self.module else self.name


def _named(names: str, **facts: object) -> list[FakeFunction]:
    return [FakeFunction(name, **facts) for name in names.split()]  # type: ignore[arg-type]


_TCP = """tcp_sendmsg tcp_recvmsg tcp_close tcp_connect tcp_ack tcp_init_sock tcp_poll tcp_setsockopt tcp_getsockopt
tcp_v4_rcv tcp_v4_connect tcp_v4_do_rcv tcp_rcv_established tcp_rcv_state_process tcp_write_xmit tcp_push tcp_shutdown
tcp_send_ack tcp_send_fin tcp_retransmit_skb tcp_check_req tcp_fin tcp_data_queue tcp_time_wait tcp_disconnect"""
_VFS = """vfs_read vfs_write vfs_open vfs_getattr_nosec vfs_statx vfs_fsync vfs_mkdir vfs_unlink vfs_rename vfs_create
do_sys_openat2 seq_read seq_read_iter __x64_sys_getppid ksys_read ksys_write do_mmap"""

FUNCTIONS: tuple[FakeFunction, ...] = (
    *_named(_VFS),
    *_named(_TCP),
    *_named("bpf_fentry_test1 bpf_ktime_get_coarse_ns bpf_user_rnd_u32 bpf_ktime_get_ns"),
    *_named("do_exit do_group_exit", parameters=("long",), returns="void", is_noreturn=True),
    *_named("migrate_disable migrate_enable", parameters=(), returns="void", on_deny_list=True),
    *_named("t_start t_next t_next s_next s_next"),
    *_named("do_syscall_64", is_traceable=False),
    *_named("kprobe_dispatcher", on_blacklist=True),
    *_named("asm_exc_page_fault", is_traceable=False, has_btf=False),
    *_named("takes_thirteen", parameters=("int",) * 13),
    *_named("returns_a_struct", returns="struct pair"),
    *_named("nf_hook_slow nft_do_chain", module="nf_tables"),
)


#: The symbols by which a kernel shows what it was built with, by the field of `Profile`; "" for those of all.
EVIDENCE = {
    "has_kprobe_multi": "kprobe_multi_link_handler bpf_kprobe_multi_link_attach register_fprobe_ips",
    "has_kprobe_session": "bpf_session_is_return bpf_session_cookie",
    "has_tracing_multi": "bpf_multi_func bpf_tracing_multi_attach",
    "has_return_nodes": "fprobe_exit_handler objpool_init",
    "has_fsession": "bpf_jit_supports_fsession",
    "": "bpf_trampoline_link_prog register_ftrace_direct perf_kprobe_init register_kprobe ftrace_location",
}


def evidence(profile: object) -> list[FakeFunction]:
    """The functions that are there because the kernel has its features."""
    names = [names for field, names in EVIDENCE.items() if not field or getattr(profile, field)]
    return _named(" ".join(names), parameters=(), is_traceable=False)


def placed(functions: tuple[FakeFunction, ...]) -> list[FakeFunction]:
    """The same functions with addresses, vmlinux's first, a page of each module's for itself."""
    found, at = [], BASE
    for function in (one for one in functions if not one.module):
        found.append(replace(function, address=at))
        at += SIZE
    at = MODULE_BASE
    for function in (one for one in functions if one.module):
        found.append(replace(function, address=at))
        at += SIZE
    return found
