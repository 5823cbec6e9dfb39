"""All system calls; the only package that uses ctypes."""
