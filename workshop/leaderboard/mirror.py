"""Copies live runs and submissions into the shared MLflow, as its only writer.

A run's number in MLflow follows from whose run it is, and every row is written so that writing it
again changes nothing: after a kill at any moment the next process starts over where the
leaderboard's own tables say that MLflow is behind. Rows of many runs go into one transaction of
MLflow's tables: its `log_batch`, run by run, is too slow for a room (300 runs with one point each:
see benchmarks/leaderboard.py mirror).
"""

import hashlib
import json
import logging
import math
import os
import posixpath
import re
import sqlite3
import tempfile
import threading
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from workshop.errors import WorkshopError
from workshop.leaderboard import tables
from workshop.leaderboard.blobs import Blobs
from workshop.leaderboard.database import Database
from workshop.leaderboard.records import LiveToMirror, Submission, SubmissionToMirror
from workshop.leaderboard.settings import Settings

LIVE, SUBMISSIONS = "live", "submissions"  # the two experiments
ROUND = 0.5  # seconds between two looks
MOST_RUNS = 1_000  # in one round
MOST_POINTS = 500  # of one run in one round
MOST_SENT = 20  # submissions in one round
LATER = 30.0  # seconds until what failed by itself is tried again
KEY, NAME, TAG, PARAM = 250, 250, 8_000, 6_000  # characters that MLflow takes
LARGEST = 1.7976931348623157e308  # MLflow's infinity
LARGEST_STEP = 2**63 - 1

STATUS = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "failed": "FAILED",
    "killed": "KILLED",
    "queued": "SCHEDULED",
    "scoring": "RUNNING",
    "scored": "FINISHED",
    "refused": "FAILED",
}
# What the server found; a participant's own metric of such a name becomes claimed/NAME.
SCORES = (
    "score", "score_low", "score_high", "test", "test_low", "test_high", "claim", "parameters",
    "inference_ms",
)  # fmt: skip
OURS = "leaderboard."  # tags that the server sets
FILES = "mlflow.leaderboard.files"  # which files were stored; MLflow's pages hide such tags

log = logging.getLogger(__name__)


def store_uri(settings: Settings) -> str:
    """Return the address of MLflow's store: beside our SQLite file, or in the same PostgreSQL."""
    url = sa.make_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{(settings.folder / 'mlflow.db').as_posix()}"
    patience = {"connect_timeout": "5", "options": "-c statement_timeout=30000"}
    return url.update_query_dict(patience | dict(url.query)).render_as_string(hide_password=False)


def artifact_root(settings: Settings) -> str:
    """Return the address of MLflow's artifacts."""
    uri = settings.mlflow_artifacts_uri
    return uri if "://" in uri else Path(uri).absolute().as_uri()


def run_id(competition: str, kind: str, *whose: object) -> str:
    """Return the 32 hex digits by which MLflow knows a run."""
    text = "\n".join(map(str, (competition, kind, *whose)))
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]


def run(settings: Settings, stop: threading.Event) -> None:
    """Copy until `stop` is set. Whatever fails is tried again; nobody else notices."""
    db = Database(settings.database_url)
    mirror = None
    while mirror is None:
        try:
            uri = store_uri(settings)
            mirror = Mirror(db, Blobs(settings.models_uri), uri, artifact_root(settings))
        except Exception:
            log.exception("MLflow's store cannot be opened; trying again")
            if stop.wait(LATER / 6):
                return
    # Of their own: an artifact store that hangs must not hold up the live runs.
    rounds = (mirror.copy_live, mirror.copy_submissions)
    threads = [threading.Thread(target=_repeat, args=(each, stop), daemon=True) for each in rounds]
    for thread in threads:
        thread.start()
    stop.wait()
    for thread in threads:
        thread.join(timeout=2)


