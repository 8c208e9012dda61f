"""What keeps a run from being repeated."""


class Obstacle(Exception):
    """The run cannot be repeated here: its verdict is "not verified", and the message is why.

    It says what is missing and what a person can do about it.
    """
