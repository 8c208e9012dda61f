"""What the shared MLflow shows of live runs and of submissions."""

import contextlib
import hashlib
import math
import random
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import servers
import sqlalchemy as sa
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils import validation

from workshop.leaderboard import mirror
from workshop.leaderboard.blobs import Blobs
from workshop.leaderboard.database import Database
from workshop.leaderboard.mirror import Mirror
from workshop.leaderboard.records import LiveBatch, LivePoint, NewSubmission, Score, Unmirrored
from workshop.leaderboard.settings import Settings

RUN = "ab" * 16
MODEL = "cd" * 32
SCORE = Score(0.81, 0.8, 0.82, 0.9, 0.89, 0.91, 0.9, b"\xff", 7850, 3.5)
START = 1_800_000_000_000


class Board:
    """A leaderboard's data in a folder, with one participant, and the mirror into MLflow."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.settings = Settings.of(folder, database_url=url)
        self.db = Database(self.settings.database_url)
        self.db.create()
        self.code = self.db.start_competition(data="digits", name="Test").join_code
        self.ada = self.join("Ada")
        self.blobs = Blobs(self.settings.models_uri)
        self.mirror = self.opened()

    def opened(self) -> Mirror:
        uri, root = mirror.store_uri(self.settings), mirror.artifact_root(self.settings)
        return Mirror(self.db, self.blobs, uri, root)

    def join(self, name: str) -> int:
        return self.db.join(name, self.code)[0].id

    def log(self, *points: tuple[str, int, float], whose: int | None = None, **more) -> LiveBatch:
        made = [LivePoint(name, step, START + step, value) for name, step, value in points]
        batch = LiveBatch(**{"run_id": RUN, "name": "wide", "started": START} | more, points=made)
        self.db.append_live(whose or self.ada, batch)
        return batch

    def submit(self, model: str = MODEL, **record) -> int:
        new = NewSubmission(
            run_id=RUN,
            model_sha256=model,
            data="digits",
            data_digest="x",
            record={"run": {"id": RUN, "name": "wide", "started": START}, **record},
            claim_metric="val_accuracy",
            claim_value=0.95,
            training_seconds=60.0,
            summary="a CNN",
        )
        return self.db.submit(self.ada, new)[0].id

    def score(self, score: Score = SCORE) -> None:
        job = self.db.claim("scorer", 60_000)
        assert self.db.finish(job.id, "scorer", score)

    def store(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.settings.folder / "upload"
        path.write_bytes(content)
        self.blobs.put(sha256, path)
        return sha256

    def copy(self) -> None:
        while self.mirror.copy_live() | self.mirror.copy_submissions():
            pass

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(mirror.store_uri(self.settings))

    def runs(self, experiment: str) -> list[Run]:
        client = self.client
        found = client.get_experiment_by_name(experiment)
        return client.search_runs([found.experiment_id])

    def run(self, experiment: str) -> Run:
        (run,) = self.runs(experiment)
        return run

    def history(self, name: str, experiment: str = "live") -> list[tuple[int, int, float]]:
        found = self.client.get_metric_history(self.run(experiment).info.run_id, name)
        return sorted((point.step, point.timestamp, point.value) for point in found)

    def files(self) -> set[str]:
        root = Path(self.settings.mlflow_artifacts_uri)
        return {
            path.relative_to(root).as_posix().partition("/artifacts/")[2]
            for path in root.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def board(tmp_path: Path, store_template: Path) -> Board:
    folder = tmp_path / "the bòard"
    folder.mkdir()
    shutil.copy(store_template, folder / "mlflow.db")
    return Board(folder)


# Live runs


def test_a_live_run_appears_with_its_owner_parameters_and_history(board: Board) -> None:
    board.log(("val", 0, 0.5), ("val", 1, 0.625), params={"lr": "0.1"}, epochs=20)
    board.copy()
    run = board.run("live")
    assert (run.info.run_name, run.info.user_id) == ("Ada · wide", "Ada")
    assert (run.info.status, run.info.start_time) == ("RUNNING", START)
    assert run.data.params == {"lr": "0.1"}
    assert run.data.tags["participant"] == "Ada"
    assert run.data.tags["leaderboard.run"] == RUN
    assert board.history("val") == [(0, START, 0.5), (1, START + 1, 0.625)]
    assert run.data.metrics == {"val": 0.625}


def test_what_comes_later_is_added_and_the_end_is_shown(board: Board) -> None:
    board.log(("val", 0, 0.5))
    board.copy()
    board.log(("val", 1, 0.75), position=1, status="finished")
    board.copy()
    run = board.run("live")
    assert run.info.status == "FINISHED" and run.info.end_time
    assert board.history("val") == [(0, START, 0.5), (1, START + 1, 0.75)]
    assert run.data.metrics == {"val": 0.75}


def test_the_latest_value_is_that_of_the_highest_step_in_whatever_order_they_come(
    board: Board,
) -> None:
    board.log(("val", 5, 0.75), ("val", 2, 0.5))
    board.copy()
    board.log(("val", 3, 0.25), position=2)
    board.copy()
    assert board.run("live").data.metrics == {"val": 0.75}


def test_numbers_that_are_none_are_shown_as_mlflow_shows_them(board: Board) -> None:
    board.log(("loss", 0, math.nan), ("up", 0, math.inf), ("down", 0, -math.inf))
    board.copy()
    metrics = board.run("live").data.metrics
    assert math.isnan(metrics["loss"])
    assert (metrics["up"], metrics["down"]) == (mirror.LARGEST, -mirror.LARGEST)


def test_a_copy_that_was_cut_off_before_it_was_noted_is_repeated_without_a_trace(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.log(("val", 0, 0.5), ("val", 1, 0.5), params={"lr": "0.1"})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(board.db, "mark_many_live_mirrored", killed)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                board.mirror.copy_live()
    board.mirror = board.opened()
    board.copy()
    assert board.history("val") == [(0, START, 0.5), (1, START + 1, 0.5)]
    assert len(board.runs("live")) == 1


def test_long_histories_come_in_parts(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "MOST_POINTS", 3)
    board.log(*[("val", step, step / 8) for step in range(10)])
    assert board.mirror.copy_live() is True  # there is more
    assert len(board.history("val")) == 3
    board.copy()
    assert [step for step, *_ in board.history("val")] == list(range(10))


def test_a_new_name_of_a_participant_is_shown(board: Board) -> None:
    board.log(("val", 0, 0.5))
    board.submit()
    board.copy()
    board.db.rename(board.ada, "Grace")
    board.copy()
    for kind in ("live", "submissions"):
        assert board.run(kind).info.run_name == "Grace · wide"
        assert board.run(kind).data.tags["participant"] == "Grace"


def test_two_participants_with_the_same_run_number_have_two_runs(board: Board) -> None:
    board.log(("val", 0, 0.5))
    board.log(("val", 0, 0.25), whose=board.join("Emmy"))
    board.copy()
    found = {run.info.user_id: run.data.metrics["val"] for run in board.runs("live")}
    assert found == {"Ada": 0.5, "Emmy": 0.25}


HOSTILE = ("../../etc", "/a", "a//b", ".", "..", "", "a\u202eb", "é$%'\"<b>", "x" * 400, "a/../b")


def test_names_that_mlflow_would_refuse_are_changed_into_ones_that_it_takes(board: Board) -> None:
    for name in HOSTILE:
        validation._validate_metric_name(mirror._key(name))
        validation._validate_param_name(mirror._key(name))
    board.log(*[(name, 0, 0.5) for name in HOSTILE], params=dict.fromkeys(HOSTILE, "\0\u202e1"))
    board.copy()
    run = board.run("live")
    assert set(run.data.params.values()) == {"1"}
    assert len(run.data.metrics) == len(set(map(mirror._key, HOSTILE)))


def test_a_run_that_cannot_be_copied_does_not_stop_the_others(
    board: Board, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    board.log(("val", 0, 0.5))
    emmy = board.join("Emmy")
    board.log(("val", 0, 0.25), whose=emmy)
    real = Mirror.live_run

    def poisoned(self: Mirror, live):
        run = real(self, live)
        return replace(run, points=[("val", 0, 0, None)]) if live.participant == "Ada" else run

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "live_run", poisoned)
        board.copy()
    assert board.run("live").info.user_id == "Emmy"
    assert "cannot be copied" in caplog.text
    monkeypatch.setattr(mirror, "LATER", 0.0)
    board.mirror = board.opened()
    board.copy()
    assert len(board.runs("live")) == 2


def test_a_store_that_is_away_delays_the_copy_and_loses_nothing(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.log(("val", 0, 0.5))
    engine = board.mirror.engine
    board.mirror.engine = sa.create_engine("sqlite:////nowhere/at/all/mlflow.db")
    with pytest.raises(sa.exc.OperationalError):
        board.mirror.copy_live()
    board.log(("val", 1, 0.75), position=1)  # the leaderboard itself goes on
    board.mirror.engine = engine
    board.copy()
    assert len(board.history("val")) == 2


def test_an_mlflow_store_that_was_lost_is_filled_again(board: Board, store_template: Path) -> None:
    board.log(("val", 0, 0.5))
    board.submit(files={"trace/a.txt": board.store(b"a")})
    board.score()
    board.copy()
    before = rows_of(board)
    for left in board.settings.folder.glob("mlflow.db*"):
        left.unlink()
    SqlAlchemyStore._engine_map.clear()  # as a new process would begin
    shutil.copy(store_template, board.settings.folder / "mlflow.db")
    assert rows_of(board) != before
    board.mirror = board.opened()
    board.copy()
    assert rows_of(board) == before


def rows_of(board: Board) -> list[tuple]:
    """All metrics in MLflow's file, read past whatever MLflow keeps open."""
    query = "SELECT run_uuid, key, step, value FROM metrics ORDER BY run_uuid, key, step"
    with contextlib.closing(sqlite3.connect(board.settings.folder / "mlflow.db")) as file:
        return file.execute(query).fetchall()


