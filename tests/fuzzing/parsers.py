"""Everything that parses, with good inputs: what `fuzz.py` tries."""

from __future__ import annotations

import contextlib
import errno
import json
import lzma
import os
import re
import struct
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), *(str(ROOT / "unit" / name) for name in ("functions", "binaries", "inspect"))]

from elf_writer import BASE, Made, build_id_note, make_elf  # noqa: E402
from images import MIXED_7_3, RETURN_6_1, RETURN_6_12  # noqa: E402
from kernel_files import Files  # noqa: E402

import multiprobe as mp  # noqa: E402
from fuzzing.dwarf import dwarf_targets  # noqa: E402
from fuzzing.own_files import own_files  # noqa: E402
from fuzzing.target import Target, run_command, words_of  # noqa: E402
from multiprobe.arch.operands import parse_operands  # noqa: E402
from multiprobe.arch.x86_64 import parse_site  # noqa: E402
from multiprobe.binaries.choosing import choose as choose_of_binary  # noqa: E402
from multiprobe.binaries.debug_files import build_id, unpack_debugdata  # noqa: E402
from multiprobe.binaries.go_symbols import read_go_symbols  # noqa: E402
from multiprobe.binaries.loader_cache import find_soname, parse_levels, parse_loader_cache  # noqa: E402
from multiprobe.binaries.naming import requests  # noqa: E402
from multiprobe.binaries.symbols import read_symbols, read_variables  # noqa: E402
from multiprobe.binaries.table import build_table  # noqa: E402
from multiprobe.binaries.usdt_notes import read_notes  # noqa: E402
from multiprobe.binaries.usdt_table import build_usdt_table, variables_of  # noqa: E402
from multiprobe.compiler.code import Code  # noqa: E402
from multiprobe.compiler.verifier import explain  # noqa: E402
from multiprobe.elf import PT_LOAD, ElfSection, Segment, contents, parse_segments  # noqa: E402
from multiprobe.elf import parse_sections as elf_sections  # noqa: E402
from multiprobe.errors import MultiprobeError, VerifierError  # noqa: E402
from multiprobe.functions.describe import records  # noqa: E402
from multiprobe.functions.pattern import parse_pattern  # noqa: E402
from multiprobe.inspect.disassembly import disassemble_routine  # noqa: E402
from multiprobe.inspect.owners import parse_fdinfo, parse_functions  # noqa: E402
from multiprobe.inspect.tracefs import parse_enabled, parse_probes  # noqa: E402
from multiprobe.inspect.trampoline import read_calls  # noqa: E402
from multiprobe.instruments.stacks.user_symbols import ElfFunctions, parse_maps  # noqa: E402
from multiprobe.instruments.trace.arguments import parse_format  # noqa: E402
from multiprobe.instruments.trace.filter import parse_filter  # noqa: E402
from multiprobe.kernel.btf.format import parse_sections  # noqa: E402
from multiprobe.kernel.config import parse_config  # noqa: E402
from multiprobe.kernel.flag_names import parse_gfp  # noqa: E402
from multiprobe.kernel.limits import parse_lockdown, parse_status  # noqa: E402
from multiprobe.kernel.modules import parse_modules  # noqa: E402
from multiprobe.kernel.symbols import parse_kallsyms  # noqa: E402
from multiprobe.kernel.tasks import Born, parse_stat  # noqa: E402
from multiprobe.kernel.tracing import parse_available, parse_blacklist, parse_mounts  # noqa: E402
from multiprobe.links.object_variables import find_variables  # noqa: E402
from multiprobe.links.objects import parse_section  # noqa: E402
from multiprobe.maps.cpus import parse_n_cpus  # noqa: E402
from multiprobe.names import decode_name, json_line, printable, storable  # noqa: E402
from multiprobe.vm import kernels  # noqa: E402
from multiprobe.vm.apt import parse_packages  # noqa: E402
from multiprobe.vm.mirrors import choose, parse_list, parse_sources  # noqa: E402
from nasty_names import NASTY  # noqa: E402


def _text(*parsers: Callable[[str], object]) -> Callable[[bytes], object]:
    def call(data: bytes) -> object:
        text = data.decode("utf-8", "surrogateescape")
        return [parse(text) for parse in parsers]

    return call


