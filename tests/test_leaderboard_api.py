"""The leaderboard's database and HTTP: what participants and viewers meet."""

import asyncio
import gzip
import hashlib
import json
import math
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import servers
import sqlalchemy as sa
from leaderboard import (
    Clock,
    Room,
    begun,
    bits,
    claimed,
    clock,
    db,
    fresh_database,
    joined,
    live_body,
    postgresql,
    room,
    running,
    score,
    scored,
    sent,
    shared_room,
    submission_body,
    url,
    wait,
)
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError

from workshop.errors import WorkshopError
from workshop.leaderboard import (
    api,
    commits,
    events,
    guard,
    limits,
    live_log,
    messages,
    names,
    ranking,
    records,
    uploads,
    worker,
)
from workshop.leaderboard.blobs import Blobs
from workshop.leaderboard.board import drawn
from workshop.leaderboard.database import Database
from workshop.leaderboard.records import LiveBatch, LivePoint, NewSubmission, Rejected
from workshop.leaderboard.settings import Settings

__all__ = ["clock", "db", "postgresql", "room", "shared_room", "url"]  # fixtures

RUN = "a" * 32
HOSTILE_NAMES = {
    "": "letter or digit",
    "   ": "letter or digit",
    "?!": "letter or digit",
    "x" * 41: "at most 40",
    "Ada\x00": "cannot be seen",
    "Ada\nEve": "cannot be seen",
    "Ada\u202eevE": "right-to-left",
    "A\u200bda": "zero width",
    "Ad\ufe0fa": "variation selector",
    "Ada\u3164": "filler",
    "Ada\U000e0041": "tag",
    "\u0410da": "Cyrillic and Latin",
    "p\u03b1ul": "Greek and Latin",
    "Z" + "\u0337\u0316" * 4: "marks",
}


# Names


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_is_refused_with_the_reason(name: str):
    with pytest.raises(WorkshopError, match=HOSTILE_NAMES[name]):
        names.check_name(name)


@pytest.mark.parametrize(
    "name", ["Ada", "José Núñez", "李小龍", "山田 Taro", "Ада", "نور", "O'Brien", "Team 7 🚀"]
)
def test_names_of_all_scripts_are_kept_as_they_are(name: str):
    assert names.check_name(f"  {name} ") == name


@pytest.mark.parametrize(
    "other", ["ADA", "Áda", "A d a", "Ada.", "Ａda", "\u0410\u0501\u0430", "𝐀𝐝𝐚"]
)
def test_a_name_that_looks_like_another_is_taken(db: Database, other: str):
    joined(db, "Ada")
    with pytest.raises(Rejected, match="taken") as caught:
        joined(db, other)
    assert caught.value.status == 409


def test_zero_and_o_one_and_l_and_rn_and_m_look_alike(db: Database):
    joined(db, "Morn01")
    with pytest.raises(Rejected, match="taken"):
        joined(db, "MomOl")


# Ranks


def test_the_paired_test_is_mcnemars():
    from scipy.stats import binomtest

    one, other = bits(0.8), bits(0.7, seed=3)
    a, b = (
        np.unpackbits(np.frombuffer(one, np.uint8)),
        np.unpackbits(np.frombuffer(other, np.uint8)),
    )
    only_one, only_other = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    expected = binomtest(only_one, only_one + only_other).pvalue
    assert ranking.paired_p(one, other) == pytest.approx(expected, rel=1e-9)
    assert ranking.paired_p(other, one) == pytest.approx(expected, rel=1e-9)


def test_equal_models_cannot_be_told_apart():
    assert ranking.paired_p(bits(0.8), bits(0.8)) == 1.0


def entries(*accuracies: float) -> list[records.HistoryRecord]:
    class Entry:
        def __init__(self, id: int, accuracy: float) -> None:
            self.id, self.score, self.correct = id, accuracy, bits(accuracy)

    return [Entry(id, accuracy) for id, accuracy in enumerate(accuracies)]


def test_a_rank_is_shared_until_the_test_tells_the_models_apart():
    # Of 400 images, 5 that only one gets right say nothing (p = 0.06), 6 do (p = 0.03).
    assert ranking.ranks(entries(0.9, 0.9 - 5 / 400, 0.9 - 6 / 400, 0.5)) == [1, 1, 3, 4]


def test_each_of_a_group_is_compared_with_its_first():
    step = 4 / 400
    assert ranking.ranks(entries(0.9, 0.9 - step, 0.9 - 2 * step)) == [1, 1, 3]


# Joining


def test_a_code_counts_however_it_is_typed(db: Database):
    code = db.competition().join_code
    assert db.join("Ada", f" {code.lower().replace('-', '')} ")[0].name == "Ada"
    assert db.join("Eve", code.replace("0", "O").replace("1", "I"))[0].name == "Eve"


def test_a_wrong_code_is_refused(db: Database):
    with pytest.raises(Rejected, match="code is wrong"):
        db.join("Ada", "0000-0000")


def test_only_a_hash_of_the_token_is_stored(url: str, tmp_path: Path):
    db = begun(url)
    _, token = db.join("Ada", db.competition().join_code)
    db.close()
    assert db.participant_of(token).name == "Ada"
    assert not [path for path in tmp_path.rglob("*.db*") if token.encode() in path.read_bytes()]


def test_nobody_joins_a_closed_competition(db: Database):
    db.set_state("closed")
    with pytest.raises(Rejected, match="closed"):
        joined(db, "Ada")


def test_of_many_who_want_one_name_at_once_one_gets_it(db: Database):
    def attempt(_: int) -> bool:
        try:
            joined(db, "Ada")
            return True
        except Rejected as error:
            assert error.status == 409
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_several_processes_make_the_tables_at_once(url: str):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: begun(url).competition().seed, range(4)))
    assert len(set(found)) == 1


# Live runs


def batch(position: int, count: int, status: str = "running", run: str = RUN) -> LiveBatch:
    points = [LivePoint("loss", i, 5, i / 10) for i in range(position, position + count)]
    return LiveBatch(run, "run", 5, 10, {}, position, points, status)


def test_points_that_the_server_has_are_skipped(db: Database):
    ada = joined(db, "Ada")
    assert db.append_live(ada.id, batch(0, 5)) == 5
    assert db.append_live(ada.id, batch(3, 4)) == 7
    assert [point.step for point in db.live_points(1)] == list(range(7))


def test_a_metric_of_an_earlier_epoch_does_not_turn_a_run_back(db: Database):
    ada = joined(db, "Ada")
    db.append_live(ada.id, batch(0, 7))
    best = LivePoint("best_val_accuracy", 2, 5, 0.5)
    db.append_live(ada.id, LiveBatch(RUN, "run", 5, 10, {}, 7, [best], "finished"))
    (run,) = drawn(db, "")["live"]
    assert (run["epoch"], run["metrics"]) == (6, {"loss": 0.6, "best_val_accuracy": 0.5})


def test_a_gap_is_refused_and_the_end_of_the_log_named(db: Database):
    ada = joined(db, "Ada")
    db.append_live(ada.id, batch(0, 5))
    with pytest.raises(Rejected) as caught:
        db.append_live(ada.id, batch(6, 1))
    assert (caught.value.status, caught.value.more) == (409, {"position": 5})


def test_a_repeated_old_batch_does_not_bring_an_ended_run_back(db: Database):
    ada = joined(db, "Ada")
    db.append_live(ada.id, batch(0, 5))
    db.append_live(ada.id, batch(5, 1, "finished"))
    db.append_live(ada.id, batch(0, 5))
    assert [run.status for run in db.board().live] == ["finished"]


@pytest.mark.slow
def test_participants_and_the_mirror_never_wait_for_each_other_in_a_circle(postgresql: str):
    """Each locks the runs that it writes; in different orders that would be a deadlock."""
    db = begun(fresh_database(postgresql))
    people = [joined(db, f"Person {number}").id for number in range(100)]
    db.append_live_many([(person, batch(0, 1)) for person in people])
    ids = [run.id for run in db.board().live]

    def log(position: int) -> None:
        db.append_live_many([(person, batch(position, 1)) for person in reversed(people)])

    with ThreadPoolExecutor(1) as pool:
        marks = [
            pool.submit(db.mark_many_live_mirrored, [(id, 1, "running") for id in ids])
            for _ in range(100)
        ]
        for position in range(1, 51):
            log(position)
    for mark in marks:
        mark.result()
    db.close()


