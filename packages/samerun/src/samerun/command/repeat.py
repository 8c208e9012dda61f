"""What was typed to start a run, and the command that repeats this one run."""

import ast
import functools
import importlib.metadata
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from samerun.code import notebook
from samerun.command.quoting import command_line, fits_every_shell
from samerun.config import leaves, plain, without_secrets
from samerun.root import project_root
from samerun.secrets.masking import MASK, masked, masked_arguments

if TYPE_CHECKING:
    from hydra.conf import HydraConf
    from omegaconf import DictConfig

# What spreads the runs of a sweep, and has no effect on a run alone.
OF_SWEEPS = re.compile(r"[+~]*hydra([./])(mode|launcher|sweeper|sweep)\b")
FROM_ENVIRONMENT = re.compile(r"\$\{oc\.env:\s*(\w+)")
WITH_VALUE = ("-X", "-W")  # options of Python's that take the next word


@dataclass(frozen=True)
class Command:
    """The command that repeats a run.

    words : `uv run`, the script (relative to `directory`) and its arguments, secrets masked; none
        where no command repeats the run
    directory : where to type it, relative to the root of the project; "." is the root
    notes : what a person has to know besides, one sentence each
    """

    words: tuple[str, ...] = ()
    directory: str = "."
    notes: tuple[str, ...] = ()


def repeating(
    cfg: "DictConfig | Mapping[str, object]",
    root: Path,
    *,
    overrides: Sequence[str] | None = None,
    script: str | None = None,
) -> Command:
    """Return the command that repeats the run that this process is about to start.

    Of a sweep, it is the command of this run alone.

    Parameters
    ----------
    overrides : in place of those of the Hydra job
    script : beside the running one, the script that the overrides are for
    """
    job, root = hydra_job(), root.resolve()
    typed_in = Path(job.runtime.cwd).resolve() if job else Path.cwd().resolve()
    inside = typed_in == root or root in typed_in.parents
    base = typed_in if inside else root
    folder = base.relative_to(root).as_posix()
    start, why_not = _start(base, script)
    if not start:
        return Command((), folder, (why_not,))
    if job:
        path = _script_path(script)
        arguments = _hydra_arguments(job, path, base, overrides, other=script is not None)
    elif start[0] == "jupyter":
        arguments = []  # those of its kernel are nobody's
    else:
        arguments = list(sys.argv[1:] if overrides is None else overrides)
    if "UV" in os.environ or (root / "uv.lock").exists():
        start = ["uv", "run", *start]
    elif start[0].endswith(".py"):
        start = ["python", *start]
    words = masked_arguments([*start, *arguments])
    notes = []
    if not inside:
        notes.append(
            f"It was started in {typed_in}, outside of the project: there begin relative paths "
            "among its arguments."
        )
    return Command(words, folder, (*notes, *_notes(words, cfg, job)))


def command_for(script: str, *arguments: str) -> str:
    """Return the line that runs a script which lies beside the running one.

    It is right in the folder from which this process was started, and in every shell.
    """
    running, typed_in = _script_path(None), Path(directory()).resolve()
    if running is None:
        return command_line(["uv", "run", script, *arguments])
    path, root = running.with_name(script), project_root().resolve()
    if root == typed_in or root in typed_in.parents:
        return command_line(["uv", "run", relative(path, typed_in), *arguments])
    # uv looks for the environment around the folder, not around the script.
    return command_line(["uv", "run", "--project", root.as_posix(), path.as_posix(), *arguments])


def hydra_job() -> "HydraConf | None":
    """Return the configuration of the running Hydra job; None outside Hydra."""
    if "hydra" not in sys.modules:
        return None
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.get() if HydraConfig.initialized() else None


def hydra_overrides() -> tuple[str, ...]:
    """Return the overrides of the running Hydra job; none outside Hydra."""
    job = hydra_job()
    return tuple(job.overrides.task) if job else ()