def _kernel_files(directory: Path) -> Iterator[Target]:
    """The lists of functions and the types, each with all the others as they should be."""
    files = Files(directory)

    def with_file(name: str) -> Callable[[bytes], object]:
        good = (directory / name).read_bytes()

        def call(data: bytes) -> object:
            (directory / name).write_bytes(data)
            try:
                kernel = files.kernel(available="names" if name == "names" else "addrs")
                functions = kernel.functions("*")
                shown = [str(one) for one in functions], list(records(functions, when="session"))
                with contextlib.suppress(MultiprobeError):
                    kernel.functions(takes="struct sock *")
                return shown, functions.addresses(), functions.slots(), functions.returns(), functions.btf_ids()
            finally:
                (directory / name).write_bytes(good)

        return call

    for name in ("btf", "kallsyms", "addrs", "names", "blacklist"):
        yield Target(name, ((directory / name).read_bytes(),), with_file(name), (b"\t[x]", b" [", b"\0", b"\n", b" t "))
    kernel = files.kernel()
    yield Target("pattern", _PATTERNS, _select(kernel), (*_PATTERNS, *_NOTATIONS))
    yield Target("spelled type", _TYPES, _text(lambda text: kernel.functions(takes=text)), _TYPES)


def _select(kernel: object) -> Callable[[bytes], object]:
    def call(data: bytes) -> object:
        text = data.decode("utf-8", "surrogateescape")
        parse_pattern(text)
        if _REPEATED_REPETITION.search(text):
            return None
        return kernel.functions(text)  # type: ignore[attr-defined]

    return call


_REPEATED_REPETITION = re.compile(r"[*+}].*\)[*+{]")
"""For such expressions Python's re may try for ever, until Ctrl-C (docs/commands.md): here they choose nothing."""
_PATTERNS = (
    *(b"tcp_*", b"*", b"[a-z]", b"[!x]", b"[", b"[]", b"/(a+)+$/", b"/.*/", b"!", b":", b"*:", b"nf_*:*", b"+0x10"),
    *(b"0xffffffff81000110", b"tcp_sendmsg+0x10", b"/(?P<a>x)/", b"/(?i)TCP.*/", b"/(.*)*(.*)*x/", b"*a*b*c*d*"),
)
_NOTATIONS = (b"kprobe:", b"tracepoint:syscalls:sys_enter_", b"syscall:", b"sys_openat", b"uprobe:libc:malloc", b"()")
_TYPES = (
    b"struct sock *",
    b"const char *",
    b"unsigned long int",
    b"void **",
    b"volatile u64",
    b"enum x",
    b"union y *",
)
_OF_BINARIES = (
    *(b"libwork:wo*\0!*_fini", b"/usr/bin/x:work+4", b"libwork:/^w(o|x)/\0vfs_*", b"./a:*\0!./a:memcpy", b"libwork:"),
    *(b"/tcp_.*:x/", b"libwork:work+0x10", b"!libwork:[mw]*", b"/a:b:c", b"libwork:!work", b"x:usdt:a:b*\0!x:usdt:/b/"),
)
_FILTERS = (
    *(b"arg0 == 1 and ret < 0", b"comm == 'bash'", b"duration > 1e6 or pid in (1, 2)", b"not ret", b"ret == -EPERM"),
    *(b"arg0 >> 3 & 0xff != 7", b"min(arg0, arg1) > 3", b"comm in ('a', 'b')", b"arg0 // 0", b"2 ** 64", b"1 << 99"),
    *(b"10 ** 10 ** 10", b"lambda: 0", b"f'{x}'", b"x.a.b", b"().__class__", b"(y := 1)", b"*x", b"'\xc3\xa9'", b"..."),
)
_TRACEFS = b"""\
vfs_read (1) R I D   \ttramp: ftrace_regs_caller+0x0/0x65 (call_direct_funcs+0x0/0x20)->bpf_trampoline_1+0x0/0x100
vfs_write (2)             \ttramp: 0xffffffffc0000000 (kprobe_ftrace_handler+0x0/0x1f0)
\tdirect-->bpf_trampoline_6442479999+0x0/0x1000
"""
_PROBES = b"""\
ffffffff81234560  k  vfs_read+0x0    [FTRACE]
ffffffff81234570  r  vfs_write+0x4  nf_tables [DISABLED][OPTIMIZED]
"""
_LOADER_CACHE = (
    struct.pack("<20sII20xiIIIQ", b"glibc-ld.so.cache1.1", 1, 20, 0x303, 72, 82, 0, 0) + b"libc.so.6\0/lib/c\0"
)
_FDINFO = b"pos:\t0\nlink_type:\tx\ncookie func\n1 vfs_read+0x4/0x10\n"
_CODE = bytes.fromhex("f30f1efa0f1f440000e8010203045548")
_STATUS = b"Name:\tx\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n"
_MOUNTS = rb"""24 30 0:22 / /sys rw - sysfs sysfs rw
31 24 0:12 / /sys/kernel/a\040b rw shared:8 - tracefs tracefs rw
"""
_FORMAT = b"""\
name: sys_enter_openat
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;
\tfield:const char * filename;\toffset:24;\tsize:8;\tsigned:0;
\tfield:umode_t mode;\toffset:40;\tsize:8;\tsigned:0;

print fmt: "flags: 0x%08lx", ((unsigned long)(REC->flags)), __print_flags(REC->gfp_flags, "|", \
{( unsigned long)((1u << 3) | 0x20u), "GFP_KERNEL"}, {1 << 2, "__GFP_DMA"})
"""
_PACKAGES = b"""\
Package: linux-image-6.12.1-cloud-amd64
Version: 6.12.1-1
Size: 1234
Depends: kmod, linux-base (>= 4.3)

Package: linux-modules-6.12.1
Version: 6.12.1-1
"""
_SOURCES = b"""\
deb [signed-by=/k.gpg,x arch=amd64] http://deb.debian.org/debian bookworm main contrib
deb http://security.debian.org/debian-security bookworm-security main # comment
"""
_DEB822 = b"""\
Types: deb
URIs: http://deb.debian.org/debian http://b/debian
Suites: trixie trixie-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
"""