@pytest.mark.slow
def test_what_changes_every_second_is_in_no_index_of_postgresql(postgresql: str):
    """Else each change leaves a version of the row behind, and the table slows down by and by."""
    db = begun(fresh_database(postgresql))
    indexes = sa.inspect(db._engine).get_indexes("board_live_runs")
    db.close()
    constant = {"participant_id", "run_id", "created"}
    assert {name for index in indexes for name in index["column_names"]} <= constant


def test_nan_and_infinity_arrive_as_such(db: Database):
    ada = joined(db, "Ada")
    values = [math.nan, math.inf, -math.inf, 0.0]
    points = [LivePoint(f"m{i}", 0, 5, value) for i, value in enumerate(values)]
    db.append_live(ada.id, LiveBatch(RUN, "run", 5, points=points))
    assert str([point.value for point in db.live_points(1)]) == str(values)
    assert db.board().live[0].latest == {
        "m0": "NaN",
        "m1": "Infinity",
        "m2": "-Infinity",
        "m3": 0.0,
    }


def test_runs_with_one_id_of_two_participants_are_two(db: Database):
    ada, eve = joined(db, "Ada"), joined(db, "Eve")
    db.append_live(ada.id, batch(0, 5))
    assert db.append_live(eve.id, batch(0, 2)) == 2


def test_what_is_wrong_with_one_batch_harms_no_other_of_its_transaction(db: Database):
    ada = joined(db, "Ada")
    other = "b" * 32
    answers = db.append_live_many([(ada.id, batch(9, 1)), (ada.id, batch(0, 2, run=other))])
    assert isinstance(answers[0], Rejected)
    assert answers[1] == 2


def test_more_runs_than_anybody_trains_are_not_taken(db: Database, monkeypatch, clock: Clock):
    monkeypatch.setattr(live_log, "MOST_RUNS", 2)
    ada = joined(db, "Ada")
    for run in "ab":
        db.append_live(ada.id, batch(0, 1, run=run * 32))
    with pytest.raises(Rejected, match="within an hour"):
        db.append_live(ada.id, batch(0, 1, run="c" * 32))
    clock.forward(3601)
    assert db.append_live(ada.id, batch(0, 1, run="c" * 32)) == 1


def test_metrics_without_end_are_not_taken(db: Database, monkeypatch):
    monkeypatch.setattr(live_log, "MOST_METRICS", 3)
    ada = joined(db, "Ada")
    points = [LivePoint(f"m{i}", 0, 5, 1.0) for i in range(4)]
    with pytest.raises(Rejected, match="3 metrics at most"):
        db.append_live(ada.id, LiveBatch(RUN, "run", 5, points=points))


# Submissions and their scores


def test_a_repeated_submission_is_the_first_again_and_costs_nothing(db: Database):
    ada = joined(db, "Ada")
    new = NewSubmission(RUN, "f" * 64, "digits", "0" * 32, {})
    first, is_new = db.submit(ada.id, new)
    again, is_new_again = db.submit(ada.id, new)
    assert (first.id, is_new, is_new_again) == (again.id, True, False)
    assert db.quota(ada.id).left == 4


def test_a_repeated_submission_is_answered_when_the_competition_is_frozen(db: Database):
    ada = joined(db, "Ada")
    new = NewSubmission(RUN, "f" * 64, "digits", "0" * 32, {})
    first, _ = db.submit(ada.id, new)
    db.set_state("frozen")
    assert db.submit(ada.id, new)[0].id == first.id
    with pytest.raises(Rejected, match="frozen"):
        sent(db, ada)


def test_a_run_on_another_data_set_is_refused(db: Database):
    with pytest.raises(Rejected, match="data=digits") as caught:
        db.submit(joined(db, "Ada").id, NewSubmission(RUN, "f" * 64, "fashion_mnist", "0", {}))
    assert caught.value.status == 409


def test_the_quota_says_when_the_next_slot_is_free(db: Database, clock: Clock):
    ada = joined(db, "Ada")
    first = sent(db, ada)
    for _ in range(4):
        clock.forward(60)
        sent(db, ada)
    with pytest.raises(Rejected, match="in 56 minutes") as caught:
        sent(db, ada)
    assert caught.value.more["next"] == first.created + 3_600_000
    clock.forward(56 * 60)
    assert sent(db, ada).id


def test_a_clock_that_jumped_back_does_not_lock_anybody_out(db: Database, clock: Clock):
    ada = joined(db, "Ada")
    for _ in range(5):
        sent(db, ada)
    clock.forward(-5 * 3600)
    assert db.quota(ada.id).left == 5


def test_a_fault_of_the_server_costs_no_attempt_and_waits_a_little(db: Database, clock: Clock):
    sent(db, joined(db, "Ada"))
    for _ in range(5):
        job = claimed(db)
        assert job.attempts == 1
        db.give_back(job.id, "scorer", "no memory")
        assert db.claim("scorer", 1000) is None
        clock.forward(6)


def test_nobody_waits_for_more_than_one_model_of_each_other(db: Database):
    ada, bob, eve = (joined(db, name) for name in ("Ada", "Bob", "Eve"))
    heavy = [sent(db, ada).id for _ in range(4)]
    bobs = [sent(db, bob).id for _ in range(2)]
    eves = sent(db, eve).id
    expected = [heavy[0], bobs[0], eves, heavy[1], bobs[1], heavy[2], heavy[3]]
    assert [db.ahead(id) for id in expected] == list(range(7))
    assert db.claim("scorer", 30_000).id == heavy[0]
    late = sent(db, joined(db, "Zoe")).id
    assert db.ahead(late) == 3  # the first of everybody, one of which is at work
    order = [db.claim("scorer", 30_000).id for _ in range(7)]
    assert order == [bobs[0], eves, late, heavy[1], bobs[1], heavy[2], heavy[3]]


def test_the_oldest_submission_is_scored_first(db: Database):
    ada = joined(db, "Ada")
    ids = [sent(db, ada).id for _ in range(3)]
    assert [claimed(db).id for _ in range(3)] == ids


def test_a_job_whose_scorer_went_silent_is_given_to_another(db: Database, clock: Clock):
    sent(db, joined(db, "Ada"))
    job = claimed(db, "dead", 30_000)
    assert db.claim("other", 30_000) is None
    clock.forward(31)
    assert claimed(db, "other").id == job.id
    assert not db.finish(job.id, "dead", score(0.9))
    assert db.finish(job.id, "other", score(0.5))
    assert db.submission(job.id).score == 0.5


def test_a_scorer_that_waited_for_its_turn_does_not_take_a_fresh_lease_for_an_old_one(
    db: Database, clock: Clock, monkeypatch
):
    sent(db, joined(db, "Ada"))
    other = Database(db.url, clock)
    real = Database._writing

    def late(self):
        monkeypatch.setattr(Database, "_writing", real)
        clock.forward(5)  # passes while another has the turn and claims
        assert claimed(db, "first").id == 1
        return real(self)

    monkeypatch.setattr(Database, "_writing", late)
    assert other.claim("second", 30_000) is None
    other.close()


def test_a_renewed_lease_is_kept(db: Database, clock: Clock):
    sent(db, joined(db, "Ada"))
    job = claimed(db)
    clock.forward(20)
    assert db.renew(job.id, "scorer", 30_000)
    clock.forward(20)
    assert db.claim("other", 30_000) is None


def test_a_clock_that_jumped_back_leaves_no_job_stuck(db: Database, clock: Clock):
    sent(db, joined(db, "Ada"))
    job = claimed(db)
    clock.forward(-86_400)
    assert claimed(db, "other").id == job.id


def test_a_model_that_kills_the_scorer_three_times_is_refused(db: Database, clock: Clock):
    submission = sent(db, joined(db, "Ada"))
    for _ in range(3):
        claimed(db)
        clock.forward(31)
    assert db.claim("scorer", 30_000) is None
    found = db.submission(submission.id)
    assert (found.state, found.counts) == ("refused", True)
    assert "died three times" in found.reason


