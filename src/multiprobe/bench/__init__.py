"""Measures what attaching and tracing cost on this machine, beside other tools: `multiprobe bench`."""