def _repeat(one_round, stop: threading.Event) -> None:
    failures = 0
    while True:
        try:
            more = one_round()
            failures = 0
        except Exception:
            failures += 1
            more = False
            log.exception("MLflow was not brought up to date; trying again")
        if stop.wait(0 if more else min(ROUND * 2**failures, LATER)):
            return


def wait_for_store(settings: Settings, stop: threading.Event) -> bool:
    """Wait until the mirror has made MLflow's store; False if `stop` was set before."""
    engine = None
    while not stop.wait(0.3):
        try:
            if engine is None:
                uri = sa.make_url(store_uri(settings))
                if uri.get_backend_name() == "sqlite" and not Path(uri.database).exists():
                    continue  # opening it would make an empty file
                engine = sa.create_engine(uri)
            with engine.connect() as connection:
                query = sa.text("SELECT count(*) FROM experiments WHERE name IN (:live, :sent)")
                names = {"live": LIVE, "sent": SUBMISSIONS}
                if connection.execute(query, names).scalar_one() == 2:
                    engine.dispose()
                    return True
        except sa.exc.SQLAlchemyError:
            continue
    return False


def rebuild(db: Database, blobs: Blobs, uri: str, artifacts: str) -> None:
    """Copy everything into another, new MLflow store, such as one to give away.

    uri, artifacts : of that store, such as sqlite:///…/mlflow.db and a folder's address
    """
    mirror = Mirror(db, blobs, uri, artifacts, keeps_marks=False)
    names = {person.id: person.name for person in db.participants()}
    for row in db.rows(tables.live_runs):
        for part in _parts(db, row, names[row["participant_id"]]):
            mirror.write([mirror.live_run(part)])
    wanted = [item.name for item in fields(Submission)]
    for row in db.rows(tables.submissions):
        sent = Submission(**{name: row[name] for name in wanted})
        record = json.loads(row["record"])
        mirror.write_submission(SubmissionToMirror(names[sent.participant_id], sent, record))
    mirror.engine.dispose()


def _parts(db: Database, row: dict, participant: str) -> Iterator[LiveToMirror]:
    """Yield a live run in parts, so that not all its points are in memory at once."""
    done, size = 0, 10_000
    wanted = ("id", "participant_id", "run_id", "name", "status", "epochs", "started", "updated")
    while done == 0 or done < row["position"]:
        points = db.live_points(row["id"], done, size)
        yield LiveToMirror(
            **{name: row[name] for name in wanted},
            participant=participant,
            mirrored_status=None,
            params=json.loads(row["params"]),
            position=row["position"],
            mirrored_position=done,
            points=points,
        )
        done += size


@dataclass
class Run:
    """One run as MLflow shall have it.

    points : (metric, step, ms, value), all of them or those that are new
    tags, params : None if MLflow has them already
    replaced : metrics whose earlier points go
    """

    id: str
    experiment: str
    name: str
    user: str
    status: str
    start: int
    end: int | None
    points: list[tuple[str, int, int, float]]
    tags: dict[str, str] | None = None
    params: dict[str, str] | None = None
    replaced: tuple[str, ...] = ()


