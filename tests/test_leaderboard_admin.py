"""What the instructor does: `workshop admin`, exports, and scores computed again."""

import csv
import hashlib
import json
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from leaderboard import (
    Clock,
    claimed,
    clock,
    db,
    fresh_database,
    joined,
    postgresql,
    score,
    scored,
    sent,
    url,
)

from workshop.cli import main
from workshop.errors import WorkshopError
from workshop.leaderboard import admin, board, export, tables
from workshop.leaderboard.blobs import Blobs
from workshop.leaderboard.database import Database
from workshop.leaderboard.recompute import recompute
from workshop.leaderboard.records import LiveBatch, LivePoint, NewSubmission

__all__ = ["clock", "db", "postgresql", "url"]  # fixtures


@pytest.fixture
def call(
    db: Database, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch
) -> Callable[..., str]:
    """Run `workshop admin` on the database; return what it said."""
    monkeypatch.setenv("WORKSHOP_DATABASE_URL", db.url)

    def run(*arguments: object, status: int = 0) -> str:
        where = ["--folder", str(tmp_path / "board")]
        assert main(["admin", *where, *map(str, arguments)]) == status
        said = capsys.readouterr()
        return said.err if status else said.out

    return run


def shown(db: Database) -> list[dict]:
    return board.drawn(db, "http://127.0.0.1:8765")["entries"]


# Single commands


def test_status_says_how_to_join_and_what_waits(db: Database, call):
    sent(db, joined(db, "Ada"))
    said = call("status")
    assert db.competition().join_code in said
    assert "1 wait" in said
    assert db.competition().seed not in said


def test_freeze_open_and_close_change_the_state(db: Database, call):
    for command, state in (("freeze", "frozen"), ("open", "open"), ("close", "closed")):
        said = call(command)
        assert db.competition().state == state
    assert db.competition().seed in said
    assert "seed published" in call("open", status=2)


def test_the_quota_counts_from_now_on(db: Database, call):
    ada = joined(db, "Ada")
    sent(db, ada)
    call("quota", 1)
    assert db.quota(ada.id).left == 0
    assert "not possible" in call("quota", -5, status=2)


def test_participants_are_listed_with_their_ranks(db: Database, call):
    scored(db, joined(db, "Ada"), 0.9)
    scored(db, joined(db, "[bold]Eve"), 0.5, suspect="knows the test set")
    said = call("participants")
    assert "0.9000" in said
    assert "[bold]Eve" in said
    assert "knows the" in said


def test_a_lost_token_is_replaced(db: Database, call):
    _, old = db.join("Ada", db.competition().join_code)
    new = call("token", "ada").split()[-1]
    assert db.participant_of(new).name == "Ada"
    assert db.participant_of(old) is None


def test_somebody_who_is_not_there_is_named(call):
    assert "no participant 'Ada'" in call("token", "Ada", status=2)


def test_a_renamed_participant_keeps_everything(db: Database, call):
    _, token = db.join("Ada", db.competition().join_code)
    scored(db, 1, 0.9)
    db.append_live(1, LiveBatch("a" * 32, "run", 5))
    call("rename", "Ada", "Countess", "Lovelace")
    assert db.participant_of(token).name == "Countess Lovelace"
    assert [entry["name"] for entry in shown(db)] == ["Countess Lovelace"]
    assert db.board().live[0].participant == "Countess Lovelace"
    assert db.unmirrored().submissions[0].participant == "Countess Lovelace"


def test_who_is_removed_is_nowhere_any_more(db: Database, call):
    ada, bob = joined(db, "Ada"), joined(db, "Bob")
    token = db.issue_token(ada.id)
    for person in (ada, bob):
        scored(db, person, 0.5)
        point = LivePoint("loss", 0, 5, 0.5)
        db.append_live(person.id, LiveBatch("a" * 32, "cnn", 5, None, {}, 0, [point], "running"))
    follows = board.Board(db, "")
    follows.take(db.board())
    assert "--yes" in call("remove", "Ada", status=2) and db.participant_of(token)

    assert "Ada (number 1) with 1 submissions" in call("remove", "Ada", "--yes")
    follows.take(db.changes_since(follows.revision))
    for shown in (follows.shown(), board.drawn(db, "")):
        assert [entry["name"] for entry in shown["entries"]] == ["Bob"]
        assert [run["name"] for run in shown["live"]] == ["Bob"]
    follows.close()
    assert db.participant_of(token) is None
    assert [record.participant for record in db.history()] == ["Bob"]
    for table in (tables.live_runs, tables.submissions):
        assert {row["participant_id"] for row in db.rows(table)} == {bob.id}
    assert len(list(db.rows(tables.live_points))) == 1
    assert joined(db, "Ada").id not in (ada.id, bob.id)  # the name is free


