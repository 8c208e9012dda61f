"""A competition as a folder of files: to look at, to keep, and to go on with elsewhere.

| file                              | for                                                          |
|-----------------------------------|--------------------------------------------------------------|
| participants.csv, submissions.csv | spreadsheets; cells that would be formulas begin with '      |
| board.json, competition.json      | the board as it was shown, the rule, the digests, the seed   |
| tables/*.jsonl                    | `workshop admin import`: every row, exactly                  |
| blobs/                            | models and files, each under its SHA-256                     |
| mlflow.db, mlartifacts/           | `mlflow ui --backend-store-uri sqlite:///mlflow.db`          |
| tokens.json (--with-tokens)       | hashes by which participants stay joined after an import     |
"""

import base64
import contextlib
import csv
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from workshop.errors import WorkshopError
from workshop.leaderboard import board, tables
from workshop.leaderboard.blobs import Blobs
from workshop.leaderboard.database import Database, new_join_code
from workshop.leaderboard.records import as_json

FORMAT = 1
ROWS = (tables.participants, tables.live_runs, tables.live_points, tables.submissions,
        tables.uploads)  # fmt: skip
SECRET = {"join_code", "seed", "revision"}  # columns of the competition that need asking for
FOR_SPREADSHEETS = {
    "participants.csv": (tables.participants, ("token_sha256", "skeleton", "revision")),
    "submissions.csv": (
        tables.submissions,
        ("key", "correct", "record", "lease_until", "lease_owner", "mirrored", "revision"),
    ),
}


@dataclass(frozen=True)
class Exported:
    """What was written, and what of it is missing."""

    folder: Path
    submissions: int
    has_seed: bool
    missing: list[str]  # hashes of files that the store no longer has


def export(
    db: Database,
    blobs: Blobs,
    folder: Path,
    with_seed: bool = False,
    with_tokens: bool = False,
    with_mlflow: bool = True,
) -> Exported:
    """Write everything into a folder, which is made; a server may run meanwhile.

    The seed is written if the competition is closed, or `with_seed`.

    Raises
    ------
    WorkshopError
        The folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WorkshopError(f"{folder} is not empty. Name a folder that does not exist yet.")
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    count, hashes = 0, set()
    with db.frozen() as read:
        (current,) = read(tables.competition)
        has_seed = with_seed or current["state"] == "closed"
        for table in ROWS:
            with _lines(_table_path(folder, table)) as write:
                for row in read(table):
                    write(_packed(table, row))
                    if table is tables.submissions:
                        count += 1
                        hashes |= _files(row)
        for name, (table, left_out) in FOR_SPREADSHEETS.items():
            _write_csv(folder / name, table, left_out, read(table))
        if with_tokens:
            people = {row["id"]: row["token_sha256"] for row in read(tables.participants)}
            _write_secret(
                folder / "tokens.json", {"join_code": current["join_code"], "tokens": people}
            )
    facts = {name: value for name, value in current.items() if name not in SECRET}
    facts["reference_scores"] = json.loads(facts["reference_scores"])
    seed = {"seed": current["seed"]} if has_seed else {}
    _write_json(folder / "competition.json", {"format": FORMAT} | facts | seed)
    shown = board.drawn(db, "")
    shown["competition"] |= {"join": None, "seed": current["seed"] if has_seed else None}
    _write_json(folder / "board.json", shown)
    missing = _copy(hashes, blobs, Blobs(str(folder / "blobs")))
    if with_mlflow:
        _write_mlflow(db, blobs, folder)
    return Exported(folder, count, has_seed, missing)


def restore(db: Database, blobs: Blobs, folder: Path) -> int:
    """Fill an empty database from an export; return how many submissions it holds.

    Raises
    ------
    WorkshopError
        The database is not empty, the folder is no export or lacks the seed, a file was changed.
    """
    facts = read_competition(folder)
    if "seed" not in facts:
        raise WorkshopError(
            f"{folder} holds no seed, without which nothing can be scored. Export it again: "
            "uv run workshop admin export FOLDER --with-seed"
        )
    db.create()
    if not db.is_empty():
        raise WorkshopError(
            "The database is not empty, and an import would mix two competitions. Name another "
            "--folder or --database-url."
        )
    kept = {"join_code": new_join_code(), "tokens": {}}
    if (folder / "tokens.json").exists():
        kept = json.loads((folder / "tokens.json").read_text(encoding="utf-8"))
    hashes = {sha256 for row in read_rows(folder, tables.submissions) for sha256 in _files(row)}
    _copy(hashes, Blobs(str(folder / "blobs")), blobs)

    def rows() -> Iterator[tuple[sa.Table, dict]]:
        facts["reference_scores"] = json.dumps(facts["reference_scores"])
        columns = {name: facts[name] for name in tables.competition.c.keys() if name in facts}  # noqa: SIM118
        highest = 1
        for table in ROWS:
            for row in read_rows(folder, table):
                highest = max(highest, row.get("revision", 0))
                yield table, _adopted(table, row, kept["tokens"])
        join_code = kept["join_code"]
        yield tables.competition, columns | {"revision": highest + 1, "join_code": join_code}

    db.fill(rows())
    return sum(1 for _ in read_rows(folder, tables.submissions))


def read_competition(folder: Path) -> dict:
    """Return what competition.json of an export holds.

    Raises
    ------
    WorkshopError
        It is no export, or one of another version.
    """
    path = folder / "competition.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WorkshopError(
            f"{path} cannot be read ({error}). Name a folder that `workshop admin export` wrote."
        ) from None
    if facts.get("format") != FORMAT:
        raise WorkshopError(
            f"{path} has format {facts.get('format')}, but this version reads {FORMAT}."
        )
    return facts


def read_rows(folder: Path, table: sa.Table) -> Iterator[dict]:
    """Yield the rows of a table from an export."""
    with open(_table_path(folder, table), encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row.get("correct") is not None:
                row["correct"] = base64.b64decode(row["correct"])
            if table is tables.live_points and row["value"] is not None:
                row["value"] = float(row["value"])
            yield row


def _adopted(table: sa.Table, row: dict, tokens: dict[str, str]) -> dict:
    """Return a row as another server takes it: nothing of the first one's processes in it."""
    if table is tables.participants:
        # Without tokens all have to be given a new one: workshop admin token NAME.
        unknown = hashlib.sha256(secrets.token_bytes(32)).hexdigest()
        return row | {"token_sha256": tokens.get(str(row["id"]), unknown)}
    if table is tables.live_runs:
        return row | {"mirrored_position": 0, "mirrored_status": None}
    if table is tables.submissions:
        begun = row["state"] == "scoring"
        fresh = {"lease_until": None, "lease_owner": None, "mirrored": False}
        fresh |= {"mlflow_experiment": None, "mlflow_run": None}
        return row | fresh | ({"state": "queued", "attempts": 0} if begun else {})
    return row


