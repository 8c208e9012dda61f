"""Reading a configuration: plain values, whether it is a dictionary or one of Hydra's."""

import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig


def flatten(cfg: "DictConfig | Mapping[str, object]") -> dict[str, object]:
    """Return the resolved values of a configuration by their dotted names.

    `{"model": {"C": 1}, "seed": 0}` becomes `{"model.C": 1, "seed": 0}`: one level, as the
    parameters of an MLflow run are. A list stays one value.
    """
    return dict(leaves(plain(cfg, missing_is_an_error=True)))


def plain(
    cfg: "DictConfig | Mapping[str, object]",
    *,
    resolve: bool = True,
    missing_is_an_error: bool = False,
) -> dict[str, object]:
    """Return a configuration as dictionaries, lists and values, interpolations resolved."""
    omegaconf = sys.modules.get("omegaconf")  # if it is not loaded, cfg holds nothing of its own
    options = {"resolve": resolve, "throw_on_missing": missing_is_an_error}

    def converted(value: object) -> object:
        if omegaconf is not None and omegaconf.OmegaConf.is_config(value):
            return omegaconf.OmegaConf.to_container(value, enum_to_str=True, **options)
        if isinstance(value, Mapping):
            return {key: converted(item) for key, item in value.items()}
        return value

    return converted(cfg)


def leaves(config: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values of a nested configuration with their dotted names."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
