"""How to read a leaderboard: six made-up models with the intervals that 10,000 images give."""

import matplotlib.pyplot as plt
from made_up import IMAGES, RIGHT
from style import HYDRA, LINE, number, save, size

from samerun.compare.intervals import wilson_interval

MADE_OF = ("slides/figures/made_up.py",)
WORDS = {
    "en": {"x": "accuracy on 10,000 images, in %, with its 95 % interval"},
    "fr": {"x": "exactitude sur 10\u202f000 images, en\xa0%, et intervalle à 95\xa0%"},
}


def draw(lang: str) -> None:
    figure, axis = plt.subplots(figsize=size(440, 280))
    for place, right in enumerate(RIGHT.values()):
        low, high = (100 * end for end in wilson_interval(right, IMAGES))
        axis.plot((low, high), (-place, -place), color=HYDRA, linewidth=5, solid_capstyle="butt")
        axis.plot(100 * right / IMAGES, -place, "o", color=HYDRA, markersize=11)
        said = number(100 * right / IMAGES, ".2f", lang)
        axis.text(94.75, -place, said, va="center", ha="right", weight="bold")
    axis.set(yticks=range(0, -len(RIGHT), -1), xlabel=WORDS[lang]["x"], xlim=(90.3, 94.8))
    axis.set_xticks((91, 92, 93, 94))
    axis.set_yticklabels([f"{i}  {name}" for i, name in enumerate(RIGHT, 1)])
    axis.set_ylim(-5.6, 0.6)
    axis.grid(axis="x", color=LINE, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)
    save(figure, "leaderboard", lang)
