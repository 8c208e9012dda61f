"""Reading a Hydra configuration."""

from omegaconf import DictConfig, OmegaConf


def flatten(cfg: DictConfig) -> dict[str, object]:
    """Return the resolved values of a configuration by their dotted names.

    `{"model": {"C": 1}, "seed": 0}` becomes `{"model.C": 1, "seed": 0}`: one level, as the
    parameters of an MLflow run are. A list stays one value.
    """
    import pandas as pd  # late: part of what makes importing mlflow slow

    nested = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    return pd.json_normalize(nested).to_dict("records")[0]
