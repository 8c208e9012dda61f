"""Submissions: a finished run as a package of files, and its way to the server and back.

A package is written first and sent then, so that neither a server nor a network nor Ctrl+C can lose
it. It goes when the server has confirmed it.
"""

import contextlib
import datetime
import hashlib
import json
import logging
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from samerun.config import masked_yaml
from samerun.secrets.guard import masked_document
from samerun.secrets.masking import masked, masked_text
from samerun.secrets.storable import rules_of, without_secrets
from samerun.trace import FOLDER, Dataset
from workshop.advice import part_command
from workshop.course import ROOT
from workshop.errors import WorkshopError
from workshop.participant import live
from workshop.participant.connection import (
    Connection,
    NoAnswer,
    Refused,
    is_passing,
    printable,
)
from workshop.participant.membership import HOW_TO_JOIN, Membership, current
from workshop.participant.run_log import as_json

if TYPE_CHECKING:  # mlflow takes seconds to import
    from mlflow.entities import Run

PENDING = ROOT / "outputs" / "pending"  # a folder for each package, named like its run
MODEL, RECORD, FILES = "model.onnx", "submission.json", "files"
LARGEST_MODEL = 50_000_000  # bytes
TRACE_FILES = (".yaml", ".json", ".txt", ".patch")
CLAIMS = {"test_accuracy": "test_accuracy", "val_accuracy": "best_val_accuracy"}
SILENCE = 60.0  # seconds without an answer, after which nobody waits for a score any more
PIECE = 64 * 1024


log = logging.getLogger(__name__)


# ---------------------------------------------------------------------------------- packages


