"""A run repeated: its code, packages and data brought together, its command run, and compared."""

# Set for the command that repeats a run, to the id of that: what publishes runs looks at it.
REPEATS = "SAMERUN_REPEATS"


class Obstacle(Exception):
    """The run cannot be repeated here: its verdict is "not verified", and the message is why.

    It says what is missing and what a person can do about it.
    """