def test_an_idle_scorer_changes_nothing(db: Database):
    before = db.revision()
    assert db.claim("scorer", 30_000) is None
    assert db.revision() == before


def test_the_best_submission_counts_and_of_equal_ones_the_first(db: Database):
    ada = joined(db, "Ada")
    found = [scored(db, ada, accuracy) for accuracy in (0.5, 0.8, 0.8, 0.7)]
    assert db.participant(ada.id).best_submission_id == found[1].id
    assert [record.score for record in db.history()] == [0.5, 0.8]


def test_a_submission_that_was_scored_late_takes_its_place_in_history(db: Database):
    ada = joined(db, "Ada")
    first, second = sent(db, ada), sent(db, ada)
    for job, accuracy in zip([claimed(db), claimed(db)][::-1], (0.6, 0.7), strict=True):
        db.finish(job.id, "scorer", score(accuracy))
    assert [record.submission for record in db.history()] == [first.id]
    assert db.submission(second.id).personal_best is False


def test_a_suspect_entry_has_no_rank_until_it_is_cleared(db: Database):
    ada = joined(db, "Ada")
    found = scored(db, ada, 0.99, suspect="knows the test set")
    (entry,) = db.board().entries
    assert (entry.best, entry.unranked.id) == (None, found.id)
    db.change_submission(found.id, suspect=None)
    (entry,) = db.board().entries
    assert (entry.best.id, entry.unranked) == (found.id, None)


def test_a_disqualified_entry_leaves_the_rank_to_the_next_best(db: Database):
    ada = joined(db, "Ada")
    good, better = scored(db, ada, 0.7), scored(db, ada, 0.9)
    db.change_submission(better.id, disqualified="copied")
    assert db.participant(ada.id).best_submission_id == good.id
    assert [record.submission for record in db.history()] == [good.id]
    db.change_submission(better.id, disqualified=None)
    assert db.participant(ada.id).best_submission_id == better.id


def test_until_it_is_scored_again_an_entry_has_no_score(db: Database):
    ada = joined(db, "Ada")
    found = scored(db, ada, 0.9)
    assert db.rescore() == 1
    assert db.participant(ada.id).best_submission_id is None
    assert db.history() == []
    assert db.submission(found.id).score is None
    db.finish(claimed(db).id, "scorer", score(0.6))
    assert db.participant(ada.id).best_submission_id == found.id
    assert db.quota(ada.id).left == 4


def test_a_score_that_was_under_way_when_all_were_rescored_is_not_recorded(db: Database):
    ada = joined(db, "Ada")
    sent(db, ada)
    job = claimed(db)
    db.rescore()
    assert not db.finish(job.id, "scorer", score(0.9))
    assert claimed(db).id == job.id


def test_a_closed_competition_cannot_be_opened_again(db: Database):
    db.set_state("closed")
    with pytest.raises(Rejected, match="seed published"):
        db.set_state("open")


# What the board asks of the database


def test_changes_are_what_the_board_lacks(db: Database):
    ada, eve = joined(db, "Ada"), joined(db, "Eve")
    scored(db, ada, 0.9)
    before = db.revision()
    scored(db, eve, 0.8)
    assert [entry.participant.name for entry in db.changes_since(before).entries] == ["Eve"]
    assert len(db.board().entries) == 2


def test_an_entry_that_lost_its_score_is_among_the_changes(db: Database):
    ada = joined(db, "Ada")
    scored(db, ada, 0.9)
    before = db.revision()
    db.rescore()
    (entry,) = db.changes_since(before).entries
    assert (entry.best, entry.unranked) == (None, None)


def test_a_run_that_went_silent_leaves_the_board(db: Database, clock: Clock):
    db.append_live(joined(db, "Ada").id, batch(0, 5))
    assert len(db.board().live) == 1
    clock.forward(16 * 60)
    assert db.board().live == []


def test_a_poller_misses_no_change_of_several_writers(url: str):
    db = begun(url)
    people = [joined(db, f"P{i}") for i in range(4)]
    done = threading.Event()

    def write(id: int) -> None:
        own = Database(url)
        for i in range(25):
            own.append_live(id, batch(i, 1))
        own.close()

    seen: dict[int, int] = {}

    def poll() -> None:
        revision = 0
        while True:
            ends = done.is_set()
            state = db.changes_since(revision)
            revision = state.revision
            seen.update({run.participant_id: run.step for run in state.live})
            if ends:
                return

    with ThreadPoolExecutor(5) as pool:
        poller = pool.submit(poll)
        list(pool.map(write, [person.id for person in people]))
        done.set()
        poller.result()
    db.close()
    assert seen == {person.id: 24 for person in people}


@pytest.mark.slow
def test_four_processes_that_claim_at_once_score_each_submission_once(url: str):
    db = begun(url)
    db.update_competition(quota_per_hour=1000)
    ada = joined(db, "Ada")
    for _ in range(60):
        sent(db, ada)
    code = (
        "import sys; from workshop.leaderboard.database import Database\n"
        "db, mine = Database(sys.argv[1]), []\n"
        "while job := db.claim(sys.argv[2], 30000):\n"
        "    mine.append(job.id); assert db.refuse(job.id, sys.argv[2], 'bad')\n"
        "print(*mine)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, url, str(i)], stdout=subprocess.PIPE)
        for i in range(4)
    ]
    said = [process.communicate(timeout=120)[0].split() for process in started]
    db.close()
    assert [process.returncode for process in started] == [0] * 4
    assert sorted(int(id) for ids in said for id in ids) == list(range(1, 61))


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_postgresql_is_killed(tmp_path: Path):
    with tempfile.TemporaryDirectory() as folder, servers.postgresql(Path(folder)) as url:
        pid = int((Path(folder) / "data" / "postmaster.pid").read_text().split()[0])
        with running(tmp_path / "leaderboard", database_url=url) as room:
            auth, run = room.auth("Ada"), live_body()["run"]
            position, statuses = 0, []
            for attempt in range(120):
                point = {"metric": "loss", "step": position, "time": 5, "value": 0.5}
                body = {"run": run, "position": position, "points": [point], "status": "running"}
                answer = room.client.post("/api/live", json=body, headers=auth, timeout=40)
                statuses.append(answer.status_code)
                if answer.status_code == 200:
                    position = answer.json()["position"]
                if attempt == 40:
                    os.kill(pid, signal.SIGKILL)
                if attempt == 60:
                    start_again(Path(folder), pid)
                time.sleep(0.05)
            wait(lambda: room.client.get("/health").status_code == 200)
            assert 503 in statuses
            assert set(statuses) <= {200, 503, 429}
            assert statuses[-1] == 200
            assert [point.step for point in room.db.live_points(1)] == list(range(position))
            assert room.board()["live"][0]["epoch"] == position - 1


def start_again(folder: Path, pid: int) -> None:
    """Start a PostgreSQL that was killed, with the options that it had."""
    wait(lambda: has_ended(pid))
    program, *options = shlex.split((folder / "data" / "postmaster.opts").read_text())
    command = [str(Path(program).with_name("pg_ctl")), "-D", str(folder / "data"), "-w"]
    command += ["-l", str(folder / "log"), "-o", shlex.join(options[2:]), "start"]
    if servers.IS_ROOT:
        command = ["runuser", "-u", "postgres", "--", *command]

    def starts() -> bool:  # not while processes of the killed one are there
        return not subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL).returncode

    wait(starts)


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# Files


def test_a_file_lies_under_its_hash_and_nothing_else_is_left(tmp_path: Path):
    blobs = Blobs(str(tmp_path / "models"))
    sha256 = hashlib.sha256(b"model").hexdigest()
    (tmp_path / "new").write_bytes(b"model")
    blobs.put(sha256, tmp_path / "new")
    assert blobs.exists(sha256)
    assert blobs.get(sha256) == b"model"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [sha256]