# Submissions


def test_a_submission_appears_with_history_trace_files_and_the_servers_scores(
    board: Board,
) -> None:
    config = board.store(b"lr: 0.1\n")
    id = board.submit(
        params={"lr": "0.1"},
        metrics={"val": [[0, START, 0.5], [1, START + 9, "NaN"]]},
        tags={"trace.commit": "abc", "mlflow.source.git.repoURL": "javascript:alert(1)"},
        files={"trace/config.yaml": config},
    )
    board.copy()
    assert board.run("submissions").info.status == "SCHEDULED"
    board.score()
    board.copy()
    run = board.run("submissions")
    assert run.info.status == "FINISHED" and run.info.run_name == "Ada · wide"
    assert run.info.end_time - run.info.start_time == 60_000
    assert run.data.params == {"lr": "0.1"}
    assert run.data.tags["trace.commit"] == "abc"
    assert run.data.tags["leaderboard.submission"] == str(id)
    assert "mlflow.source.git.repoURL" not in run.data.tags
    assert run.data.metrics["score"] == 0.81 and run.data.metrics["test"] == 0.9
    assert (run.data.metrics["score_low"], run.data.metrics["score_high"]) == (0.8, 0.82)
    assert run.data.metrics["claim"] == 0.95
    assert [step for step, *_ in board.history("val", "submissions")] == [0, 1]
    assert board.files() == {"trace/config.yaml"}
    sent = board.db.submission(id)
    assert (sent.mlflow_run, sent.mlflow_experiment) == (run.info.run_id, run.info.experiment_id)


