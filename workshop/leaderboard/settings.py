"""What every process of the leaderboard must know: where its data lies, where it is reached."""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from workshop.errors import WorkshopError

VARIABLE = "WORKSHOP_LEADERBOARD"


@dataclass(frozen=True)
class Settings:
    """Where the data lies and where the server is reached.

    folder : of the server's own files; made if missing
    database_url : sqlite:///… or postgresql+psycopg://…
    artifacts : a local path or s3://bucket/prefix
    mlflow_socket : path of the Unix socket of the MLflow UI, or 127.0.0.1:PORT
    address : what participants open, such as http://192.168.1.5:8765
    allowed_hosts : values of the Host header that are answered, each with its port if it has one
    show_code : whether the page shows the join code
    """

    folder: Path
    database_url: str
    artifacts: str
    mlflow_socket: str
    address: str
    allowed_hosts: tuple[str, ...]
    show_code: bool = True

    @classmethod
    def of(
        cls,
        folder: Path | str,
        address: str = "http://127.0.0.1:8765",
        database_url: str | None = None,
        artifacts: str | None = None,
        mlflow_socket: str | None = None,
        allowed_hosts: tuple[str, ...] = (),
        show_code: bool = True,
    ) -> "Settings":
        """Return settings in which everything that is not named lies in `folder`."""
        folder = Path(folder).resolve()
        return cls(
            folder=folder,
            database_url=database_url or f"sqlite:///{(folder / 'leaderboard.db').as_posix()}",
            artifacts=artifacts or str(folder / "blobs"),
            mlflow_socket=mlflow_socket or str(folder / "mlflow.socket"),
            address=address.rstrip("/"),
            allowed_hosts=tuple(allowed_hosts) or (address.split("://")[-1].strip("/"),),
            show_code=show_code,
        )

    @property
    def models_uri(self) -> str:
        """Where submitted models and files lie, each under its SHA-256."""
        return f"{self.artifacts.rstrip('/')}/models"

    @property
    def mlflow_artifacts_uri(self) -> str:
        """Where MLflow keeps its artifacts."""
        return f"{self.artifacts.rstrip('/')}/mlflow"

    def to_env(self) -> dict[str, str]:
        """Return the variable from which `from_env` of a child process reads these settings."""
        return {VARIABLE: json.dumps(asdict(self) | {"folder": str(self.folder)})}

    @classmethod
    def from_env(cls) -> "Settings":
        """Read the settings that the parent process put into the environment.

        Raises
        ------
        WorkshopError
            The variable is not set: the process was not started by `workshop serve`.
        """
        text = os.environ.get(VARIABLE)
        if not text:
            raise WorkshopError(
                f"{VARIABLE} is not set. Start the server with: uv run workshop serve"
            )
        read = cls(**json.loads(text))
        return replace(read, folder=Path(read.folder), allowed_hosts=tuple(read.allowed_hosts))