class Mirror:
    """MLflow's store, made if it is missing, and what is to be copied into it.

    uri : of MLflow's database
    artifacts : address of the folder or bucket for its artifacts
    keeps_marks : whether `db` remembers what was copied
    """

    def __init__(
        self, db: Database, blobs: Blobs, uri: str, artifacts: str, keeps_marks: bool = True
    ) -> None:
        self.db, self.blobs, self.artifacts = db, blobs, artifacts
        self.competition = db.competition().seed_sha256
        self.store = _store(uri)
        self.engine: sa.Engine = self.store.engine
        if self.store.get_experiment_by_name(SUBMISSIONS) is None:
            self._begin(db if keeps_marks else None)
        self.experiments = {name: self._experiment(name) for name in (LIVE, SUBMISSIONS)}
        self._seen = {LIVE: -1, SUBMISSIONS: -1}  # revisions
        self._looked = {LIVE: -math.inf, SUBMISSIONS: -math.inf}
        self._put_off: dict[tuple[str, int], float] = {}

    def copy_live(self) -> bool:
        """Bring the live runs up to date; True if there is more to copy."""
        if not self._is_due(LIVE):
            return False
        revision = self.db.revision()
        self._remove(LIVE)
        found = self.db.unmirrored(MOST_RUNS, MOST_POINTS, sent_limit=0).live
        found = [live for live in found if not self._is_put_off(LIVE, live.id)]
        copied = list(self._write_live(found))
        self.db.mark_many_live_mirrored(
            (live.id, live.mirrored_position + len(live.points), live.status) for live in copied
        )
        more = len(found) == MOST_RUNS or any(len(live.points) == MOST_POINTS for live in found)
        self._looked_at(LIVE, revision, more)
        return more

    def copy_submissions(self) -> bool:
        """Bring the submissions up to date; True if there is more to copy."""
        if not self._is_due(SUBMISSIONS):
            return False
        revision = self.db.revision()
        self._remove(SUBMISSIONS)
        found = self.db.unmirrored(0, sent_limit=MOST_SENT + len(self._put_off)).submissions
        found = [sent for sent in found if not self._is_put_off(SUBMISSIONS, sent.submission.id)]
        for sent in found:
            try:
                run = self.write_submission(sent)
            except Exception as error:
                if is_away(error):
                    raise
                self._put_off_until_later(SUBMISSIONS, sent.submission.id)
                continue
            self.db.mark_submission_mirrored(
                sent.submission.id, sent.submission.revision, run.experiment, run.id
            )
        self._looked_at(SUBMISSIONS, revision, bool(found))
        return bool(found)

    def live_run(self, live: LiveToMirror) -> Run:
        """Return a training as a run of MLflow."""
        run = Run(
            id=run_id(self.competition, LIVE, live.participant_id, live.run_id),
            experiment=self.experiments[LIVE],
            name=_name(live.participant, live.name),
            user=live.participant,
            status=STATUS[live.status],
            start=live.started,
            end=None if live.status == "running" else live.updated,
            points=[_point(one.metric, one.step, one.time, one.value) for one in live.points],
        )
        if live.mirrored_status is None:
            run.params = _params(live.params)
            run.tags = {"participant": live.participant, f"{OURS}run": live.run_id}
            run.tags |= {} if live.epochs is None else {f"{OURS}epochs": str(live.epochs)}
        return run

    def submitted_run(self, sent: SubmissionToMirror) -> Run:
        """Return a submission as a run of MLflow, with what the server found."""
        one, record = sent.submission, sent.record
        started = int(record.get("run", {}).get("started") or one.created)
        seconds = one.training_seconds
        history = [
            _point(f"claimed/{name}" if name in SCORES else name, *point)
            for name, points in (record.get("metrics") or {}).items()
            for point in points
        ]
        values = {
            "score": one.score,
            "score_low": one.low,
            "score_high": one.high,
            "test": one.test,
            "test_low": one.test_low,
            "test_high": one.test_high,
            "claim": one.claim_value,
            "parameters": one.parameters,
            "inference_ms": one.inference_ms,
        }
        at = one.scored_at or one.created
        found = [_point(key, 0, at, value) for key, value in values.items() if value is not None]
        about = {
            "submission": one.id,
            "run": one.run_id,
            "state": one.state,
            "claim": one.claim_metric and f"{one.claim_metric} {one.claim_value:.4f}",
            "reason": one.reason,
            "suspect": one.suspect,
            "disqualified": one.disqualified,
            "reproduced": one.reproduced,
            "summary": one.summary or None,
        }
        theirs = {
            key: value
            for key, value in _texts(record.get("tags"), TAG).items()
            if not key.startswith(("mlflow.", OURS))  # MLflow's pages make links of some
        }
        ours = {f"{OURS}{key}": str(value) for key, value in about.items() if value is not None}
        return Run(
            id=run_id(self.competition, SUBMISSIONS, one.participant_id, one.key),
            experiment=self.experiments[SUBMISSIONS],
            name=_name(sent.participant, record.get("run", {}).get("name")),
            user=sent.participant,
            status=STATUS[one.state],
            start=started,
            end=one.created if seconds is None else started + round(1000 * seconds),
            points=history + found,
            tags=theirs | ours | {"participant": sent.participant},
            params=_params(record.get("params")),
            replaced=SCORES,
        )

    def write_submission(self, sent: SubmissionToMirror) -> Run:
        """Write a submission, and its files if MLflow does not have them; return its run."""
        run = self.submitted_run(sent)
        files = sent.record.get("files") or {}
        digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
        with self.engine.connect() as connection:
            tags = _tables()["tags"]
            query = sa.select(tags.c.value).where(tags.c.run_uuid == run.id, tags.c.key == FILES)
            is_there = connection.execute(query).scalar() == digest
        run.tags |= {FILES: digest} if is_there else {}
        self.write([run])
        if not is_there:
            self._store_files(run, files, besides=sent.submission.model_sha256)
            run.tags |= {FILES: digest}
            self.write([run])
        return run

    def write(self, runs: Sequence[Run]) -> None:
        """Write runs and what is new of them in one transaction. Doing it again is harmless."""
        if not runs:
            return
        whole = [run for run in runs if run.tags is not None]
        with self.engine.begin() as connection:
            rows = _Rows(connection)
            rows.put("runs", [_run_row(run) for run in runs], replace=True)
            rows.clear("tags", [run.id for run in whole if run.replaced], prefix=OURS)
            named = [(run.id, run.tags | _mlflow_tags(run)) for run in whole]
            rows.put("tags", _pairs(named), replace=True)
            rows.put("params", _pairs((run.id, run.params or {}) for run in whole), replace=True)
            for table in ("metrics", "latest_metrics"):
                rows.clear(table, [run.id for run in whole if run.replaced], names=SCORES)
            points = [_metric_row(run.id, point) for run in runs for point in run.points]
            rows.put("metrics", points)
            rows.put_latest(points)

    def _remove(self, kind: str) -> None:
        """Delete the runs and files of participants who were removed.

        Only the thread that writes runs of this kind does it: none is written again afterwards.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        for whose in self.db.removed(kind):
            id = run_id(self.competition, kind, *whose)
            files = get_artifact_repository(f"{self.artifacts}/{kind}/{id}/artifacts")
            if files.list_artifacts():
                files.delete_artifacts()
            with self.engine.begin() as connection:
                for name in ("latest_metrics", "metrics", "params", "tags", "runs"):
                    table = _tables()[name]
                    connection.execute(table.delete().where(table.c.run_uuid == id))
            self.db.forget_removed(kind, whose)

    def _write_live(self, found: Sequence[LiveToMirror]) -> Iterator[LiveToMirror]:
        """Write many runs at once, or one by one if that fails; yield those that were written."""
        try:
            self.write([self.live_run(live) for live in found])
            yield from found
            return
        except Exception as error:
            if is_away(error):
                raise
        for live in found:
            try:
                self.write([self.live_run(live)])
                yield live
            except Exception as error:
                if is_away(error):
                    raise
                self._put_off_until_later(LIVE, live.id)

    def _store_files(self, run: Run, files: dict[str, str], besides: str) -> None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        repository = get_artifact_repository(f"{self.artifacts}/{_artifact_folder(run)}")
        with tempfile.TemporaryDirectory() as folder:
            for name, sha256 in files.items():
                path = safe_path(name)
                if path is None or sha256 == besides:  # rivals shall not copy the model
                    continue
                local = Path(folder, path.name)
                try:
                    local.write_bytes(self.blobs.get(sha256))
                except WorkshopError as error:
                    log.warning("%s of submission run %s is missing: %s", name, run.id, error)
                    continue
                below = path.parent.as_posix()
                repository.log_artifact(str(local), None if below == "." else below)
                local.unlink()

    def _begin(self, db: Database | None) -> None:
        if db is not None:
            db.forget_mirrored()  # the store is new, whatever was copied to an earlier one
        if self.store.get_experiment("0").lifecycle_stage == "active":
            self.store.delete_experiment("0")  # MLflow's empty Default

    def _experiment(self, name: str) -> str:
        found = self.store.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        from mlflow.entities import ExperimentTag

        # With the tag its pages open as those of models, not of language models.
        tag = ExperimentTag("mlflow.experimentKind", "custom_model_development")
        return self.store.create_experiment(name, f"mlflow-artifacts:/{name}", [tag])

    def _is_due(self, kind: str) -> bool:
        """Say whether something changed, or a look is due anyway."""
        if time.monotonic() - self._looked[kind] > LATER / 3:
            return True
        return self.db.revision() != self._seen[kind]

    def _looked_at(self, kind: str, revision: int, more: bool) -> None:
        if not more:
            self._seen[kind], self._looked[kind] = revision, time.monotonic()

    def _put_off_until_later(self, kind: str, id: int) -> None:
        log.exception("%s %d cannot be copied to MLflow; later again", kind, id)
        self._put_off[kind, id] = time.monotonic() + LATER

    def _is_put_off(self, kind: str, id: int) -> bool:
        until = self._put_off.get((kind, id))
        if until is not None and time.monotonic() >= until:
            del self._put_off[kind, id]
            until = None
        return until is not None


def safe_path(name: str) -> PurePosixPath | None:
    """Return a file's relative path; None if it could lie anywhere else than below its folder."""
    path = PurePosixPath(name)
    unusual = re.search(r"[\\:%\x00-\x1f\x7f]", name) or len(name) > 300
    if unusual or path.is_absolute() or ".." in path.parts or not path.name:
        return None
    return path