@pytest.mark.parametrize("another_disk", [False, True])
def test_a_file_is_on_disk_before_it_bears_its_name(
    another_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    flushed, fsync, replace = [], os.fsync, os.replace

    def named(source, place):
        if another_disk and Path(source).name == "new":
            raise OSError("another disk")
        assert Path(source).stat().st_ino in flushed
        flushed.clear()
        replace(source, place)

    def flush(handle):
        flushed.append(os.fstat(handle).st_ino)
        fsync(handle)

    monkeypatch.setattr(os, "replace", named)
    monkeypatch.setattr(os, "fsync", flush)
    (tmp_path / "new").write_bytes(b"model")
    sha256 = hashlib.sha256(b"model").hexdigest()
    Blobs(str(tmp_path / "models")).put(sha256, tmp_path / "new")
    folder = tmp_path / "models" / sha256[:2]
    assert flushed == ([] if os.name == "nt" else [folder.stat().st_ino])


def test_uploads_that_were_cut_off_are_removed_at_the_next_start(tmp_path: Path):
    settings = Settings.of(tmp_path / "leaderboard")
    incoming = settings.folder / "incoming"
    incoming.mkdir(parents=True)
    for name, age in {"old": worker.STALE_UPLOAD_S + 60, "fresh": 60}.items():
        (incoming / name).write_bytes(b"half a mod")
        os.utime(incoming / name, (time.time() - age,) * 2)
    started = worker.Worker(settings)
    started.prepare()
    started.close()
    assert [path.name for path in incoming.iterdir()] == ["fresh"]


@pytest.mark.parametrize("sha256", ["../../etc/passwd", "A" * 64, "a" * 63, ""])
def test_what_is_no_hash_is_no_file(tmp_path: Path, sha256: str):
    with pytest.raises(WorkshopError, match="not a SHA-256"):
        Blobs(str(tmp_path)).get(sha256)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(WorkshopError, match="ffff is not in"):
        Blobs(str(tmp_path)).get("f" * 64)


@pytest.mark.slow
def test_files_go_to_an_s3_compatible_store(tmp_path: Path, monkeypatch):
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", servers.free_port())
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    try:
        import boto3

        boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="board")
        with running(tmp_path / "leaderboard", artifacts="s3://board/day") as room:
            sha256 = hashlib.sha256(b"model").hexdigest()
            assert room.submit("Ada").status_code == 201
            assert Blobs("s3://board/day/models").get(sha256) == b"model"
            with pytest.raises(WorkshopError, match="is not in s3://"):
                Blobs("s3://board/day/models").get("f" * 64)
    finally:
        server.stop()


# Joining over HTTP


def test_joining_returns_a_token_that_is_known_afterwards(room: Room):
    answer = room.join("Ada")
    assert answer.status_code == 201
    me = room.client.get("/api/me", headers=room.auth("Ada")).json()
    assert (me["participant"], me["name"], me["state"]) == (1, "Ada", "open")
    assert me["quota"] == {"per_hour": 5, "left": 5, "next": None}


def test_forty_people_join_from_one_address_at_once(room: Room):
    with ThreadPoolExecutor(10) as pool:
        answers = pool.map(lambda i: room.join(f"Person {i}").status_code, range(40))
        assert list(answers) == [201] * 40


def test_wrong_codes_become_rare_while_right_ones_count(room: Room):
    statuses = [room.join("Eve", "0000-0000").status_code for _ in range(40)]
    assert (statuses[0], statuses[-1]) == (403, 429)
    assert room.join("Ada").status_code == 201


def test_whoever_tries_codes_without_end_is_stopped(room: Room):
    room.state.join_limit = limits.Limit(per_second=0.001, burst=3)
    assert [room.join(f"P{i}").status_code for i in range(4)] == [201, 201, 201, 429]


def test_a_taken_name_and_a_bad_one_are_told_apart(shared_room: Room):
    shared_room.join("Ada")
    assert shared_room.join("ADA").status_code == 409
    assert shared_room.join("A\u202eda").status_code == 422


@pytest.mark.parametrize(
    "path", ["/api/me", "/api/live", "/api/submissions", "/api/blobs/" + "a" * 64]
)
@pytest.mark.parametrize(
    "header", [None, "Bearer", "Bearer guessed", "Basic QWRhOg==", "Bearer \u00ff"]
)
def test_without_a_known_token_nothing_happens(shared_room: Room, path: str, header: str | None):
    method = {"/api/me": "GET", "/api/live": "POST", "/api/submissions": "POST"}.get(path, "PUT")
    headers = {"authorization": header.encode("latin-1")} if header else {}
    answer = shared_room.client.request(method, path, headers=headers, content=b"{}")
    assert answer.status_code == 401
    assert "workshop join" in answer.json()["error"]
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_token_that_was_replaced_is_void_within_seconds(room: Room, monkeypatch):
    monkeypatch.setattr(worker, "TOKEN_SECONDS", 0.05)
    headers = room.auth("Ada")
    assert room.client.get("/api/me", headers=headers).status_code == 200
    new = room.db.issue_token(1)
    wait(lambda: room.client.get("/api/me", headers=headers).status_code == 401)
    headers = {"Authorization": f"Bearer {new}"}
    assert room.client.get("/api/me", headers=headers).status_code == 200


def test_whoever_asks_too_often_is_not_kept_out_for_longer(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])
    limit = limits.Limit(per_second=1, burst=2)
    assert [limit.wait("Ada") for _ in range(5)] == [0, 0, 1, 1, 1]
    assert limit.wait("Eve") == 0
    now[0] += 1
    assert limit.wait("Ada") == 0


def test_whoever_was_away_for_long_has_no_more_than_a_burst(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])
    limit = limits.Limit(per_second=1, burst=2)
    limit.wait("Ada")
    now[0] += 10_000
    assert [limit.wait("Ada") for _ in range(3)] == [0, 0, 1]


# Live runs over HTTP


def test_points_that_are_on_disk_no_longer_count_as_waiting(db: Database, monkeypatch):
    monkeypatch.setattr(commits, "MOST_WAITING", 4)
    ada = joined(db, "Ada")

    async def append() -> list[int]:
        writer = commits.LiveWriter(db)
        writing = asyncio.create_task(writer.run())
        try:
            return [await writer.append(ada.id, batch(position, 3)) for position in (0, 3, 6)]
        finally:
            writing.cancel()

    assert asyncio.run(append()) == [3, 6, 9]


def test_live_points_appear_on_the_board(room: Room):
    assert room.live("Ada").json() == {"position": 3}
    (run,) = room.board()["live"]
    assert run["name"] == "Ada"
    assert (run["run"], run["run_name"], run["status"]) == (RUN, "run", "running")
    assert (run["epoch"], run["epochs"]) == (2, 10)
    assert run["metrics"] == {"val_accuracy": 0.2}


def test_a_repeated_batch_changes_nothing_and_a_gap_is_told(room: Room):
    room.live("Ada")
    assert room.live("Ada").json() == {"position": 3}
    answer = room.live("Ada", position=4)
    assert (answer.status_code, answer.json()["position"]) == (409, 3)
    assert len(room.db.live_points(1)) == 3


def test_nan_is_sent_and_shown_as_text(room: Room):
    points = [{"metric": "loss", "step": 0, "time": 5, "value": "NaN"}]
    assert room.live("Ada", points=points).status_code == 200
    assert room.board()["live"][0]["metrics"] == {"loss": "NaN"}


def test_an_acknowledged_point_is_on_disk(room: Room, tmp_path: Path):
    room.live("Ada")
    other = Database(room.settings.database_url)
    assert len(other.live_points(1)) == 3
    other.close()


def test_many_participants_share_a_transaction(room: Room):
    before = room.db.revision()
    people = [f"Person {i}" for i in range(30)]
    for name in people:
        room.auth(name)
    joined_at = room.db.revision()
    assert joined_at - before == 30
    with ThreadPoolExecutor(30) as pool:
        assert {answer.status_code for answer in pool.map(room.live, people)} == {200}
    assert room.db.revision() - joined_at < 30


def test_live_progress_that_comes_too_often_is_slowed_down(room: Room):
    room.state.live_limit = limits.Limit(per_second=0.01, burst=2)
    answers = [room.live("Ada") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[2].headers["retry-after"]) >= 1


