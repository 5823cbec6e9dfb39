"""The last calls before a condition holds."""
