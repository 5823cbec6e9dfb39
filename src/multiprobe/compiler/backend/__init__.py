"""The back end: from the typed tree to LLVM IR, and by LLVM to BPF instructions."""
