"""Where a tiny network can be trained: a map over two learning rates, one for each layer.

One hidden layer of tanh units, mean squared error on random data, full-batch gradient descent, in
numpy, all points of the map at once. After Sohl-Dickstein (2024), with a network of our own.
Takes a minute or two.
"""

from functools import cache

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from style import OPTUNA, save, size

WORDS = {
    "en": {"x": "learning rate of the first layer", "y": "learning rate of the second layer"},
    "fr": {
        "x": "taux d’apprentissage, première couche",
        "y": "taux d’apprentissage, seconde couche",
    },
}
POINTS, STEPS, UNITS = 320, 120, 8
FIRST, SECOND = (0.0, 3.0), (-0.4, 1.2)  # powers of ten


@cache
def losses() -> np.ndarray:
    """Return the loss of every step, of shape (STEPS, POINTS, POINTS); divergence is infinite."""
    random = np.random.default_rng(0)
    x = random.standard_normal((UNITS, UNITS)).astype(np.float32)  # examples, inputs
    y = random.standard_normal(UNITS).astype(np.float32)
    w = random.standard_normal((UNITS, UNITS)).astype(np.float32) / np.sqrt(UNITS)
    v = random.standard_normal(UNITS).astype(np.float32)
    rates = np.logspace(*FIRST, POINTS).astype(np.float32)
    seen = np.empty((STEPS, POINTS, POINTS), np.float32)
    with np.errstate(all="ignore"):
        for row, second in enumerate(np.logspace(*SECOND, POINTS).astype(np.float32)):
            ws = np.repeat(w[None], POINTS, 0)
            vs = np.repeat(v[None], POINTS, 0)
            for step in range(STEPS):
                hidden = np.tanh(x @ ws)  # (points, examples, units)
                error = np.einsum("peu,pu->pe", hidden, vs) / np.sqrt(UNITS) - y
                seen[step, row] = (error**2).mean(axis=1)
                back = error[:, :, None] * vs[:, None] * (1 - hidden**2) / np.sqrt(UNITS)
                grad_w = 2 / UNITS * (x.T @ back)
                grad_v = 2 / UNITS * np.einsum("peu,pe->pu", hidden, error) / np.sqrt(UNITS)
                ws -= rates[:, None, None] * grad_w
                vs -= second * grad_v
    return np.nan_to_num(seen, nan=np.inf, posinf=np.inf)


def draw(lang: str) -> None:
    seen = losses()
    with np.errstate(all="ignore"):
        converged = seen[-20:].mean(axis=0) < seen[0]
        # Brighter: the loss falls faster, or rises faster. Where it falls all is brighter than
        # where it does not, so that the border can be seen in grey, too.
        total = np.minimum(seen / seen[0], 1e6).sum(axis=0, dtype=np.float64)
        depth = np.log10(total)
    shade = np.zeros_like(depth)
    for part in (converged, ~converged):
        order = depth[part].argsort().argsort()
        shade[part] = order / max(1, part.sum() - 1)
    picture = np.where(converged, -1 + 0.98 * shade, 0.02 + 0.98 * shade)
    colours = LinearSegmentedColormap.from_list(
        "",
        ((0, "#E4F0FC"), (0.499, "#7DB7F5"), (0.501, "#3D1804"), (1, OPTUNA)),
    )
    figure, axis = plt.subplots(figsize=size(385, 315))
    extent = (*FIRST, *SECOND)
    axis.imshow(
        picture, origin="lower", extent=extent, aspect="auto", cmap=colours, interpolation="none"
    )
    axis.set_xticks((0, 1, 2, 3), ("1", "10", "100", "1000"))
    axis.set_yticks((0, 1), ("1", "10"))
    axis.set(xlabel=WORDS[lang]["x"], ylabel=WORDS[lang]["y"])
    save(figure, "boundary", lang)
