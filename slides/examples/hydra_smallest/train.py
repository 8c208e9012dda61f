"""The smallest script with a Hydra configuration: a slide shows it, a test runs it."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    print(f"lr {cfg.lr}, {cfg.epochs} epochs")


if __name__ == "__main__":
    main()
