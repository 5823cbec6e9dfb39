"""Command lines as people type them: each slip is answered by the sentence that leads on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_kernel import LIKE_6_12, FakeKernel
from multiprobe.cli.main import run

#: The command line; the exit status; what standard error has: a part of the message, and of the hint.
SLIPS = [
    # System calls, by the names that C and the man pages have for them.
    ("count sys_getppid", 3, "no function is called sys_getppid", "__x64_sys_getppid"),
    ("count getppid", 3, "no function is called getppid", "__x64_sys_getppid"),
    ("count syscall:nosuch", 3, "no function is called __x64_sys_nosuch", "multiprobe functions"),
    ("count do_sys_open", 3, "there is do_sys_openat2", ""),
    # bpftrace's notation.
    ("count kprobe:vfs_read", 2, "kprobe is a kind of probe in bpftrace", "write 'vfs_read'"),
    ("count kretprobe:vfs_read", 2, "kretprobe is a kind of probe in bpftrace", "--return"),
    ("count k:vfs_read", 2, "k is a kind of probe in bpftrace", "write 'vfs_read'"),
    ("count fentry:vfs_read", 2, "fentry is a kind of probe", "--mechanism"),
    ("count fexit:vfs_read", 2, "fexit is a kind of probe", "when='return'"),
    ("count 'kprobe:tcp_*'", 2, "kprobe is a kind of probe", "write 'tcp_*'"),
    ("count tracepoint:syscalls:sys_enter_openat", 2, "not to tracepoints", "'syscall:openat'"),
    ("count tracepoint:sched:sched_switch", 2, "not to tracepoints", "bpftrace does"),
    ("count profile:hz:99", 2, "not to profile events", ""),
    ("count 'kprobe:vfs_read { @ = count() }'", 2, "kprobe is a kind of probe", ""),
    ("count 'vfs_read{@=count()}'", 2, "no function has such a name", "written in Python"),
    # User space.
    ("count malloc", 3, "malloc is a function of programs and libraries", "'*malloc*'"),
    (
        "count libc:malloc",
        5,
        "this kernel can't attach a program to functions of binaries: it has no uprobe_multi",
        "doctor",
    ),
    ("count libc:nothing", 3, "no function of", "is called nothing"),
    ("count uprobe:/bin/bash:readline", 2, "uprobe is a kind of probe in bpftrace", "write '/bin/bash:readline'"),
    ("count /no/such/file:main", 3, "there is no file /no/such/file", ""),
    # Misspelt names.
    ("count vfs_raed", 3, "there is vfs_read", "multiprobe functions '*vfs_raed*'"),
    ("count __vfs_read", 3, "there is vfs_read", ""),
    ("count 'vfs_read()'", 2, "no function has such a name", "write 'vfs_read'"),
    ("count vfs_read,vfs_write", 2, "no function has such a name", "write vfs_read vfs_write"),
    ("count ffffffff81000000", 2, "no function has such a name", "write 0xffffffff81000000"),
    ("count 'nosuch:*'", 3, "no module nosuch is loaded", ""),
    ("count nosuch:vfs_read", 3, "it is in vmlinux", ""),
    ("count '/vfs_(read/'", 2, "invalid regular expression", ""),
    ("count '/vfs_.*'", 2, "does not end in a slash", "'/tcp_v[46]_.*/'"),
    ("functions --why vfs_raed", 3, "there is vfs_read", ""),
    ("functions --takes sock", 2, "no type 'sock'", "did you mean 'struct sock *'?"),
    ("functions --takes 'struct nosuch *'", 2, "no type 'struct nosuch *'", "as C does"),
    # What a shell does, and what it doesn't.
    ("count Makefile README notes.txt", 3, "none of the 3 requested functions", "quote the pattern"),
    ("count vfs_read ls /", 2, "'/'", "put -- before the command: vfs_read -- ls /"),
    ("count vfs_read ls -la /", 2, "-l", "put -- before the command: vfs_read -- ls"),
    ("count vfs_read --", 2, "no command after --", ""),
    ("count vfs_read -- ./notes.txt", 2, "it is not executable", "chmod +x ./notes.txt"),
    ("count vfs_read -- ./directory", 2, "it is a directory", ""),
    ("count vfs_read -- script.sh", 2, "cannot run 'script.sh': no such program", "write ./script.sh"),
    ("count vfs_read -- nosuchcommand", 2, "no such program", ""),
    ("count vfs_read -- ./script", 2, "ENOEXEC", "-- sh FILE"),
    # Options.
    ("stacks vfs_read --flame -d 1", 2, "expected a file, got '-d'", ""),
    ("count vfs_read -o --json", 2, "expected a file, got '--json'", ""),
    ("count vfs_read -d 10x", 2, "invalid duration '10x'", ""),
    ("count vfs_read --tpo 3", 2, "--top", ""),
    ("count vfs_read --budget 500%", 2, "use 5% or 0.05", ""),
    ("count vfs_read --mechanism fentry", 2, "fentry is trampoline", ""),
    ("count vfs_read --mechanism fexit.multi", 2, "fexit.multi is tracing_multi", ""),
    ("count vfs_read --json --csv", 2, "exclude each other", ""),
    ("cuont vfs_read", 2, "did you mean 'count'?", ""),
    # Filters.
    ("trace vfs_read --filter 'comm == bash'", 2, "comm can only be compared with strings", 'comm == "bash"'),
    ("trace vfs_read --filter 'ret == ENOENTT'", 2, "'ENOENTT'", "ENOENT"),
    ("trace vfs_read --filter 'retval < 0'", 2, "'retval'", "close to it: ret"),
    ("trace vfs_read --filter 'ret = 0'", 2, "can't be read", "a filter is a Python expression"),
    ("trace vfs_read --filter 'ret < 0 && cpu == 1'", 2, "can't be read", "write `and` for &&"),
    ("trace vfs_read --filter 'ret < 0 || cpu == 1'", 2, "can't be read", "write `or` for ||"),
    ("trace vfs_read --filter '!ret'", 2, "can't be read", "write `not` for !"),
    ("trace vfs_read --filter 'file->f_flags == 1'", 2, "can't be read", "write a dot for ->"),
    ("trace vfs_read --filter 'ret == ENOENT'", 2, "errnos are negative", "ret == -ENOENT"),
    ("trace vfs_read --filter 'comm == \"a-name-of-a-program\"'", 2, "the kernel keeps 15 bytes", '"a-name-of-a-pro"'),
    # Other notations and tools.
    ("count p:vfs_read", 2, "p is a kind of probe in ftrace", "write 'vfs_read'"),
    ("count sched:sched_switch", 2, "not to tracepoints", ""),
    ("count syscalls:sys_enter_openat", 2, "not to tracepoints", "'syscall:openat'"),
    ("count sys_enter_openat", 2, "no function has such a name", "'syscall:openat'"),
    ("count 'vfs_(read|write)'", 2, "no function has such a name", "write '/vfs_(read|write)/'"),
    ("count '^vfs_'", 2, "no function has such a name", "write '/^vfs_/'"),
    ("count 'vfs_read|vfs_write'", 2, "no function has such a name", "write '/vfs_read|vfs_write/'"),
    ("count 'vfs_{read,write}'", 2, "no function has such a name", "write vfs_{read,write} without quotes"),
    ("count VFS_READ", 3, "there is vfs_read", ""),
    ("count vfs-read", 3, "there is vfs_read", ""),
    ("count vfs_read.isra.0", 3, "there is vfs_read", ""),
    ("count vmlinux", 3, "the functions of the kernel image are 'vmlinux:*'", ""),
    ("count -e 'kprobe:vfs_read { @ = count(); }'", 2, "No such option '-e'", "programs are written in Python"),
    ("count vfs_read -t 5", 2, "No such option '-t'", "-d TIME"),
    ("count vfs_read --timeout=5", 2, "No such option '--timeout'", "-d TIME"),
    ("count vfs_read --format=json", 2, "No such option '--format'", "--json or --csv"),
    ("vfs_read", 2, "no such command 'vfs_read'", "multiprobe count vfs_read"),
    ("'tcp_*'", 2, "no such command 'tcp_*'", "multiprobe count 'tcp_*'"),
    ("helpp", 2, "did you mean 'help'?", ""),
    ("completion", 2, "Choose from: bash, zsh, fish", ""),
    ("stacks vfs_read --flame=", 2, "expected the name of a file", ""),
    ("count vfs_read -- 'ls /'", 2, "cannot run 'ls /'", "-- sh -c 'ls /' is"),
    ("count vfs_read --vm 6.12", 2, "the version must follow an equals sign", "--vm=6.12"),
    # Binaries.
    ("count uretprobe:/bin/bash:readline", 2, "uretprobe is a kind of probe", "'/bin/bash:readline': the file"),
    ("count uretprobe:/bin/bash:readline", 2, "uretprobe is a kind of probe", "--return"),
    (
        "count usdt:/usr/bin/python3:line",
        2,
        "usdt is a kind of probe in bpftrace",
        "write '/usr/bin/python3:usdt:line'",
    ),
    ("count sh:main", 3, "and sh no module", "/sh:main' for functions of that program"),
    ("count 'sh:*'", 3, "no module sh is loaded", "/sh:*' for functions of that program"),
    ("count script:main", 3, "script no module", "write './script:main'"),
    ("count ./script.sh:main", 1, "is a script, run by /bin/sh", ""),
    ("count c:malloc", 3, "and c no module", "write 'libc:malloc'"),
    ("count libc", 3, "no function is called libc", "write 'libc:*'"),
    ("count /bin/sh", 2, "a kernel has no functions of programs", "write '/bin/sh:*'"),
    ("functions sh", 3, "no function is called sh", "/sh:*'"),
    ("functions /bin/sh", 2, "a kernel has no functions of programs", "'/bin/sh:NAME'"),
    ("functions /etc/passwd:x", 1, "/etc/passwd is not an ELF file", ""),
    ("count vfs_read --mechanism uprobe", 2, "uprobe is uprobe_multi", ""),
    # Processes.
    ("count vfs_read --pid bash", 2, "invalid process id 'bash'", "`pidof -s bash`"),
    ("count vfs_read --pid 1,2", 2, "expected one number", ""),
    ("count vfs_read --comm bash", 2, "No such option '--comm'", "--filter 'comm == "),
    ("count vfs_read --tid 17", 2, "No such option '--tid'", "--filter 'tid == 17'"),
    ("count vfs_read -p 4194305", 2, "no process has the id 4194305", ""),
    # strace, perf, ftrace, retsnoop and the tools of bcc.
    ("trace -e openat", 2, "No such option '-e'", "a system call is 'syscall:openat'"),
    ("trace -e trace=openat ls", 2, "No such option '-e'", "a system call is 'syscall:openat'"),
    ("count __NR_getppid", 3, "there is __x64_sys_getppid", ""),
    ("count SYS_getppid", 3, "there is __x64_sys_getppid", ""),
    ("count 'sys_*'", 3, "no function matches", "'syscall:*'"),
    ("count 'syscalls:*'", 2, "not to tracepoints", "'syscall:*'"),
    ("count syscall:getppid,getpid", 2, "no function has such a name", "write syscall:getppid syscall:getpid"),
    ("count p::vfs_read", 2, "p is a kind of probe in ftrace", "write 'vfs_read'"),
    ("trace 'r::vfs_read \"%d\", retval'", 2, "r is a kind of probe in ftrace", "write 'vfs_read'"),
    ("trace 'vfs_read (retval < 0)'", 2, "names of functions have no spaces", "trace vfs_read --filter 'ret < 0'"),
    ("trace 'vfs_read(struct file *f)'", 2, "names of functions have no spaces", "write 'vfs_read'"),
    ("count vfs_read%return", 2, "no function has such a name", "write 'vfs_read'; a return"),
    ("count net/ipv4/tcp.c", 2, "no function has such a name", "not by source file"),
    ("errors ':kernel/bpf/*.c'", 2, "no module before the colon", "not by source file"),
    ("count 'nf_tables.ko:*'", 2, "a module is named without .ko", "write 'nf_tables:*'"),
    ("count vfs_read 5", 2, "no function has such a name", "-d 5 measures for 5 seconds"),
    ("count vfs_read sleep 1", 2, "no function has such a name", "vfs_read -- sleep 1"),
    ("count vfs_read -i 1", 2, "No such option '-i'", "--live"),
    ("stacks vfs_read --kstack", 2, "No such option '--kstack'", "multiprobe stacks"),
    ("stacks vfs_read -U", 2, "No such option '-U'", "--user"),
    ("count vfs_read -F 99", 2, "No such option '-F'", "use perf"),
    ("count vfs_read -a", 2, "No such option '-a'", "the whole system is measured"),
    ("trace vfs_read -T", 2, "No such option '-T'", "durations"),
    ("count -r vfs_.*", 2, "No such option '-r'", "between slashes"),
    ("errors -a vfs_read", 2, "No such option '-a'", "a pattern needs no option"),
    ("errors -x EINVAL vfs_read", 2, "No such option '-x'", "--allow NAMES"),
    ("errors vfs_read --allow ENOENTT", 2, "unknown error ENOENTT", ""),
    ("latency vfs_read --hist", 2, "No such option '--hist'", "shows the distribution"),
    ("latency vfs_read -m", 2, "No such option '-m'", "--json has nanoseconds"),
    ("count vfs_read --kernel 6.12", 2, "No such option '--kernel'", "--vm=6.12"),
    ("count vfs_read --vm7.3", 2, "No such option '--vm7.3'", "--vm=7.3"),
    ("-p 1", 2, "No such option '-p'", "options follow a command"),
    ("list", 2, "did you mean 'functions'?", ""),
    ("probe vfs_read", 2, "did you mean 'trace'?", ""),
    ("perf stat", 2, "did you mean 'count'?", ""),
    ("flame vfs_read", 2, "did you mean 'stacks'?", ""),
    ("funcslower vfs_read", 2, "did you mean 'trace'?", ""),
    ("stacks vfs_read --flame", 2, "requires an argument", "multiprobe stacks --help"),
    ("inspect 'vfs_*'", 2, "expected one function", "multiprobe inspect --mix 'vfs_*'"),
    ("run prog.bt", 2, "prog.bt is a script of bpftrace", "in Python"),
    ("run script.sh", 2, "script.sh is a script for /bin/sh", "multiprobe count PATTERN… -- script.sh"),
    ("run -e 'kprobe:vfs_read { }'", 2, "No such option '-e'", "multiprobe run FILE"),
    ("vm --memory lots true", 2, "invalid amount 'lots'", ""),
    ("count help", 3, "no function is called help", "multiprobe help COMMAND"),
    # Filters, again.
    ("trace vfs_read -f 'elapsed > 1ms'", 2, "'elapsed'", "write duration"),
    ("trace vfs_read -f 'nsecs > 1'", 2, "'nsecs'", "write duration"),
    ("trace vfs_read -f 'errno == 2'", 2, "'errno'", "ret == -ENOENT"),
    ("trace vfs_read -f 'ret == NULL'", 2, "'NULL'", "write 0"),
    ("trace vfs_read -f 'ret == \"-ENOENT\"'", 2, "can't be compared with a string", "leave out the quotes"),
    ("trace vfs_read -f 'args.count > 0'", 2, "'args'", "no args in front"),
    ("trace vfs_read -f '/pid == 1/'", 2, "can't be read", "leave out the slashes"),
    ("trace vfs_read -f 'pid is 1'", 2, "a filter can't use `is`", "compare with =="),
    ("trace vfs_read -f 'duration > 1msec'", 2, "can't be read", "ns, us, ms and s"),
    ("trace vfs_read -f 'arg1 > 4k'", 2, "can't be read", "4096"),
]


@pytest.fixture(autouse=True, scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with FakeKernel(tmp_path_factory.mktemp("fake"), LIKE_6_12):
        yield


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with a few files."""
    monkeypatch.chdir(tmp_path)
    for name in ("Makefile", "README", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "directory").mkdir()
    script = tmp_path / "script"
    script.write_text("echo no first line\n")
    script.chmod(0o755)
    (tmp_path / "script.sh").write_text("#!/bin/sh\n")
    (tmp_path / "prog.bt").write_text("kprobe:vfs_read { @ = count(); }\n")


