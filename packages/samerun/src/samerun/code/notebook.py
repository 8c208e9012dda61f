"""What a notebook has executed: its file does not say what ran, nor in which order."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from samerun.secrets.masking import masked_text
from samerun.secrets.storable import without_values


def cells() -> str | None:
    """Return the cells that were executed up to now, in their order; None outside of IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None:
        return None
    executed = enumerate(shell.history_manager.input_hist_raw)
    return "".join(
        f"# In [{number}]\n{_without_secrets(cell.rstrip())}\n\n"
        for number, cell in executed
        if cell
    )


def _without_secrets(cell: str) -> str:
    """Mask what looks like a secret in code, and beside a secret-looking word in a command."""
    lines = without_values(cell).split("\n")
    return "\n".join(
        masked_text(line) if line.lstrip().startswith(("%", "!")) else line for line in lines
    )


def file(folder: Path) -> Path | None:
    """Return the file of the notebook that runs; None if it cannot be found out.

    VS Code and Jupyter tell. Of others it is the one notebook in the kernel's `folder` that holds
    the cell that runs.
    """
    shell = _shell()
    if shell is None:
        return None
    told = [shell.user_ns.get("__vsc_ipynb_file__"), os.environ.get("JPY_SESSION_NAME")]
    for name in filter(None, told):
        for path in (Path(name), folder / Path(name).name):
            if path.suffix == ".ipynb" and path.is_file():
                return path.resolve()
    executed = _executed(shell)
    if not executed:
        return None
    found = [path for path in sorted(folder.glob("*.ipynb")) if executed[-1] in _code(path)]
    return found[0].resolve() if len(found) == 1 else None


def from_the_top(path: Path) -> bool:
    """Say whether what was executed is what the file holds, cell by cell from the first one on."""
    shell = _shell()
    executed = _executed(shell) if shell else []
    return bool(executed) and executed == _code(path)[: len(executed)]


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def _executed(shell: Any) -> list[str]:
    return [cell.strip() for cell in shell.history_manager.input_hist_raw if cell.strip()]


def _code(path: Path) -> list[str]:
    """Return the cells of code that a notebook file holds, without empty ones."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]).strip() for cell in cells if cell["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [cell for cell in code if cell]
