"""Ready-made programs and how their results are shown."""