_SECTIONS = (
    b"kprobe.multi.s/vfs_*",
    b"?fentry/vfs_read",
    b"fsession.multi",
    b"kretprobe/vfs_read+0x4",
    b"uprobe",
    b"xdp",
)
_LOG = b"""\
func#0 @0
0: R1=ctx() R10=fp0
0: (85) call bpf_probe_read_kernel#113
invalid access to map value, value_size=8 off=8 size=8
Reason:
  The index is not bounded.
processed 2 insns (limit 1000000) max_states_per_insn 0 at insn 2
R0 invalid mem access 'scalar' at insn 2"""
_OBJECT_TYPES = (
    struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 56, 56, 15)
    + struct.pack("<IIII", 1, 1 << 24, 4, 1 << 24 | 32)  # int
    + struct.pack("<IIII", 5, 14 << 24, 1, 1)  # int hits
    + struct.pack("<IIIIII", 10, 15 << 24 | 1, 4, 2, 0, 4)  # .bss
    + b"\0int\0hits\0.bss\0"
)


def _indexes(data: bytes) -> object:
    text = data.decode("utf-8", "replace")
    packages = parse_packages(text)
    found = kernels.candidates(packages)
    return found, kernels.without_modules(packages), kernels.newest(found)


def _apt_sources(data: bytes) -> object:
    text = data.decode("utf-8", "replace")
    return choose([*parse_list(text), *parse_sources(text)])


_COMMANDS = (
    b"count\0vfs_*\0-d\0000.5\0--json",
    b"latency\0tcp_*\0--by\0process\0--budget\0005%\0--max-memory\00050%",
    b"trace\0vfs_read\0--filter\0ret < 0\0--args\0--pid\0001\0--mechanism\0kprobe\0--without\0fsession",
    b"errors\0vfs_*\0--each\0--csv\0--top\0003\0--max-singles\0007\0--watchdog\00010s\0--careful\0--unsafe",
    b"graph\0vfs_*\0--flame\0/no/such/file\0--own\0--strict\0--verify\0-o\0/no/such/file",
    b"stacks\0vfs_read\0!vfs_*\0--folded\0--return\0--command-only",
)
"""Command lines, their words divided by NUL."""


def _plan(data: bytes) -> object:
    """A command line that attaches nothing: a plan for a kernel whose files are not there."""
    words = [word for word in words_of(data) if word != "--"]
    return run_command([*words, "--dry-run", "--kernel-files", "/nonexistent"])


def _binary(data: bytes) -> object:
    """All that is read of a program or library, and its functions."""
    sections = elf_sections(data)
    table = build_table(read_symbols(data, sections), parse_segments(data), sections)
    chosen = choose_of_binary(table, ["*", "work+4", "!_*"], code_of=lambda row: data[int(table.offsets[row]) :][:64])
    return list(chosen), chosen.refusals(), build_id(data, sections), unpack_debugdata(data, sections)


