"""A real study of part 3 on the digits: its trials in turn, and where the good ones lie."""

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator
from runs import study
from style import HYDRA, LINE, MUTED, OPTUNA, number, save, size

MADE_OF = ("slides/figures/runs.py", "solutions/part3_competition/conf/space/optimizer.yaml")
WORDS = {
    "en": {
        "trial": "trial",
        "accuracy": "validation accuracy, in %",
        "best": "best so far",
        "complete": "finished",
        "pruned": "pruned",
        "lr": "learning rate",
    },
    "fr": {
        "trial": "essai",
        "accuracy": "exactitude de validation, en\xa0%",
        "best": "meilleur jusqu’ici",
        "complete": "terminé",
        "pruned": "élagué",
        "lr": "taux d’apprentissage",
    },
}


def draw(lang: str) -> None:
    words = WORDS[lang]
    trials = [t for t in study().trials if t.state.name in ("COMPLETE", "PRUNED")]
    value = [100 * max(t.intermediate_values.values()) for t in trials]
    done = [t.state.name == "COMPLETE" for t in trials]
    figure, (left, right) = plt.subplots(1, 2, figsize=size(746, 285), sharey=True)
    figure.get_layout_engine().set(wspace=0.12)  # or the last trial and the first rate collide
    best, so_far = 0.0, []
    for v, finished in zip(value, done, strict=True):
        best = max(best, v if finished else 0)
        so_far.append(best)
    left.step([t.number for t in trials], so_far, where="post", color=HYDRA, label=words["best"])
    for axis, x in (
        (left, [t.number for t in trials]),
        (right, [t.params["optimizer.lr"] for t in trials]),
    ):
        for kind, mark, colour, is_done in (
            ("complete", "o", OPTUNA, True), ("pruned", "x", MUTED, False),
        ):  # fmt: skip
            chosen = [i for i, d in enumerate(done) if d is is_done]
            axis.scatter(
                [x[i] for i in chosen], [value[i] for i in chosen], s=80, marker=mark,
                color=colour, label=words[kind], linewidths=2.5 if mark == "x" else 0, zorder=3,
            )  # fmt: skip
        axis.grid(axis="y", color=LINE, linewidth=0.8)
    left.set(xlabel=words["trial"], ylabel=words["accuracy"])
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set(xscale="log", xlabel=words["lr"])
    rates = (0.0001, 0.001, 0.01, 0.1)
    right.set_xticks(rates, [number(rate, "g", lang) for rate in rates])
    known = left.get_legend_handles_labels()
    figure.legend(*known, loc="outside upper center", ncols=3, frameon=False)
    save(figure, "study", lang)
