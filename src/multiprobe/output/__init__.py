"""Tables and JSON lines."""
