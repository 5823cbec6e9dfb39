"""Keeping an attachment within its limits: budget, careful waves, watchdog."""
