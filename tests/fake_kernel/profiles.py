"""What a fake kernel has, and what its user may do: as the kernels that the tests boot, or without parts of it."""

from __future__ import annotations

from dataclasses import dataclass

CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYSLOG = "CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_SYSLOG"
ALL_RIGHTS = frozenset({CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYSLOG})


@dataclass(frozen=True)
class Profile:
    """Features by the kernel's own names.

    lists_addresses: tracefs has available_filter_functions_addrs (6.5)
    tells_links: link info gives addresses of kprobe.multi links and perf events (6.6), and calls missed (6.7)
    tells_cookies: link info gives cookies of trampolines and of kprobe.multi
    tells_batches: link info gives the functions of tracing_multi links (7.3; fdinfo gives them from the start)
    refuses_ambiguous: a kprobe by a name that several functions have is EADDRNOTAVAIL (6.7, and 6.1 of Debian)
    refuses_noreturn: fexit programs for functions that never return are EINVAL (6.16, and 6.12 of Debian)
    uid: of its user; the directories of tracefs and debugfs are root's
    perf_event_paranoid: from 3 on, perf events are CAP_SYS_ADMIN's (a patch of Debian's)
    lockdown: its level; tracefs has no files if it was locked down at boot, and doesn't open them if later
    has_tracefs: mounted; shows_types: /sys/kernel/btf is there
    """

    release: str
    has_kprobe_multi: bool = True
    has_kprobe_session: bool = True
    has_tracing_multi: bool = True
    has_fsession: bool = True
    has_return_nodes: bool = False
    lists_addresses: bool = True
    tells_links: bool = True
    tells_cookies: bool = True
    tells_batches: bool = True
    refuses_ambiguous: bool = True
    refuses_noreturn: bool = True
    rights: frozenset[str] = ALL_RIGHTS
    uid: int = 0
    kptr_restrict: int = 0
    perf_event_paranoid: int = 2
    ftrace_enabled: int = 1
    kprobes_enabled: int = 1
    lockdown: str = "none"
    lockdown_since_boot: bool = True
    has_tracefs: bool = True
    shows_types: bool = True

    def may(self, *capabilities: str) -> bool:
        """Has the user one of these capabilities, or CAP_SYS_ADMIN, which includes them?"""
        return bool(self.rights & {CAP_SYS_ADMIN, *capabilities})

    @property
    def hides_addresses(self) -> bool:
        """kallsyms_show_value (kernel/ksyms_common.c); CAP_SYS_ADMIN doesn't include CAP_SYSLOG here."""
        is_for_all = self.kptr_restrict == 0 and self.perf_event_paranoid <= 1
        return self.kptr_restrict > 1 or not (is_for_all or CAP_SYSLOG in self.rights)


LIKE_7_3 = Profile("7.3.0-fake")
LIKE_6_12 = Profile(
    "6.12.0-fake",
    has_tracing_multi=False,
    has_fsession=False,
    has_return_nodes=True,
    tells_cookies=False,
    tells_batches=False,
)
LIKE_6_1 = Profile(
    "6.1.0-fake",
    has_kprobe_multi=False,
    has_kprobe_session=False,
    has_tracing_multi=False,
    has_fsession=False,
    lists_addresses=False,
    tells_links=False,
    tells_cookies=False,
    tells_batches=False,
    refuses_noreturn=False,
)
PROFILES = {"6.1": LIKE_6_1, "6.12": LIKE_6_12, "7.3": LIKE_7_3}
