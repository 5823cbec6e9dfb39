"""Maps: what users declare, how it lies in memory, and reading it without a system call where the kernel allows."""

from multiprobe.maps.specs import Array, Hash, MapSpec, PerFunction

__all__ = ["Array", "Hash", "MapSpec", "PerFunction"]
