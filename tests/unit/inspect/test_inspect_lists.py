"""What ftrace, kprobes and /proc say, as recorded in guests; owners found in a made-up /proc."""

from __future__ import annotations

from pathlib import Path

from multiprobe.inspect.owners import FunctionLine, Owner, find_holders, parse_fdinfo, parse_functions
from multiprobe.inspect.tracefs import parse_enabled, parse_probes

ENABLED_7_3 = """\
bpf_fentry_test1 (3) R   D   M  ->arch_ftrace_ops_list_func+0x0/0x220
\tdirect(jmp)-->bpf_trampoline_6442517518+0x0/0x210
bpf_fentry_test10 (1) R          ->arch_ftrace_ops_list_func+0x0/0x220
"""
ENABLED_6_1 = """\
bpf_fentry_test1 (2) R   D ->arch_ftrace_ops_list_func+0x0/0x1d0
\tdirect-->bpf_trampoline_6442545155+0x0/0x1000
bpf_fentry_test2 (1) R    \ttramp: 0xffffffffc065d000 (kprobe_ftrace_handler+0x0/0x1b0) \
->kprobe_ftrace_handler+0x0/0x1b0
dummy_xmit [dummy] (1)           \ttramp: 0xffffffffc0661000 (fprobe_handler+0x0/0x140) ->fprobe_handler+0x0/0x140
"""


def test_a_function_with_several_users() -> None:
    (entry,) = parse_enabled(ENABLED_7_3, "bpf_fentry_test1")
    assert (entry.n_ops, entry.flags, entry.called) == (3, "RDM", "arch_ftrace_ops_list_func")
    assert (entry.direct, entry.direct_size, entry.is_jump) == ("bpf_trampoline_6442517518", 0x210, True)
    assert len(entry.lines) == 2
    assert len(parse_enabled(ENABLED_7_3)) == 2


def test_a_function_with_one_user() -> None:
    first, second, third = parse_enabled(ENABLED_6_1)
    assert (first.direct, first.is_jump, first.flags) == ("bpf_trampoline_6442545155", False, "RD")
    assert (second.ops, second.called, second.flags) == (("kprobe_ftrace_handler",), "kprobe_ftrace_handler", "R")
    assert (third.name, third.module, third.flags) == ("dummy_xmit", "dummy", "")


def test_lines_in_another_form_are_left_out() -> None:
    assert parse_enabled("") == []
    assert parse_enabled("\tdirect-->nothing\n# comment\nnonsense\n") == []


def test_kprobes() -> None:
    found = parse_probes(
        "ffffffff99739d14  k  bpf_fentry_test1+0x4    [FTRACE]\n"
        "ffffffff9973bb44  r  bpf_fentry_test2+0x4    [DISABLED][FTRACE]\n"
        "ffffffffc065d010  k  dummy_xmit+0x10  dummy [OPTIMIZED]\n"
        "nonsense\nzz k a+0x0\n"
    )
    assert [(probe.kind, probe.symbol, probe.offset, probe.state) for probe in found] == [
        ("k", "bpf_fentry_test1", 4, ("FTRACE",)),
        ("r", "bpf_fentry_test2", 4, ("DISABLED", "FTRACE")),
        ("k", "dummy_xmit", 16, ("OPTIMIZED",)),
    ]


TRACING_MULTI = """\
pos:\t0
link_type:\ttracing_multi
link_id:\t2
prog_id:\t2
attach_type:\t59
cnt:\t2
obj-id\t btf-id\t cookie\t func
1\t 66574\t 5\t bpf_fentry_test1+0x4/0x20
1\t 66576\t 18446744073709551615\t dummy_xmit+0x4/0x20 [dummy]
"""
KPROBE_MULTI = "link_id:\t6\nkprobe_cnt:\t1\nmissed:\t0\ncookie\t func\n11\t bpf_fentry_test1+0x0/0x20\n"


def test_fdinfo() -> None:
    told = parse_fdinfo(TRACING_MULTI)
    assert (told["link_id"], told["attach_type"]) == ("2", "59")
    assert parse_functions(TRACING_MULTI) == (
        FunctionLine(1, 66574, 5, "bpf_fentry_test1"),
        FunctionLine(1, 66576, (1 << 64) - 1, "dummy_xmit"),
    )
    assert parse_functions(KPROBE_MULTI) == (FunctionLine(0, 0, 11, "bpf_fentry_test1"),)
    assert parse_functions("link_id:\t6\n") == ()
    assert parse_functions("cookie\t func\nbroken\n") == ()


def test_owners(tmp_path: Path) -> None:
    def process(pid: int, command: str, fds: dict[int, tuple[str, str]]) -> None:
        home = tmp_path / str(pid)
        (home / "fd").mkdir(parents=True)
        (home / "fdinfo").mkdir()
        (home / "comm").write_text(command + "\n")
        for fd, (kind, text) in fds.items():
            (home / "fd" / str(fd)).symlink_to(kind)
            (home / "fdinfo" / str(fd)).write_text(text)

    link = "anon_inode:bpf_link"
    process(10, "tracer", {3: (link, "link_id:\t7\n"), 4: ("anon_inode:bpf-prog", "prog_id:\t1\n")})
    process(11, "tool", {5: (link, "link_id:\t7\n"), 6: ("anon_inode:[perf_event]", ""), 7: (link, "gone")})
    (tmp_path / "12").mkdir()  # ended while we look
    (tmp_path / "meminfo").write_text("")
    found = find_holders(proc=str(tmp_path))
    assert sorted(found.by_link) == [7]
    assert set(found.by_link[7]) == {Owner(10, "tracer", 3), Owner(11, "tool", 5)}
    assert found.perf_events == (Owner(11, "tool", 6),)
    assert found.n_hidden == 0
