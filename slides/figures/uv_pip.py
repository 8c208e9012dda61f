"""uv against pip, from what uv_pip_measure.py measured."""

import json
import statistics

import matplotlib.pyplot as plt
from style import FOLDER, INK, MUTED, UV, number, save, size

MADE_OF = ("slides/figures/uv_pip.json", "slides/figures/uv_pip_measure.py")
WORDS = {
    "en": {
        "kinds": {"compiled": "with compiling\nto bytecode", "not compiled": "without"},
        "x": "seconds, median of {n}, on two cores",
        "ratio": ": {ratio} times as fast",
        "what": "{packages} packages of this project (scikit-learn, Hydra, Optuna ...), "
        "from warm caches",
    },
    "fr": {
        "kinds": {"compiled": "avec compilation\nen bytecode", "not compiled": "sans"},
        "x": "secondes, médiane de {n}, sur deux cœurs",
        "ratio": "\xa0: {ratio} fois plus rapide",
        "what": "{packages} paquets de ce projet (scikit-learn, Hydra, Optuna…), "
        "depuis un cache rempli",
    },
}


def draw(lang: str) -> None:
    words = WORDS[lang]
    found = json.loads((FOLDER / "uv_pip.json").read_text(encoding="utf-8"))
    figure, axis = plt.subplots(figsize=size(746, 290))
    longest = 0.0
    for row, kind in enumerate(("compiled", "not compiled")):
        for tool, colour, shift in (("uv", UV, 0.19), ("pip", MUTED, -0.19)):
            seconds = statistics.median(found[kind]["seconds"][tool])
            longest = max(longest, seconds)
            axis.barh(-row + shift, seconds, height=0.34, color=colour)
            said = f"{tool} {number(seconds, '.1f', lang)} s"
            if tool == "uv":
                ratio = number(found[kind]["ratio"], ".1f", lang)
                said += words["ratio"].format(ratio=ratio)
            axis.annotate(
                said, (seconds, -row + shift), (8, 0), textcoords="offset points", va="center",
                color=INK, weight="bold" if tool == "uv" else "normal",
            )  # fmt: skip
    axis.set_yticks((0, -1), [words["kinds"][kind] for kind in ("compiled", "not compiled")])
    axis.tick_params(axis="y", length=0)
    n = len(found["compiled"]["seconds"]["uv"])
    axis.set(xlabel=words["x"].format(n=n), xlim=(0, longest * 1.3))
    axis.set_title(
        words["what"].format(packages=found["packages"]), loc="right", color=MUTED, fontsize=14
    )
    save(figure, "uv_pip", lang)