def test_a_database_that_is_behind_sends_batches_away(room: Room, monkeypatch):
    monkeypatch.setattr(commits, "MOST_WAITING", 2)
    answer = room.live("Ada")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


def test_a_poisoned_batch_fails_alone(room: Room, monkeypatch):
    real = room.state.db.append_live_many

    def poisoned(batches):
        if any(one.run_id == "d" * 32 for _, one in batches):
            raise ValueError("poison")
        return real(batches)

    monkeypatch.setattr(room.state.db, "append_live_many", poisoned)
    monkeypatch.setattr(commits, "GATHER_S", 0.3)
    room.auth("Ada"), room.auth("Eve")
    bad = live_body()["run"] | {"id": "d" * 32}
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(room.live, "Ada", run=bad)
        second = pool.submit(room.live, "Eve")
        assert (first.result().status_code, second.result().status_code) == (500, 200)


# Bodies that are not what they should be

NESTED = b'{"run":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"null", 422),
        (b"[]", 422),
        (b'"text"', 422),
        (b"\xff\xfe", 400),
        (b'{"run": "\xc3\x28"}', 400),
        (b'{"run": "\\ud800"}', 400),
        (NESTED, 400),
        (b'{"position": 1e400}', 422),
        (b'{"position": ' + b"9" * 4000 + b"}", 422),
        (b'{"position": ' + b"9" * 5000 + b"}", 400),
        (gzip.compress(b"{" + b" " * 1_000_000 + b"}"), 400),
    ],
)
def test_a_malformed_body_gets_a_clear_answer(shared_room: Room, body: bytes, status: int):
    headers = shared_room.auth(shared_room.someone()) | {"content-type": "application/json"}
    if body[:2] == b"\x1f\x8b":
        headers["content-encoding"] = "gzip"
    for path in ("/api/live", "/api/submissions"):
        answer = shared_room.client.post(path, content=body, headers=headers)
        assert answer.status_code == status
        assert len(answer.json()["error"]) < 500


@pytest.mark.parametrize(
    "change",
    [
        {"position": -1},
        {"position": 2**63},
        {"position": "0"},
        {"position": True},
        {"status": "hacked"},
        {"points": [{"metric": "loss", "step": 0, "time": 5, "value": "nan"}]},
        {"points": [{"metric": "loss", "step": 0, "time": 5, "value": None}]},
        {"points": [{"metric": "loss", "step": 2**70, "time": 5, "value": 1}]},
        {"points": [{"metric": "loss", "step": 0, "time": -1, "value": 1}]},
        {"points": [{"metric": "", "step": 0, "time": 5, "value": 1}]},
        {"points": [{"metric": "a\u202eb", "step": 0, "time": 5, "value": 1}]},
        {"points": [{"metric": "x" * 251, "step": 0, "time": 5, "value": 1}]},
        {"points": [{"metric": "loss", "step": 0, "time": 5, "value": 1}] * 1001},
        {"run": live_body()["run"] | {"id": "../../etc/passwd"}},
        {"run": live_body()["run"] | {"id": "A" * 32}},
        {"run": live_body()["run"] | {"name": "a\x00b"}},
        {"run": live_body()["run"] | {"name": "a\u202eb"}},
        {"run": live_body()["run"] | {"params": {"lr": "a\x00b"}}},
        {"run": live_body()["run"] | {"params": {"lr": "x" * 8001}}},
        {"run": live_body()["run"] | {"params": {"lr": 0.1}}},
        {"run": live_body()["run"] | {"params": {str(i): "" for i in range(301)}}},
        {"run": live_body()["run"] | {"epochs": -1}},
        {"run": None},
    ],
    ids=str,
)
def test_a_live_field_out_of_its_limits_is_named(shared_room: Room, change: dict):
    answer = shared_room.live(shared_room.someone(), **change)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(next(iter(change)))
    assert shared_room.db.board().live == []


@pytest.mark.parametrize(
    "path",
    [
        "../evil.yaml",
        "a/../../evil.yaml",
        "/etc/passwd.txt",
        "a//b.yaml",
        "./a.yaml",
        "C:/a.yaml",
        "C:\\a.yaml",
        "..\\a.yaml",
        "a/.. /b.yaml",
        "a/...\u2024/b.yaml\u202e",
        "a\x00.yaml",
        "a\n.yaml",
        "model.pt",
        "model.pkl",
        "page.html",
        "drawing.svg",
        "yaml",
        "a.yaml/",
        "x" * 200 + ".yaml",
        "",
    ],
)
def test_a_path_that_leaves_its_folder_or_is_of_a_wrong_kind_is_refused(
    shared_room: Room, path: str
):
    body = submission_body() | {"files": {path: "a" * 64}}
    answer = shared_room.post_submission(shared_room.someone(), body)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("files")


@pytest.mark.parametrize("path", ["config.yaml", ".hydra/config.yaml", "a b/Größe.json", "x.PNG"])
def test_ordinary_files_are_taken(room: Room, path: str):
    assert room.upload("Ada", b"file").status_code == 201
    files = {path: hashlib.sha256(b"file").hexdigest()}
    assert room.submit("Ada", files=files).status_code == 201
    assert room.db.record(1)["files"] == files


