"""The reproducibility crisis in numbers: Baker (2016) and Open Science Collaboration (2015)."""

import matplotlib.pyplot as plt
from style import HYDRA, INK, LINE, MUTED, OPTUNA, save, size

WORDS = {
    "en": {
        "left": "Nature survey, 1,576 researchers",
        "right": "100 psychology studies",
        "rows": (
            "could not reproduce\nsomebody else's experiment",
            "could not reproduce\nan experiment of their own",
            "speak of a\nsignificant crisis",
        ),
        "pair": ("original\nstudies", "replications"),
        "significant": "significant results, in %",
    },
    "fr": {
        "left": "Enquête de Nature, 1\u202f576 chercheurs",
        "right": "100 études de psychologie",
        "rows": (
            "n’ont pas pu reproduire\nl’expérience d’un autre",
            "n’ont pas pu reproduire\nune de leurs expériences",
            "parlent d’une\ncrise importante",
        ),
        "pair": ("études\noriginales", "réplications"),
        "significant": "résultats significatifs, en\xa0%",
    },
}


def draw(lang: str) -> None:
    words = WORDS[lang]
    figure, (left, right) = plt.subplots(1, 2, figsize=size(746, 270), width_ratios=(1.6, 1))
    left.barh((2, 1, 0), (70, 50, 52), color=(OPTUNA, OPTUNA, HYDRA), height=0.55)
    labels = ("> 70 %", "> 50 %", "52 %")
    for y, value, label in zip((2, 1, 0), (70, 50, 52), labels, strict=True):
        left.text(value + 1.5, y, label, va="center", weight="bold", color=INK, fontsize=17)
    left.set(xlim=(0, 100), xticks=(), yticks=(2, 1, 0), yticklabels=words["rows"])
    left.set_title(words["left"], loc="left", color=MUTED)
    left.spines[["bottom"]].set_visible(False)
    left.tick_params(length=0)

    right.bar((0, 1), (97, 36), color=(HYDRA, OPTUNA), width=0.6)
    for x, value in enumerate((97, 36)):
        right.text(x, value + 2, f"{value} %", ha="center", weight="bold", color=INK, fontsize=17)
    right.set(xticks=(0, 1), xticklabels=words["pair"], ylim=(0, 112), yticks=())
    right.set_title(words["right"], loc="center", color=MUTED)
    right.set_ylabel(words["significant"])
    right.spines[["left"]].set_visible(False)
    right.spines[["bottom"]].set_color(LINE)
    right.tick_params(length=0)
    save(figure, "crisis", lang)
