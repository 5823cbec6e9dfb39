"""Parses /proc/modules: the loaded modules and their addresses.

The functions of a module disappear when it is unloaded, and have other addresses when it is loaded again.
"""

from __future__ import annotations

PATH = "/proc/modules"


def parse_modules(data: bytes) -> dict[str, str]:
    """The modules that are there to stay for now ("Live"), with their address as the kernel writes it.

    The address is 0 for users who may not know it.
    """
    found = {}
    for line in data.decode("ascii", "replace").splitlines():
        fields = line.split(" ")
        if len(fields) >= 6 and fields[4] == "Live":
            found[fields[0]] = fields[5]
    return found


def load_modules() -> dict[str, str]:
    """The same of the running kernel; none where it has no modules."""
    try:
        with open(PATH, "rb") as file:
            return parse_modules(file.read())
    except FileNotFoundError:
        return {}
