"""Which modules are loaded, and where. A pure parser of /proc/modules.

A module that is unloaded takes its functions along, and one that is loaded again has them at other addresses.
"""

from __future__ import annotations


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
