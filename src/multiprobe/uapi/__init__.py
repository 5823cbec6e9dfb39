"""The kernel's constants and structure layouts, as values. No I/O, no imports of multiprobe but errors."""
