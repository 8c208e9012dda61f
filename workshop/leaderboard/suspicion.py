"""Whether a model knows the test set, judged by how it does on images that differ in one respect.

The labels of the test images are public, so that a model may hold them. It then does better on the
test images, or on their changed copies, than on images of the same kind which it does not hold. One
that holds those, too, gets right what networks that have learnt get wrong: some test images look
like another class, or bear a wrong label. `benchmarks/memory.py` finds these and measures it all.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# How much better a model may be on what it should not know than on what is like it.
SURPLUS = {"fashion_mnist": 0.03, "digits": 0.06}
HIDDEN_SURPLUS = {"fashion_mnist": 0.04, "digits": 0.12}
BEST_KNOWN = {"fashion_mnist": 0.975, "digits": 1.0}  # on the test images; more is no achievement
# The share of hard images that a model may get right, as they are and changed.
HARD, HARD_CHANGED = 0.7, 0.5


@dataclass(frozen=True)
class Accuracies:
    """The share of right answers on each set of images, from 0 to 1.

    test, hidden : the official test images, and the changed ones that rank
    control, changed_control : validation images, and the same ones changed in the same ways
    changed_training : training images changed in the same ways
    hard, changed_hard : hard ones of the test images, and their changed copies; None if no image of
        the data set is known to be hard
    """

    test: float
    hidden: float
    control: float
    changed_control: float
    changed_training: float
    hard: float | None = None
    changed_hard: float | None = None


def suspicion(data: str, found: Accuracies) -> str | None:
    """Say why a model seems to know the test set of a data set, None if it does not."""
    surplus, changed = SURPLUS[data], HIDDEN_SURPLUS[data]
    better = "{:.3f} on {} but {:.3f} on {}"
    for known, which, like, others, most in (
        (found.test, "test images", found.control, "validation images", surplus),
        (found.hidden, "hidden images", found.changed_control,
         "validation images changed in the same way", changed),
        (found.hidden, "hidden images", found.changed_training,
         "training images changed in the same way", changed),
        (found.hidden, "hidden images", found.test, "the test images they come from", surplus / 2),
    ):  # fmt: skip
        if known > like + most:
            return f"knows the test set: {better.format(known, which, like, others)}"
    if found.test > BEST_KNOWN[data]:
        return (
            f"knows the test set: {found.test:.3f} on test images is more than anybody has reached"
        )
    for share, most, which in (
        (found.hard, HARD, "test images"),
        (found.changed_hard, HARD_CHANGED, "hidden images"),
    ):
        if share is not None and share > most:
            return (
                f"knows the test set: it agrees with the label of {share:.0%} of those {which} "
                "which other networks get wrong"
            )
    return None


def hard_images(data: str) -> Sequence[int]:
    """Return the places of hard images in the test set of a data set, none for some."""
    path = Path(__file__).with_name("hard_images.json")
    return json.loads(path.read_text(encoding="utf-8")).get(data, [])
