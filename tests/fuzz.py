"""Hostile input for everything that parses: mutations of good inputs and of the corpus, until the time is up.

    .venv/bin/python tests/fuzz.py [--minutes M] [--seed S] [TARGET…]      make fuzz

A parser may refuse input with an error of ours, or answer; it may raise nothing else and take no longer than seconds.
What was found is kept in tests/corpus/TARGET, which the unit tests replay.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import io
import lzma
import os
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from zlib import crc32

ROOT = Path(__file__).parent
CORPUS = ROOT / "corpus"
sys.path[:0] = [str(ROOT), str(ROOT / "unit/functions"), str(ROOT / "unit/binaries")]

from elf_writer import Made, build_id_note, make_elf  # noqa: E402
from kernel_files import Files  # noqa: E402

import multiprobe as mp  # noqa: E402
from multiprobe.arch.x86_64 import parse_site  # noqa: E402
from multiprobe.binaries.choosing import choose as choose_of_binary  # noqa: E402
from multiprobe.binaries.debug_files import build_id, unpack_debugdata  # noqa: E402
from multiprobe.binaries.loader_cache import find_soname, parse_loader_cache  # noqa: E402
from multiprobe.binaries.symbols import read_symbols  # noqa: E402
from multiprobe.binaries.table import build_table  # noqa: E402
from multiprobe.cli import main as cli  # noqa: E402
from multiprobe.compiler import cache as program_cache  # noqa: E402
from multiprobe.compiler.code import Code, Relocation  # noqa: E402
from multiprobe.elf import contents, parse_segments  # noqa: E402
from multiprobe.elf import parse_sections as elf_sections  # noqa: E402
from multiprobe.errors import MultiprobeError  # noqa: E402
from multiprobe.functions import cache as table_cache  # noqa: E402
from multiprobe.functions.describe import records  # noqa: E402
from multiprobe.functions.pattern import parse_pattern  # noqa: E402
from multiprobe.inspect.owners import parse_fdinfo, parse_functions  # noqa: E402
from multiprobe.inspect.tracefs import parse_enabled, parse_probes  # noqa: E402
from multiprobe.instruments.stacks.user_symbols import ElfFunctions, parse_maps  # noqa: E402
from multiprobe.instruments.trace.arguments import parse_format  # noqa: E402
from multiprobe.instruments.trace.filter import parse_filter  # noqa: E402
from multiprobe.kernel.btf.format import parse_sections  # noqa: E402
from multiprobe.kernel.config import parse_config  # noqa: E402
from multiprobe.kernel.flag_names import parse_gfp  # noqa: E402
from multiprobe.kernel.limits import parse_lockdown, parse_status  # noqa: E402
from multiprobe.kernel.modules import parse_modules  # noqa: E402
from multiprobe.kernel.symbols import parse_kallsyms  # noqa: E402
from multiprobe.kernel.tracing import parse_available, parse_blacklist, parse_mounts  # noqa: E402
from multiprobe.maps.cpus import parse_n_cpus  # noqa: E402
from multiprobe.vm import accelerator, kernels  # noqa: E402
from multiprobe.vm.apt import parse_packages  # noqa: E402
from multiprobe.vm.mirrors import choose, parse_list, parse_sources  # noqa: E402

SECONDS = 5.0
_WORDS = (0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFF, 64)


class SlowError(Exception):
    """An input that took too long."""


@dataclass(frozen=True)
class Target:
    """A parser: good inputs, and what is called with bad ones. `tokens`: what is put into them besides bytes."""

    name: str
    seeds: tuple[bytes, ...]
    call: Callable[[bytes], object]
    tokens: tuple[bytes, ...] = ()

    def inputs(self) -> list[bytes]:
        """The seeds and the corpus."""
        return [*self.seeds, *(path.read_bytes() for path in sorted((CORPUS / self.name).glob("*")))]


def mutate(chosen: random.Random, data: bytes, tokens: tuple[bytes, ...]) -> bytes:
    """A few changes: bits, bytes, words, repetitions, cuts, tokens."""
    made = bytearray(data)
    for _ in range(chosen.choice((1, 1, 1, 2, 4, 16))):
        made = made or bytearray(b"x")
        at, how = chosen.randrange(len(made)), chosen.randrange(10 if tokens else 8)
        if how == 0:
            made[at] ^= 1 << chosen.randrange(8)
        elif how == 1:
            made[at] = chosen.choice((0, 1, 0x7F, 0x80, 0xFF, 10, 32))
        elif how == 2:
            del made[at : at + chosen.choice((1, 4, 12, 100))]
        elif how == 3:
            made[at:at] = chosen.randbytes(chosen.choice((1, 4, 12)))
        elif how == 4:
            made = made[:at]
        elif how == 5:
            place, word = at & ~3, chosen.choice((*_WORDS, len(made), len(made) - 1, chosen.randrange(64)))
            made[place : place + 4] = struct.pack("<I", word & 0xFFFFFFFF)
        elif how == 6:
            other = chosen.randrange(len(made))
            made[at : at + 8] = made[other : other + 8]
        elif how == 7:
            made[at:at] = made[max(0, at - 64) : at]
        else:
            made[at:at] = chosen.choice(tokens)
    return bytes(made)


# Targets


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
    yield Target("pattern", _PATTERNS, _select(files.kernel()), _PATTERNS)


def _select(kernel: object) -> Callable[[bytes], object]:
    def call(data: bytes) -> object:
        text = data.decode("utf-8", "surrogateescape")
        parse_pattern(text)
        return kernel.functions(text)  # type: ignore[attr-defined]

    return call


_PATTERNS = (
    *(b"tcp_*", b"*", b"[a-z]", b"[!x]", b"[", b"[]", b"/(a+)+$/", b"/.*/", b"!", b":", b"*:", b"nf_*:*", b"+0x10"),
    *(b"0xffffffff81000110", b"tcp_sendmsg+0x10", b"/(?P<a>x)/", b"/(?i)TCP.*/", b"/(.*)*(.*)*x/", b"*a*b*c*d*"),
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
_KERNEL = b'{"series": "6.12", "release": "6.12.1", "version": "1", "image": "vmlinuz", "modules": "lib/6.12"}'
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


def _indexes(data: bytes) -> object:
    text = data.decode("utf-8", "replace")
    packages = parse_packages(text)
    found = kernels.candidates(packages)
    return found, kernels.without_modules(packages), kernels.newest(found)


def _apt_sources(data: bytes) -> object:
    text = data.decode("utf-8", "replace")
    return choose([*parse_list(text), *parse_sources(text)])


def _kernel_json(directory: Path) -> Callable[[bytes], object]:
    def call(data: bytes) -> object:
        for path in (directory / "vm", directory / "vm/kernels", directory / "vm/kernels/6.12"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / "vm/kernels/6.12/kernel.json").write_bytes(data)
        return kernels.cached("6.12")

    return call


def _answer(directory: Path) -> Callable[[bytes], object]:
    def call(data: bytes) -> object:
        accelerator.remember("1", is_usable=True)
        (path,) = (directory / "vm/accelerator").iterdir()
        path.write_bytes(data)
        return accelerator.choose("1", lambda: False, device="/dev/null")

    return call


def _caches(directory: Path) -> Iterator[Target]:
    """Our own files: what is damaged must not be believed. Nobody else can write them with the right checksum."""
    table, key = Files(directory).kernel().functions("*").table, b"2\nboot\n0\nx"
    good = table_cache.encode(table, key)
    relocations = (Relocation(1, "map", "map0"),)
    code = program_cache.encode("k", Code(b"\0" * 80, relocations, ("a",), frozenset({"x"}), ((1, 2),), ("t",)))

    def believe(decode: Callable[[bytes], object], whole: bytes) -> Callable[[bytes], object]:
        def call(data: bytes) -> object:
            if decode(data) is not None and data != whole:
                raise AssertionError("a damaged file was believed")
            return None

        return call

    def read_table(data: bytes) -> object:
        """With length and checksum put right, as if they had been written so."""
        data = data[: len(data) & ~7].ljust(24, b"\0")
        return table_cache.decode(good[:8] + struct.pack("<QQ", len(data), crc32(data[24:])) + data[24:], key)

    yield Target("table cache", (good,), believe(lambda data: table_cache.decode(data, key), good))
    yield Target("table cache, checksum right", (good,), read_table)

    def read_program(data: bytes) -> object:
        body = data[len(program_cache.MAGIC) + 4 :]
        return program_cache.decode("k", program_cache.MAGIC + crc32(body).to_bytes(4, "little") + body)

    yield Target("program cache, checksum right", (code,), read_program, (b"[", b"]", b"1e999", b'"', b"null"))
    yield Target("program cache", (code,), believe(lambda data: program_cache.decode("k", data), code))


_RUN = b"""\
{"type":"run","schema":1,"id":"a","multiprobe":"0.1","command":"count","arguments":["count","x"],"settings":{"when":\
"entry"},"host":{"name":"h","machine":"m","kernel":"6.12","cpus":2},"start":{"wall_ns":5,"monotonic_ns":1},"seconds":2.5}
{"type":"report","schema":1,"requested":2,"attached":1,"skipped":[{"function":"x","code":"c","reason":"r"}],"failed":\
[{"function":"y","mechanism":"kprobe","errno":"EINVAL","reason":"r"}],"missed":{"link_misses":1},"timings":{"attach":1.5}}
{"type":"attached","module":"","functions":["vfs_read","vfs_write"]}
{"type":"function","function":"vfs_read","module":"","address":"0xff","calls":5,"rate":2.0,"share":0.5}
{"type":"function","function":"vfs_write","module":"nf","address":"0xff","calls":7,"rate":2.0,"share":0.5}
"""
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
    words = [word for word in data.decode("utf-8", "surrogateescape").split("\0") if word != "--"]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.run([*words, "--dry-run", "--kernel-files", "/nonexistent"])
    if "internal error" in err.getvalue() or "Traceback" in err.getvalue():
        raise AssertionError(err.getvalue())
    return status


def _binary(data: bytes) -> object:
    """All that is read of a program or library, and its functions."""
    sections = elf_sections(data)
    table = build_table(read_symbols(data, sections), parse_segments(data), sections)
    chosen = choose_of_binary(table, ["*", "work+4", "!_*"], code_of=lambda row: data[int(table.offsets[row]) :][:64])
    return list(chosen), chosen.refusals(), build_id(data, sections), unpack_debugdata(data, sections)


def _made_binary() -> bytes:
    functions = [Made("work", 0), Made("__work", 0), Made("memcpy@@V_2", 1, 26), Made("malloc", None)]
    packed = lzma.compress(make_elf(functions[:1]))
    extra = {".note.gnu.build-id": build_id_note(bytes(20)), ".gnu_debugdata": packed, ".gnu_debuglink": b"x\0\0\0crc_"}
    return make_elf(functions, functions, extra=extra, plt=3)


def _saved_runs(directory: Path) -> Iterator[Target]:
    """Saved runs, whose last line fits again after each change, as if they had been written so."""

    def with_end(data: bytes) -> bytes:
        lines = data[: data.rfind(b"\n") + 1]
        n_rows = sum(line.startswith(b'{"type":"') and line[9:12] in (b"fun", b"gro") for line in lines.splitlines())
        return lines + b'{"type":"end","rows":%d,"crc32":%d}\n' % (n_rows, crc32(lines))

    def load(suffix: str, pack: Callable[[bytes], bytes]) -> Callable[[bytes], object]:
        path = directory / f"run{suffix}"

        def call(data: bytes) -> object:
            path.write_bytes(pack(data))
            run = mp.Run.load(path)
            merged = list(mp.merge([run]).to_json()), list(mp.merge([path]).to_json())
            return run.report, merged, list(mp.diff(other, run).to_json()), list(mp.diff(path, other).to_json())

        return call

    good = with_end(_RUN)
    (directory / "other").write_bytes(with_end(_RUN.replace(b'"id":"a"', b'"id":"b"')))
    other = mp.Run.load(directory / "other")
    tokens = (b'"calls":-1', b'{"type":"attached"', b"1e999", b"[", b"{", b'"\\ud800"', b"\n", b"null", b"9" * 5000)
    yield Target("saved run", (good,), load("", bytes), tokens)
    yield Target("saved run, end right", (_RUN,), load("", with_end), tokens)
    yield Target("saved run, gzip", (gzip.compress(good, mtime=0),), load(".gz", bytes))


def targets(directory: Path) -> list[Target]:
    """All parsers; `directory` is theirs."""
    os.environ["MULTIPROBE_CACHE"] = str(directory)
    elf = Path("/bin/true").resolve().read_bytes()
    return [
        *_kernel_files(directory),
        *_caches(directory),
        *_saved_runs(directory),
        Target("btf sections", ((directory / "btf").read_bytes(),), lambda data: parse_sections(data, is_split=False)),
        Target("filter", _FILTERS, _text(parse_filter), (*_FILTERS, b" and ", b" or ", b"(", b")", b" in ", b"'")),
        Target("command line", _COMMANDS, _plan, (b"\0", b"\0--", b"=", b"1e999", b"nan", b"%", *_COMMANDS)),
        Target("elf", (elf,), lambda data: (contents(data), parse_segments(data))),
        Target("binary", (_made_binary(), elf), _binary),
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
        Target("kernel.json", (_KERNEL,), _kernel_json(directory), (b"{", b"[", b"null", b"1e999")),
        Target("accelerator", (b'{"kvm": true}',), _answer(directory), (b"{", b"[", b"null", b"1")),
    ]  # fmt: skip


# Trying


@dataclass
class Fuzz:
    """What was tried and found: `findings` has one input for each kind of failure, `n` counts inputs."""

    findings: dict[str, bytes] = field(default_factory=dict)
    n: Counter[str] = field(default_factory=Counter)

    def attempt(self, target: Target, data: bytes) -> str:
        """Try one input; what is wrong, or ""."""
        self.n[target.name] += 1
        try:
            with _time_limit():
                target.call(data)
        except MultiprobeError:
            return ""
        except (Exception, RecursionError) as error:
            found = f"{target.name}: {type(error).__name__} at {_where(error)}: {str(error)[:100]}"
            self.findings.setdefault(found.rpartition(": ")[0], data)
            return found
        return ""

    def run(self, chosen: list[Target], source: random.Random, *, is_over: Callable[[], bool]) -> None:
        """Try mutations of all targets, in turn."""
        inputs = {target.name: target.inputs() for target in chosen}
        while not is_over():
            for target in chosen:
                for _ in range(20):
                    data = mutate(source, source.choice(inputs[target.name]), target.tokens)
                    before = len(self.findings)
                    found = self.attempt(target, data)
                    if len(self.findings) > before:
                        print(f"{found}\n  {data[:200]!r}", flush=True)


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def on_alarm(_number: int, _frame: FrameType | None) -> None:
        raise SlowError(f"took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _where(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "multiprobe" in frame.filename]
    return f"{frames[-1].filename.rpartition('multiprobe/')[2]}:{frames[-1].name}" if frames else "?"


def main() -> int:
    """Fuzz until the time is up, keep what was found, print counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("target", nargs="*")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    fuzz = Fuzz()
    warnings.simplefilter("error")
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        chosen = [one for one in targets(Path(directory)) if not options.target or one.name in options.target]
        for target in chosen:
            for data in target.inputs():
                if found := fuzz.attempt(target, data):
                    print(found)
        fuzz.run(chosen, random.Random(options.seed), is_over=lambda: time.monotonic() > end)
    for found, data in fuzz.findings.items():
        directory = CORPUS / found.partition(":")[0]
        directory.mkdir(parents=True, exist_ok=True)
        (directory / hashlib.sha1(data).hexdigest()[:12]).write_bytes(data)
    for name, n in sorted(fuzz.n.items()):
        print(f"{n:9,} {name}")
    print(
        f"{fuzz.n.total():,} inputs (seed {options.seed}), {options.minutes:g} minutes: {len(fuzz.findings)} findings"
    )
    return 1 if fuzz.findings else 0


if __name__ == "__main__":
    sys.exit(main())
