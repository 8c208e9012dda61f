"""A run repeated: its code, packages and data brought together, its command run, and compared."""
