"""The stacks that lead to functions."""
