"""Maps: declarations, memory layout, and reading, without system calls where the kernel permits it."""

from multiprobe.maps.specs import Array, Hash, MapSpec, PerFunction

__all__ = ["Array", "Hash", "MapSpec", "PerFunction"]