def test_who_is_removed_is_gone_from_mlflow_and_the_others_stay(board: Board) -> None:
    bob = board.join("Bob")
    board.log(("loss", 0, 0.5))
    board.log(("loss", 0, 0.25), whose=bob)
    board.submit(files={"trace/config.yaml": board.store(b"lr: 0.1\n")})
    board.copy()
    board.log(("loss", 1, 0.5), position=1)  # not copied yet
    board.db.remove(board.ada)
    board.copy()
    assert [run.data.tags["participant"] for run in board.runs("live")] == ["Bob"]
    assert not board.runs("submissions") and not board.files()
    with board.mirror.engine.connect() as connection:
        for name in ("tags", "params", "metrics", "latest_metrics"):
            of_runs = connection.execute(sa.text(f"SELECT DISTINCT run_uuid FROM {name}"))
            assert set(of_runs.scalars()) <= {board.run("live").info.run_id}
    assert not board.db.removed("live") and not board.db.removed("submissions")


def test_a_score_of_ones_own_is_kept_apart_from_the_servers(board: Board) -> None:
    board.submit(metrics={"score": [[9, START + 10**9, 1.0]]}, tags={"leaderboard.state": "won"})
    board.score()
    board.copy()
    run = board.run("submissions")
    assert run.data.metrics["score"] == 0.81 and run.data.metrics["claimed/score"] == 1.0
    assert run.data.tags["leaderboard.state"] == "scored"


