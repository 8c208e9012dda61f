"""What the figures share: colours, sizes, and how a figure is written.

A figure stands on its slide at its own size: 14 points here are 14 points there. The colours are
those of slides/theme.typ.
"""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt

matplotlib.use("agg")

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]

INK = "#16233A"
MUTED = "#4A5872"
LINE = "#C9D1DE"
PAPER = "#FFFFFF"
UV = "#6B3FA0"
HYDRA = "#1A5FA8"
MLFLOW = "#075249"
OPTUNA = "#B24A0E"

plt.rcParams.update(
    {
        "font.family": "DejaVu Sans",
        "font.size": 14,
        "axes.titlesize": 15,
        "axes.labelsize": 14,
        "xtick.labelsize": 14,
        "ytick.labelsize": 14,
        "legend.fontsize": 14,
        "text.color": INK,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.constrained_layout.use": True,
        "svg.fonttype": "none",  # text stays text: searchable, and its size can be tested
        "svg.hashsalt": "slides",  # the same bytes every time
        "savefig.transparent": True,
    }
)


def size(width: float, height: float) -> tuple[float, float]:
    """Return a size in points as matplotlib wants it, in inches."""
    return width / 72, height / 72


def number(value: float, form: str, lang: str) -> str:
    """Write a number as a language does: `number(0.5, ".2f", "fr")` is 0,50."""
    written = f"{value:{form}}"
    return written.replace(".", ",") if lang == "fr" else written


def save(figure: plt.Figure, name: str, lang: str = "") -> Path:
    """Write a figure as NAME.LANG.svg beside its script, or as NAME.svg for all languages."""
    path = FOLDER / (f"{name}.{lang}.svg" if lang else f"{name}.svg")
    figure.savefig(path, metadata={"Date": None, "Creator": None}, dpi=200)
    plt.close(figure)
    # One newline at the end of each line and none of the spaces that matplotlib leaves there.
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")
    return path
