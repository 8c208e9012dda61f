"""What a notebook has executed: its file does not say what ran, nor in which order."""

import sys

from samerun.masking import masked_text


def cells() -> str | None:
    """Return the cells that were executed up to now, in their order; None outside of IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None:
        return None
    executed = enumerate(shell.history_manager.input_hist_raw)
    return "".join(
        f"# In [{number}]\n{masked_text(cell.rstrip())}\n\n" for number, cell in executed if cell
    )
