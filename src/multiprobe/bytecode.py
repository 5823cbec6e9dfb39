"""The byte code of the whole package in one file.

Some sixty modules stand between a command and its first attached function, and to find and open each one's own file
takes longer than to run it.

Knows how Python finds and loads modules; knows none of ours. The file stands among the package's other byte code
(`__pycache__`) and deserves the same trust: whoever may write there decides what runs. Each module is taken from it
only as long as its source has the time and the size that it had then, as Python does with a .pyc. Everything else, and
everything when the file is missing, cut off or another Python's, is imported as ever.

`python -m multiprobe.bytecode` writes it.
"""

from __future__ import annotations

import _frozen_importlib  # the machinery itself; `importlib` would import more
import marshal
import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER, SourceFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType
    from typing import Any

PACKAGE = os.path.dirname(os.path.abspath(__file__))
MAGIC = b"mpcode1\0" + MAGIC_NUMBER  # the latter names the Python
N_HEADER = len(MAGIC) + 16

#: What is known of a module: where its code begins, its length; the source's time (ns) and size; is it a package?
Entry = tuple[int, int, int, int, bool]


def bundle_path(package: str = PACKAGE) -> str:
    """Where the file stands."""
    return os.path.join(package, "__pycache__", f"{os.path.basename(package)}.{sys.implementation.cache_tag}.bundle")


def _sources(package: str) -> dict[str, str]:
    """The file of every module, by the module's name."""
    found, name = {}, os.path.basename(package)
    for folder, subfolders, files in os.walk(package):
        subfolders[:] = sorted(one for one in subfolders if one != "__pycache__")
        home = ".".join((name, *folder.removeprefix(package).split(os.sep)[1:]))
        for file in sorted(files):
            if file == "__init__.py":
                found[home] = os.path.join(folder, file)
            elif file.endswith(".py"):
                found[f"{home}.{file.removesuffix('.py')}"] = os.path.join(folder, file)
    return found


def encode(modules: dict[str, tuple[bytes, int, int, bool]]) -> bytes:
    """The file's bytes, from each module's marshalled code, and the time, the size and the kind of its source."""
    index: dict[str, Entry] = {}
    position = 0
    for name, (code, mtime, size, is_package) in modules.items():
        index[name] = (position, len(code), mtime, size, is_package)
        position += len(code)
    head = marshal.dumps(index)
    lengths = len(head).to_bytes(8, "little") + position.to_bytes(8, "little")
    return b"".join((MAGIC, lengths, head, *(code for code, *_ in modules.values())))


def write(package: str = PACKAGE) -> bool:
    """Compile every module and write the file; False where the directory can't be written to."""
    modules = {}
    for name, path in _sources(package).items():
        status = os.stat(path)
        loader = SourceFileLoader(name, path)
        code = marshal.dumps(loader.get_code(name))  # from its .pyc, or else this writes that
        modules[name] = (code, status.st_mtime_ns, status.st_size, loader.is_package(name))
    target = bundle_path(package)
    temporary = f"{target}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(encode(modules))
        os.replace(temporary, target)
    except OSError:
        return False
    return True


class Bundle:
    """A finder of modules (`sys.meta_path`) that reads them from the one file. Owns a descriptor, for good."""

    def __init__(self, fd: int, start: int, index: dict[str, Entry], package: str) -> None:
        self._fd = fd
        self._start = start
        self._index = index
        self._parent = os.path.dirname(package)

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """The module, if it is in the file and its source hasn't changed."""
        entry = self._index.get(name)
        if entry is None:
            return None
        position, length, mtime, size, is_package = entry
        home = f"{self._parent}/{name.replace('.', '/')}"
        source = f"{home}/__init__.py" if is_package else f"{home}.py"
        try:
            status = os.stat(source)
            if status.st_mtime_ns != mtime or status.st_size != size:
                return None
            code = os.pread(self._fd, length, self._start + position)
            made = marshal.loads(code)
        except (OSError, ValueError, EOFError, TypeError):
            return None
        spec = ModuleSpec(name, _Loader(name, source, made), origin=source, is_package=is_package)
        spec.has_location = True
        if is_package and spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(home)
        return spec


class _Loader(SourceFileLoader):
    """Python's own loader of that source, with the code at hand."""

    def __init__(self, name: str, path: str, code: CodeType) -> None:
        self.name, self.path = name, path
        self._code: CodeType | None = code

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        code = self._code or self.get_code(self.name)
        self._code = None  # a reload compiles anew
        assert code is not None
        exec(code, module.__dict__)


def open_bundle(package: str = PACKAGE) -> Bundle | None:
    """The finder, if the file is there and whole, and this Python's."""
    try:
        fd = os.open(bundle_path(package), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        header = os.read(fd, N_HEADER)
        n_index = int.from_bytes(header[-16:-8], "little")
        n_all = N_HEADER + n_index + int.from_bytes(header[-8:], "little")
        if header.startswith(MAGIC) and len(header) == N_HEADER and os.fstat(fd).st_size == n_all:
            index = marshal.loads(os.read(fd, n_index))
            return Bundle(fd, N_HEADER + n_index, index, package)
    except (OSError, ValueError, EOFError, TypeError):
        pass
    os.close(fd)
    return None


class LateSite:
    """The last finder of a Python that was started without `site` (-S): runs that once something outside the standard
    library is asked for, and leaves. The fast way asks for nothing of the kind."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        if self not in sys.meta_path:  # another thread's import was faster
            return None
        sys.meta_path.remove(self)
        import site

        site.main()
        found: ModuleSpec | None = _frozen_importlib._find_spec(name, path, target)  # type: ignore[attr-defined]
        return found


def install() -> None:
    """Have this process import multiprobe from the one file, and `site` only when something needs it."""
    bundle = open_bundle()
    if bundle is not None:
        sys.meta_path.insert(0, bundle)
    if sys.flags.no_site and "site" not in sys.modules:
        sys.meta_path.append(LateSite())


if __name__ == "__main__":
    raise SystemExit(0 if write() else f"{bundle_path()} can't be written")