def test_a_new_score_replaces_the_old_one(board: Board) -> None:
    board.submit()
    board.score()
    board.copy()
    board.db.rescore()
    board.copy()
    assert "score" not in board.run("submissions").data.metrics
    board.score(replace(SCORE, score=0.7))
    board.copy()
    assert [value for *_, value in board.history("score", "submissions")] == [0.7]


def test_a_score_that_comes_while_its_submission_is_copied_reaches_mlflow(board: Board) -> None:
    id = board.submit()
    (copied,) = board.db.unmirrored(0, sent_limit=1).submissions
    board.score()
    assert not board.db.mark_submission_mirrored(id, copied.submission.revision, "1", "a run")
    board.copy()
    assert board.run("submissions").data.metrics["score"] == 0.81


def test_a_refused_submission_says_why(board: Board) -> None:
    board.submit()
    job = board.db.claim("scorer", 60_000)
    board.db.refuse(job.id, "scorer", "Its output has the wrong shape.")
    board.copy()
    run = board.run("submissions")
    assert run.info.status == "FAILED"
    assert run.data.tags["leaderboard.reason"] == "Its output has the wrong shape."


def test_a_disqualification_is_shown_and_taken_back(board: Board) -> None:
    id = board.submit()
    board.score()
    board.db.change_submission(id, disqualified="trained on the test set")
    board.copy()
    assert board.run("submissions").data.tags["leaderboard.disqualified"]
    board.db.change_submission(id, disqualified=None)
    board.copy()
    assert "leaderboard.disqualified" not in board.run("submissions").data.tags


def test_the_model_is_not_given_to_rivals(board: Board) -> None:
    model = board.store(b"the weights")
    board.submit(model, files={"model.txt": model, "notes.txt": board.store(b"notes")})
    board.copy()
    assert board.files() == {"notes.txt"}
    run = board.run("submissions")
    assert model not in str(run.data.tags) + str(run.data.params)


@pytest.mark.parametrize(
    "name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "C:\\out.txt", "a\\..\\out.txt", ".."]
)
def test_a_file_cannot_leave_its_folder(board: Board, name: str) -> None:
    good = board.store(b"good")
    board.submit(files={name: good, "fine.txt": good})
    board.copy()
    assert board.files() == {"fine.txt"}
    assert not list(board.settings.folder.rglob("*out.txt"))


def test_a_file_that_is_gone_does_not_keep_the_rest_from_mlflow(board: Board) -> None:
    board.submit(files={"gone.txt": "ee" * 32, "here.txt": board.store(b"here")})
    board.copy()
    assert board.files() == {"here.txt"}
    assert board.db.unmirrored().submissions == []


