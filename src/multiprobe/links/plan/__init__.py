"""The plan of an attachment: which function goes to which mechanism. No system call."""
