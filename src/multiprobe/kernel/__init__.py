"""Facts of the running kernel (or of another one, from its files): symbols, BTF, tracefs, features, limits."""
