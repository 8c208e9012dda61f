"""How the learning rate changes: a factor for every moment of the training.

A schedule gets the share of the training that is done, from 0 to 1, and returns what the
optimizer's learning rate is multiplied by.
"""

import math
from dataclasses import dataclass


class Constant:
    """The learning rate of the optimizer, from start to end."""

    def __call__(self, done: float) -> float:
        return 1.0


@dataclass
class OneCycle:
    """Up in a straight line, then down along half a cosine.

    warmup : the share of the training in which the learning rate rises, from 0 to less than 1
    """

    warmup: float

    def __call__(self, done: float) -> float:
        ##TODO 3.4## Return done / warmup as long as `done` is smaller than `warmup`. From there on
        ## the factor follows the first half of a cosine, moved and scaled: from 1, at `warmup`,
        ## down to 0, at the end.
        if done < self.warmup:
            return done / self.warmup
        fall = (done - self.warmup) / (1 - self.warmup)
        return (1 + math.cos(math.pi * fall)) / 2
        ##END##
