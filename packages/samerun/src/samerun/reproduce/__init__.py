"""A run repeated: its code, packages and data brought together, its command run, and compared."""

# Set for the command that repeats a run, to the id of that: what publishes runs looks at it.
REPEATS = "SAMERUN_REPEATS"
