"""The fixtures of the record, for its own tests."""

from record_fixtures import checkout, mlflow_store, store_template  # noqa: F401
