"""Objects of others, without a kernel: what sections mean, what is refused, how maps' descriptors are put in place."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import replace
from pathlib import Path
from random import Random
from struct import pack

import pytest

import multiprobe as mp
from fake_kernel import LIKE_6_12, LIKE_7_3, FakeKernel, Profile
from fuzz import mutate
from multiprobe.errors import VerifierError
from multiprobe.kernel.features import RETURN_0
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.attachment import Attachment
from multiprobe.links.guard.replaceable import ReplaceableLinks
from multiprobe.links.ledger import Ledger
from multiprobe.links.mechanisms.linked import Hook
from multiprobe.links.object_variables import Variable, find_variables, named
from multiprobe.links.objects import SECTIONS, ObjectProgram, ObjectStore, _Choice, _Maps, load_object, parse_section
from multiprobe.maps.foreign import ForeignMap
from multiprobe.syscalls import libbpf, libbpf_child
from multiprobe.syscalls.fd import FileDescriptor
from multiprobe.syscalls.libbpf import LoadedMap, LoadedProgram, Wish, with_other_maps
from multiprobe.uapi.bpf import AttachType, MapType, ProgType


def has_libbpf() -> bool:
    try:
        libbpf.open_library()
    except mp.NotSupportedError:
        return False
    return True


needs_libbpf = pytest.mark.skipif(not has_libbpf(), reason="libbpf is not installed: apt-get install libbpf1")


@mp.program
def idle(ctx):
    return


def program(section: str, *, has_fd: bool = True) -> ObjectProgram:
    fd = FileDescriptor(os.open(os.devnull, os.O_RDONLY), "program") if has_fd else None
    return ObjectProgram(LoadedProgram("count", section, ProgType.KPROBE, 0, b"", fd))


@pytest.mark.parametrize(
    ("name", "base", "target", "is_sleepable"),
    [
        ("kprobe.multi/tcp_*", "kprobe.multi", "tcp_*", False),
        ("kprobe/vfs_read", "kprobe", "vfs_read", False),
        ("kprobe", "kprobe", "", False),
        ("?kretprobe.multi", "kretprobe.multi", "", False),
        ("fentry.s/vfs_read", "fentry", "vfs_read", True),
        ("kprobe.session/x", "kprobe.session", "x", False),
        ("fsession.multi/vfs_*", "fsession.multi", "vfs_*", False),
        ("fsession.s/vfs_read", "fsession", "vfs_read", True),
    ],
)
def test_sections(name: str, base: str, target: str, is_sleepable: bool) -> None:
    assert parse_section(name) == (SECTIONS[base], target, is_sleepable)


@pytest.mark.parametrize("name", ["xdp", "tp/sched/sched_switch", "kprobe.s/x", "", "kprobes/x", "uprobe.multi/x:y"])
def test_sections_for_something_else(name: str) -> None:
    assert parse_section(name)[0] is None


def test_which_mechanisms() -> None:
    made = program("kprobe.multi/x")
    with made._loaded.fd:  # type: ignore[union-attr]
        assert made.require_usable(Mechanism.ALL, "entry") == Mechanism.KPROBE_MULTI | Mechanism.KPROBE
        assert made.require_usable(Mechanism.KPROBE | Mechanism.TRAMPOLINE, "entry") == Mechanism.KPROBE
        with pytest.raises(mp.NotSupportedError, match="kprobe_multi or kprobe, and none of them"):
            made.require_usable(Mechanism.TRAMPOLINE, "entry")
        with pytest.raises(mp.UsageError, match="runs at the entry side"):
            made.require_usable(Mechanism.ALL, "return")
    with pytest.raises(mp.UsageError, match="is closed"):
        made.require_usable(Mechanism.ALL, "entry")


def test_what_is_not_for_us() -> None:
    with pytest.raises(mp.NotSupportedError, match="section 'xdp' is for nothing"):
        program("xdp", has_fd=False).require_usable(Mechanism.ALL, "entry")


def misfit(monkeypatch: pytest.MonkeyPatch, fake: FakeKernel, *names: str) -> None:
    """Have the verifier refuse the program for these functions."""
    (vmlinux,) = (one.types for one in fake.types if one.name == "vmlinux")
    ids = {number for number, function in vmlinux.functions.items() if function.name in names}
    real = Hook.load

    def load(hook: Hook, insns: bytes, **options: object) -> FileDescriptor:
        if hook.btf_id in ids:
            raise VerifierError("loading a program", errno.EACCES, subject="count", cause="invalid access", log="")
        return real(hook, insns, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Hook, "load", load)


def test_a_function_that_the_program_does_not_fit_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["vfs_read", "vfs_write", "vfs_open"]
    null = FileDescriptor(os.open(os.devnull, os.O_RDONLY), "program")
    made = ObjectProgram(LoadedProgram("count", "fentry/vfs_read", ProgType.TRACING, 24, RETURN_0, null))
    with null, FakeKernel(tmp_path, LIKE_6_12) as fake:
        misfit(monkeypatch, fake, "vfs_open")
        with mp.attach(made, names) as attachment:
            assert fake.attached() == {"vfs_read", "vfs_write"}
        report = attachment.report
        assert (report.attached, report.requested) == (2, 3)
        assert [str(one) for one in report.failed] == [
            "vfs_open: EACCES from trampoline: the program does not fit it: invalid access"
        ]
        with pytest.raises(mp.AttachError, match="does not fit it"):
            mp.attach(made, names, on_bad="error")
        with pytest.raises(VerifierError, match="invalid access"):
            mp.attach(made, "vfs_open")
        assert not list(fake.cache.glob("culprits-*")), "nothing of it is the function's fault"
        assert fake.left() == []


def test_a_program_of_ours_fits_every_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the verifier refuses there is the compiler's fault."""
    with FakeKernel(tmp_path, LIKE_6_12) as fake:
        misfit(monkeypatch, fake, "vfs_open")
        with pytest.raises(VerifierError, match="invalid access"):
            mp.attach(idle, ["vfs_read", "vfs_open"], mechanisms="trampoline")
        assert fake.left() == []


