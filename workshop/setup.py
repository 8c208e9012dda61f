"""What is done once, on a good network, before the day: `workshop setup`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workshop.surroundings import Finding


@dataclass(frozen=True)
class Step:
    """Something to do, which may be done already; `take` returns what is true then."""

    title: str
    take: Callable[[], str]


def _libraries() -> str:
    # The first import of each takes seconds, for Python or a virus scanner reads all of it.
    import mlflow
    import sklearn
    import torch

    found = {"MLflow": mlflow, "scikit-learn": sklearn, "PyTorch": torch}
    return ", ".join(f"{name} {module.__version__}" for name, module in found.items())


def _data() -> str:
    from workshop.data import fetch_fashion_mnist

    return f"Fashion-MNIST, verified, in {fetch_fashion_mnist()}"


def _store() -> str:
    from samerun import use_store
    from samerun.secrets.masking import masked_text

    return masked_text(use_store())


STEPS = (
    Step("Run store", _store),
    Step("Loading the libraries for the first time", _libraries),
    Step("Data", _data),
)


def verdict(found: Sequence[Finding]) -> str:
    """Return one sentence: ready, ready but for something, or not ready."""
    failed = [finding.what for finding in found if finding.state == "FAIL"]
    warned = [finding.what for finding in found if finding.state == "WARN"]
    if failed:
        return f"NOT READY: {', '.join(failed)}. Mend it and run this again, or bring it along."
    if warned:
        return f"READY. Worth a look: {', '.join(warned)}."
    return "READY. See you there."