# MLflow's tables


def _store(uri: str):
    """Open MLflow's store, making its tables if need be."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from samerun.store import tracking as store

    if (local := store.local_store(uri)) is not None:
        store.create_store(local)
        with sqlite3.connect(local) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # readers never wait for the mirror
        connection.close()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    return SqlAlchemyStore(uri, "mlflow-artifacts:/")


def _tables() -> dict[str, sa.Table]:
    from mlflow.store.tracking.dbmodels.models import (
        SqlLatestMetric,
        SqlMetric,
        SqlParam,
        SqlRun,
        SqlTag,
    )

    return {
        kind.__tablename__: kind.__table__
        for kind in (SqlRun, SqlTag, SqlParam, SqlMetric, SqlLatestMetric)
    }


class _Rows:
    """Writing rows of MLflow's tables within one transaction, as often as one likes."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.tables = _tables()
        is_sqlite = connection.dialect.name == "sqlite"
        self.insert = sqlite.insert if is_sqlite else postgresql.insert

    def put(self, name: str, rows: Sequence[dict], replace: bool = False) -> None:
        """Insert rows; those that are there already are replaced or left."""
        if not rows:
            return
        table = self.tables[name]
        keys = [column.name for column in table.primary_key.columns]
        statement = self.insert(table)
        if replace:
            new = {key: statement.excluded[key] for key in rows[0] if key not in keys}
            statement = statement.on_conflict_do_update(index_elements=keys, set_=new)
        else:
            statement = statement.on_conflict_do_nothing()
        self.connection.execute(statement, list(rows))

    def put_latest(self, points: Sequence[dict]) -> None:
        """Let latest_metrics have the last of these points, unless it has a later one."""
        latest: dict[tuple[str, str], dict] = {}
        for row in points:
            key = row["run_uuid"], row["key"]
            if key not in latest or _order(latest[key]) < _order(row):
                latest[key] = row
        if not latest:
            return
        table = self.tables["latest_metrics"]
        statement = self.insert(table)
        new = {key: statement.excluded[key] for key in ("value", "timestamp", "step", "is_nan")}
        order = ("step", "timestamp", "value")  # MLflow's
        statement = statement.on_conflict_do_update(
            index_elements=["key", "run_uuid"],
            set_=new,
            where=sa.tuple_(*(statement.excluded[key] for key in order))
            > sa.tuple_(*(table.c[key] for key in order)),
        )
        self.connection.execute(statement, list(latest.values()))

    def clear(
        self, name: str, runs: Sequence[str], names: Sequence[str] = (), prefix: str | None = None
    ) -> None:
        """Remove these names, or those that begin so, of these runs."""
        if runs:
            table = self.tables[name]
            which = table.c.key.in_(names) if prefix is None else table.c.key.startswith(prefix)
            self.connection.execute(table.delete().where(table.c.run_uuid.in_(runs), which))


