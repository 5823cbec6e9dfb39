"""Functions of programs and libraries: finds ELF files, reads their symbols, selects among them. Attaches nothing."""
