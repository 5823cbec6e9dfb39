"""Attaching: from a program and functions to links in the kernel, and back."""