def typed_for(key: str, value: object) -> str:
    """Return the value of a configuration as text, as it was typed where Hydra made it a number."""
    if not isinstance(value, str):
        for override in reversed(hydra_overrides()):
            name, _, text = override.partition("=")
            if name.lstrip("+") == key:
                return text
    return str(value)


def keep_as_typed(config: "DictConfig", names: Sequence[str]) -> None:
    """Let names on a command line stay text: Hydra takes 12e4 and 0012 for numbers.

    For a callback that runs before the jobs: a sweep gives each of them `name=120000.0`.

    config : with its node `hydra`; both the value and its override are changed
    names : the last words of the keys whose values are names
    """
    from hydra.core.override_parser.types import Quote, QuotedString
    from omegaconf import OmegaConf, read_write

    typed = config.hydra.overrides.task
    for place, override in enumerate(typed):
        name, _, text = override.partition("=")
        key = name.lstrip("+")
        if key.rpartition(".")[2] not in names or "/" in key:
            continue
        if isinstance(OmegaConf.select(config, key), (int, float)):
            OmegaConf.update(config, key, text)
            with read_write(config.hydra):
                typed[place] = f"{name}={QuotedString(text, Quote.single).with_quotes()}"


def directory() -> str:
    """Return the folder in which the command was typed, which a Hydra job may have left."""
    job = hydra_job()
    return str(job.runtime.cwd) if job else str(Path.cwd())


def running_script(root: Path) -> str | None:
    """Return the script that runs, relative to the checkout it lies in; None in a notebook."""
    script, root = _script_path(None), root.resolve()
    if script is None:
        return None
    return script.relative_to(root).as_posix() if root in script.parents else str(script)


def script_path() -> Path | None:
    """Return the script that runs, also in a job of a launcher of Hydra's; None in a notebook."""
    return _script_path(None)


def _script_path(other: str | None) -> Path | None:
    """Return the script that runs, or `other`, which lies beside it.

    In a worker of a Hydra launcher the command line names the launcher, so the script is looked
    for beside the configuration folder that the job came from.
    """
    candidates = [Path(sys.argv[0])] if sys.argv else []
    if job := hydra_job():
        for source in job.runtime.config_sources:
            if source.provider == "main" and source.schema == "file":
                for folder in (Path(source.path), Path(source.path).parent):
                    candidates.append(folder / f"{job.job.name}.py")
    for candidate in candidates:
        script = candidate.resolve()
        installed = Path(sys.prefix).resolve() in script.parents  # ipykernel_launcher.py, say
        if script.suffix == ".py" and script.is_file() and not installed:
            return script.with_name(other) if other else script
    return None


def _start(base: Path, other: str | None) -> tuple[list[str], str]:
    """Return the first words, without `uv run` and up to the arguments; or none and the reason."""
    script = _script_path(other)
    if script is not None:
        options, module = ([], None) if other else _options_of_python(script)
        if module:
            return ["python", *options, "-m", module], ""
        start = [relative(script, base)]
        return ["python", *options, *start] if options else start, ""
    shell = sys.modules.get("IPython")
    if shell is not None and shell.get_ipython() is not None:
        path = notebook.file(Path.cwd())
        if path and notebook.from_the_top(path):
            return ["jupyter", "execute", relative(path, base)], ""
        name = path or os.environ.get("JPY_SESSION_NAME")
        which = f"the notebook {Path(name).name}" if name else "a notebook"
        return [], f"It ran in {which}. To repeat it, run that from its first cell on."
    name = Path(sys.argv[0]).stem if sys.argv else ""
    if name and _is_installed_command(name):
        return [name], ""
    return [], "It was typed into Python itself, and no file holds it."


@functools.cache  # it looks into every distribution that is installed
def _is_installed_command(name: str) -> bool:
    return bool(importlib.metadata.entry_points(group="console_scripts", name=name))


