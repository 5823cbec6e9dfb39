"""Object files of others, through libbpf: every kind of section on real functions, with maps, variables and CO-RE.

`objects/probes.ll` is what clang makes of `objects/probes.c`; the object file is written here, by llvmlite's LLVM.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

import multiprobe as mp
from fuzz import mutate
from multiprobe.kernel.mechanism import mechanism_names

READS = 7
TOTAL_AT = 8
"""Where `total` lies among the object's variables; `only_tgid` comes first."""


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


def assemble(path: Path, text: str) -> None:
    """Write the object file of a module in LLVM's IR."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple("bpfel").create_target_machine(cpu="v3", opt=2)
    path.write_bytes(machine.emit_object(llvm.parse_assembly(text)))


def source(name: str) -> str:
    return (Path(__file__).parent / "objects" / f"{name}.ll").read_text()


def write_object(path: Path, *, has_context: bool) -> None:
    """The object file. What bpf_session_is_return takes differs between kernels, and libbpf compares."""
    text = source("probes")
    if not has_context:
        function = re.search(r'DISubprogram\(name: "bpf_session_is_return".* type: (!\d+)', text)
        assert function
        types = re.search(rf"^{function[1]} = !DISubroutineType\(types: (!\d+)\)", text, re.MULTILINE)
        assert types
        text = re.sub(rf"^({types[1]} = !{{!\d+), !\d+}}", r"\1}", text, flags=re.MULTILINE)
    assemble(path, text)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, kernel: mp.Kernel) -> Path:
    path = tmp_path_factory.mktemp("objects") / "probes.bpf.o"
    write_object(path, has_context=True)
    try:
        mp.load_object(path, kernel=kernel).close()
    except mp.KernelError:
        write_object(path, has_context=False)
    return path


@pytest.fixture
def loaded(path: Path, kernel: mp.Kernel) -> Iterator[mp.BpfObject]:
    with mp.load_object(path, kernel=kernel) as found:
        variables = found.maps["probes.bss"]
        (data,) = variables.as_dict().values()
        assert isinstance(data, bytes)
        variables[0] = os.getpid().to_bytes(4, "little") + data[4:]
        yield found


def read(n: int = READS) -> None:
    with open("/proc/self/stat", "rb", buffering=0) as file:
        for _ in range(n):
            os.pread(file.fileno(), 16, 0)


def hits_of(loaded: mp.BpfObject) -> dict[object, object]:
    """What `read` counts, and nothing else that this process did since it attached."""
    hits = loaded.maps["hits"]
    for key in hits.as_dict():
        del hits[key]
    before = total(loaded)
    read()
    found = hits.as_dict()
    assert total(loaded) - before == sum(found.values())
    return found


def total(loaded: mp.BpfObject) -> int:
    (data,) = loaded.maps["probes.bss"].as_dict().values()
    assert isinstance(data, bytes)
    return int.from_bytes(data[TOTAL_AT : TOTAL_AT + 8], "little")


def attach(loaded: mp.BpfObject, kernel: mp.Kernel, name: str, **options: object) -> mp.Attachment:
    return mp.attach(loaded.programs[name], ["vfs_read", "vfs_write"], kernel=kernel, cookies=[11, 22], **options)


@pytest.mark.once("6.1")
def test_what_is_in_it(loaded: mp.BpfObject) -> None:
    assert sorted(loaded.programs) == [
        "entry", "entry_multi", "multi", "multi_return", "packet", "session", "single",
    ]  # fmt: skip
    assert sorted(loaded.maps) == ["hits", "probes.bss", "tgids"]
    assert loaded.programs["multi"].when == "entry"
    assert loaded.programs["multi_return"].when == "return"
    assert loaded.programs["multi"].target == "vfs_*"
    assert loaded.maps["tgids"].as_dict() == {0: 0, 1: 0, 2: 0, 3: 0}
    assert loaded.maps["hits"].as_dict() == {}


@pytest.mark.parametrize("name", ["multi", "multi_return", "single", "entry", "entry_multi"])
def test_attached_by_our_planner(loaded: mp.BpfObject, kernel: mp.Kernel, name: str) -> None:
    with attach(loaded, kernel, name) as attachment:
        assert attachment.report.attached == 2
        assert hits_of(loaded) == {11: READS}
    if name == "single":
        assert loaded.maps["tgids"][0] == os.getpid(), "by CO-RE, from the kernel's own task_struct"


def test_a_session(loaded: mp.BpfObject, kernel: mp.Kernel) -> None:
    if not kernel.table.rows_of_name("bpf_session_is_return"):
        with pytest.raises(
            mp.NotSupportedError, match="this kernel has no kprobe_multi for programs that run at session"
        ):
            attach(loaded, kernel, "session")
        return
    with attach(loaded, kernel, "session"):
        assert hits_of(loaded) == {11: READS, 1011: READS}


@pytest.mark.parametrize("mechanism", ["kprobe_multi", "tracing_multi", "trampoline", "kprobe"])
@pytest.mark.parametrize("name", ["multi", "single", "entry", "entry_multi"])
def test_each_mechanism_that_can_carry_it(loaded: mp.BpfObject, kernel: mp.Kernel, name: str, mechanism: str) -> None:
    can = mechanism_names(loaded.programs[name].mechanisms & kernel.offers)
    if mechanism not in can:
        with pytest.raises(mp.NotSupportedError, match=f"program '{name}'"):
            attach(loaded, kernel, name, mechanisms=mechanism)
        return
    attachment = attach(loaded, kernel, name, mechanisms=mechanism)
    with attachment:
        assert attachment.report.mechanisms == {mechanism: 2}
        assert hits_of(loaded) == {11: READS}


def test_many_functions_in_one_link(loaded: mp.BpfObject, kernel: mp.Kernel) -> None:
    if not kernel.has("kprobe_multi"):
        pytest.skip("this kernel has no kprobe_multi")
    functions = kernel.functions("vfs_*")
    with mp.attach(loaded.programs["single"], functions, cookies=range(len(functions))) as attachment:
        assert attachment.report.links == 1
        assert attachment.report.attached > 50
        place = [function.name for function in functions].index("vfs_read")
        assert hits_of(loaded)[place] == READS


def test_a_culprit_is_found(loaded: mp.BpfObject, kernel: mp.Kernel) -> None:
    with mp.attach(loaded.programs["multi"], ["vfs_read", "no_such_function"], kernel=kernel) as attachment:
        assert attachment.report.attached == 1
        assert [refusal.request for refusal in attachment.report.skipped] == ["no_such_function"]


def test_what_outlives_what(path: Path, kernel: mp.Kernel) -> None:
    with mp.load_object(path, kernel=kernel) as loaded:
        hits = loaded.maps["hits"]
        attachment = attach(loaded, kernel, "multi")
        read()
        assert hits[11] >= READS
    with attachment:
        read()
    with pytest.raises(mp.UsageError, match="is closed"):
        attach(loaded, kernel, "multi")


def test_what_can_not_be_attached(loaded: mp.BpfObject, kernel: mp.Kernel) -> None:
    with pytest.raises(mp.NotSupportedError, match="is for nothing that"):
        attach(loaded, kernel, "packet")
    with pytest.raises(mp.UsageError, match="runs at the return side"):
        attach(loaded, kernel, "multi_return", when="entry")
    with pytest.raises(mp.UsageError, match="pid="):
        attach(loaded, kernel, "multi", pid=os.getpid())
    with attach(loaded, kernel, "multi") as attachment, pytest.raises(mp.UsageError, match="can't be paused"):
        attachment.pause()


def test_files_that_are_no_objects(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    for length in (0, 10, 64, 1000, len(whole) // 2, len(whole) - 1):
        cut = tmp_path / f"cut{length}.bpf.o"
        cut.write_bytes(whole[:length])
        with pytest.raises(mp.DataError):
            mp.load_object(cut)
    other = tmp_path / "other.o"
    other.write_bytes(Path(os.path.realpath("/proc/self/exe")).read_bytes())
    with pytest.raises(mp.DataError, match="another machine"):
        mp.load_object(other)
    with pytest.raises(FileNotFoundError):
        mp.load_object(tmp_path / "none.o")


def test_a_kernel_function_that_is_not_there(path: Path, tmp_path: Path, kernel: mp.Kernel) -> None:
    odd = tmp_path / "odd.bpf.o"
    odd.write_bytes(path.read_bytes().replace(b"fentry/vfs_read\0", b"fentry/vfs_rxxx\0"))
    with pytest.raises(mp.KernelError, match="vfs_rxxx"):
        mp.load_object(odd, kernel=kernel)


def test_a_program_that_the_verifier_refuses(path: Path, tmp_path: Path, kernel: mp.Kernel) -> None:
    # bpf_get_current_task becomes a helper that no kernel has
    odd = tmp_path / "odd.bpf.o"
    call = bytes((0x85, 0, 0, 0, 35, 0, 0, 0))
    data = path.read_bytes()
    assert call in data
    odd.write_bytes(data.replace(call, bytes((0x85, 0, 0, 0, 0x0F, 0x27, 0, 0))))
    with pytest.raises(mp.VerifierError) as caught:
        mp.load_object(odd, kernel=kernel)
    assert "program 'single'" in str(caught.value)
    assert "9999" in caught.value.cause
    assert caught.value.cause in caught.value.log


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("objects") / "choices_of_people.bpf.o"
    assemble(path, source("choices"))
    return path


def calls_of(found: mp.BpfObject, n: int = READS) -> object:
    """What the program counts of so many reads, and of nothing that came before."""
    found.variables["calls"] = 0
    read(n)
    return found.variables["calls"]


def load_choices(path: Path, kernel: mp.Kernel, *names: str, **variables: int) -> mp.BpfObject:
    return mp.load_object(path, kernel=kernel, programs=names, variables={"only_tgid": os.getpid(), **variables})


@pytest.mark.once("6.1")
def test_programs_can_be_left_out(choices: Path, kernel: mp.Kernel) -> None:
    with pytest.raises(mp.VerifierError, match="program 'refused'") as caught:
        mp.load_object(choices, kernel=kernel)
    assert "programs=[…]" in caught.value.hint
    with load_choices(choices, kernel, "counted") as found:
        assert [name for name, one in found.programs.items() if one.is_loaded] == ["counted"]
        with pytest.raises(mp.NotSupportedError, match="programs= does not name it"):
            mp.attach(found.programs["optional"], "vfs_write", kernel=kernel)
    with load_choices(choices, kernel, "optional") as found, mp.attach(found.programs["optional"], "vfs_read"):
        assert calls_of(found) == 3 * READS, "a section that begins with ? is loaded when it is named"


def test_names_that_the_object_has_not(choices: Path, kernel: mp.Kernel) -> None:
    with pytest.raises(mp.UsageError, match="no program 'none'") as caught:
        load_choices(choices, kernel, "none")
    assert "counted" in caught.value.hint
    with pytest.raises(mp.UsageError, match="no variable 'none'") as caught:
        load_choices(choices, kernel, "counted", none=1)
    assert "only_tgid" in caught.value.hint


def test_variables_by_name(choices: Path, kernel: mp.Kernel) -> None:
    with load_choices(choices, kernel, "counted", step=5, limit=5 * READS) as found:
        variables = found.variables
        assert {name: variables[name] for name in ("step", "limit", "negative", "mode", "is_on", "pointer")} == {
            "step": 5, "limit": 5 * READS, "negative": -7, "mode": 7, "is_on": True, "pointer": 0,
        }  # fmt: skip
        assert (variables["label"], variables["pair"]) == (b"label\0\0\0", b"\1\0\0\0\2\0\0\0")
        assert "none" not in variables
        with pytest.raises(KeyError):
            variables["none"]
        with mp.attach(found.programs["counted"], "vfs_read", kernel=kernel):
            assert calls_of(found, 2 * READS) == 5 * READS, "no more than the limit"
            variables["limit"] = 1000
            assert calls_of(found, 2 * READS) == 2 * 5 * READS
            variables["is_on"] = False
            assert (calls_of(found), variables["others"]) == (0, 0)
            variables["label"] = b"x" * 8
            variables["is_on"] = True
            assert calls_of(found) == 5 * READS
            assert variables["others"] >= READS, "what is written reaches the program that runs"
        with pytest.raises(mp.UsageError, match="constant") as caught:
            variables["step"] = 4
        assert "variables={'step': …}" in caught.value.hint


def test_a_function_that_the_program_does_not_fit_is_set_aside(choices: Path, kernel: mp.Kernel) -> None:
    names = ["vfs_fsync", "vfs_read", "vfs_write"]  # with 2, 4 and 4 arguments
    with load_choices(choices, kernel, "third") as found:
        with mp.attach(found.programs["third"], names, kernel=kernel) as attachment:
            assert calls_of(found) == 3 * READS
            assert found.variables["last_length"] == 16
        report = attachment.report
        assert (report.attached, [one.function for one in report.failed]) == (2, ["vfs_fsync"])
        assert "the program does not fit it: " in report.failed[0].reason
        assert "invalid bpf_context access" in report.failed[0].reason
        with pytest.raises(mp.AttachError, match="does not fit it"):
            mp.attach(found.programs["third"], names, kernel=kernel, on_bad="error")
        with pytest.raises(mp.VerifierError, match="invalid bpf_context access"):
            mp.attach(found.programs["third"], "vfs_fsync", kernel=kernel)


@pytest.mark.parametrize("name", ["both", "both_multi"])
def test_sessions_of_trampolines(choices: Path, kernel: mp.Kernel, name: str) -> None:
    has_one = kernel.table.rows_of_name("bpf_jit_supports_fsession")
    with load_choices(choices, kernel, name, step=1) as found:
        if not has_one:
            with pytest.raises(mp.NotSupportedError, match="this kernel has no"):
                mp.attach(found.programs[name], "vfs_read", kernel=kernel)
            return
        with mp.attach(found.programs[name], ["vfs_read", "vfs_fsync"], kernel=kernel) as attachment:
            assert calls_of(found) == 2 * READS, "at both sides"
            assert attachment.report.attached == 2
        has_batch = name == "both_multi" and kernel.has("tracing_multi")
        assert set(attachment.report.mechanisms) == {"tracing_multi" if has_batch else "trampoline"}


@pytest.mark.once("7.3")
@pytest.mark.parametrize("seed", range(4))
def test_damaged_objects_never_end_this_process(choices: Path, path: Path, kernel: mp.Kernel, seed: int) -> None:
    """Loading too, which a kernel answers; `tests/unit` damages more of them, and opens them only."""
    random = Random(seed)
    for whole in (choices.read_bytes(), path.read_bytes()):
        for _ in range(8):
            damaged = choices.parent / "damaged.bpf.o"
            damaged.write_bytes(mutate(random, whole, ()))
            try:
                mp.load_object(damaged, kernel=kernel).close()
            except mp.MultiprobeError:
                continue