def _go(data: bytes) -> object:
    """The functions of a program in Go."""
    sections = [ElfSection(".gopclntab", 1, 0, len(data), 0, 0)]
    return read_go_symbols(data, sections, [Segment(PT_LOAD, 0, 0, len(data))])


def _made_go(magic: int, *words: int) -> bytes:
    """A table of one function, which begins with these words."""
    header = struct.pack(f"<IHBB{len(words)}Q", magic, 0, 1, 8, *words)
    return header + struct.pack("<8I", 0, 16, 16, 0, 1, 1, 2, 0) + b"\0main.main\0" + bytes(64)


_GO = (
    _made_go(0xFFFFFFF1, 1, 0, 64, 100, 0, 0, 0, 72),
    _made_go(0xFFFFFFFA, 1, 0, 100, 0, 0, 0, 64),
    _made_go(0xFFFFFFFB, 1),
)


def _probes(data: bytes) -> object:
    """The USDT probes of a program, and where their arguments are."""
    sections = elf_sections(data)
    notes = read_notes(data, sections)
    variables = read_variables(data, sections, variables_of(notes))
    table = build_usdt_table(notes, parse_segments(data), path="", key=(), build_id="", variables=variables)
    chosen = choose_of_binary(table, ["*", "sold+4", "!shop:b*"], code_of=lambda _: b"")
    sites = [site for found in table.sites for site in found]
    operands = [parse_operands(site.operands, machine) for site in sites for machine in ("x86_64", "aarch64")]
    return list(chosen), chosen.refusals(), operands


def _made_probes() -> bytes:
    arguments = b"8@%rdi -4@-20(%rbp) 4@$5 8@8(%rbx,%rcx,4) 8@[sp, 16] 4@stock+8(%rip)"
    described = [
        struct.pack("<QQQ", BASE + n, BASE, BASE) + b"shop\0" + name + b"\0" + arguments + b"\0"
        for n, name in enumerate((b"sold", b"bought", b"sold"))
    ]
    notes = b"".join(
        struct.pack("<III", 8, len(one), 3) + b"stapsdt\0" + one.ljust(len(one) + 3 & ~3, b"\0") for one in described
    )
    return make_elf([Made("work", 0), Made("stock", 1, 17)], extra={".note.stapsdt": notes, ".stapsdt.base": b"\0"})


def _made_binary() -> bytes:
    functions = [Made("work", 0), Made("__work", 0), Made("memcpy@@V_2", 1, 26), Made("malloc", None)]
    packed = lzma.compress(make_elf(functions[:1]))
    extra = {".note.gnu.build-id": build_id_note(bytes(20)), ".gnu_debugdata": packed, ".gnu_debuglink": b"x\0\0\0crc_"}
    return make_elf(functions, functions, extra=extra, plt=3)


def _of_binaries(data: bytes) -> object:
    """Patterns for a binary's functions, and those that it leaves to the kernel."""
    made = _made_binary()
    sections = elf_sections(made)
    table = build_table(read_symbols(made, sections), parse_segments(made), sections)
    wanted, others = requests(words_of(data), is_library=lambda name: name == "libwork")
    if any(map(_REPEATED_REPETITION.search, words_of(data))):
        return wanted, others
    for request in wanted:
        chosen = choose_of_binary(table, request.patterns, code_of=lambda row: made[int(table.offsets[row]) :][:64])
        list(chosen), chosen.refusals()
    return wanted, others


def _name(data: bytes) -> object:
    """A name that a stranger chose: whatever it is, it is spelled harmlessly, and nothing around it is mistaken."""
    name = decode_name(data)
    shown, line = printable(name), json_line({"name": name})
    if not (shown.isprintable() and line.isprintable()):
        raise AssertionError(f"{data!r} is printed as {shown!r}, in JSON as {line!r}")
    if json.loads(line) != storable({"name": name}) or parse_stat(b"5 (%s) S 1 %s7 0" % (data, b"0 " * 17)) != Born(
        1, 7
    ):
        raise AssertionError(f"{data!r} is mistaken")
    return shown.encode(), line.encode()


def _trampoline(data: bytes) -> object:
    return read_calls(disassemble_routine(data, RETURN_6_1.address), lambda _address: "__bpf_prog_enter", resume=None)


@mp.program
def _refused(ctx):
    return 0


_CODE_OF_A_PROGRAM = Code(
    b"\0" * 80, (), (), frozenset(), ((0, 1 << 10 | 5), (2, 2 << 10 | 1)), ("def x(ctx):", "    return 0")
)


