"""BTF: the types of the kernel and its modules, read from their own bytes."""