def _options_of_python(script: Path) -> tuple[list[str], str | None]:
    """Return what stood between `python` and the script, and the module of `python -m`."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if file is None or Path(file).resolve() != script:
        return [], None  # a launcher's worker, with options of its own
    options: list[str] = []
    words = iter(sys.orig_argv[1:])
    for word in words:
        if not word.startswith("-") or word == "-m":
            break
        options.append(word)
        if word in WITH_VALUE:
            options.append(next(words, ""))
    spec = getattr(main, "__spec__", None)
    return options, spec.name.removesuffix(".__main__") if spec else None


def _hydra_arguments(
    job: "HydraConf",
    script: Path | None,
    base: Path,
    overrides: Sequence[str] | None,
    *,
    other: bool,
) -> list[str]:
    """Return the options and overrides that give this job its configuration, without a sweep."""
    declared_path, declared_name = _declared(script) if script else (None, None)
    words: list[str] = []
    for source in job.runtime.config_sources:
        if source.provider == "main" and script:
            path, own = source.path, script.parent / (declared_path or "")
            if source.schema != "file":
                path = f"{source.schema}://{path}"
            elif declared_path and own.resolve() == Path(path).resolve():
                continue
            else:
                path = relative(Path(path), script.parent)  # as Hydra reads it
            words += ["--config-path", path]
        elif source.provider == "command-line":
            words += ["--config-dir", relative(Path(source.path), base)]
    name = str(job.job.config_name).removesuffix(".yaml")
    if not other and name != declared_name:
        words += ["--config-name", name]
    of_hydra = [word for word in job.overrides.hydra if not OF_SWEEPS.match(word)]
    if other:  # it says how the running script works; only where files are found is shared
        of_hydra = [word for word in of_hydra if word.startswith("hydra.searchpath")]
    return [*words, *of_hydra, *(job.overrides.task if overrides is None else overrides)]


def _declared(script: Path) -> tuple[str | None, str | None]:
    """Return the config_path and config_name that a script gives to @hydra.main.

    Hydra does not keep them. Where they cannot be read, the command names both.
    """
    try:
        tree = ast.parse(script.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None, None
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("hydra.main", "main"):
            given = {
                word.arg: word.value.value
                for word in call.keywords
                if isinstance(word.value, ast.Constant)
            }
            if "config_name" in given:
                name = str(given["config_name"]).removesuffix(".yaml")
                return str(given.get("config_path") or "."), name
    return None, None


def _notes(
    words: Sequence[str], cfg: "DictConfig | Mapping[str, object]", job: "HydraConf | None"
) -> list[str]:
    notes = []
    if any(MASK in word for word in words):
        notes.append(f"Put the secrets back where it says {MASK}.")
    for name, values in _from_environment(cfg, job).items():
        notes.append(f"Set {name} as it was: {', '.join(values)}.")
    if not all(map(fits_every_shell, words)):
        notes.append("The quotes are those of bash and zsh; other shells want others.")
    return notes


def _from_environment(
    cfg: "DictConfig | Mapping[str, object]", job: "HydraConf | None"
) -> dict[str, list[str]]:
    """Return the variables that the configuration took values from, and these values."""
    found: dict[str, list[str]] = {}
    written = dict(leaves(plain(cfg, resolve=False)))
    try:
        resolved = dict(leaves(without_secrets(cfg)))
    except Exception:  # an interpolation fails; then the names alone
        resolved = {}
    for key, value in written.items():
        for name in FROM_ENVIRONMENT.findall(str(value)):
            now = masked(resolved.get(key, "?"), key)
            state = "" if name in os.environ else f" ({name} was not set)"
            found.setdefault(name, []).append(f"{key} = {now}{state}")
    for word in job.overrides.hydra if job else ():
        for name in FROM_ENVIRONMENT.findall(word):
            found.setdefault(name, []).append(word.partition("=")[0])
    return found


def relative(path: Path, base: Path) -> str:
    """Return a path as it is typed in the folder `base`."""
    try:
        return Path(os.path.relpath(path, base)).as_posix()
    except ValueError:  # on another drive
        return path.as_posix()
