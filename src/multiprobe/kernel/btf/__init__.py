"""Reads BTF: the types of the kernel and its modules."""