def is_away(error: BaseException) -> bool:
    """Say whether a database could not be reached or written, whatever the row was."""
    return isinstance(error, sa.exc.OperationalError | sa.exc.TimeoutError) or (
        isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated
    )


def _order(row: dict) -> tuple[int, int, float]:
    return row["step"], row["timestamp"], row["value"]


def _run_row(run: Run) -> dict:
    return {
        "run_uuid": run.id,
        "name": run.name,
        "source_type": "UNKNOWN",
        "source_name": "",
        "entry_point_name": "",
        "user_id": run.user,
        "status": run.status,
        "start_time": run.start,
        "end_time": run.end,
        "source_version": "",
        "lifecycle_stage": "active",
        "artifact_uri": f"mlflow-artifacts:/{_artifact_folder(run)}",
        "experiment_id": int(run.experiment),
    }


def _artifact_folder(run: Run) -> str:
    kind = SUBMISSIONS if run.replaced else LIVE
    return f"{kind}/{run.id}/artifacts"


def _mlflow_tags(run: Run) -> dict[str, str]:
    return {"mlflow.runName": run.name, "mlflow.user": run.user}


def _pairs(of_runs: Iterable[tuple[str, dict[str, str]]]) -> list[dict]:
    return [
        {"run_uuid": id, "key": key, "value": value}
        for id, pairs in of_runs
        for key, value in pairs.items()
    ]