def test_nobody_is_renamed_to_a_name_that_is_taken_or_hostile(db: Database, call):
    joined(db, "Ada"), joined(db, "Eve")
    assert "taken" in call("rename", "Eve", "ADA", status=2)
    assert "cannot be seen" in call("rename", "Eve", "E\u202eve", status=2)


def test_a_disqualified_entry_shows_the_reason(db: Database, call):
    found = scored(db, joined(db, "Ada"), 0.9)
    call("disqualify", found.id, "trained", "on", "test", "images")
    (entry,) = shown(db)
    assert (entry["rank"], entry["disqualified"]) == (None, "trained on test images")
    call("restore", found.id)
    assert shown(db)[0]["rank"] == 1


@pytest.mark.parametrize("reason", [" ", "x" * 301, "a\u202eb"])
def test_a_reason_can_be_read_by_everybody(db: Database, call, reason: str):
    found = scored(db, joined(db, "Ada"), 0.9)
    assert "reason" in call("disqualify", found.id, reason, status=2)


def test_a_suspect_entry_is_ranked_after_it_is_cleared(db: Database, call):
    found = scored(db, joined(db, "Ada"), 0.9, suspect="knows the test set")
    assert shown(db)[0]["rank"] is None
    call("clear", found.id)
    assert shown(db)[0]["rank"] == 1


def test_a_repeated_run_is_marked(db: Database, call):
    found = scored(db, joined(db, "Ada"), 0.9)
    call("reproduced", found.id, "yes")
    assert shown(db)[0]["reproduced"] == "reproduced"
    call("reproduced", found.id, "no")
    assert shown(db)[0]["reproduced"] == "differs"


def test_after_a_change_of_the_rule_no_entry_keeps_an_old_score(db: Database, call):
    for name, accuracy in (("Ada", 0.9), ("Eve", 0.8)):
        scored(db, joined(db, name), accuracy)
    assert call("rescore", "all").startswith("2 ")
    assert shown(db) == []
    for accuracy in (0.6, 0.7):
        assert db.finish(claimed(db).id, "scorer", score(accuracy))
    assert [(entry["name"], entry["score"]) for entry in shown(db)] == [("Eve", 0.7), ("Ada", 0.6)]


def test_one_submission_is_scored_again(db: Database, call):
    ada = joined(db, "Ada")
    first, second = scored(db, ada, 0.9), scored(db, ada, 0.8)
    call("rescore", first.id)
    assert shown(db)[0]["submission"] == second.id
    assert claimed(db).id == first.id


@pytest.mark.parametrize(
    "arguments",
    [("rescore", 7), ("rescore", "x"), ("clear", 7), ("restore", 7), ("disqualify", 7, "why"),
     ("reproduced", 7, "yes")],
    ids=str,
)  # fmt: skip
def test_an_unknown_submission_is_named(call, arguments: tuple):
    assert str(arguments[1]) in call(*arguments, status=2)


def test_a_folder_without_a_leaderboard_is_not_made(tmp_path: Path, capsys):
    assert main(["admin", "--folder", str(tmp_path / "none"), "status"]) == 2
    assert "no leaderboard" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_database_that_is_away_is_told_without_a_traceback(tmp_path: Path, capsys):
    url = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    assert main(["admin", "--database-url", url, "status"]) == 2
    assert "does not answer" in capsys.readouterr().err


# Exports


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(str(tmp_path / "models"))


