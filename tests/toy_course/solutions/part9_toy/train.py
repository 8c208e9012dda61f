"""A script with two holes."""

import hydra

from workshop.errors import plain_errors


def double(number: int) -> int:
    ##TODO 9.2## Return twice the number.
    return 2 * number
    ##END##


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
@plain_errors
def main(cfg) -> None:
    number = double(cfg.number)
    ##TODO 9.3## Print `number`,
    ## which is doubled.
    print(number)
    ##END##
    return number


if __name__ == "__main__":
    main()
