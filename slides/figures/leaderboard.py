"""How to read a leaderboard: six made-up models with the intervals that 10,000 images give."""

import matplotlib.pyplot as plt
from style import HYDRA, INK, LINE, MUTED, PAPER, number, save, size

from samerun.compare.intervals import wilson_interval

WORDS = {
    "en": {
        "x": "accuracy on 10,000 images, in %, with its 95 % interval",
        "models": ("A", "B", "C", "D", "E", "F"),
        "tie": "within the first one's interval",
    },
    "fr": {
        "x": "exactitude sur 10\u202f000 images, en\xa0%, et intervalle à 95\xa0%",
        "models": ("A", "B", "C", "D", "E", "F"),
        "tie": "dans l’intervalle du premier",
    },
}
RIGHT = (9316, 9301, 9287, 9278, 9221, 9105)


def draw(lang: str) -> None:
    words = WORDS[lang]
    figure, axis = plt.subplots(figsize=size(440, 280))
    first_low = 100 * wilson_interval(RIGHT[0], 10_000)[0]
    axis.axvspan(first_low, 93.16, color="#E3ECF7")
    for place, right in enumerate(RIGHT):
        low, high = (100 * end for end in wilson_interval(right, 10_000))
        tied = right / 100 >= first_low
        colour = HYDRA if tied else MUTED
        axis.plot((low, high), (-place, -place), color=colour, linewidth=5, solid_capstyle="butt")
        axis.plot(right / 100, -place, "o", color=colour, markersize=11)
        said = number(right / 100, ".2f", lang)
        axis.text(94.15, -place, said, va="center", ha="right", weight="bold")
    axis.set(yticks=range(0, -6, -1), xlabel=words["x"], xlim=(90.3, 94.2))
    axis.xaxis.set_major_formatter(lambda x, _: number(x, ".1f", lang))
    axis.set_yticklabels([f"{i}  {name}" for i, name in enumerate(words["models"], 1)])
    axis.text(
        first_low, 0.55, words["tie"], color=INK, ha="center", fontsize=14, backgroundcolor=PAPER
    )
    axis.set_ylim(-5.6, 1.0)
    axis.grid(axis="x", color=LINE, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)
    save(figure, "leaderboard", lang)