def test_descriptors_of_maps_are_replaced() -> None:
    def wide(source: int, number: int) -> bytes:
        return pack("<BBhiBBhi", 0x18, source << 4 | 1, 0, number, 0, 0, 0, 77)

    insns = wide(1, 5) + wide(2, 6) + wide(0, 5) + pack("<BBhi", 0xB7, 1, 0, 5)
    assert with_other_maps(insns, {5: 50, 6: 60}) == wide(1, 50) + wide(2, 60) + wide(0, 5) + insns[-8:]


def test_what_is_no_object(tmp_path: Path) -> None:
    for n, data in enumerate((b"", b"\x7fELF", b"no object at all" * 10, b"\x7fELF\2\1" + bytes(200))):
        path = tmp_path / f"{n}.o"
        path.write_bytes(data)
        with pytest.raises(mp.DataError):
            load_object(path)
    with pytest.raises(FileNotFoundError):
        load_object(tmp_path / "none.o")


def test_without_libbpf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "SONAME", "libbpf-that-nobody-has.so.1")
    with pytest.raises(mp.NotSupportedError, match=r"libbpf-that-nobody-has\.so\.1 is missing") as caught:
        libbpf.open_library()
    assert "apt-get install libbpf1" in caught.value.hint


def test_keys_and_values_of_any_size() -> None:
    with FileDescriptor(os.open(os.devnull, os.O_RDONLY), "map") as fd:
        made = ForeignMap(LoadedMap("m", MapType.HASH, 4, 12, 10, fd))
        assert made._encoded(5, 4) == b"\5\0\0\0"
        assert made._encoded(-1, 4) == b"\xff" * 4
        assert made._encoded(b"x" * 12, 12) == b"x" * 12
        with pytest.raises(mp.UsageError, match="takes 12 bytes here, not 3"):
            made._encoded(b"abc", 12)
        with pytest.raises(mp.UsageError, match="does not fit in the 4 bytes"):
            made._encoded(1 << 32, 4)
        assert made._value(b"\1" + bytes(11)) == b"\1" + bytes(11)
        per_cpu = ForeignMap(LoadedMap("m", MapType.PERCPU_ARRAY, 4, 4, 10, fd))
        assert per_cpu._value(pack("<QQ", 3, 4)) == [3, 4]
        ring = ForeignMap(LoadedMap("r", MapType.RINGBUF, 0, 0, 4096, fd))
        with pytest.raises(mp.UsageError, match="no keys and values"):
            ring.as_dict()