@pytest.mark.parametrize(("line", "status", "message", "hint"), SLIPS)
def test_slip(line: str, status: int, message: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shlex.split(line)) == status
    said = capsys.readouterr().err
    assert message in said
    assert hint in said
    assert "internal error" not in said


def test_what_is_written_almost_right_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """An errno with its sign, a time with a space before its unit."""
    assert run(["errors", "vfs_read", "--allow", "-ENOENT,eio", "-d", "0"]) == 0
    assert run(["trace", "vfs_read", "-f", "duration > 10 ms", "-d", "0"]) == 0


@pytest.mark.parametrize("words", [["help"], ["help", "count"], ["count", "--help"]])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 0
    assert "Usage: multiprobe" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["version", "-V", "--version"])
def test_version(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([word]) == 0
    assert capsys.readouterr().out.startswith("multiprobe ")


def test_a_system_call_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("syscall:getppid", "syscall:get*", "syscall:sys_getppid", "syscall:__x64_sys_getppid"):
        assert run(["functions", name]) == 0
        assert "__x64_sys_getppid" in capsys.readouterr().out


def test_a_program_among_the_patterns_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["count", "vfs_read", "ls", "-d", "0"]) == 0
    assert "hint: put -- before the command: vfs_read -- ls" in capsys.readouterr().err


def test_a_function_with_the_name_of_a_program_is_no_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "vfs_write"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["count", "vfs_read", "vfs_write", "nosuch", "-d", "0"]) == 0
    assert "put -- before" not in capsys.readouterr().err


def test_functions_called_alike_are_named_when_nothing_was_called(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["count", "seq_read", "-d", "0"]) == 0
    assert "note: no call of seq_read; called alike: seq_read_iter" in capsys.readouterr().out
