"""The difference of the first made-up model to each of the others, with its interval."""

import matplotlib.pyplot as plt
from made_up import IMAGES, RIGHT
from style import HYDRA, INK, LINE, OPTUNA, number, save, size

from samerun.compare.chance import Share, difference_interval

MADE_OF = ("slides/figures/made_up.py",)
WORDS = {
    "en": {"x": "difference in points, with its 95 % interval", "pair": "A to {other}"},
    "fr": {"x": "écart en points, avec son intervalle à 95\xa0%", "pair": "A et {other}"},
}


def draw(lang: str) -> None:
    words = WORDS[lang]
    first, *others = (Share(right / IMAGES, IMAGES) for right in RIGHT.values())
    figure, axis = plt.subplots(figsize=size(440, 260))
    axis.axvline(0, color=INK, linewidth=2)
    for place, other in enumerate(others):
        low, high = (100 * end for end in difference_interval(other, first))
        colour = HYDRA if low <= 0 <= high else OPTUNA
        axis.plot((low, high), (-place, -place), color=colour, linewidth=5, solid_capstyle="butt")
        middle = 100 * (first.value - other.value)
        axis.plot(middle, -place, "o", color=colour, markersize=11)
        said = number(middle, ".2f", lang)
        axis.text(3.75, -place, said, va="center", ha="right", weight="bold")
    names = [words["pair"].format(other=name) for name in list(RIGHT)[1:]]
    axis.set_yticks(range(0, -len(others), -1), names)
    axis.set(xlabel=words["x"], xlim=(-1, 3.8), ylim=(-4.6, 0.6))
    axis.set_xticks((-1, 0, 1, 2, 3))
    axis.grid(axis="x", color=LINE, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)
    save(figure, "differences", lang)
