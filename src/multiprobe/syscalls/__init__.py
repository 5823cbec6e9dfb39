"""The only room that talks to the kernel by system call, and the only one with ctypes."""