def test_everything_can_be_copied_into_another_store(board: Board, tmp_path: Path) -> None:
    board.log(*[("val", step, step / 8) for step in range(5)], status="finished")
    board.submit(metrics={"val": [[0, START, 0.5]]}, files={"a.txt": board.store(b"a")})
    board.score()
    board.copy()
    other = tmp_path / "export" / "mlflow.db"
    uri = f"sqlite:///{other.as_posix()}"
    mirror.rebuild(board.db, board.blobs, uri, (tmp_path / "export" / "files").as_uri())
    client = MlflowClient(uri)
    for kind in ("live", "submissions"):
        ours = board.run(kind)
        theirs = client.get_run(ours.info.run_id)
        assert theirs.data.to_dictionary() == ours.data.to_dictionary()
        assert theirs.info.status == ours.info.status
    copied = client.get_metric_history(board.run("live").info.run_id, "val")
    assert len(copied) == 5
    assert len(list((tmp_path / "export" / "files").rglob("a.txt"))) == 1
    assert board.db.unmirrored() == Unmirrored([], [])


# Ends


KILLED = """
import os, signal, sys, threading
from pathlib import Path
import sqlalchemy as sa
from workshop.leaderboard import mirror
from workshop.leaderboard.database import Database
from workshop.leaderboard.records import Unmirrored
from workshop.leaderboard.settings import Settings

left = int(sys.argv[2])
settings, stop = Settings.of(Path(sys.argv[1])), threading.Event()
mirror.MOST_POINTS = 7  # many small rounds


def die(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGTERM if os.name == "nt" else signal.SIGKILL)


def watch():
    db = Database(settings.database_url)
    while db.unmirrored() != Unmirrored([], []):
        stop.wait(0.2)
    stop.set()


sa.event.listen(sa.Engine, "after_cursor_execute", die)
sa.event.listen(sa.Engine, "commit", die)
threading.Thread(target=watch, daemon=True).start()
mirror.run(settings, stop)
"""


@pytest.mark.slow
def test_a_mirror_that_is_killed_again_and_again_copies_everything_once(board: Board) -> None:
    people = [board.ada, *(board.join(f"Person {number}") for number in range(30))]
    points = [("val", step, step / 64) for step in range(200)]
    for person in people:
        board.log(*points, whose=person, status="finished")
    for number in range(10):
        files = {"trace/config.yaml": board.store(b"%d" % number)}
        board.submit(f"{number:064d}", metrics={"val": [[0, START, 0.5]]}, files=files)
    board.mirror.engine.dispose()
    drawn = random.Random(1)
    # After so many statements, on whichever thread; the last one is left to come to its end.
    for statements in [*(drawn.randrange(20, 400) for _ in range(6)), 0]:
        command = [sys.executable, "-c", KILLED, str(board.settings.folder), str(statements)]
        ended = subprocess.run(command, stderr=subprocess.DEVNULL, timeout=120).returncode
        assert (ended == 0) == (statements == 0)
    assert board.db.unmirrored() == Unmirrored([], [])
    assert len(board.runs("live")) == 31 and len(board.runs("submissions")) == 10
    for run in board.runs("live"):
        found = board.client.get_metric_history(run.info.run_id, "val")
        assert sorted(point.step for point in found) == list(range(200))
        assert run.info.status == "FINISHED" and run.data.metrics == {"val": 199 / 64}
    assert sum(path.name == "config.yaml" for path in board.settings.folder.rglob("*")) == 10


@pytest.mark.slow
def test_postgresql_holds_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "database"
    folder.mkdir()
    with servers.postgresql(folder) as url:
        board = Board(tmp_path / "board", url)
        board.log(("val", 0, 0.5), ("loss", 0, math.nan), params={"a": "1"})
        board.submit(metrics={"val": [[0, START, 0.5]]}, files={"a.txt": board.store(b"a")})
        board.copy()
        board.log(("val", 1, 0.75), ("up", 1, math.inf), position=2, status="finished")
        board.score()
        board.copy()
        board.db.rescore()
        board.score(replace(SCORE, score=0.7))
        board.copy()
        board.db.forget_mirrored()
        board.copy()
        assert board.history("val") == [(0, START, 0.5), (1, START + 1, 0.75)]
        assert board.run("live").data.metrics["val"] == 0.75
        assert board.run("live").info.status == "FINISHED"
        assert [value for *_, value in board.history("score", "submissions")] == [0.7]
        board.mirror.engine.dispose()
        board.db.close()