def pack(run: "Run", model: bytes, kind: Literal["torch", "sklearn"], dataset: Dataset) -> Path:
    """Write a run's package, in place of an earlier one, and return its folder.

    Parameters
    ----------
    run : a finished run; its parameters, metrics, trace and pictures go along
    model : ONNX
    dataset : what the run was trained on

    Raises
    ------
    WorkshopError
        The model is too large, or the package cannot be written.
    """
    if len(model) > LARGEST_MODEL:
        raise WorkshopError(
            f"The model has {len(model) / 1e6:.1f} MB as ONNX, and the leaderboard takes "
            f"{LARGEST_MODEL / 1e6:.0f}. Train a smaller one."
        )
    folder = PENDING / run.info.run_id
    unfinished = PENDING / f".{run.info.run_id}.unfinished"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        (unfinished / MODEL).write_bytes(model)
        files = _download(run, unfinished / FILES)
        record = _record(run, model, kind, dataset, unfinished / FILES, files)
        (unfinished / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    except OSError as error:
        raise WorkshopError(f"The package cannot be written to {folder}: {error}.") from error
    return folder


def _download(run: "Run", to: Path) -> list[str]:
    """Copy the configuration, the trace and the pictures of a run; return their paths."""
    from mlflow import MlflowClient

    from samerun.store.tracking import no_progress_bars

    client, run_id = MlflowClient(), run.info.run_id
    chosen = [
        file.path
        for file in client.list_artifacts(run_id)
        if file.path == "config.yaml" or (file.path.endswith(".png") and not file.is_dir)
    ]
    folders = [FOLDER]
    while folders:
        for file in client.list_artifacts(run_id, folders.pop()):
            if file.is_dir:
                folders.append(file.path)
            elif file.path.endswith(TRACE_FILES):
                chosen.append(file.path)
    with no_progress_bars():
        for path in chosen:
            folder = (to / path).parent
            folder.mkdir(parents=True, exist_ok=True)
            client.download_artifacts(run_id, path, str(folder))
            _hide_secrets(to / path)
    return sorted(chosen)


def _hide_secrets(file: Path) -> None:
    """Mask what is left of secrets in a file of an earlier run, or of one logged by other means."""
    if file.suffix == ".patch":
        kept, secret = without_secrets(file.read_bytes(), ROOT, rules_of(ROOT))
        for path, why in secret.items():
            log.warning("The changes to %s stay here: %s", path, why)
        if secret:
            file.write_bytes(kept)
    elif file.suffix in TRACE_FILES:
        text = file.read_bytes().decode(errors="replace")
        shown = masked_document(text, file.suffix)
        if file.name == "config.yaml":
            shown = masked_yaml(shown)
        if shown != text:
            file.write_bytes(shown.encode())


def _record(
    run: "Run", model: bytes, kind: str, dataset: Dataset, folder: Path, files: Iterable[str]
) -> dict:
    """Return what POST /api/submissions takes."""
    from mlflow import MlflowClient

    info, data = run.info, run.data
    client = MlflowClient()
    history = {name: client.get_metric_history(info.run_id, name) for name in data.metrics}
    tags = {
        name: masked_text(value, by_key=False)
        for name, value in data.tags.items()
        if name.startswith("trace.")
    }
    dirty = {"true": True, "false": False}.get(tags.get("trace.dirty", ""))
    seconds = (info.end_time - info.start_time) / 1000 if info.end_time else None
    return {
        "run": {
            "id": info.run_id,
            "name": masked_text(info.run_name or ""),
            "started": info.start_time,
        },
        "model": hashlib.sha256(model).hexdigest(),
        "data": dataset.name,
        "data_digest": dataset.digest,
        "claim": claim(data.metrics),
        "kind": kind,
        "params": {key: str(masked(value, key)) for key, value in data.params.items()},
        "metrics": {
            name: [[p.step, p.timestamp, as_json(p.value)] for p in points]
            for name, points in history.items()
        },
        "tags": tags,
        "files": {path: _sha256(folder / path) for path in files},
        "training_seconds": seconds,
        "commit": tags.get("trace.commit"),
        "dirty": dirty,
        "summary": _summary(data.params, folder / FOLDER / "trace.json"),
    }


def claim(metrics: Mapping[str, float]) -> dict | None:
    """Return what a run says of itself: its accuracy on the test set, else on the validation set.

    The server shows it beside its own score, and marks one that the score contradicts.
    """
    for name, recorded in CLAIMS.items():
        value = metrics.get(recorded, metrics.get(name))
        if value is not None and 0 <= value <= 1:
            return {"metric": name, "value": value}
    return None


def _summary(params: Mapping[str, str], trace: Path) -> str:
    """Return the configuration in a line: the model, and what the command line changed."""
    overrides: list[str] = []
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        overrides = [str(o) for o in json.loads(trace.read_text(encoding="utf-8"))["overrides"]]
    model = params.get("model._target_", "").rpartition(".")[2] or "model"
    said = [o for o in overrides if not o.startswith(("data=", "tracking=", "experiment="))]
    return printable(" ".join([model, *said])[:200])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ------------------------------------------------------------------------------------ sending


class NotSent(WorkshopError):
    """A package is kept. `by_itself` says that it is refused, where another one may be taken."""

    def __init__(self, message: str, by_itself: bool):
        super().__init__(message)
        self.by_itself = by_itself


def send_later() -> str:
    """Return the command that sends what waits."""
    return part_command("part3_competition", "submit.py", "--pending")


def submit(package: Path) -> None:
    """Send a package, wait for the server's score and print it.

    Raises
    ------
    NotSent
        It is kept.
    WorkshopError
        It was sent, and the server found a fault in it or fell silent.
    """
    try:
        member = current()
        number = send(package, member.connection())
    except WorkshopError as error:
        raise NotSent(
            f"{_explained(error)}\nNothing is lost: the package is kept in {_shown(package)}\n"
            f"  to send it{_when(error)}: {send_later()}",
            by_itself=isinstance(error, Refused) and not is_passing(error) and error.status != 401,
        ) from None
    except KeyboardInterrupt:
        print(f"\nStopped. The package is kept in {_shown(package)}; to send it: {send_later()}")
        raise
    print(f"Sent as submission {number}. Its score takes a moment.", flush=True)
    with contextlib.suppress(WorkshopError):
        live.sync(member, seconds=2)  # what its live progress lacks
    print_result(wait(member, number), member.address)


def send_pending() -> None:
    """Send every package that is kept, the oldest first, and print the scores.

    Raises
    ------
    WorkshopError
        Some of them are still kept; or the server found a fault in one.
    """
    packages = kept()
    if not packages:
        print("No package waits to be sent.")
        return
    failed = []
    for package in packages:
        print(f"{_shown(package)}:", flush=True)
        try:
            submit(package)
        except WorkshopError as error:
            if isinstance(error, NotSent) and not error.by_itself:
                raise  # it would be the same for the others
            failed.append(package)
            print(f"{error}\n", file=sys.stderr)
    if failed:
        raise WorkshopError(f"{len(failed)} of {len(packages)} packages: see above.")


def kept() -> list[Path]:
    """Return the folders of all packages that wait to be sent, the oldest first."""
    found = [path.parent for path in PENDING.glob(f"*/{RECORD}") if path.parent.name[0] != "."]
    return sorted(found, key=lambda path: (path / RECORD).stat().st_mtime)


def send(package: Path, connection: Connection) -> int:
    """Send a package; return the submission's number at the server. It goes when that has it.

    Sending the same one again gives the same number and uses up nothing.

    Raises
    ------
    WorkshopError
        It could not be sent.
    """
    record = _read(package)
    try:
        answer = connection.request("POST", "/api/submissions", record, seconds=30)
    except Refused as error:
        if error.status != 404:
            raise
        _upload(package, record, connection, lacks=error.body.get("missing"))
        answer = connection.request("POST", "/api/submissions", record, seconds=30)
    number = answer.get("id")
    if not isinstance(number, int):
        raise NoAnswer(f"{connection.address} took the package without giving it a number.")
    shutil.rmtree(package, ignore_errors=True)
    return number


def _read(package: Path) -> dict:
    try:
        record = json.loads((package / RECORD).read_text(encoding="utf-8"))
        paths = [package / MODEL, *(package / FILES / path for path in record["files"])]
        if isinstance(record["model"], str) and all(path.is_file() for path in paths):
            return record
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise WorkshopError(
        f"{_shown(package)} is no whole package. Delete it and submit its run again."
    )


def _upload(package: Path, record: Mapping, connection: Connection, lacks: object) -> None:
    """Send the files of a package, those alone that the server `lacks` if it names any."""
    from tqdm import tqdm

    blobs = {digest: package / FILES / path for path, digest in record["files"].items()}
    blobs[record["model"]] = package / MODEL
    if isinstance(lacks, list) and set(lacks) & set(blobs):
        blobs = {digest: path for digest, path in blobs.items() if digest in lacks}
    whole = sum(path.stat().st_size for path in blobs.values())
    with tqdm(total=whole, unit="B", unit_scale=True, desc="Sending", disable=None) as bar:
        for digest, path in blobs.items():
            size = path.stat().st_size
            pieces = _pieces(path, bar.update)
            connection.request("PUT", f"/api/blobs/{digest}", upload=(pieces, size))


def _pieces(path: Path, sent) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
            sent(len(piece))


def _explained(error: WorkshopError) -> str:
    if isinstance(error, Refused):
        if error.status == 401:
            return f"The server does not know you any more ({error}). {HOW_TO_JOIN}"
        return f"The server did not take it: {error}"
    return str(error)


def _when(error: WorkshopError) -> str:
    """Return when it is worth trying again, as far as the server said so."""
    if not isinstance(error, (NoAnswer, Refused)):
        return " after that"  # one has to join first
    if not isinstance(error, Refused) or error.status != 429 or error.retry_after is None:
        return " later" if is_passing(error) else ""
    at = datetime.datetime.now() + datetime.timedelta(seconds=min(error.retry_after, 1e6))
    return f", from {at:%H:%M:%S} on"


def _shown(package: Path) -> str:
    return (package.relative_to(ROOT) if package.is_relative_to(ROOT) else package).as_posix()


# ---------------------------------------------------------------------------------- the score


def wait(member: Membership, number: int) -> dict:
    """Wait until a submission is scored or refused, showing its place in the queue.

    Raises
    ------
    WorkshopError
        The server fell silent. The submission is there and will be scored all the same.
    """
    from rich.console import Console
    from rich.markup import escape

    connection, silent_since, pause = member.connection(), None, 0.3
    later = (
        f"It was sent as submission {number} and will be scored without you: see {member.address}, "
        "or give the same command again"
    )
    try:
        with Console(stderr=True).status("Waiting for the score") as status:
            while True:
                try:
                    answer = connection.request("GET", f"/api/submissions/{number}")
                    silent_since = None
                    state = answer.get("state")
                    if state in ("scored", "refused"):
                        return answer
                    ahead = answer.get("ahead")
                    place = f", {ahead} ahead of it" if isinstance(ahead, int) and ahead else ""
                    status.update(
                        f"Submission {number}: {escape(printable(str(state)))}{place}"
                        " (Ctrl+C leaves; it will be scored all the same)"
                    )
                except WorkshopError as error:
                    now = time.monotonic()
                    silent_since = silent_since or now
                    if not is_passing(error) or now - silent_since > SILENCE:
                        raise WorkshopError(f"{error}\n{later}.") from None
                    status.update(f"Submission {number}: the server does not answer; trying again")
                time.sleep(pause)
                pause = min(2 * pause, 2.0)
    except KeyboardInterrupt:
        print(f"\n{later}.")
        raise


def print_result(answer: Mapping[str, object], address: str) -> None:
    """Print what the server found.

    Raises
    ------
    WorkshopError
        It refused the model.
    """
    number = answer.get("id")
    if answer.get("state") == "refused":
        raise WorkshopError(
            f"The server refused submission {number}: {printable(str(answer.get('reason')))}\n"
            "It counts as one of your submissions. Mend the model and submit it again."
        )
    low, high = _share(answer.get("low")), _share(answer.get("high"))
    lines = {
        "score": f"{_share(answer.get('score'))}  (95 % interval {low} to {high}) on images that "
        "nobody has seen: this ranks",
        "test": f"{_share(answer.get('test'))}  on the test set, as the server computed it",
        "rank": _rank(answer),
        "claim": _contradiction(answer),
        "note": answer.get("suspect"),
        "see": f"{address}{_link(answer.get('link'))}",
    }
    for name, line in lines.items():
        if line:
            print(f"{name:6} {printable(str(line))}")


def _rank(answer: Mapping[str, object]) -> str:
    rank, of = answer.get("rank"), answer.get("of")
    if isinstance(rank, int):
        return f"{rank} of {of}" if isinstance(of, int) else str(rank)
    if answer.get("suspect"):
        return "none, until whoever leads the workshop has looked at it"
    if answer.get("disqualified"):
        return f"none: {answer['disqualified']}"
    return "none: an earlier submission of yours is better"


def _contradiction(answer: Mapping[str, object]) -> str | None:
    said = answer.get("claim")
    if not answer.get("contradicted") or not isinstance(said, Mapping):
        return None
    return f"the run says {said.get('metric')} {_share(said.get('value'))}: the score contradicts"


def _share(value: object) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"{value:.4f}" if number and 0 <= value <= 1 else "?"


def _link(value: object) -> str:
    return value if isinstance(value, str) and value.startswith("/") else "/"
