"""The one state of a study: the code and the configuration that it was begun with.

Trials of two codes, or of two configurations, cannot be compared. So a study keeps, as it begins, a
digest of every file of code and the values of every file of configuration, and whatever works on it
compares: on the same day or another, on this machine or another.
"""

import contextlib
import hashlib
import importlib
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import optuna
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

import samerun
import workshop
from samerun.code import imported
from samerun.config import leaves
from samerun.secrets.masking import masked
from workshop.errors import WorkshopError

STATE = "state"  # a user attribute of the study
PACKAGES = tuple(Path(package.__file__).parent for package in (workshop, samerun))
# Groups of tune.py alone. Those of them that must not change are compared by value (settings).
NOT_OF_A_TRIAL = ("hydra", "space", "sampler", "pruner", "storage", "tracking")


class StateChanged(WorkshopError):
    """Code or configuration are not those with which a study was begun."""


def keep_state(study: optuna.Study, trains: DictConfig, job: DictConfig) -> None:
    """Let a new study keep the present state; refuse to go on with one of another state.

    Parameters
    ----------
    trains : what the study trains, if its space changes nothing
    job : Hydra's own part of the configuration, which knows where the rest came from

    Raises
    ------
    StateChanged
        The message says which files and values differ, from what to what.
    """
    _import_classes(trains)
    if study.user_attrs.get(STATE) is None:
        # All files that there are, for a trial may import what its space chooses.
        folders = [_part(job).glob("*.py"), *(package.rglob("*.py") for package in PACKAGES)]
        on_disk = {_name(path): _digest(path) for path in sorted(itertools.chain(*folders))}
        code = on_disk | _imported(_part(job))
        study.set_user_attr(STATE, {"code": code, "config": _config(job)})
    _compare(study, job)


def check_state(study: optuna.Study, trains: DictConfig | None = None) -> None:
    """Refuse to go on if code or configuration are no longer those of the study's beginning.

    What counts of the code is what this process has imported. Does nothing outside of a Hydra job,
    where no configuration was read from files, or for a study that keeps no state.

    trains : the configuration of a trial, whose classes are imported first

    Raises as `keep_state` does.
    """
    if study.user_attrs.get(STATE) is None or not HydraConfig.initialized():
        return
    if trains is not None:
        _import_classes(trains)
    _compare(study, HydraConfig.get())


def _import_classes(config: DictConfig) -> None:
    for name, value in leaves(OmegaConf.to_container(config, resolve=False)):
        if name.rpartition(".")[2] == "_target_":
            with contextlib.suppress(ImportError):  # instantiate will say it better
                importlib.import_module(str(value).rpartition(".")[0])


def _compare(study: optuna.Study, job: DictConfig) -> None:
    then = study.user_attrs[STATE]
    code = _imported(_part(job))
    differs = [
        f"\n  {name}: another {'file' if name in then['code'] else 'file, new'}"
        for name, digest in sorted(code.items())
        if then["code"].get(name) != digest
    ]
    now = _config(job)
    for name in sorted({*then["config"], *now}):
        differs += _changed(name, then["config"].get(name), now.get(name))
    if differs:
        raise StateChanged(
            f"The study {study.study_name!r} was begun in another state:{''.join(differs)}\n"
            "Its trials could not be compared. Put that back, and the same command goes on with "
            "the study; or give what is new a study of its own: study=NAME"
        )


def _changed(
    file: str, then: Mapping[str, str] | None, now: Mapping[str, str] | None
) -> Iterator[str]:
    if then is None or now is None:
        if then != now:
            yield f"\n  {file}: {'new' if then is None else 'no longer there'}"
        return
    for key in sorted({*then, *now}):
        if then.get(key) != now.get(key):
            before, after = (values.get(key, "nothing") for values in (then, now))
            yield f"\n  {file}: {key}: {before} in the study, {after} now"


def _part(job: DictConfig) -> Path:
    """Return the folder of the script that the job came from: that around its conf/."""
    return next(Path(s.path).parent for s in job.runtime.config_sources if s.provider == "main")


def _imported(part: Path) -> dict[str, str]:
    """Return the digests of the files of the part and of our packages as they were imported."""
    around = [folder.resolve() for folder in (part, *PACKAGES)]
    return {
        _name(path): content.sha256
        for path, content in imported.files().items()
        if path.suffix == ".py" and any(path.is_relative_to(folder) for folder in around)
    }


def _name(path: Path) -> str:
    """Return the name of a file as it is in every checkout: the last folders of its path."""
    for package in PACKAGES:
        if path.is_relative_to(package.resolve()):
            return path.relative_to(package.resolve().parent).as_posix()
    return "/".join(path.parts[-2:])


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "not readable"


def _config(job: DictConfig) -> dict[str, dict[str, str]]:
    """Return the values of every file that the configuration of a trial may be composed from."""
    found = {}
    for source in job.runtime.config_sources:
        if source.schema != "file":  # a package's or a class's
            continue
        folder = Path(source.path)
        prefix = folder.name if source.provider == "main" else folder.as_posix()
        scripts = {path.stem for path in folder.parent.glob("*.py")}
        for path in sorted(folder.rglob("*.yaml")):
            name = path.relative_to(folder)
            # A file that is named like a script is the configuration of that script alone.
            of_a_script = len(name.parts) == 1 and path.stem in scripts
            if name.parts[0] not in NOT_OF_A_TRIAL and not of_a_script:
                found[f"{prefix}/{name.as_posix()}"] = _values(path)
    return found


def _values(path: Path) -> dict[str, str]:
    text = path.read_text(encoding="utf-8")
    values = OmegaConf.to_container(OmegaConf.create(text), resolve=False) or {}
    package = re.search(r"^#\s*@package\s+(\S+)", text, re.MULTILINE)  # a comment that counts
    values = {**values, "@package": package[1]} if package else values
    return {key: str(masked(value, key)) for key, value in leaves(values)}
