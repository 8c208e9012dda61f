"""The fixtures of the record, for its own tests."""

from cores import pytest_xdist_auto_num_workers  # noqa: F401
from record_fixtures import checkout, mlflow_store, own_root, store_template  # noqa: F401
