"""Files by their SHA-256: in a folder, or in an S3-compatible store."""

import contextlib
import os
import secrets
from pathlib import Path

from workshop.errors import WorkshopError


class Blobs:
    """A store in which each file has its SHA-256 as its name.

    uri : a local folder, file:///… or s3://bucket/prefix
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._bucket: str | None = None
        if uri.startswith("s3://"):
            self._bucket, _, self._prefix = uri.removeprefix("s3://").strip("/").partition("/")
            self._client = _s3()
        else:
            self._folder = Path(uri.removeprefix("file://"))

    def put(self, sha256: str, path: Path | str) -> None:
        """Take over a finished file, which is gone from `path` afterwards; all of it or nothing."""
        if self._bucket is not None:
            self._client.upload_file(str(path), self._bucket, self._name(sha256))
            Path(path).unlink()
            return
        place = self._path(sha256)
        place.parent.mkdir(parents=True, exist_ok=True)
        source = Path(path)
        try:
            _to_disk(source)
            os.replace(source, place)
        except OSError:
            # On another disk a file cannot be renamed: copy it beside its place first.
            beside = place.with_name(f".{sha256}.{secrets.token_hex(4)}")
            try:
                beside.write_bytes(source.read_bytes())
                _to_disk(beside)
                os.replace(beside, place)
            finally:
                beside.unlink(missing_ok=True)
            source.unlink()
        _to_disk(place.parent)

    def get(self, sha256: str) -> bytes:
        """Return the bytes of a file.

        Raises
        ------
        WorkshopError
            There is no such file.
        """
        if self._bucket is not None:
            from botocore.exceptions import ClientError

            try:
                found = self._client.get_object(Bucket=self._bucket, Key=self._name(sha256))
                return found["Body"].read()
            except ClientError as error:
                if _is_missing(error):
                    raise _missing(sha256, self.uri) from None
                raise
        try:
            return self._path(sha256).read_bytes()
        except FileNotFoundError:
            raise _missing(sha256, self.uri) from None

    def exists(self, sha256: str) -> bool:
        """Say whether a file is there."""
        if self._bucket is not None:
            from botocore.exceptions import ClientError

            try:
                self._client.head_object(Bucket=self._bucket, Key=self._name(sha256))
                return True
            except ClientError as error:
                if _is_missing(error):
                    return False
                raise
        return self._path(sha256).is_file()

    def _name(self, sha256: str) -> str:
        return "/".join(part for part in (self._prefix, _checked(sha256)) if part)

    def _path(self, sha256: str) -> Path:
        # Two levels: a folder of 100,000 files is slow to list.
        return self._folder / _checked(sha256)[:2] / sha256


def _checked(sha256: str) -> str:
    """Return the hash, so that no other text ever becomes a path."""
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise WorkshopError(f"{sha256!r} is not a SHA-256: 64 of the characters 0-9 and a-f.")
    return sha256


def _to_disk(path: Path) -> None:
    """Wait until a file or the entries of a folder are on disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no handle of a folder to flush
    flags = os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR
    with contextlib.ExitStack() as stack:
        handle = os.open(path, flags)
        stack.callback(os.close, handle)
        os.fsync(handle)


def _s3():
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise WorkshopError(
            "An address that begins with s3:// needs boto3. Start the server with: "
            "uv run --group s3 workshop serve …"
        ) from None
    # As MLflow does, so that one set of variables serves both.
    return boto3.client(
        "s3",
        endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL"),
        config=Config(retries={"max_attempts": 4, "mode": "standard"}, connect_timeout=5),
    )


def _is_missing(error: Exception) -> bool:
    return error.response.get("Error", {}).get("Code") in {"404", "NoSuchKey", "NotFound"}


def _missing(sha256: str, uri: str) -> WorkshopError:
    return WorkshopError(f"The file {sha256} is not in {uri}. Upload it again.")
