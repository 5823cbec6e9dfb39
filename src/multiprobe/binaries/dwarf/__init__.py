"""Reads the types of functions from DWARF."""