def _verifier_log(data: bytes) -> object:
    log = data.decode("utf-8", "surrogateescape")
    error = VerifierError("loading", errno.EACCES, subject="x", cause=log.rpartition("\n")[2], log=log)
    return str(explain(error, _CODE_OF_A_PROGRAM, _refused))


def targets(directory: Path) -> list[Target]:
    """All parsers; `directory` is theirs."""
    os.environ["MULTIPROBE_CACHE"] = str(directory)
    elf = Path("/bin/true").resolve().read_bytes()
    return [
        *_kernel_files(directory),
        *own_files(directory),
        *dwarf_targets(directory),
        Target("btf sections", ((directory / "btf").read_bytes(),), lambda data: parse_sections(data, is_split=False)),
        Target("filter", _FILTERS, _text(parse_filter), (*_FILTERS, b" and ", b" or ", b"(", b")", b" in ", b"'")),
        Target("command line", _COMMANDS, _plan, (b"\0", b"\0--", b"=", b"1e999", b"nan", b"%", *_COMMANDS)),
        Target("elf", (elf,), lambda data: (contents(data), parse_segments(data))),
        Target("binary", (_made_binary(), elf), _binary),
        Target("go", _GO, _go),
        Target("usdt probes", (_made_probes(),), _probes, (b"stapsdt\0", b"(%rbx)", b"8@")),
        Target("patterns of binaries", _OF_BINARIES, _of_binaries, (*_OF_BINARIES, *_PATTERNS, b"\0")),
        Target("object types", (_OBJECT_TYPES,), find_variables),
        Target("section name", _SECTIONS, _text(parse_section), (b"/", b"?", b".s", b"+", b"%s")),
        Target("name", tuple(name for name, _ in NASTY), _name, tuple(name for name, _ in NASTY)),
        Target("trampoline", (RETURN_6_1.code, RETURN_6_12.code, MIXED_7_3.code), _trampoline),
        Target("verifier's log", (_LOG,), _verifier_log, (b"insn ", b"9" * 5000, b"\nReason:\n  ", b": (85)", b"\n")),
        Target("cpuinfo", (b"flags\t\t: cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3 avx2\n",), _text(parse_levels)),
        Target("loader cache", (_LOADER_CACHE,), lambda data: find_soname("libc", parse_loader_cache(data, "x86_64"))),
        Target("elf symbols", (elf,), lambda data: ElfFunctions(data).name(4096)),
        Target("enabled_functions", (_TRACEFS,), _text(parse_enabled), (b"\ttramp: ", b"->", b"(", b"0x")),
        Target("kprobes", (_PROBES, b"p:kprobes/x vfs_read+4 a=%di\n"), _text(parse_probes), (b"[", b"+0x", b":")),
        Target("fdinfo", (_FDINFO,), _text(parse_fdinfo, parse_functions)),
        Target("status", (_STATUS, b"none [integrity] confidentiality"), _text(parse_status, parse_lockdown)),
        Target("mounts", (_MOUNTS,), lambda data: parse_mounts(data, "tracefs")),
        Target("modules", (b"nf_tables 300 1 - Live 0xffffffff82000000 (OE)\n",), parse_modules),
        Target("kernel configuration", (b"CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"x\"\n",), parse_config),
        Target("blacklist alone", ((directory / "blacklist").read_bytes(),), parse_blacklist),
        Target("kallsyms alone", ((directory / "kallsyms").read_bytes(),), parse_kallsyms),
        Target("list alone", ((directory / "addrs").read_bytes(),), partial(parse_available, with_addresses=True)),
        Target("cpus", (b"0-3,5,8-11\n",), _text(parse_n_cpus)),
        Target("event format", (_FORMAT,), _text(parse_format, parse_gfp), (b"**", b"<<", b"9" * 9, b"(", b"{")),
        Target("maps", (b"7f00-7f10 r-xp 00001000 08:01 1234   /bin/x (deleted)\n",), _text(parse_maps)),
        Target("call site", (_CODE,), lambda data: parse_site(data, 1 << 40)),
        Target("package index", (_PACKAGES,), _indexes, (b"Version: ", b"\n\n", b"~rc", b"Size: -1\n")),
        Target("apt sources", (_SOURCES, _DEB822), _apt_sources, (b"[", b"]", b"deb ", b"URIs:", b"\n\n")),
    ]  # fmt: skip
