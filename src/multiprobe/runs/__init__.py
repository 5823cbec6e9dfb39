"""Saved runs: their file format, reading them back, adding them up, comparing them."""
