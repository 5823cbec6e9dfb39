"""Lists well-known structs and the members that identify them.

A path that a kernel doesn't have is skipped. A renamed member has both paths under one label; the first that exists is
used.
"""

from __future__ import annotations

Paths = tuple[tuple[str, str], ...]

_NAME = "d_name.name"
_FILE = f"f_path.dentry.{_NAME}"

MEMBERS: dict[str, Paths] = {
    "file": (("name", _FILE),),
    "path": (("name", f"dentry.{_NAME}"),),
    "dentry": (("name", _NAME),),
    "qstr": (("name", "name"),),
    "filename": (("name", "name"),),
    "nameidata": (("name", "name.name"), ("last", "last.name")),
    "inode": (("ino", "i_ino"), ("mode", "i_mode"), ("size", "i_size")),
    "kiocb": (("name", f"ki_filp.{_FILE}"), ("pos", "ki_pos")),
    "iov_iter": (("count", "count"),),
    "msghdr": (("count", "msg_iter.count"), ("flags", "msg_flags")),
    "super_block": (("id", "s_id"),),
    "vfsmount": (("root", f"mnt_root.{_NAME}"),),
    "linux_binprm": (("filename", "filename"),),
    "task_struct": (("pid", "pid"), ("comm", "comm")),
    "cred": (("uid", "uid"), ("euid", "euid")),
    "vm_area_struct": (("start", "vm_start"), ("end", "vm_end")),
    "sk_buff": (("len", "len"), ("protocol", "protocol"), ("dev", "dev.name")),
    "net_device": (("name", "name"), ("ifindex", "ifindex")),
    "bio": (("sector", "bi_iter.bi_sector"), ("size", "bi_iter.bi_size")),
    "request": (("sector", "__sector"), ("size", "__data_len")),
    "gendisk": (("name", "disk_name"),),
    "module": (("name", "name"),),
    "kmem_cache": (("name", "name"),),
    "kobject": (("name", "name"),),
    "device": (("name", "kobj.name"),),
    "kernfs_node": (("name", "name"),),
    "cgroup": (("name", "kn.name"),),
    "file_system_type": (("name", "name"),),
    "bpf_map": (("name", "name"),),
    "bpf_prog": (("name", "aux.name"),),
}
"""By struct: pairs of a label and a path of members."""

SOCKETS = {
    "sock": "__sk_common.", "socket": "sk.__sk_common.", "inet_sock": "sk.__sk_common.",
    "inet_connection_sock": "icsk_inet.sk.__sk_common.", "tcp_sock": "inet_conn.icsk_inet.sk.__sk_common.",
}  # fmt: skip
"""Structs that hold a socket's addresses, and the path to its struct sock_common."""
FAMILY = (("family", "skc_family"),)
ENDPOINTS: dict[str, Paths] = {
    "AF_INET": (
        ("saddr", "skc_rcv_saddr"), ("sport", "skc_num"), ("daddr", "skc_daddr"), ("dport", "skc_dport"),
        ("state", "skc_state"),
    ),
    "AF_INET6": (
        ("saddr", "skc_v6_rcv_saddr"), ("sport", "skc_num"), ("daddr", "skc_v6_daddr"), ("dport", "skc_dport"),
        ("state", "skc_state"),
    ),
}  # fmt: skip
"""The members of a socket by its family, labelled as in the kernel's tracing events."""

_LINKS: tuple[str, ...] = (
    "list_head",
    "hlist_node",
    "hlist_head",
    "hlist_bl_node",
    "hlist_nulls_node",
    "rb_node",
    "rb_root",
)
_LINKS += (
    "rb_root_cached",
    "callback_head",
    "llist_node",
    "llist_head",
    "plist_node",
    "xarray",
    "sk_buff_head",
    "sk_buff_list",
)
_WORK = ("work_struct", "delayed_work", "irq_work", "timer_list", "hrtimer")
_LOCKS: tuple[str, ...] = (
    "spinlock",
    "raw_spinlock",
    "rwlock_t",
    "mutex",
    "rw_semaphore",
    "seqcount",
    "seqcount_spinlock",
    "seqlock_t",
)
_LOCKS += ("wait_queue_head", "swait_queue_head", "completion", "percpu_ref", "lockref", "optimistic_spin_queue")
NOISE = frozenset((*_LINKS, *_WORK, *_LOCKS, "lock_class_key", "lockdep_map"))
"""Structs that are skipped when a struct is shown: they link it to others, or lock it."""