@pytest.mark.parametrize(
    "change",
    [
        {"model": "../../etc/passwd"},
        {"model": "A" * 64},
        {"data": "cifar"},
        {"kind": "pickle"},
        {"claim": {"metric": "test_accuracy", "value": 99.0}},
        {"claim": {"metric": "test_accuracy", "value": "NaN"}},
        {"claim": {"metric": "test_\x00accuracy", "value": 0.5}},
        {"metrics": {"loss": [[0, 5]]}},
        {"metrics": {"loss": [[0, 5, 1, 2]]}},
        {"metrics": {"../a\x07": [[0, 5, 1]]}},
        {"tags": {"a": "b\x00"}},
        {"training_seconds": -1},
        {"training_seconds": 1e300},
        {"commit": "<script>"},
        {"commit": "../" * 14},
        {"dirty": "yes"},
        {"summary": "x" * 301},
        {"summary": "a\u2066b"},
        {"files": {f"{i}.txt": "a" * 64 for i in range(101)}},
    ],
    ids=str,
)
def test_a_field_of_a_submission_out_of_its_limits_is_named(shared_room: Room, change: dict):
    answer = shared_room.post_submission(shared_room.someone(), submission_body() | change)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(next(iter(change)))


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": {f"m{i}": [["", "", ""]] * 50_000 for i in range(9)}},
        {"tags": {str(i): 1 for i in range(500_000)}},
        {"files": {str(i): 1 for i in range(19_000)}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_megabytes_of_errors_are_not_all_looked_at(change: dict):
    body = json.dumps(submission_body() | change).encode()
    if messages.has_too_many_keys(body):
        return
    with pytest.raises(ValidationError) as caught:
        messages.Submit.model_validate_json(body)
    assert caught.value.error_count() < 50_000


def test_a_body_of_too_many_keys_is_refused(shared_room: Room):
    body = submission_body() | {"tags": {str(i): "" for i in range(20_001)}}
    answer = shared_room.post_submission(shared_room.someone(), body)
    assert (answer.status_code, "too many keys" in answer.text) == (422, True)


def test_large_submissions_become_rare(shared_room: Room):
    headers = shared_room.auth(shared_room.someone()) | {"content-type": "application/json"}
    statuses = [
        shared_room.client.post("/api/submissions", content=b" " * 10_000_000, headers=headers)
        for _ in range(3)
    ]
    assert [answer.status_code for answer in statuses] == [400, 429, 429]


def test_a_body_must_say_that_it_is_json(shared_room: Room):
    answer = shared_room.client.post(
        "/api/join", content=b"{}", headers={"content-type": "text/plain"}
    )
    assert answer.status_code == 415


def test_a_body_that_is_announced_as_too_large_is_not_read(shared_room: Room):
    headers = shared_room.auth("Ada") | {"content-type": "application/json"}
    with socket.create_connection(("127.0.0.1", shared_room.port), timeout=10) as raw:
        lines = [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"host: 127.0.0.1:{shared_room.port}", "content-length: 1000000000"]
        raw.sendall("\r\n".join(["POST /api/live HTTP/1.1", *lines, "", ""]).encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_say_its_size_is_cut_off(shared_room: Room):
    def endless():
        yield b'{"run": "'
        for _ in range(1000):
            yield b"x" * 100_000

    headers = shared_room.auth("Ada") | {"content-type": "application/json"}
    try:
        answer = shared_room.client.post("/api/live", content=endless(), headers=headers)
        assert answer.status_code == 413
    except httpx.TransportError:
        pass  # it was hung up on while it sent


def test_a_body_that_never_ends_is_given_up(room: Room, monkeypatch):
    monkeypatch.setattr(api, "BODY_SECONDS", 0.2)
    headers = room.auth("Ada") | {"content-type": "application/json"}
    with socket.create_connection(("127.0.0.1", room.port), timeout=10) as raw:
        lines = [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"host: 127.0.0.1:{room.port}", "content-length: 1000"]
        raw.sendall("\r\n".join(["POST /api/live HTTP/1.1", *lines, "", "{"]).encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 408")


# Uploads


def leftovers(room: Room) -> list[Path]:
    return [path for path in (room.settings.folder / "incoming").rglob("*") if path.is_file()]


def test_an_upload_is_stored_once(room: Room):
    assert room.upload("Ada", b"model").status_code == 201
    assert room.upload("Eve", b"model").status_code == 200
    assert Blobs(room.settings.models_uri).get(hashlib.sha256(b"model").hexdigest()) == b"model"
    assert leftovers(room) == []


def test_a_file_that_is_not_what_its_hash_says_is_not_stored(shared_room: Room):
    sha256 = hashlib.sha256(b"other").hexdigest()
    answer = shared_room.upload("Ada", b"model", sha256)
    assert answer.status_code == 400
    assert hashlib.sha256(b"model").hexdigest() in answer.json()["error"]
    assert not Blobs(shared_room.settings.models_uri).exists(sha256)
    assert leftovers(shared_room) == []


@pytest.mark.parametrize("sha256", ["..%2F..%2Fetc%2Fpasswd", "A" * 64, "a" * 63, "a" * 65])
def test_only_a_hash_names_an_upload(shared_room: Room, sha256: str):
    answer = shared_room.client.put(
        f"/api/blobs/{sha256}", content=b"x", headers=shared_room.auth("Ada")
    )
    assert answer.status_code in (404, 422)


def test_a_file_that_is_too_large_is_refused_however_it_is_sent(room: Room, monkeypatch):
    monkeypatch.setattr(uploads, "LARGEST_BLOB", 100_000)
    content = b"x" * 100_001
    assert room.upload("Ada", content).status_code == 413
    url = f"/api/blobs/{hashlib.sha256(content).hexdigest()}"
    pieces = (content[i : i + 1000] for i in range(0, len(content), 1000))
    answer = room.client.put(url, content=pieces, headers=room.auth("Ada"))
    assert answer.status_code == 413
    assert leftovers(room) == []


def test_bytes_of_an_hour_are_limited(room: Room, monkeypatch):
    monkeypatch.setattr(uploads, "BLOBS_PER_HOUR", 10)
    assert room.upload("Ada", b"12345678").status_code == 201
    assert room.upload("Ada", b"abcdefgh").status_code == 429
    assert room.upload("Eve", b"abcdefgh").status_code == 201


def test_an_upload_that_breaks_off_leaves_nothing(room: Room):
    sha256 = hashlib.sha256(b"x" * 1000).hexdigest()
    lines = [f"authorization: {room.auth('Ada')['Authorization']}"]
    lines += [f"host: 127.0.0.1:{room.port}", "content-length: 1000"]
    with socket.create_connection(("127.0.0.1", room.port)) as raw:
        raw.sendall("\r\n".join([f"PUT /api/blobs/{sha256} HTTP/1.1", *lines, "", "xxx"]).encode())
        wait(lambda: leftovers(room))
    wait(lambda: not leftovers(room))
    assert not Blobs(room.settings.models_uri).exists(sha256)


def test_a_full_disk_refuses_an_upload_and_leaves_nothing(room: Room, monkeypatch):
    monkeypatch.setattr(uploads, "ROOM_LEFT", 2**62)
    answer = room.upload("Ada", b"model")
    assert answer.status_code == 507
    assert "disk is full" in answer.json()["error"]
    assert leftovers(room) == []


def test_a_disk_that_fills_while_a_file_is_stored_leaves_nothing(room: Room, monkeypatch):
    def full(sha256: str, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room.state.blobs, "put", full)
    assert room.upload("Ada", b"model").status_code == 507
    assert leftovers(room) == []
    assert room.db.uploaded(1) == 0


def test_a_full_database_acknowledges_nothing(room: Room):
    room.auth("Ada")
    engine = room.state.db._engine

    def fill(connection, _) -> None:
        connection.execute("PRAGMA max_page_count=1")

    import sqlalchemy as sa

    sa.event.listen(engine, "connect", fill)
    engine.dispose()
    points = [{"metric": "m" * 200, "step": i, "time": 5, "value": 1} for i in range(1000)]
    answer = room.live("Ada", points=points)
    assert answer.status_code == 507
    assert room.upload("Ada", b"model").status_code in (201, 507)
    sa.event.remove(engine, "connect", fill)
    engine.dispose()
    assert room.db.board().live == []
    assert room.live("Ada", points=points).json() == {"position": 1000}


# Submissions over HTTP


def test_a_submission_is_queued_scored_and_ranked(room: Room):
    answer = room.submit("Ada")
    assert (answer.status_code, answer.json()) == (201, {"id": 1, "state": "queued"})
    before = room.client.get("/api/submissions/1").json()
    assert (before["state"], before["ahead"], before["score"]) == ("queued", 0, None)
    room.db.finish(claimed(room.db).id, "scorer", score(0.9))
    after = room.client.get("/api/submissions/1").json()
    assert (after["state"], after["score"], after["rank"], after["of"]) == ("scored", 0.9, 1, 1)
    assert after["link"] == "/#entry-1"


def test_a_replayed_submission_is_the_same_one(room: Room):
    assert room.submit("Ada").status_code == 201
    assert room.submit("Ada").json() == {"id": 1, "state": "queued"}
    assert room.submit("Ada").status_code == 200
    assert room.client.get("/api/me", headers=room.auth("Ada")).json()["quota"]["left"] == 4


def test_a_model_that_was_never_uploaded_is_named(shared_room: Room):
    body = submission_body() | {"files": {"config.yaml": "e" * 64}}
    answer = shared_room.post_submission(shared_room.someone(), body)
    assert answer.status_code == 404
    assert "the model, config.yaml" in answer.json()["error"]


def test_whoever_knows_only_the_hash_of_a_model_cannot_submit_it(shared_room: Room):
    assert shared_room.submit("Ada", b"mine").status_code == 201
    assert shared_room.post_submission("Eve", submission_body(b"mine")).status_code == 404


def test_another_data_set_is_refused(room: Room):
    assert room.submit("Ada", data="fashion_mnist").status_code == 409


def test_a_used_up_quota_says_when_to_come_back(room: Room):
    for i in range(5):
        assert room.submit("Ada", b"%d" % i).status_code == 201
    answer = room.submit("Ada", b"5")
    assert answer.status_code == 429
    assert 3500 < int(answer.headers["retry-after"]) < 3700
    assert answer.json()["next"] > time.time() * 1000


def test_submissions_without_end_cost_the_server_little(room: Room):
    room.upload("Ada", b"model")
    headers = room.auth("Ada")

    def attempt(i: int) -> int:
        body = submission_body(run=f"{i:032x}")
        return room.client.post("/api/submissions", json=body, headers=headers).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(attempt, range(300)))
    assert statuses.count(201) == 5
    assert set(statuses) == {201, 429}
    assert room.db.board().queue.waiting == 5
    assert room.submit("Eve").status_code == 201


@pytest.mark.parametrize("state", ["frozen", "closed"])
def test_what_waits_is_scored_though_nothing_new_is_taken(room: Room, state: str):
    room.submit("Ada")
    room.db.set_state(state)
    assert room.submit("Ada", b"other").status_code == 403
    room.db.finish(claimed(room.db).id, "scorer", score(0.9))
    assert room.board()["entries"][0]["rank"] == 1


def test_a_submission_that_is_not_the_best_one_has_no_rank_of_its_own(room: Room):
    room.submit("Ada", b"good")
    room.db.finish(claimed(room.db).id, "scorer", score(0.9))
    room.submit("Ada", b"bad")
    room.db.finish(claimed(room.db).id, "scorer", score(0.5))
    found = room.client.get("/api/submissions/2").json()
    assert (found["rank"], found["best"]) == (None, False)


def test_an_unknown_submission_is_not_found(shared_room: Room):
    assert shared_room.client.get("/api/submissions/7").status_code == 404
    assert shared_room.client.get(f"/api/submissions/{10**30}").status_code == 422


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        ("test_accuracy", 0.94, False),
        ("test_accuracy", 0.96, True),
        ("test_accuracy", 0.84, True),
        ("val_accuracy", 0.97, False),
        ("val_accuracy", 0.99, True),
        ("val_accuracy", 0.5, False),
        ("loss", 0.1, False),
    ],
)
def test_a_claim_that_the_score_contradicts_is_marked(
    room: Room, metric: str, value: float, expected: bool
):
    room.submit("Ada", claim={"metric": metric, "value": value})
    room.db.finish(claimed(room.db).id, "scorer", score(0.9))  # 0.85 to 0.95
    (entry,) = room.board()["entries"]
    assert entry["contradicted"] is expected
    assert entry["claim"] == {"metric": metric, "value": value}


