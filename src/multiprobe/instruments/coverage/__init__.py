"""Which functions ran at all."""