def _metric_row(run: str, point: tuple[str, int, int, float]) -> dict:
    key, step, time, value = point
    return {
        "run_uuid": run,
        "key": key,
        "step": step,
        "timestamp": time,
        "value": 0.0 if math.isnan(value) else max(-LARGEST, min(LARGEST, value)),
        "is_nan": math.isnan(value),
    }


# Texts and numbers as MLflow takes them


def _point(key: str, step: object, time: object, value: object) -> tuple[str, int, int, float]:
    return _key(key), _whole(step), _whole(time), float(value)


def _whole(number: object) -> int:
    return max(-LARGEST_STEP, min(LARGEST_STEP, int(number)))


def _params(params: dict | None) -> dict[str, str]:
    return {_key(key): value for key, value in _texts(params, PARAM).items()}


def _texts(pairs: dict | None, longest: int) -> dict[str, str]:
    return {
        _plain(str(key), KEY): _plain(str(value), longest) for key, value in (pairs or {}).items()
    }


def _name(participant: str, run: str | None) -> str:
    return _plain(f"{participant} · {run}" if run else participant, NAME)


def _key(text: str) -> str:
    """Return a name that MLflow takes for a metric or a parameter."""
    name = re.sub(r"[^\w.\- :/]", "_", _plain(text, KEY)).strip() or "_"
    is_path = name == posixpath.normpath(name) and not name.startswith(("/", "."))
    return name if is_path else name.replace("/", "_").replace(".", "_")


def _plain(text: str, longest: int) -> str:
    """Return a text without what no database or page should meet: controls, marks of direction."""
    kept = (sign for sign in text if sign in "\n\t" or unicodedata.category(sign)[0] != "C")
    return "".join(kept)[:longest]
