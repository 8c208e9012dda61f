"""The command of a run as this machine starts it: words, folder and variables."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from samerun.machine.description import VARIABLES, usable_cores
from samerun.machine.portable import STARTED_AGAIN
from samerun.process.variables import IGNORED, LIBRARIES, REFUSED
from samerun.reproduce import REPEATS, Obstacle
from samerun.reproduce.environment import Python
from samerun.reproduce.training import Start
from samerun.root import VARIABLE as ROOT
from samerun.secrets.masking import MASK
from samerun.trace import Trace

# Of the variables that a trace keeps: what belongs to this machine, and what to that moment.
OF_THE_MACHINE = ("CUDA_VISIBLE_DEVICES", "LD_PRELOAD")
OF_THE_JOB = ("SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID")
SHORTEST = 4  # characters of an id that a person may have typed
OF_THE_STORE = "MLFLOW_TRACKING_"  # the repetition has a store of its own
NOT_INHERITED = (
    *(STARTED_AGAIN, ROOT, "SAMERUN_LAUNCHER"),
    *("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONSAFEPATH", "VIRTUAL_ENV"),
)


def start(
    trace: Trace, tree: Path, python: Python, store: Path, renamed: tuple[str, str | None]
) -> Start:
    """Return how to start what a run was started with, in the folder `tree` of its code.

    Parameters
    ----------
    store : the database of the repetition's own run store
    renamed : the id of the run that is repeated, and that of the repetition: what was added to the
        one shall be added to the other. None before there is a repetition: the command that starts
        it cannot have named the run, so a word that looks like its id is a number

    Raises
    ------
    Obstacle
        The trace holds no command, or one with a secret in it.
    """
    words = [_renamed(word, *renamed) for word in recorded_words(trace)]
    folder = tree / (trace.repeat.directory if trace.repeat else ".")
    if not folder.resolve().is_relative_to(tree.resolve()):
        raise Obstacle(f"The trace names a folder outside of its project: {folder}.")
    folder.mkdir(parents=True, exist_ok=True)
    variables = _variables(trace, tree, python)
    variables[REPEATS] = renamed[0]
    if store.parent != tree:  # where it would be looked for
        variables["MLFLOW_TRACKING_URI"] = f"sqlite:///{store.as_posix()}"
    return Start((*_program(words[0], python), *words[1:]), folder, variables)


def _renamed(word: str, old: str, new: str | None) -> str:
    """Return a word of a command with the id of a run, or its beginning, replaced by a new one."""
    name, mark, value = word.rpartition("=")
    if new is None or len(value) < SHORTEST or not old.startswith(value):
        return word
    return f"{name}{mark}{new}"


def recorded_words(trace: Trace) -> Sequence[str]:
    """Return the words that start a run, without `uv run`. Raises an Obstacle as `start` does."""
    words = list(trace.repeat.words) if trace.repeat else []
    if not words:
        why = " ".join(trace.repeat.notes) if trace.repeat else "The trace holds no command."
        raise Obstacle(why or "The trace holds no command.")
    if words[:2] == ["uv", "run"]:
        words = words[2:]
    if masked := [word for word in words if MASK in word]:
        raise Obstacle(
            f"The command holds secrets, which no record keeps: {' '.join(masked)}. Repeat it by "
            "hand, with the secret put back: samerun trace prints the commands."
        )
    return words


def _program(first: str, python: Python) -> tuple[str, ...]:
    """Return what the first word stands for: a script, Python itself, or an installed command."""
    if first == "python":
        return (str(python.executable),)
    if first.endswith(".py"):
        return (str(python.executable), first)
    found = shutil.which(first, path=str(python.scripts))
    if found is None:
        raise Obstacle(f"The environment has no command {first}, which the run was started with.")
    return (found,)


def _variables(trace: Trace, tree: Path, python: Python) -> dict[str, str]:
    """Return this process's variables, with those that steered the run as they were then."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in NOT_INHERITED
        and not name.startswith(OF_THE_STORE)
        and (name not in VARIABLES or name in OF_THE_MACHINE)
        and not LIBRARIES.fullmatch(name)
    }
    kept["PATH"] = os.pathsep.join([str(python.scripts), kept.get("PATH", os.defpath)])
    if python.prefix.joinpath("pyvenv.cfg").exists():
        kept["VIRTUAL_ENV"] = str(python.prefix)
    # Before what is installed: an editable package of this environment leads to its own checkout.
    kept["PYTHONPATH"] = os.pathsep.join(str(tree / root) for root in import_roots(trace, tree))
    kept["PYTHONIOENCODING"] = "utf-8"
    if trace.machine:
        from_here = (*OF_THE_MACHINE, *OF_THE_JOB)
        then = {k: v for k, v in trace.machine.variables.items() if k not in from_here}
        cores = trace.machine.usable_cores
        if cores != usable_cores() and "OMP_NUM_THREADS" not in then:
            # What no variable decided, the number of cores did.
            kept["OMP_NUM_THREADS"] = kept["OPENBLAS_NUM_THREADS"] = str(cores)
        kept |= then
    kept |= {
        name: value
        for name, value in trace.variables.items()
        if value and name not in (*IGNORED, *REFUSED) and not name.startswith(OF_THE_STORE)
    }
    return kept


def import_roots(trace: Trace, tree: Path) -> list[str]:
    """Return the folders of the project from which the run imported, relative to its root."""
    named = [root for root in trace.paths if (tree / root).is_dir()]
    if named:
        return named
    # An older trace names none: a package begins where there is no more __init__.py above.
    roots = set()
    for file in trace.files:
        path = PurePosixPath(file.path)
        if file.kind != "imported" or path.suffix != ".py" or Path(file.path).is_absolute():
            continue
        folder = path.parent
        while folder != PurePosixPath(".") and (tree / folder / "__init__.py").exists():
            folder = folder.parent
        roots.add(folder.as_posix())
    return sorted(roots)
