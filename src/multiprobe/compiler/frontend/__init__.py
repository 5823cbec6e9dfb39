"""The front end: from Python syntax to the typed tree (`compiler.ir`)."""
