"""Which calls fail, who failed first, and along which path."""