# The board and its events


def test_the_seed_is_secret_until_the_competition_is_closed(room: Room):
    seed = room.db.competition().seed
    scored(room.db, joined(room.db, "Ada"), 0.9)
    for path in ("/api/board", "/api/history", "/api/submissions/1", "/health", "/openapi.json"):
        assert seed not in room.client.get(path).text
    assert room.board()["competition"]["seed"] is None
    room.db.set_state("closed")
    shown = room.board()["competition"]
    assert (shown["seed"], shown["join"]) == (seed, None)
    assert hashlib.sha256(bytes.fromhex(seed)).hexdigest() == shown["seed_sha256"]


def test_the_board_says_how_to_join(room: Room):
    code = room.db.competition().join_code
    assert room.board()["competition"]["join"] == f"{code}@127.0.0.1:{room.port}"


def test_entries_stand_in_the_order_of_their_ranks(room: Room):
    for name, accuracy in (("Ada", 0.7), ("Eve", 0.9), ("Bob", 0.695), ("Cleo", 0.5)):
        scored(room.db, joined(room.db, name), accuracy)
    scored(room.db, joined(room.db, "Mallory"), 0.99, suspect="knows the test set")
    shown = [(entry["name"], entry["rank"]) for entry in room.board()["entries"]]
    assert shown == [("Eve", 1), ("Ada", 2), ("Bob", 2), ("Cleo", 4), ("Mallory", None)]


def test_a_better_entry_without_a_rank_is_noted(room: Room):
    ada = joined(room.db, "Ada")
    scored(room.db, ada, 0.7)
    better = scored(room.db, ada, 0.9)
    room.db.change_submission(better.id, disqualified="copied from a book")
    (entry,) = room.board()["entries"]
    assert entry["score"] == 0.7
    assert "copied from a book" in entry["note"]


def test_hostile_text_reaches_viewers_as_text(room: Room):
    name = "<script>alert(1)</script>"
    scored(room.db, joined(room.db, name), 0.9)
    answer = room.client.get("/api/board")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert room.board()["entries"][0]["name"] == name


def test_history_is_what_each_improved_in_order_of_time(room: Room):
    ada, eve = joined(room.db, "Ada"), joined(room.db, "Eve")
    for person, accuracy in ((ada, 0.5), (eve, 0.6), (ada, 0.4), (ada, 0.7)):
        scored(room.db, person, accuracy)
    room.board()
    found = room.client.get("/api/history").json()["records"]
    assert [(one["name"], one["score"]) for one in found] == [
        ("Ada", 0.5),
        ("Eve", 0.6),
        ("Ada", 0.7),
    ]


def test_a_viewer_gets_the_board_and_then_its_changes(room: Room):
    with room.events() as found:
        kind, first = next(found)
        assert (kind, first["entries"]) == ("board", [])
        room.submit("Ada")
        room.db.finish(claimed(room.db).id, "scorer", score(0.9))
        for _, message in found:
            if message.get("entries"):
                assert message["entries"][0]["name"] == "Ada"
                break


def test_a_viewer_gets_live_progress(room: Room):
    with room.events() as found:
        next(found)
        room.live("Ada")
        kind, message = next(found)
        assert kind == "live"
        assert message["runs"][0]["metrics"] == {"val_accuracy": 0.2}


def test_a_viewer_gets_the_same_compressed_or_not(room: Room):
    with (
        room.events({"accept-encoding": "gzip"}) as packed,
        room.events({"accept-encoding": "identity"}) as plain,
    ):
        for _ in range(2):
            (kind, one), (other_kind, other) = next(packed), next(plain)
            (
                one.get("competition", {}).pop("now", None),
                other.get("competition", {}).pop("now", None),
            )
            assert (kind, one) == (other_kind, other)
            room.live("Ada")


def test_events_of_a_kind_are_a_second_apart(tmp_path: Path):
    with running(tmp_path / "leaderboard", pause=1.0) as room, room.events() as found:
        next(found)
        person = joined(room.db, "Ada")
        arrived = []
        for i in range(30):
            room.db.append_live(person.id, batch(i, 1))
            time.sleep(0.1)
        for _, message in found:
            arrived.append(message["runs"][0]["epoch"])
            if arrived[-1] == 29:
                break
    assert len(arrived) <= 6


def test_a_viewer_that_reads_nothing_holds_nothing_up(room: Room, monkeypatch):
    monkeypatch.setattr(events, "STUCK_S", 0.5)
    monkeypatch.setattr(events, "PING_S", 0.1)
    person = joined(room.db, "Ada")
    mine = set(room.server.server_state.connections)
    with socket.create_connection(("127.0.0.1", room.port)) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.sendall(f"GET /api/events HTTP/1.1\r\nhost: 127.0.0.1:{room.port}\r\n\r\n".encode())
        wait(lambda: room.state.viewers == 1)
        room.db.update_competition(rule="x" * 20_000_000)
        wait(lambda: room.state.viewers == 0)
        wait(lambda: not room.server.server_state.connections - mine)
    room.db.update_competition(rule="short")
    room.db.append_live(person.id, batch(0, 1))
    assert room.board()["competition"]["rule"] == "short"


def test_a_viewer_that_left_is_forgotten(room: Room):
    with room.events() as found:
        next(found)
        assert room.state.viewers == 1
    wait(lambda: room.state.viewers == 0)


def test_a_viewer_that_was_behind_gets_the_whole_board(room: Room):
    import asyncio

    from workshop.leaderboard.board import KEPT_MESSAGES, News, Rendered

    board = room.state.board
    room.board()
    seen = board._version
    for _ in range(KEPT_MESSAGES + 2):
        board._version += 1
        board._messages.append(News(board._version, False, Rendered(b"live")))
    (news,) = asyncio.run(board.news(seen))
    assert news.whole
    assert len(asyncio.run(board.news(board._version - 2))) == 2


@pytest.mark.slow
def test_a_server_with_viewers_ends_when_it_is_asked_to(tmp_path: Path):
    settings = Settings.of(tmp_path, f"http://127.0.0.1:{servers.free_port()}")
    begun(settings.database_url).close()
    port = settings.address.rpartition(":")[2]
    command = [sys.executable, "-m", "uvicorn", "--factory", "workshop.leaderboard.api:create_app"]
    command += ["--port", port, "--log-level", "error"]
    process = subprocess.Popen(command, env=os.environ | settings.to_env())
    try:
        with httpx.Client(base_url=settings.address) as client:
            wait(lambda: _is_up(client), 60)
            with client.stream("GET", "/api/events", timeout=30) as answer:
                lines = answer.iter_lines()
                next(lines)
                process.send_signal(signal.SIGTERM)
                list(lines)  # ends
        assert process.wait(timeout=20) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()


