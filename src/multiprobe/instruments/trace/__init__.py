"""One record for each call, with typed arguments and result."""
