"""The tree of calls between functions."""