def _is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_a_hundred_thousand_submissions_do_not_slow_the_board_down(tmp_path: Path):
    from workshop.leaderboard import tables

    db = begun(f"sqlite:///{(tmp_path / 'leaderboard.db').as_posix()}")
    people = [joined(db, f"P{i}") for i in range(100)]
    template = {"data_digest": "", "created": 5, "state": "scored", "attempts": 1, "counts": True}
    template |= {"reproduced": "untried", "personal_best": False, "mirrored": True, "revision": 2}
    template |= {"summary": "", "record": json.dumps({"metrics": "x" * 500}), "score": 0.5}
    template |= {name: 0.5 for name in ("low", "high", "test", "test_low", "test_high", "control")}
    template |= {"correct": bits(0.5), "model_sha256": "a" * 64, "scored_at": 5}
    rows = (
        (
            tables.submissions,
            template | {"participant_id": people[i % 100].id, "key": str(i), "run_id": str(i)},
        )
        for i in range(100_000)
    )
    db.fill(rows)
    plan = _reads_whole_table(db, lambda: [scored(db, people[0], 0.9), db.board(), db.history()])
    db.close()
    assert plan == []


def _reads_whole_table(db: Database, act) -> list[str]:
    """Return the statements that read all submissions."""
    import sqlalchemy as sa

    found = []

    def explain(connection, cursor, statement, parameters, context, many) -> None:
        if statement.startswith(("SELECT", "UPDATE")) and not many:
            plan = cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            if any("SCAN board_submissions" in row[3] for row in plan):
                found.append(statement)

    sa.event.listen(db._engine, "before_cursor_execute", explain)
    act()
    sa.event.remove(db._engine, "before_cursor_execute", explain)
    return found


# What stands between a browser and the server


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", ""]
)
def test_a_name_that_was_made_to_point_here_is_refused(shared_room: Room, host: str):
    for path in ("/", "/api/board", "/api/me", "/mlflow/", "/openapi.json"):
        answer = shared_room.client.get(path, headers={"host": host})
        assert answer.status_code in (400, 421)


def test_the_loopback_names_are_answered(shared_room: Room):
    for host in ("127.0.0.1", "localhost", "[::1]", "LocalHost"):
        answer = shared_room.client.get("/health", headers={"host": f"{host}:{shared_room.port}"})
        assert answer.status_code == 200


async def asked(host: str, came_in_at: str, port: int = 8765) -> int:
    """Return how a guard answers a request with this Host header."""
    statuses = []

    async def page(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message) -> None:
        statuses.append(message.get("status"))

    headers = [(b"host", host.encode())]
    scope = {"type": "http", "path": "/", "headers": headers, "server": (came_in_at, port)}
    await guard.Guard(page, ("board.local:8765",))(scope, None, send)
    return statuses[0]


@pytest.mark.parametrize(
    ("host", "came_in_at", "status"),
    [
        ("192.168.1.5:8765", "192.168.1.5", 200),
        ("10.0.0.9:8765", "10.0.0.9", 200),  # the network that was joined at noon
        ("10.0.0.9:8765", "::ffff:10.0.0.9", 200),
        ("[fe80::1]:8765", "fe80::1%eth0", 200),
        ("BOARD.local:8765", "192.168.1.5", 200),
        ("192.168.1.6:8765", "192.168.1.5", 421),
        ("192.168.1.5:80", "192.168.1.5", 421),
        ("192.168.1.5", "192.168.1.5", 421),
        ("192.168.1.5.evil.example:8765", "192.168.1.5", 421),
        ("0xc0a80105:8765", "192.168.1.5", 421),
        ("evil.example:8765", "192.168.1.5", 421),
    ],
)
def test_every_address_of_the_machine_is_answered_and_no_other(host, came_in_at, status):
    assert asyncio.run(asked(host, came_in_at)) == status


def test_on_port_80_an_address_needs_no_port():
    assert asyncio.run(asked("192.168.1.5", "192.168.1.5", port=80)) == 200


def test_two_hosts_are_refused(shared_room: Room):
    with socket.create_connection(("127.0.0.1", shared_room.port), timeout=10) as raw:
        lines = [f"host: 127.0.0.1:{shared_room.port}", "host: evil.example"]
        raw.sendall("\r\n".join(["GET /api/board HTTP/1.1", *lines, "", ""]).encode())
        assert raw.recv(100).startswith((b"HTTP/1.1 421", b"HTTP/1.1 400"))


def test_no_other_origin_may_read(shared_room: Room):
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for method in ("GET", "OPTIONS"):
        answer = shared_room.client.request(method, "/api/board", headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_page_runs_nothing_but_its_own_files(shared_room: Room):
    answer = shared_room.client.get("/")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/assets/../api.py", "/assets/..%2fapi.py", "/assets/%2e%2e/api.py", "/assets/"]
)
def test_assets_are_the_page_and_nothing_else(shared_room: Room, path: str):
    with socket.create_connection(("127.0.0.1", shared_room.port), timeout=10) as raw:
        request = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{shared_room.port}\r\n\r\n"
        raw.sendall(request.encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 404")


def test_scripts_of_the_page_are_scripts(shared_room: Room):
    answer = shared_room.client.get("/assets/board.js")
    assert answer.headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize("path", ["/", "/assets/board.js"])
def test_a_browser_fetches_a_file_of_the_page_once_and_packed(shared_room: Room, path: str):
    plain = shared_room.client.get(path, headers={"accept-encoding": "identity"})
    packed = shared_room.client.get(path, headers={"accept-encoding": "gzip"})
    assert packed.content == plain.content
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    known = {"if-none-match": f'"another", {packed.headers["etag"]}'}
    again = shared_room.client.get(path, headers=known)
    assert (again.status_code, again.content) == (304, b"")
    for answer in (plain, packed, again):
        assert answer.headers["cache-control"] == "no-cache"
        assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_the_address_is_drawn_as_a_code(shared_room: Room):
    answer = shared_room.client.get("/qr.svg")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.text.startswith("<svg")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("PUT", "/api/board", 405)]
)
def test_every_error_is_a_sentence(shared_room: Room, method: str, path: str, status: int):
    answer = shared_room.client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"].endswith(".")


def test_a_fault_shows_no_traceback(room: Room, monkeypatch):
    monkeypatch.setattr(room.state.db, "quota", lambda id: 1 / 0)
    answer = room.client.get("/api/me", headers=room.auth("Ada"))
    assert answer.status_code == 500
    assert "ZeroDivision" not in answer.text


def test_a_database_that_is_away_is_waited_for(room: Room, monkeypatch):
    def away(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("connection refused"))

    headers = room.auth("Ada")
    with monkeypatch.context() as broken:
        for name in ("quota", "revision", "append_live_many"):
            broken.setattr(room.state.db, name, away)
        answer = room.client.get("/api/me", headers=headers)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert room.live("Ada").status_code == 503
        broken.setattr(api, "FRESH_S", 0.1)
        wait(lambda: room.client.get("/health").status_code == 503)
        assert room.client.get("/api/board").status_code == 200
    assert room.live("Ada").status_code == 200
    assert room.board()["live"]


def test_another_database_in_the_place_of_the_first_is_read_anew(room: Room):
    scored(room.db, joined(room.db, "Ada"), 0.9)
    assert room.board()["entries"]
    with room.db._writing() as connection:
        from workshop.leaderboard import tables

        connection.execute(tables.participants.delete())
        connection.execute(tables.competition.update().values(revision=3))
    wait(lambda: room.client.get("/api/board").json()["entries"] == [])


def test_settings_pass_through_the_environment(monkeypatch, tmp_path: Path):
    settings = Settings.of(tmp_path, "https://board.example", artifacts="s3://bucket/day")
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    assert Settings.from_env() == settings
    assert settings.models_uri == "s3://bucket/day/models"


def test_tokens_are_long_and_random(db: Database):
    tokens = {db.join(f"P{i}", db.competition().join_code)[1] for i in range(5)}
    assert len(tokens) == 5
    assert all(len(token) >= 43 for token in tokens)
    assert secrets.token_urlsafe(32) not in tokens