def test_an_attachment_of_an_object_ends_but_does_not_stop() -> None:
    made = program("kprobe.multi/x", has_fd=False)
    links = ReplaceableLinks(None, 0)  # type: ignore[arg-type]
    attachment = Attachment(made, [], links=links, store=ObjectStore(made), ledger=Ledger(1))  # type: ignore[arg-type]
    with attachment:
        with pytest.raises(mp.UsageError, match="can't be paused"):
            attachment.pause()
        with pytest.raises(mp.UsageError, match=r"obj\.maps|is used by no program"):
            attachment.map(mp.Array(mp.u64, 1))
    assert attachment.is_closed


CHILDREN = {
    "opening": "",
    "loading": "child.send(channel, {'programs': [], 'btf': ''}); child.receive(channel); ",
}


@pytest.mark.parametrize("doing", CHILDREN)
@pytest.mark.parametrize(("end", "how"), [("os.kill(os.getpid(), 11)", "by SIGSEGV"), ("os._exit(3)", "with status 3")])
@needs_libbpf
def test_an_object_that_crashes_libbpf_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, doing: str, end: str, how: str
) -> None:
    script = tmp_path / "child.py"
    script.write_text(
        f"import os, socket, sys; sys.path.insert(0, {os.path.dirname(libbpf.SCRIPT)!r})\n"
        "import libbpf_child as child\n"
        f"channel = socket.socket(fileno=int(sys.argv[2])); {CHILDREN[doing]}{end}\n"
    )
    monkeypatch.setattr(libbpf, "SCRIPT", str(script))
    with pytest.raises(mp.DataError, match=f"damaged is damaged: {doing} it ended libbpf {how}"):
        libbpf.load(b"", "damaged", lambda *_: None)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ({"error": errno.EPERM, "said": []}, mp.NotPermittedError, "loading an object"),
        ({"error": errno.ENOENT, "said": ["libbpf: no such thing\n"]}, mp.KernelError, "no such thing"),
        ({"error": 0, "said": []}, mp.KernelError, "EINVAL"),
    ],
)
@needs_libbpf
def test_what_libbpf_refuses(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, object], error: type[Exception], words: str
) -> None:
    answers = [{"programs": [], "btf": ""}, answer]
    monkeypatch.setattr(libbpf._Child, "receive", lambda _self, _doing: answers.pop(0))
    with pytest.raises(error, match=words):
        libbpf.load(b"", "x", lambda *_: None)


def test_many_descriptors_come_in_several_messages() -> None:
    """As many as an object has maps and programs; each is ours, and closed if one is missing."""
    n = 2 * libbpf_child.FDS_PER_MESSAGE + 5
    ours, theirs = socket.socketpair()
    child = object.__new__(libbpf._Child)
    child.name, child._channel = "x", ours
    with ours, theirs, FileDescriptor(os.open(os.devnull, os.O_RDONLY), "null") as null:
        for at in range(0, n, libbpf_child.FDS_PER_MESSAGE):
            socket.send_fds(theirs, [b"f"], [null.fileno()] * min(libbpf_child.FDS_PER_MESSAGE, n - at))
        before = len(os.listdir("/proc/self/fd"))
        found = child.descriptors([f"map {number}" for number in range(n)])
        assert [one.what for one in found] == [f"map {number}" for number in range(n)]
        assert len(os.listdir("/proc/self/fd")) == before + n
        for one in found:
            one.close()
        theirs.send(b"f")  # as the kernel delivers it to a process without descriptors left
        with pytest.raises(mp.KernelError, match="EMFILE"):
            child.descriptors(["map"])
        assert len(os.listdir("/proc/self/fd")) == before


class OpenedError(Exception):
    """The object was opened; nothing may be loaded into this machine's kernel."""


def stop(_types: bytes) -> list[tuple[str, int, bytes]]:
    raise OpenedError


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The object file of tests/kernel/objects/choices.c."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    text = (Path(__file__).parents[2] / "kernel/objects/choices.ll").read_text()
    machine = llvm.Target.from_triple("bpfel").create_target_machine(cpu="v3", opt=2)
    return bytes(machine.emit_object(llvm.parse_assembly(text)))


def opened_by(data: bytes) -> tuple[list[tuple[str, str]], list[Variable]]:
    """The programs and variables of an object, which is not loaded."""
    programs: list[tuple[str, str]] = []
    variables: list[Variable] = []

    def look(types: bytes) -> list[tuple[str, int, bytes]]:
        variables.extend(find_variables(types))
        raise OpenedError

    with pytest.raises(OpenedError):
        libbpf.load(data, "x", lambda name, section, *_: programs.append((name, section)), look)  # type: ignore[arg-type, func-returns-value]
    return programs, variables


