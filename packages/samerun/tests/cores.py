"""How many processes share the tests: as many as there are cores, up to four, for all of them.

Tests that are asked for by file or name run in this process: two others would take longer to start.
"""

import pytest

MOST = 4  # each comes to hold two gigabytes


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, for `-n auto`
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    from samerun.machine.description import usable_cores

    all_of_them = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return min(usable_cores(), MOST) if all_of_them else 0
