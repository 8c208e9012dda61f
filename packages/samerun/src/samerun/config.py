"""Reading a configuration: plain values, whether it is a dictionary or one of Hydra's.

What leaves the process (`flatten`, `to_yaml`) has its secrets masked; `with_secrets` puts them back
into a configuration that was read from a record.
"""

import contextlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from samerun.errors import RecordError
from samerun.secrets.masking import MASK, is_secret, masked, masked_text, remember

if TYPE_CHECKING:
    from omegaconf import DictConfig

_REFERENCE = re.compile(r"\$\{([^{}]*)")


def flatten(cfg: "DictConfig | Mapping[str, object]") -> dict[str, object]:
    """Return the resolved values of a configuration by their dotted names, secrets masked.

    `{"model": {"C": 1}, "api_key": "abc"}` becomes `{"model.C": 1, "api_key": "***"}`: one level,
    as the parameters of an MLflow run are. A list stays one value.
    """
    return dict(leaves(without_secrets(cfg, missing_is_an_error=True)))


def to_yaml(cfg: "DictConfig | Mapping[str, object]") -> str:
    """Return a configuration as YAML: the values in place of every `${...}`, secrets masked."""
    return as_yaml(without_secrets(cfg, missing_is_an_error=False))


def as_yaml(config: "Mapping[str, object] | list[object]") -> str:
    """Return plain values as YAML."""
    if omegaconf := sys.modules.get("omegaconf"):  # its reader takes 1e-3 for a number, YAML's not
        with contextlib.suppress(omegaconf.errors.OmegaConfBaseException):  # a value like "${"
            return str(omegaconf.OmegaConf.to_yaml(omegaconf.OmegaConf.create(config)))
    import yaml

    return str(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def masked_yaml(text: str) -> str:
    """Return the YAML of a configuration with its secrets masked, as YAML again."""
    import yaml

    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        return masked_text(text)
    hidden = masked(values)
    return text if hidden == values or not isinstance(hidden, dict) else as_yaml(hidden)


def without_secrets(
    cfg: "DictConfig | Mapping[str, object]",
    *,
    resolve: bool = True,
    missing_is_an_error: bool = False,
) -> dict[str, object]:
    """Return a configuration as plain values with its secrets masked, and know them from now on.

    A value is masked, too, if it comes from a secret: `${oc.env:HF_TOKEN}`, `${store.password}`.
    """
    values = plain(cfg, resolve=resolve, missing_is_an_error=missing_is_an_error)
    remember(values)
    if resolve:
        values = _mask_references(values, plain(cfg, resolve=False))
    return {key: masked(value, str(key)) for key, value in values.items()}


def _mask_references(resolved: Any, written: object) -> Any:
    """Mask the values that are written as references to secrets."""
    if isinstance(written, str):
        if isinstance(resolved, bool) or resolved in (None, ""):
            return resolved
        names = " ".join(_REFERENCE.findall(written)).replace(",", " ").split()
        if any(is_secret(name) for name in names):
            remember({"secret": resolved})
            return MASK
    if isinstance(written, Mapping) and isinstance(resolved, Mapping):
        return {key: _mask_references(value, written.get(key)) for key, value in resolved.items()}
    if isinstance(written, list) and isinstance(resolved, list):
        return [_mask_references(*pair) for pair in zip(resolved, written, strict=True)]
    return resolved


def with_secrets(
    recorded: "DictConfig", present: "DictConfig", needed: Sequence[str] = ()
) -> "DictConfig":
    """Return a recorded configuration with its secrets put back, since a record holds none.

    Parameters
    ----------
    recorded : what a run was started with, `***` in place of every secret
    present : the configuration of this moment, from which the secrets are taken by their names
    needed : the groups or values that are used, such as `model` and `data.root`; all by default

    Raises
    ------
    RecordError
        `present` does not have one that is needed.
    """
    from omegaconf import OmegaConf

    whole = recorded.copy()
    lacking = []
    for name in masked_names(plain(recorded, resolve=False)):
        value = OmegaConf.select(present, name, default=None, throw_on_missing=False)
        same = not is_secret(name) and value == OmegaConf.select(recorded, name)
        if value is not None and (MASK not in str(value) or same):  # a text may hold stars
            OmegaConf.update(whole, name, value, force_add=True)
        elif not needed or any(f"{name}.".startswith(f"{part}.") for part in needed):
            lacking.append(name)
    if lacking:
        raise RecordError(
            f"The recorded configuration holds {MASK} in place of {', '.join(lacking)}: secrets "
            "are not recorded. Give the value again on the command line: "
            f"{' '.join(f'++{name}=...' for name in lacking)}"
        )
    return whole


def check_no_mask(cfg: "DictConfig | Mapping[str, object]") -> None:
    """Refuse a configuration whose secrets were copied from a record, with a RecordError."""
    copied = [
        name
        for name, value in leaves(plain(cfg, resolve=False))
        if value == MASK and is_secret(name)
    ]
    if copied:
        raise RecordError(
            f"The value of {', '.join(copied)} is {MASK}, as a record shows a secret. Put the "
            "secret itself back there."
        )


def masked_names(config: Mapping[str, object]) -> list[str]:
    """Return the dotted names of the values that are masked, or hold a mask."""
    return [name for name, value in leaves(config) if MASK in str(value)]


def plain(
    cfg: "DictConfig | Mapping[str, object]",
    *,
    resolve: bool = True,
    missing_is_an_error: bool = False,
) -> dict[str, object]:
    """Return a configuration as dictionaries, lists and values, interpolations resolved."""
    omegaconf = sys.modules.get("omegaconf")  # if it is not loaded, cfg holds nothing of its own
    options = {"resolve": resolve, "throw_on_missing": missing_is_an_error}

    def converted(value: object) -> Any:
        if omegaconf is not None and omegaconf.OmegaConf.is_config(value):
            return omegaconf.OmegaConf.to_container(value, enum_to_str=True, **options)
        if isinstance(value, Mapping):
            return {key: converted(item) for key, item in value.items()}
        return value

    as_plain: dict[str, object] = converted(cfg)
    return as_plain


def leaves(config: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values of a nested configuration with their dotted names."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
