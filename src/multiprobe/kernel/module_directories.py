"""Where the sources of modules are: depmod's list has their paths, which are those of the source tree."""

from __future__ import annotations

import os


def load_module_directories(release: str, *, root: str = "/") -> dict[str, str]:
    """The directory of each installed module of a kernel, `ext4` → `fs/ext4`; empty where depmod left no list."""
    try:
        with open(
            os.path.join(root, "lib/modules", release, "modules.dep"), encoding="ascii", errors="replace"
        ) as file:
            return parse_dependencies(file.read())
    except OSError:
        return {}


def parse_dependencies(text: str) -> dict[str, str]:
    """The same from the text of modules.dep: lines of `kernel/fs/ext4/ext4.ko.xz: …`."""
    paths = (line.partition(":")[0] for line in text.splitlines())
    parts = (path.rpartition("/") for path in paths)
    return {name.partition(".ko")[0].replace("-", "_"): folder.removeprefix("kernel/") for folder, _, name in parts}
