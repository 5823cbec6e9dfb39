"""One module for each mechanism, and what they share."""
