"""Python functions compiled to BPF."""