@needs_libbpf
def test_what_is_in_an_object(choices: bytes) -> None:
    programs, variables = opened_by(choices)
    assert dict(programs) == {
        "counted": "kprobe/vfs_read",
        "optional": "kprobe/vfs_write",
        "refused": "kprobe/vfs_write",
        "third": "fentry/vfs_read",
        "both": "fsession/vfs_read",
        "both_multi": "fsession.multi/vfs_*",
    }
    by_name = {one.name: one for one in variables}
    assert {one.section for one in variables} == {".bss", ".data", ".rodata"}
    assert [by_name[name].size for name in ("calls", "limit", "is_on", "label", "pair", "pointer")] == [
        8,
        4,
        1,
        8,
        8,
        8,
    ]
    assert by_name["step"].section == ".rodata"
    assert [name for name, one in by_name.items() if one.scalar is None] == ["label", "pair"]


@needs_libbpf
def test_values_of_variables(choices: bytes) -> None:
    _, variables = opened_by(choices)
    limit, negative, is_on, label = (named(variables, name) for name in ("limit", "negative", "is_on", "label"))
    assert (limit.encode(5), limit.encode(b"abcd"), limit.decode(b"\xff" * 4)) == (b"\5\0\0\0", b"abcd", 0xFFFFFFFF)
    assert (negative.encode(-7), negative.decode(b"\xf9\xff\xff\xff")) == (b"\xf9\xff\xff\xff", -7)
    assert (is_on.encode(True), is_on.decode(b"\1")) == (b"\1", True)
    assert label.decode(b"12345678") == b"12345678"
    for variable, value in (
        (limit, -1),
        (limit, 1 << 32),
        (negative, 1 << 31),
        (label, b"short"),
        (label, 5),
        (limit, "5"),
    ):
        with pytest.raises(mp.UsageError, match=f"invalid value .* of variable '{variable.name}'"):
            variable.encode(value)
    with pytest.raises(mp.UsageError, match="no variable 'none'"):
        named(variables, "none")
    twice = [*variables, replace(limit, section=".data.other")]
    with pytest.raises(mp.UsageError, match=r"2 variables are called 'limit' \(\.data, \.data\.other\)"):
        named(twice, "limit")


@needs_libbpf
def test_the_names_of_programs_are_checked_before_anything_is_loaded(choices: bytes, tmp_path: Path) -> None:
    path = tmp_path / "choices.bpf.o"
    path.write_bytes(choices)
    with pytest.raises(mp.UsageError, match="the object has no program 'none'") as caught:
        load_object(path, programs=["counted", "none"])
    assert caught.value.hint == "its programs: counted, optional, refused, third, both, both_multi"
    with pytest.raises(mp.UsageError, match="the object has no variable 'none'"):
        load_object(path, programs=["counted"], variables={"none": 1})
    with pytest.raises(mp.UsageError, match="of variable 'limit'"):
        load_object(path, programs=["counted"], variables={"limit": -1})
    with pytest.raises(mp.UsageError, match="expected a list of names"):
        load_object(path, programs="counted")


@pytest.mark.parametrize(
    ("names", "name", "section", "is_wanted", "why"),
    [
        (None, "a", "kprobe/x", True, ""),
        (None, "a", "?kprobe/x", False, "begins with"),
        (None, "a", "?raw_tp/x", False, "begins with"),
        (None, "a", "raw_tp/x", True, ""),
        (["a"], "a", "?kprobe/x", True, ""),
        (["a"], "a", "?raw_tp/x", True, ""),
        (["b"], "a", "kprobe/x", False, "programs= does not name it"),
        (["b"], "a", "raw_tp/x", False, "programs= does not name it"),
    ],
)
def test_which_programs_are_loaded(names: list[str] | None, name: str, section: str, is_wanted: bool, why: str) -> None:
    choice = _Choice(None, None if names is None else frozenset(names))
    may_load = not section.startswith("?")  # libbpf says so, and shows the section without it
    wish = choice(name, section.removeprefix("?"), 17, 0, may_load)
    assert (may_load if wish is None else wish.is_wanted) == is_wanted
    assert why in choice.why_not.get(name, "")
    assert bool(why) == (name in choice.why_not)