def stored(blobs: Blobs, tmp_path: Path, content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    (tmp_path / "new").write_bytes(content)
    blobs.put(sha256, tmp_path / "new")
    return sha256


@pytest.fixture
def played(db: Database, blobs: Blobs, tmp_path: Path) -> Database:
    """A competition in which everything has happened."""
    ada, eve = joined(db, "Ada"), joined(db, "=HYPERLINK(1)")
    db.append_live(ada.id, LiveBatch("a" * 32, "=run", 5, 10, {"lr": "0.1"}, 0, points()))
    config = stored(blobs, tmp_path, b"lr: 0.1")
    for i, (person, accuracy) in enumerate(((ada, 0.8), (eve, 0.9), (ada, 0.85), (eve, 0.5))):
        model = stored(blobs, tmp_path, b"model %d" % i)
        record = {
            "kind": "torch",
            "data": "digits",
            "run": {"id": f"{i:032x}", "name": "=run", "started": 5},
            "files": {"config.yaml": config},
            "params": {"lr": "0.1"},
            "metrics": {"loss": [[0, 5, "NaN"], [1, 6, 0.5]]},
            "tags": {"who": "Ada"},
        }
        new = NewSubmission(
            f"{i:032x}", model, "digits", "0" * 32, record, "test_accuracy", 0.9, 1.5, "=1+1"
        )
        db.submit(person.id, new)
        db.record_upload(person.id, model, 7)
        db.finish(claimed(db).id, "scorer", score(accuracy, seed=i))
    db.change_submission(4, disqualified="@SUM(1)")
    sent(db, ada)
    claimed(db)
    return db


def points() -> list[LivePoint]:
    return [LivePoint("loss", i, 5, value) for i, value in enumerate((0.5, np.nan, np.inf))]


def read_all(folder: Path) -> str:
    return "\n".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in folder.rglob("*")
        if path.is_file()
    )


def test_an_open_competition_is_exported_without_its_secrets(
    played: Database, blobs: Blobs, tmp_path: Path
):
    done = export.export(played, blobs, tmp_path / "out", with_mlflow=False)
    text = read_all(tmp_path / "out")
    current = played.competition()
    assert not done.has_seed
    assert current.seed not in text
    assert current.join_code not in text
    hashes = [row["token_sha256"] for row in played.rows(tables.participants)]
    assert not [one for one in hashes if one in text]
    assert current.seed_sha256 in text


def test_the_seed_is_exported_when_it_is_public(played: Database, blobs: Blobs, tmp_path: Path):
    played.set_state("closed")
    export.export(played, blobs, tmp_path / "out", with_mlflow=False)
    facts = json.loads((tmp_path / "out" / "competition.json").read_text(encoding="utf-8"))
    assert facts["seed"] == played.competition().seed


def test_no_cell_of_an_export_is_a_formula(played: Database, blobs: Blobs, tmp_path: Path):
    export.export(played, blobs, tmp_path / "out", with_mlflow=False)
    for name in ("participants.csv", "submissions.csv"):
        with open(tmp_path / "out" / name, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
        assert len(rows) > 2
        assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]
        assert [cell for row in rows for cell in row if cell.startswith("'")]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", " =", "\n+"])
def test_no_sign_that_begins_a_formula_begins_a_cell(sign: str):
    assert export._cell(f"{sign}1+1") == f"'{sign}1+1"
    assert export._cell("1+1") == "1+1" and export._cell(-0.5) == -0.5