def _files(row: dict) -> set[str]:
    record = json.loads(row["record"])
    return {row["model_sha256"], *record.get("files", {}).values()}


def _copy(hashes: Iterable[str], source: Blobs, target: Blobs) -> list[str]:
    """Copy files from one store to another; return which the first one lacks."""
    missing = []
    with tempfile.TemporaryDirectory() as scratch:
        for sha256 in sorted(hashes):
            if target.exists(sha256):
                continue
            try:
                content = source.get(sha256)
            except WorkshopError:
                missing.append(sha256)
                continue
            if hashlib.sha256(content).hexdigest() != sha256:
                raise WorkshopError(
                    f"The file {sha256} in {source.uri} was changed: its SHA-256 is another."
                )
            path = Path(scratch, sha256)
            path.write_bytes(content)
            target.put(sha256, path)
    return missing


def _write_mlflow(db: Database, blobs: Blobs, folder: Path) -> None:
    from workshop.leaderboard import mirror

    folder = folder.absolute()
    artifacts = (folder / "mlartifacts").as_uri()
    mirror.rebuild(db, blobs, f"sqlite:///{(folder / 'mlflow.db').as_posix()}", artifacts)


def _table_path(folder: Path, table: sa.Table) -> Path:
    return folder / "tables" / f"{table.name.removeprefix('board_')}.jsonl"


def _packed(table: sa.Table, row: dict) -> dict:
    """Return a row as JSON holds it, without what is secret."""
    row = {name: value for name, value in row.items() if name != "token_sha256"}
    if row.get("correct") is not None:
        row["correct"] = base64.b64encode(row["correct"]).decode()
    if table is tables.live_points and row["value"] is not None:
        row["value"] = as_json(row["value"])
    return row


@contextlib.contextmanager
def _lines(path: Path) -> Iterator[Callable[[dict], None]]:
    """Open a file to which each call writes one line of JSON."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:

        def write(row: dict) -> None:
            file.write(json.dumps(row, allow_nan=False) + "\n")

        yield write


def _write_csv(
    path: Path, table: sa.Table, left_out: tuple[str, ...], rows: Iterable[dict]
) -> None:
    columns = [column.name for column in table.columns if column.name not in left_out]
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_cell(row[name]) for name in columns])


def _cell(value: object) -> object:
    """Return a value that no spreadsheet takes for a formula."""
    if isinstance(value, str):
        begins_one = value.lstrip().startswith(("=", "+", "-", "@"))
        if begins_one or value.startswith(("\t", "\r")):
            return f"'{value}"
    return value


def _write_json(path: Path, value: object) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")


def _write_secret(path: Path, value: object) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        json.dump(value, file)