@pytest.mark.parametrize("profile", [LIKE_6_12, LIKE_7_3], ids=lambda one: one.release)
@pytest.mark.parametrize("section", ["fsession/vfs_read", "fsession.multi/vfs_*"])
def test_sessions_of_trampolines(profile: Profile, section: str, tmp_path: Path) -> None:
    with FakeKernel(tmp_path, profile):
        choice = _Choice(mp.Kernel())
        wish = choice("a", section, 0, 0, True)
    assert wish is not None
    if not profile.has_fsession:
        assert not wish.is_wanted
        assert "this kernel has no" in choice.why_not["a"]
    elif section.startswith("fsession/"):
        assert wish == Wish(True, ProgType.TRACING, AttachType.TRACE_FSESSION, "vfs_read")
    else:
        assert wish == Wish(True, ProgType.TRACING, AttachType.TRACE_FSESSION_MULTI)


def test_a_session_for_many_goes_one_by_one_where_the_kernel_has_no_batches(tmp_path: Path) -> None:
    """Linux 7.0 and 7.1."""
    with FakeKernel(tmp_path, replace(LIKE_7_3, has_tracing_multi=False)):
        wish = _Choice(mp.Kernel())("a", "fsession.multi/x", 0, 0, True)
    assert wish == Wish(True, ProgType.TRACING, AttachType.TRACE_FSESSION, "vfs_read")


@pytest.mark.parametrize("seed", range(4))
def test_damaged_objects_never_end_this_process(choices: bytes, seed: int) -> None:
    """libbpf 1.1 crashes on one in a thousand; all that comes of it here is an error of ours."""
    random = Random(seed)
    for _ in range(10):
        data = mutate(random, choices, ())
        with pytest.raises((OpenedError, mp.MultiprobeError)):
            libbpf.load(data, "x", lambda *_: None, lambda types: (find_variables(types), stop(types))[1])


@pytest.mark.parametrize(
    ("prefix", "made"),
    [("probes", "probes"), ("st_longname_of_object", "st_longn"), ("with-dash", "with_das"), ("eight_ch", "eight_ch")],
)
def test_maps_of_variables_go_by_the_files_name(prefix: str, made: str) -> None:
    names = [f"{made}.bss", f"{made}.data", f"{made}.rodata", "hits"]
    with FileDescriptor(os.open(os.devnull, os.O_RDONLY), "map") as fd:
        maps = _Maps({name: ForeignMap(LoadedMap(name, MapType.ARRAY, 4, 8, 1, fd)) for name in names}, prefix=prefix)
        for kind in ("bss", "data", "rodata"):
            assert maps[f"{prefix}.{kind}"] is maps[f"{made}.{kind}"]
        assert sorted(maps) == sorted(names)
        for other in ("none.bss", f"{prefix}.text", "hit", prefix):
            with pytest.raises(KeyError):
                maps[other]


def test_a_program_that_libbpf_left_out_has_no_descriptor() -> None:
    """SEC("?raw_tp/…"): libbpf's descriptor of it is -1."""

    class Library:
        bpf_object__next_map = staticmethod(lambda _handle, _before: None)
        bpf_object__next_program = staticmethod(lambda _handle, before: None if before else 1)
        bpf_object__open_mem = staticmethod(lambda _data, _size, _options: 1)
        bpf_program__autoload = staticmethod(lambda _program: True)
        bpf_program__fd = staticmethod(lambda _program: -1)
        bpf_program__name = staticmethod(lambda _program: b"optional")
        bpf_program__section_name = staticmethod(lambda _program: b"?raw_tp/sys_enter")
        bpf_program__type = staticmethod(lambda _program: 17)
        bpf_program__expected_attach_type = staticmethod(lambda _program: 0)

    loaded = libbpf_child.ObjectFile(Library, b"", "x").loaded()  # type: ignore[arg-type]
    assert loaded == ({"maps": [], "programs": [["optional", "?raw_tp/sys_enter", 17, 0, None]]}, [])
    ((left,), maps) = libbpf._taken(loaded[0], _NoDescriptors())  # type: ignore[arg-type]
    assert (left.name, left.fd, maps) == ("optional", None, [])


class _NoDescriptors:
    """A child that sends none."""

    def descriptors(self, names: list[str]) -> list[FileDescriptor]:
        assert names == []
        return []