def test_nothing_is_written_over(played: Database, blobs: Blobs, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(WorkshopError, match="not empty"):
        export.export(played, blobs, tmp_path / "out")


def test_a_model_that_is_missing_is_named_and_the_rest_exported(
    played: Database, blobs: Blobs, tmp_path: Path
):
    done = export.export(played, blobs, tmp_path / "out", with_mlflow=False)
    assert done.missing == [played.submission(5).model_sha256]  # never uploaded in this test
    assert len(list((tmp_path / "out" / "blobs").rglob("*"))) > 5


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_tokens_are_for_their_owner_alone(played: Database, blobs: Blobs, tmp_path: Path):
    export.export(played, blobs, tmp_path / "out", with_tokens=True, with_mlflow=False)
    mode = (tmp_path / "out" / "tokens.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_what_is_imported_is_what_was_exported(
    played: Database, blobs: Blobs, tmp_path: Path, url: str, clock: Clock, request
):
    _, token = played.join("Bob", played.competition().join_code)
    export.export(played, blobs, tmp_path / "out", True, True, with_mlflow=False)
    other = Database(elsewhere(url, tmp_path, request), clock)
    assert export.restore(other, Blobs(str(tmp_path / "other")), tmp_path / "out") == 5
    assert shown(other) == shown(played)
    assert other.history() == played.history()
    assert str(other.live_points(1)) == str(played.live_points(1))
    assert other.record(1) == played.record(1)
    assert other.participant_of(token).name == "Bob"
    assert other.competition().seed == played.competition().seed
    assert Blobs(str(tmp_path / "other")).get(other.submission(1).model_sha256) == b"model 0"
    assert other.uploaded(1) == played.uploaded(1)
    # and it goes on: what was under way waits again, new numbers follow the old ones
    job = claimed(other)
    assert (job.id, job.attempts) == (5, 1)
    assert joined(other, "Cleo").id == 4
    assert len(other.unmirrored().submissions) == 5
    other.close()


def elsewhere(url: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    if url.startswith("sqlite"):
        return f"sqlite:///{(tmp_path / 'other.db').as_posix()}"
    return fresh_database(request.getfixturevalue("postgresql"))


def test_without_tokens_nobodys_counts_after_an_import(
    played: Database, blobs: Blobs, tmp_path: Path
):
    _, token = played.join("Bob", played.competition().join_code)
    export.export(played, blobs, tmp_path / "out", with_seed=True, with_mlflow=False)
    other = Database(f"sqlite:///{(tmp_path / 'other.db').as_posix()}")
    export.restore(other, Blobs(str(tmp_path / "other")), tmp_path / "out")
    assert other.participant_of(token) is None
    assert other.competition().join_code != played.competition().join_code
    assert other.participant_of(other.issue_token(3)).name == "Bob"
    other.close()


def test_an_import_into_another_competition_is_refused(
    played: Database, blobs: Blobs, tmp_path: Path
):
    export.export(played, blobs, tmp_path / "out", with_seed=True, with_mlflow=False)
    with pytest.raises(WorkshopError, match="not empty"):
        export.restore(played, blobs, tmp_path / "out")


def test_an_import_without_the_seed_is_refused(played: Database, blobs: Blobs, tmp_path: Path):
    export.export(played, blobs, tmp_path / "out", with_mlflow=False)
    other = Database(f"sqlite:///{(tmp_path / 'other.db').as_posix()}")
    with pytest.raises(WorkshopError, match="--with-seed"):
        export.restore(other, blobs, tmp_path / "out")


def test_a_changed_model_is_not_imported(played: Database, blobs: Blobs, tmp_path: Path):
    export.export(played, blobs, tmp_path / "out", with_seed=True, with_mlflow=False)
    sha256 = played.submission(1).model_sha256
    next((tmp_path / "out").rglob(sha256)).write_bytes(b"another model")
    other = Database(f"sqlite:///{(tmp_path / 'other.db').as_posix()}")
    with pytest.raises(WorkshopError, match="was changed"):
        export.restore(other, Blobs(str(tmp_path / "other")), tmp_path / "out")
    assert other.is_empty()
    other.close()


def test_an_import_that_fails_leaves_the_database_empty(
    played: Database, blobs: Blobs, tmp_path: Path
):
    export.export(played, blobs, tmp_path / "out", with_seed=True, with_mlflow=False)
    with open(tmp_path / "out" / "tables" / "uploads.jsonl", "a", encoding="utf-8") as file:
        file.write("{broken")
    other = Database(f"sqlite:///{(tmp_path / 'other.db').as_posix()}")
    with pytest.raises(ValueError):
        export.restore(other, Blobs(str(tmp_path / "other")), tmp_path / "out")
    assert other.is_empty()
    other.close()


def test_a_folder_that_is_no_export_is_named(tmp_path: Path, capsys):
    (tmp_path / "no").mkdir()
    assert main(["admin", "--folder", str(tmp_path / "new"), "import", str(tmp_path / "no")]) == 2
    assert "admin export" in capsys.readouterr().err


@pytest.mark.slow
def test_an_export_holds_an_mlflow_database_that_opens(
    played: Database, blobs: Blobs, tmp_path: Path
):
    export.export(played, blobs, tmp_path / "out")
    with sqlite3.connect(tmp_path / "out" / "mlflow.db") as store:
        found = store.execute("SELECT count(*) FROM runs").fetchone()
    assert found[0] >= 5


@pytest.mark.slow
def test_a_competition_is_exported_and_imported_by_command(
    played: Database, tmp_path: Path, call, capsys, monkeypatch
):
    monkeypatch.setenv("WORKSHOP_ARTIFACTS", str(tmp_path))
    said = call("export", tmp_path / "out", "--with-seed")
    assert "5 submissions" in said
    monkeypatch.delenv("WORKSHOP_DATABASE_URL")
    monkeypatch.delenv("WORKSHOP_ARTIFACTS")
    where = ["--folder", str(tmp_path / "new")]
    assert main(["admin", *where, "import", str(tmp_path / "out")]) == 0
    assert main(["admin", *where, "status"]) == 0
    assert "2 of them ranked" in capsys.readouterr().out


# Scores computed again


def linear(weights: np.ndarray) -> bytes:
    """An ONNX model that takes the pixels' dot products with 10 weight images."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["images"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["cast", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 28, 28])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])],
        [
            numpy_helper.from_array(np.array([-1, 784], np.int64), "shape"),
            numpy_helper.from_array(weights.astype(np.float32), "weights"),
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


@pytest.fixture
def published(db: Database, blobs: Blobs, tmp_path: Path) -> Path:
    """The export of a closed competition of two, with models that the scorer scored."""
    from workshop.data import load_dataset
    from workshop.leaderboard.scorer import load_test_sets, score_model

    train = load_dataset("digits").train
    images = train.images.reshape(len(train), -1) / 255.0
    means = np.stack([images[train.labels == digit].mean(axis=0) for digit in range(10)], axis=1)
    seed = bytes.fromhex(db.competition().seed)
    db.update_competition(images_sha256=load_test_sets("digits", seed).images_sha256)
    for name, weights in (("Ada", means), ("Eve", means * (np.arange(10) < 8))):
        model = linear(weights)
        sha256 = stored(blobs, tmp_path, model)
        new = NewSubmission("a" * 32, sha256, "digits", "0" * 32, {"files": {}})
        db.submit(joined(db, name).id, new)
        db.finish(claimed(db).id, "scorer", score_model(model, "digits", seed))
    db.set_state("closed")
    export.export(db, blobs, tmp_path / "out", with_mlflow=False)
    return tmp_path / "out"


@pytest.mark.slow
def test_anybody_computes_the_same_scores_and_ranks_again(published: Path, capsys):
    assert main(["recompute", str(published)]) == 0
    said = capsys.readouterr().out
    assert "2 of 2 scores and ranks are as stored" in said
    assert [line.rank for line in recompute(published)] == [1, 2]


@pytest.mark.slow
def test_a_score_that_was_changed_is_found(published: Path, capsys):
    path = published / "tables" / "submissions.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows[1]["score"] = 0.99
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert main(["recompute", str(published)]) == 1
    assert "1 of 2 scores and ranks" in capsys.readouterr().out


@pytest.mark.slow
def test_a_rank_that_was_changed_is_found(published: Path):
    path = published / "board.json"
    shown = json.loads(path.read_text(encoding="utf-8"))
    shown["entries"][1]["rank"] = 1
    path.write_text(json.dumps(shown), encoding="utf-8")
    differences = [line.difference for line in recompute(published)]
    assert differences == [None, "rank 1 is 2"]


def test_a_seed_that_was_exchanged_is_found(played: Database, blobs: Blobs, tmp_path: Path):
    played.set_state("closed")
    export.export(played, blobs, tmp_path / "out", with_mlflow=False)
    path = tmp_path / "out" / "competition.json"
    facts = json.loads(path.read_text(encoding="utf-8")) | {"seed": "00" * 32}
    path.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(WorkshopError, match="not the one that was announced"):
        list(recompute(tmp_path / "out"))


def test_scores_cannot_be_computed_before_the_seed_is_public(
    played: Database, blobs: Blobs, tmp_path: Path, capsys
):
    export.export(played, blobs, tmp_path / "out", with_mlflow=False)
    assert main(["recompute", str(tmp_path / "out")]) == 2
    assert "holds no seed" in capsys.readouterr().err


def test_the_help_needs_no_heavy_import():
    import subprocess
    import sys

    code = (
        "import sys, workshop.leaderboard.admin\n"
        "print([name for name in ('sqlalchemy', 'numpy', 'fastapi') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert said.stdout.strip() == b"[]"
    assert admin.LONGEST_REASON
