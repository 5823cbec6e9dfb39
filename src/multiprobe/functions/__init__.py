"""Selects kernel functions: patterns, types, sets, and a verdict for every function."""
