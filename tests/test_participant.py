"""The participant's side of the leaderboard: joining, live progress, export, submissions."""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
import servers
import torch
import yaml
from commands import ROOT, call, run
from hydra.utils import instantiate
from leaderboard import running, score
from mlflow.utils.file_utils import local_file_uri_to_path
from record_fixtures import FakeDataset
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler
from torch import nn

from samerun import flatten
from samerun.reproduce import REPEATS
from samerun.run import start_run
from samerun.store.tracking import experiment_id, tracking_uri, use_store
from workshop import cli
from workshop.data import load_training_data
from workshop.drive import Crash, Driver
from workshop.errors import WorkshopError
from workshop.participant import live, membership, submission
from workshop.participant.connection import Connection, NoAnswer, Refused
from workshop.participant.live import Publisher, sync
from workshop.participant.onnx_export import export_sklearn, export_torch, run_onnx
from workshop.participant.rehearsal import TOKEN, rehearsal
from workshop.participant.run_log import RemoteLog, SqliteLog

SOLUTIONS = ROOT / "solutions"
PART1, PART3 = SOLUTIONS / "part1_logistic_regression", SOLUTIONS / "part3_competition"
TRAIN, SUBMIT = PART3 / "train.py", PART3 / "submit.py"
SMALL = ["data=digits", "model.width=2", "training.epochs=2"]


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    """Configuration and packages of the test's own."""
    folder = tmp_path / "configuration"
    monkeypatch.setenv(membership.FOLDER, str(folder))
    monkeypatch.setattr(submission, "PENDING", tmp_path / "pending")
    return folder


@pytest.fixture
def board():
    with rehearsal() as found:
        yield found


def join(board, name="Ada"):
    return membership.join(f"K7QM-2XPD@{board.address}", name).membership


@pytest.fixture
def ada(board):
    return join(board)


def free_address():
    return f"http://127.0.0.1:{servers.free_port()}"


# ----------------------------------------------------------------------------------- joining


def test_a_token_is_its_owners_alone_from_the_first_moment(board, config, monkeypatch):
    modes, replace = [], os.replace

    def seen(old, new):
        modes.append(stat.S_IMODE(os.stat(old).st_mode))
        replace(old, new)

    monkeypatch.setattr(membership.os, "replace", seen)
    before = os.umask(0)
    try:
        join(board)
    finally:
        os.umask(before)
    kept = json.loads((config / membership.FILE).read_text(encoding="utf-8"))
    assert kept == {
        "address": board.address, "token": TOKEN, "name": "Ada", "participant": 1,
        "competition": board.competition,
    }  # fmt: skip
    if os.name == "posix":
        assert modes == [0o600]
        assert stat.S_IMODE((config / membership.FILE).stat().st_mode) == 0o600
        assert stat.S_IMODE(config.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("K7QM-2XPD@192.168.1.5:8765", ("K7QM-2XPD", "http://192.168.1.5:8765")),
        (" k7qm2xpd@192.168.1.5:8765/ ", ("K7QM-2XPD", "http://192.168.1.5:8765")),
        ("K7QM–2XPD@board.local:80", ("K7QM-2XPD", "http://board.local:80")),
        ("K7QM-2XPD@https://Board.Example.org", ("K7QM-2XPD", "https://board.example.org")),
        ("K7QM-2XPD@[::1]:8765", ("K7QM-2XPD", "http://[::1]:8765")),
    ],
)
def test_what_is_typed_is_understood(typed, expected):
    assert membership.parse(typed) == expected


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("K7QM-2XPD", "there is no @"),
        ("K7QM@192.168.1.5:8765", "'K7QM' is no code"),
        ("K7QM-2XPD@192.168.1.5", "the port is missing after '192.168.1.5'"),
        ("K7QM-2XPD@", "'' is no address"),
        ("K7QM-2XPD@ftp://host", "'ftp://host' is no address"),
        ("K7QM-2XPD@host:99999", "'host:99999' is no address"),
        ("K7QM-2XPD@https://host/path?x=1", "is more than an address"),
        ("K7QM-2XPD@https://me:word@host", "is more than an address"),
    ],
)
def test_a_malformed_code_is_explained(typed, message):
    with pytest.raises(WorkshopError, match=re.escape(message)) as refused:
        membership.join(typed, "Ada")
    assert membership.EXAMPLE in str(refused.value)


def test_where_no_server_is_the_message_says_what_was_tried(config):
    address = free_address()
    with pytest.raises(WorkshopError) as refused:
        membership.join(f"K7QM-2XPD@{address}", "Ada")
    assert f"Tried {address}/api/join" in str(refused.value)
    assert "nothing listens" in str(refused.value)
    assert not config.exists()


def test_a_host_that_does_not_exist_is_one_message():
    with pytest.raises(WorkshopError, match="there is no host of that name"):
        membership.join("K7QM-2XPD@no-such-host.invalid:80", "Ada")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "does not take the code K7QM-2XPD"),
        (409, "The name 'Ada' is taken"),
        (422, "does not take the name 'Ada'"),
        (429, "Too many have tried"),
        (404, "is not the leaderboard"),
        (500, "could not let you in (status 500)"),
    ],
)
def test_why_one_may_not_join_is_explained(board, config, status, message):
    board.trick = lambda handler: handler.answer(status, {"error": "So it is."}) or True
    with pytest.raises(WorkshopError, match=re.escape(message)) as refused:
        join(board)
    assert "The server says: So it is." in str(refused.value)
    assert not config.exists()


def test_joining_again_says_that_one_is_in(board, ada):
    again = membership.join(f"k7qm2xpd@{board.address}", "ada")
    assert not again.new
    assert again.membership == ada
    assert board.seen.count("POST /api/join") == 1


def test_another_name_on_one_computer_is_not_another_participant(board, ada):
    with pytest.raises(WorkshopError, match=r"'Ada' has joined .* everybody takes part once"):
        join(board, "Bob")


def test_who_is_unknown_to_a_server_that_began_anew_joins_again(board, ada):
    board.trick = lambda handler: (
        handler.path == "/api/me" and (handler.answer(401, {"error": "Who?"}) or True)
    )
    board.names.clear()
    assert membership.join(f"K7QM-2XPD@{board.address}", "Ada").new


def test_another_server_replaces_the_first_which_is_found_again(board, ada, config):
    with rehearsal() as other:
        second = membership.join(f"K7QM-2XPD@{other.address}", "Ada")
        assert second.before == ada
        assert membership.current().address == other.address
        assert len(list(config.glob("membership*.json"))) == 2
        third = membership.join(f"K7QM-2XPD@{board.address}", "Ada")
    assert (third.membership, third.new) == (ada, False)
    assert membership.current() == ada


def test_a_server_that_moved_is_recognised_and_nothing_is_lost(
    board, ada, capsys, monkeypatch, mlflow_store
):
    shared = live.Unsent("a" * 32, "sqlite:///some.db", board.address)
    shared.claim()
    shared.note()
    shared.release()
    with rehearsal() as moved:
        moved.competition = board.competition
        moved.names.append("ada")
        assert cli.main(["join", f"K7QM-2XPD@{moved.address}", "--name", "ada"]) == 0
        said = capsys.readouterr().out
        assert f"already in: 'Ada' at {moved.address}" in said
        assert f"the competition that was at {board.address}" in said
        assert "POST /api/join" not in moved.seen
        assert membership.current() == replace(ada, address=moved.address)
        assert [unsent.run_id for unsent in live.waiting(moved.address)] == ["a" * 32]
        assert not list(live.waiting(board.address))


def test_another_competition_is_never_shown_the_token(board, ada):
    with rehearsal() as other:
        assert membership.join(f"K7QM-2XPD@{other.address}", "Ada").new
        assert "GET /api/me" not in other.seen


def test_a_token_that_the_moved_server_no_longer_knows_is_no_membership(board, ada):
    with rehearsal() as moved:
        moved.competition = board.competition
        moved.trick = lambda handler: (
            handler.path == "/api/me" and (handler.answer(401, {"error": "Who?"}) or True)
        )
        assert membership.join(f"K7QM-2XPD@{moved.address}", "Ada").new


def test_a_token_that_was_given_is_asked_for_and_kept(board, capsys, monkeypatch):
    words = ["join", f"K7QM-2XPD@{board.address}", "--token"]
    monkeypatch.setattr("getpass.getpass", lambda prompt: f" {TOKEN}\n")
    assert cli.main(words) == 0
    assert membership.current().token == TOKEN
    assert "You are in: 'Ada'" in capsys.readouterr().out
    monkeypatch.setattr("getpass.getpass", lambda prompt: "two words")
    assert cli.main(words) == 2
    board.trick = answering(401, b'{"error": "Not known here."}')
    monkeypatch.setattr("getpass.getpass", lambda prompt: "another-token")
    assert cli.main(words) == 2
    assert "does not take this token: Not known here." in capsys.readouterr().err
    assert membership.current().token == TOKEN


def test_a_membership_that_cannot_be_read_says_what_to_do(config):
    config.mkdir()
    (config / membership.FILE).write_text("{", encoding="utf-8")
    with pytest.raises(WorkshopError, match="Delete it and join again"):
        membership.current()


def test_the_commands_never_show_the_token(board, capsys, mlflow_store):
    words = ["join", f"K7QM-2XPD@{board.address}", "--name", "Ada", "Lovelace"]
    assert cli.main(words) == 0
    assert cli.main(words) == 0
    assert cli.main(["sync"]) == 0
    said = capsys.readouterr()
    assert "You are in: 'Ada Lovelace'" in said.out
    assert "You are already in" in said.out
    assert TOKEN not in said.out + said.err + repr(membership.current())


def test_who_has_not_joined_is_told_how(mlflow_store, capsys):
    assert cli.main(["sync"]) == 2
    assert "uv run workshop join CODE@HOST:PORT --name" in capsys.readouterr().err


# ---------------------------------------------------------------------------- hostile servers


def raw(content: bytes, pause: float = 0.0):
    """Answer with these bytes and nothing else, byte by byte if there is a pause."""

    def trick(handler):
        with contextlib.suppress(OSError):
            for piece in [content[i : i + 1] for i in range(len(content))] if pause else [content]:
                handler.connection.sendall(piece)
                time.sleep(pause)
        handler.close_connection = True
        return True

    return trick


def answering(status: int, content: bytes, **headers: str):
    return lambda handler: handler.answer(status, content, **headers) or True


HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
HOSTILE = {
    "HTML": (answering(200, b"<html>Log in</html>", **{"Content-Type": "text/html"}), "text/html"),
    "an HTML error": (answering(502, b"<html>Bad gateway</html>"), "status 502"),
    "a list": (answering(200, b"[]"), "not the leaderboard"),
    "half a JSON": (answering(200, b'{"a":'), "not the leaderboard"),
    "a deep JSON": (answering(200, b"[" * 100_000), "not the leaderboard"),
    "a huge body": (answering(200, b'{"a": "' + b"x" * 2**21 + b'"}'), "not the leaderboard"),
    "not HTTP": (raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "what came back is not http"),
    "nothing": (raw(b""), "hung up"),
    "a body cut off": (raw(HTTP + b'Content-Length: 100\r\n\r\n{"a"'), "hung up"),
    "endless headers": (raw(HTTP + b"A: b\r\n" * 1000), "what came back is not http"),
    "a byte now and then": (raw(HTTP + b"A: b\r\n" * 1000, pause=0.05), "hung up"),
    "escape sequences": (answering(400, b'{"error": "\\u001b[2J\\u202egone"}'), " [2J gone"),
    "a server error": (answering(500, b'{"error": "Broken."}'), "Broken."),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_answer_is_one_clear_error(kind, board):
    board.trick, message = HOSTILE[kind]
    with pytest.raises((NoAnswer, Refused)) as failed:
        Connection(board.address, TOKEN).request("GET", "/api/me", seconds=0.3)
    assert message in str(failed.value)
    assert str(failed.value).isprintable()
    assert TOKEN not in str(failed.value)


def test_a_redirect_is_not_followed_with_the_token(board):
    with rehearsal() as elsewhere:
        to = {"Location": f"{elsewhere.address}/api/me"}
        for status in (301, 302, 303, 307, 308):
            board.trick = answering(status, b"{}", **to)
            with pytest.raises(NoAnswer, match="which is not followed"):
                Connection(board.address, TOKEN).request("GET", "/api/me")
    assert elsewhere.seen == []


def test_a_server_that_speaks_no_https_is_named(board):
    address = board.address.replace("http://", "https://")
    with pytest.raises(NoAnswer, match="it does not speak https"):
        Connection(address).request("GET", "/api/me", seconds=2)


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    files = ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"]
    try:
        subprocess.run([*make, *files], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl")
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with rehearsal() as found:
        found.socket = context.wrap_socket(found.socket, server_side=True)
        with pytest.raises(NoAnswer, match="its certificate is not trusted"):
            Connection(f"https://localhost:{found.server_port}", TOKEN).request("GET", "/api/me")
    assert found.seen == []


# ------------------------------------------------------------------------------ live progress


@contextlib.contextmanager
def shared_run(every=0.01, leave=False):
    """An MLflow run of the local store that is published; yields its id.

    What its thread does after the end is waited for, unless one is to leave.
    """
    use_store()
    publisher = Publisher(every)
    try:
        with mlflow.start_run(experiment_id=experiment_id("live")) as started, publisher:
            mlflow.log_params(flatten({"training.epochs": "3", "api_key": "hidden-word"}))
            yield started.info.run_id
    finally:
        if publisher._thread and not leave:
            publisher._thread.join(20)


def log_epochs(*epochs):
    for epoch in epochs:
        mlflow.log_metrics({"val_accuracy": epoch / 10, "train_loss": 1 / epoch}, step=epoch)


def wait_until(true, what="what was waited for"):
    servers.wait_until(true, 20, what)


def arrived(board, run_id):
    """What the server has of a run: (metric, step) in the order of their arrival."""
    return [(point["metric"], point["step"]) for point in board.points.get(run_id, [])]


def logged(run_id):
    """What the store has of a run, in the order of logging."""
    store = SqliteLog(Path(tracking_uri().removeprefix("sqlite:///")), run_id)
    points = [(point["metric"], point["step"]) for point in store.points(0, 10**6)]
    store.close()
    return points


def test_a_run_is_seen_while_it_trains(board, ada, mlflow_store):
    with shared_run() as run_id:
        log_epochs(1)
        wait_until(lambda: len(arrived(board, run_id)) == 2, "the first epoch")
        assert board.statuses[run_id] == "running"
        log_epochs(2, 3)
    wait_until(lambda: board.statuses[run_id] == "finished")
    assert arrived(board, run_id) == logged(run_id)
    assert board.runs[run_id]["epochs"] == 3
    assert board.runs[run_id]["params"] == {"training.epochs": "3", "api_key": "***"}
    assert [p["value"] for p in board.points[run_id] if p["metric"] == "val_accuracy"] == [
        0.1, 0.2, 0.3,
    ]  # fmt: skip
    wait_until(lambda: not list(live.waiting(board.address)), "nothing left to send")


def test_the_repetition_of_a_run_is_not_published(board, ada, mlflow_store, monkeypatch):
    monkeypatch.setenv(REPEATS, "0123456789abcdef0123456789abcdef")
    with shared_run() as run_id:
        log_epochs(1)
    with shared_run() as another:
        pass
    assert not {run_id, another} & {*board.runs, *board.points}
    assert list(live.waiting(board.address)) == []


def test_a_repetition_needs_no_membership(mlflow_store, monkeypatch):
    monkeypatch.setenv(REPEATS, "0123456789abcdef0123456789abcdef")
    with shared_run():
        log_epochs(1)


def test_numbers_that_are_none_arrive_as_what_they_are(board, ada, mlflow_store):
    with shared_run() as run_id:
        for step, value in enumerate((float("nan"), float("inf"), -float("inf"), 1.5)):
            mlflow.log_metric("loss", value, step=step)
    wait_until(lambda: board.statuses.get(run_id) == "finished")
    found = [point["value"] for point in board.points[run_id]]
    assert found == ["NaN", "Infinity", "-Infinity", 1.5]


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError, "failed"), (KeyboardInterrupt, "killed")]
)
def test_how_a_run_ended_is_told(board, ada, mlflow_store, error, status):
    with pytest.raises(error), shared_run() as run_id:
        log_epochs(1)
        raise error
    wait_until(lambda: board.statuses.get(run_id) == status)


def test_more_points_than_a_request_takes_arrive_in_order(board, ada, mlflow_store):
    with shared_run(every=30) as run_id:  # all of them at the end
        for step in range(5):
            mlflow.log_metrics({f"m{i}": step for i in range(500)}, step=step)
    wait_until(lambda: board.statuses.get(run_id) == "finished")
    assert arrived(board, run_id) == logged(run_id)
    assert len(logged(run_id)) == 2500


def test_training_goes_on_without_a_server_and_all_is_sent_later(mlflow_store, caplog):
    with rehearsal() as board:
        ada, port = join(board), board.server_port
    with caplog.at_level(logging.INFO), shared_run() as run_id:
        log_epochs(1)
        wait_until(lambda: caplog.records, "a warning")
        log_epochs(2, 3)
        time.sleep(0.2)  # several attempts
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "does not answer" in caplog.text
    assert "uv run workshop sync" in caplog.text
    assert mlflow.get_run(run_id).info.status == "FINISHED"
    with pytest.raises(NoAnswer):
        sync(ada)
    with rehearsal(port) as board:
        assert sync(ada).sent == [run_id]
        assert arrived(board, run_id) == logged(run_id)
        assert board.statuses == {run_id: "finished"}
        assert sync(ada).sent == []


def test_a_server_that_comes_back_gets_what_it_missed_and_a_line_says_so(mlflow_store, caplog):
    with rehearsal() as board:
        join(board)
    with caplog.at_level(logging.INFO), shared_run() as run_id:
        log_epochs(1)
        wait_until(lambda: caplog.records, "a warning")
        with rehearsal(board.server_port) as board:
            wait_until(lambda: len(arrived(board, run_id)) == 2)
            wait_until(lambda: len(caplog.records) == 2, "a second line")
            log_epochs(2)
            wait_until(lambda: len(arrived(board, run_id)) == 4)
    assert [record.levelname for record in caplog.records][:2] == ["WARNING", "INFO"]
    assert "is back" in caplog.records[1].message


def test_training_does_not_wait_for_a_server_that_hangs(board, ada, mlflow_store, monkeypatch):
    monkeypatch.setattr(live, "REQUEST_SECONDS", 600)
    hung, goes_on, waited = threading.Event(), threading.Event(), []

    def hang(handler):
        hung.set()
        waited.append(goes_on.wait(20))

    board.trick = hang
    with shared_run(leave=True) as run_id:
        log_epochs(1)
        hung.wait()
        log_epochs(2, 3)
    assert mlflow.get_run(run_id).info.status == "FINISHED"
    assert waited == []  # the server hangs still
    goes_on.set()
    wait_until(lambda: board.statuses.get(run_id) == "finished")
    assert arrived(board, run_id) == logged(run_id)


def test_a_request_that_hangs_is_given_up_and_made_again(board, ada, mlflow_store, monkeypatch):
    monkeypatch.setattr(live, "REQUEST_SECONDS", 0.1)
    goes_on = threading.Event()
    board.trick = lambda handler: len(board.seen) < 5 and goes_on.wait()
    with shared_run() as run_id:
        log_epochs(1)
        wait_until(lambda: len(arrived(board, run_id)) == 2)
    goes_on.set()


def test_an_answer_that_is_lost_doubles_nothing(board, ada, mlflow_store):
    requests = []

    def lose_every_second_answer(handler):
        requests.append(handler)
        if len(requests) % 2:
            return False
        handler.answer = lambda *_: handler.connection.close()
        return False

    board.trick = lose_every_second_answer
    with shared_run() as run_id:
        for epoch in (1, 2, 3):
            log_epochs(epoch)
            wait_until(lambda n=2 * epoch: len(arrived(board, run_id)) >= n)
    board.trick = None
    wait_until(lambda: sync(ada).sent or board.statuses[run_id] == "finished")
    assert arrived(board, run_id) == logged(run_id)


def test_a_server_that_lost_its_memory_is_told_everything_again(board, ada, mlflow_store):
    with shared_run() as run_id:
        log_epochs(1)
        wait_until(lambda: len(arrived(board, run_id)) == 2)
        with board.lock:
            board.points.clear()
            board.runs.clear()
        log_epochs(2)
        wait_until(lambda: len(arrived(board, run_id)) == 4)
    assert arrived(board, run_id)[:4] == logged(run_id)


def test_a_refusal_for_good_is_said_once_and_the_run_goes_on(board, ada, mlflow_store, caplog):
    board.trick = answering(401, b'{"error": "No such token."}')
    with caplog.at_level(logging.INFO), shared_run() as run_id:
        log_epochs(1)
        wait_until(lambda: caplog.records, "a warning")
        log_epochs(2)
        time.sleep(0.1)
    assert board.seen.count("POST /api/live") <= 2  # one, and one more at the end
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert mlflow.get_run(run_id).info.status == "FINISHED"
    assert list(sync(ada).failed) == [run_id]


def test_the_next_shared_run_sends_what_the_last_one_could_not(mlflow_store):
    with rehearsal() as board:
        join(board)
    with shared_run() as first:
        log_epochs(1, 2)
    with rehearsal(board.server_port) as board, shared_run() as second:
        wait_until(lambda: board.statuses.get(first) == "finished", "the first run")
        assert arrived(board, first) == logged(first)
        assert board.statuses[second] == "running"


def test_a_run_that_still_trains_is_left_to_its_own_process(board, ada, mlflow_store):
    with shared_run(every=60) as run_id:
        assert sync(ada).training == [run_id]
        assert board.points == {}


KILLED = """
import sys, time
import mlflow
from workshop.participant.live import Publisher
from samerun.store.tracking import experiment_id, use_store
use_store()
with mlflow.start_run(experiment_id=experiment_id("live")), Publisher(every=60):
    mlflow.log_params({"training.epochs": 9})
    for epoch in (1, 2, 3):
        mlflow.log_metric("val_accuracy", epoch / 10, step=epoch)
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_of_a_killed_process_everything_is_sent_and_that_it_was_killed(board, ada, mlflow_store):
    process = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    (unsent,) = live.waiting(board.address)
    assert sync(ada).training == [unsent.run_id]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert sync(ada).sent == [unsent.run_id]
    assert [step for _, step in arrived(board, unsent.run_id)] == [1, 2, 3]
    assert board.statuses[unsent.run_id] == "killed"


def test_a_run_whose_store_is_gone_is_forgotten(mlflow_store):
    with rehearsal() as board:
        ada = join(board)
    with shared_run() as run_id:
        log_epochs(1)
    mlflow_store.unlink()
    with rehearsal(board.server_port):
        assert "is not there any more" in sync(ada).failed[run_id]
        assert sync(ada).failed == {}


def test_what_one_server_missed_is_not_sent_to_another(mlflow_store):
    with rehearsal() as first:
        join(first)
    with shared_run():
        log_epochs(1)
    with rehearsal() as second:
        assert sync(join(second)).sent == []
        assert second.points == {}


def test_a_configuration_folder_that_cannot_be_written_costs_no_run(
    board, ada, mlflow_store, config, caplog
):
    (config / live.UNSENT).write_text("in the way", encoding="utf-8")
    with shared_run() as run_id:
        log_epochs(1)
    assert "This run is not published" in caplog.text
    assert mlflow.get_run(run_id).info.status == "FINISHED"


def test_any_other_store_gives_the_same_points(mlflow_store):
    use_store()
    with mlflow.start_run(experiment_id=experiment_id("live")) as started:
        for epoch in (1, 2, 3):
            log_epochs(epoch)
            time.sleep(0.002)  # another millisecond
    here = SqliteLog(mlflow_store, started.info.run_id)
    there = RemoteLog(tracking_uri(), started.info.run_id)
    assert here.about() == there.about()
    points = here.points(0, 100)
    assert sorted(points, key=lambda p: (p["time"], p["step"], p["metric"])) == there.points(0, 100)
    assert there.points(2, 3) == there.points(0, 100)[2:5]
    here.close()


def test_a_log_is_read_on_from_any_position(mlflow_store):
    use_store()
    with mlflow.start_run(experiment_id=experiment_id("live")) as started:
        log_epochs(*range(1, 8))
        log = SqliteLog(mlflow_store, started.info.run_id)
        whole = log.points(0, 100)
        assert len(whole) == 14
        for position in (3, 5, 14, 0, 13):
            assert log.points(position, 4) == whole[position : position + 4]
        log_epochs(8)
        assert log.points(14, 4) == log.points(0, 100)[14:]
        log.close()


HALF_WRITTEN = """
import os, sqlite3, sys
store = sqlite3.connect(sys.argv[1])
store.execute("PRAGMA cache_size = 1")  # so that the file itself is written to
row = "INSERT INTO metrics VALUES ('half', ?, 0, ?, 0, 0)"
store.executemany(row, [(float(i), sys.argv[2]) for i in range(5000)])
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_what_a_killed_process_had_half_written_is_not_sent(mlflow_store):
    use_store()
    with mlflow.start_run(experiment_id=experiment_id("live")) as started:
        log_epochs(1)
    run_id = started.info.run_id
    subprocess.run([sys.executable, "-c", HALF_WRITTEN, str(mlflow_store), run_id])
    assert mlflow_store.with_name("mlflow.db-journal").stat().st_size > 0
    assert logged(run_id) == [("val_accuracy", 1), ("train_loss", 1)]


def test_shared_training_without_membership_stops_before_any_data_is_loaded(monkeypatch):
    monkeypatch.setenv("FASHION_MNIST_DIR", "nowhere")
    with pytest.raises(Crash, match="uv run workshop join") as stopped:
        Driver(PART3).command("train.py", "tracking=shared")
    assert "Traceback" not in str(stopped.value)


def test_a_shared_training_leaves_no_token_in_its_record(board, ada, mlflow_store, tmp_path):
    call(TRAIN, *SMALL, "tracking=shared", cwd=tmp_path)
    (run_id,) = board.points
    wait_until(lambda: board.statuses[run_id] == "finished")
    assert arrived(board, run_id) == logged(run_id)
    assert ("best_val_accuracy", 2) in arrived(board, run_id) or len(logged(run_id)) == 9
    recorded = [path for path in mlflow_store.parent.rglob("*") if path.is_file()]
    assert any(path.name == "trace.json" for path in recorded)
    assert [path.name for path in recorded if TOKEN.encode() in path.read_bytes()] == []


@pytest.mark.slow
def test_trials_are_shown_if_that_is_asked_for(board, ada, mlflow_store, tmp_path):
    storage = [f"storage.path={tmp_path / 'study.journal'}", "pruner=none"]
    call(PART3 / "tune.py", *SMALL, *storage, "trials=2", "tracking=shared", cwd=tmp_path)
    wait_until(lambda: sync(ada).training == [])
    assert sorted(run["name"] for run in board.runs.values()) == ["trial 0", "trial 1"]
    assert set(board.statuses.values()) == {"finished"}
    # Whether its trials are shown is no part of a study's question.
    call(PART3 / "tune.py", *SMALL, *storage, "trials=3", cwd=tmp_path)
    assert len(board.runs) == 2


@pytest.mark.parametrize("config_name", ["config", "tune"])
def test_runs_and_trials_stay_local_unless_asked(config_name):
    cfg = Driver(PART3).compose(config=config_name)
    assert cfg.tracking._target_ == "contextlib.nullcontext"


# -------------------------------------------------------------------------------------- export


def some_pixels(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28), dtype=np.uint8)


def network(name):
    """A network of part 2 or 3 with random weights that have seen some images."""
    torch.manual_seed(0)
    part = Driver(
        ROOT / "solutions" / ("part3_competition" if name in "baseline own" else "part2_mlp_cnn")
    )
    models = part.load("models.py")
    model = {
        "baseline": lambda: models.Baseline(4),
        "own": lambda: models.Own(4),
        "mlp": lambda: models.MLP([32, 16], dropout=0.3),
        "cnn": lambda: models.CNN([8, 16], dropout=0.3),
    }[name]()
    model(torch.randn(64, 1, 28, 28))  # batch normalisation learns something
    return model


@pytest.mark.parametrize(
    "name",
    ["baseline", *(pytest.param(n, marks=pytest.mark.slow) for n in ("own", "mlp", "cnn"))],
)
def test_an_exported_network_says_what_the_network_says(name, capfd):
    part, model = Driver(PART3), network(name)
    from_pixels = part.load("trained.py").FromPixels
    predict, to_tensors = part.load("engine.py").predict, part.load("data.py").to_tensors
    module = from_pixels(model, 0.28, 0.35, mirror=True)
    exported = export_torch(module)
    assert capfd.readouterr() == ("", "")
    data = dataclasses.replace(load_training_data("digits"), mean=0.28, std=0.35)
    pixels = data.val.images
    images, _ = to_tensors(data, data.val, torch.device("cpu"), True)
    expected = predict(model, images, True, torch.float32).numpy()
    scores = run_onnx(exported, pixels)
    assert scores.shape == (300, 10)
    assert np.allclose(scores, expected, atol=1e-4)
    assert np.allclose(run_onnx(exported, pixels[:1]), expected[:1], atol=1e-4)
    assert len(exported) < 3_000_000
    # The exporter notes the path and the text of every line of code that it sees.
    assert b"/" + ROOT.name.encode() not in exported
    assert b"stack_trace" not in exported
    assert export_torch(module) == exported


def images_to(*steps):
    rows = FunctionTransformer(np.reshape, kw_args={"shape": (-1, 784)})
    return make_pipeline(rows, *steps)


def numpys(function):
    return FunctionTransformer(function, kw_args={"dtype": "float32"})


@pytest.mark.parametrize(
    ("preprocessing", "classifier"),
    [
        ("pixels", RidgeClassifier(alpha=100)),
        ("standardised", RidgeClassifier(alpha=100)),
        ("whitened", LogisticRegression(C=0.01)),
    ],
)
def test_an_exported_pipeline_says_what_the_pipeline_says(preprocessing, classifier):
    data = load_training_data("digits")
    cfg = Driver(PART1).compose(f"preprocessing={preprocessing}")
    model = images_to(*instantiate(cfg.preprocessing.steps).values(), classifier)
    model.fit(data.train.images, data.train.labels)
    exported = export_sklearn(model)
    scores = run_onnx(exported, data.val.images)
    assert scores.shape == (300, 10)
    assert scores.dtype in (np.float32, np.float64)
    assert np.isfinite(scores).all()
    assert (scores.argmax(axis=1) == model.predict(data.val.images)).all()
    assert run_onnx(exported, data.val.images[:1]).shape == (1, 10)
    assert export_sklearn(model) == exported


@pytest.mark.parametrize(
    "steps",
    [
        [numpys(np.sqrt)],
        [numpys(np.absolute), numpys(np.tanh)],
        [numpys(np.exp), numpys(np.log), FunctionTransformer()],
    ],
    ids=["sqrt", "absolute, tanh", "exp, log, none"],
)
def test_a_function_of_numpy_that_onnx_has_a_word_for_is_exported(steps):
    data = load_training_data("digits")
    model = images_to(MaxAbsScaler(), *steps, RidgeClassifier())
    model.fit(data.val.images, data.val.labels)
    scores = run_onnx(export_sklearn(model), data.val.images)
    assert np.allclose(scores, model.decision_function(data.val.images), atol=1e-3)


@pytest.mark.parametrize(
    "step",
    [
        FunctionTransformer(np.square),
        FunctionTransformer(np.sign, kw_args={"dtype": "float32"}),
        FunctionTransformer(np.sqrt, kw_args={"where": True}),
        FunctionTransformer(np.flip),
    ],
    ids=lambda step: step.func.__name__,
)
def test_a_function_that_onnx_has_no_word_for_is_named(step):
    data = load_training_data("digits")
    model = images_to(MaxAbsScaler(), step, RidgeClassifier())
    model.fit(data.val.images, data.val.labels)
    with pytest.raises(
        WorkshopError,
        match=rf"(?s){step.func.__name__}.*has no word in it\. Expected numpy\.reshape",
    ):
        export_sklearn(model)


@pytest.mark.slow
def test_a_network_that_cannot_be_exported_says_why():
    class Decides(nn.Module):
        def forward(self, pixels):
            values = pixels.flatten(1).float()
            return values[:, :10] if values.sum().item() > 3 else values[:, 10:20]

    with pytest.raises(WorkshopError, match=r"cannot be written as ONNX: .*\n.*no \.item\(\)"):
        export_torch(Decides())


@pytest.mark.slow
def test_a_network_that_takes_one_number_of_images_alone_says_why():
    class Counts(nn.Module):
        def forward(self, pixels):
            return pixels.reshape(len(pixels), 784).float()[:, :10]

    with pytest.raises(WorkshopError, match=r"In place of len\(images\) write images\.shape"):
        export_torch(Counts())


def test_bytes_that_are_no_model_are_one_error():
    with pytest.raises(WorkshopError, match="onnxruntime cannot run the exported model"):
        run_onnx(b"no model", some_pixels(3))


# --------------------------------------------------------------------------------- submissions


@pytest.fixture
def finished(mlflow_store):
    """A finished run with a trace, a picture and a file that is nobody's business."""
    cfg = {"experiment": "x", "seed": 0}
    with start_run(cfg, FakeDataset(), overrides=["model=own", "seed=3"]) as started:
        mlflow.log_params({"model._target_": "models.Own", "storage.password": "hidden-word"})
        mlflow.log_text("seed: 3\nstorage:\n  password: hidden-word\n", "config.yaml")
        mlflow.log_text("not to be sent", "notes.txt")
        mlflow.log_image(np.zeros((4, 4), np.uint8), "picture.png")
        log_epochs(1, 2)
        mlflow.log_metric("loss", float("nan"), step=1)
        mlflow.log_metric("best_val_accuracy", 0.2, step=2)
    return mlflow.get_run(started.info.run_id)


def packed(finished, model=b"a model"):
    return submission.pack(finished, model, "torch", FakeDataset())


def test_a_package_holds_the_record_and_nothing_else(finished):
    folder = packed(finished)
    record = json.loads((folder / submission.RECORD).read_text(encoding="utf-8"))
    paths = {p.relative_to(folder / "files").as_posix() for p in folder.rglob("files/**/*.*")}
    assert paths == set(record["files"])
    assert {"config.yaml", "picture.png", "trace/trace.json", "trace/packages.txt"} <= paths
    assert "notes.txt" not in paths
    for path, digest in record["files"].items():
        assert hashlib.sha256((folder / "files" / path).read_bytes()).hexdigest() == digest
    assert record["run"]["id"] == finished.info.run_id
    assert record["model"] == hashlib.sha256(b"a model").hexdigest()
    assert (record["data"], record["kind"]) == ("digits", "torch")
    assert record["claim"] == {"metric": "val_accuracy", "value": 0.2}
    assert [point[::2] for point in record["metrics"]["val_accuracy"]] == [[1, 0.1], [2, 0.2]]
    assert record["metrics"]["loss"][0][2] == "NaN"
    assert record["summary"] == "Own model=own seed=3"
    assert record["params"]["storage.password"] == "***"
    assert all(name.startswith("trace.") for name in record["tags"])
    assert record["training_seconds"] > 0
    # MLflow notes who ran what and where; of that nothing leaves but what the trace names.
    assert str(ROOT) not in (folder / submission.RECORD).read_text(encoding="utf-8")
    texts = [p for p in folder.rglob("*") if p.is_file() and p.name != "changes.patch"]
    assert [p.name for p in texts if b"hidden-word" in p.read_bytes()] == []


def test_secrets_in_the_files_of_an_earlier_run_stay_here(finished, caplog):
    """What a run recorded before secrets were masked is masked as it leaves."""
    artifacts = Path(local_file_uri_to_path(finished.info.artifact_uri))
    config = (
        "seed: 3\nstorage:\n  password: |\n    hidden-word\n    more\nurl: http://me:word@x/y\n"
    )
    (artifacts / "config.yaml").write_text(config, encoding="utf-8")
    parts = [
        f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -0,0 +1 @@\n+{line}\n"
        for path, line in {"a.py": "x = 1", "b.py": 'api_key = "q1w2e3-hidden-word"'}.items()
    ]
    (artifacts / "trace" / "changes.patch").write_text("".join(parts), encoding="utf-8")
    folder = packed(finished) / "files"
    shown = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert shown == {"seed": 3, "storage": {"password": "***"}, "url": "http://***@x/y"}
    assert (folder / "trace" / "changes.patch").read_text(encoding="utf-8") == parts[0]
    assert "changes to b.py stay here" in caplog.text


@pytest.mark.parametrize(
    ("metrics", "claim"),
    [
        ({"test_accuracy": 0.7, "best_val_accuracy": 0.9}, ("test_accuracy", 0.7)),
        ({"best_val_accuracy": 0.9, "val_accuracy": 0.8}, ("val_accuracy", 0.9)),
        ({"val_accuracy": 0.8}, ("val_accuracy", 0.8)),
        ({"val_accuracy": float("nan")}, None),
        ({}, None),
    ],
)
def test_a_run_claims_its_test_accuracy_else_its_best_on_the_validation_set(metrics, claim):
    expected = claim and {"metric": claim[0], "value": claim[1]}
    assert submission.claim(metrics) == expected


def test_a_model_that_is_too_large_is_not_packed(finished, monkeypatch):
    monkeypatch.setattr(submission, "LARGEST_MODEL", 3)
    with pytest.raises(WorkshopError, match="Train a smaller one"):
        packed(finished)
    assert submission.kept() == []


def test_a_submission_arrives_whole_and_its_score_is_shown(board, ada, finished, capsys):
    folder = packed(finished)
    record = json.loads((folder / submission.RECORD).read_text(encoding="utf-8"))
    submission.submit(folder)
    assert board.submissions == [record]
    assert board.blobs[record["model"]] == b"a model"
    assert set(board.blobs) == {record["model"], *record["files"].values()}
    said = capsys.readouterr().out
    assert "score  0.8000  (95 % interval 0.7900 to 0.8100)" in said
    assert "rank   1 of 1" in said
    assert f"{board.address}/#entry-1" in said
    assert TOKEN not in said
    assert submission.kept() == []


def test_sending_it_again_is_the_same_submission(board, ada, finished, capsys):
    submission.submit(packed(finished))
    uploads = len([line for line in board.seen if line.startswith("PUT")])
    submission.submit(packed(finished))
    assert len(board.submissions) == 1
    assert len([line for line in board.seen if line.startswith("PUT")]) == uploads
    assert capsys.readouterr().out.count("#entry-1") == 2


def test_without_membership_the_package_is_kept_and_sent_after_joining(board, finished, capsys):
    with pytest.raises(WorkshopError) as refused:
        submission.submit(packed(finished))
    assert "uv run workshop join" in str(refused.value)
    assert "submit.py --pending" in str(refused.value)
    assert len(submission.kept()) == 1
    join(board)
    submission.send_pending()
    assert len(board.submissions) == 1
    assert submission.kept() == []
    submission.send_pending()
    assert "No package waits" in capsys.readouterr().out


def test_without_a_server_the_package_is_kept_and_sent_later(finished):
    with rehearsal() as board:
        join(board)
    with pytest.raises(WorkshopError, match="nothing listens") as refused:
        submission.submit(packed(finished))
    assert "Nothing is lost" in str(refused.value)
    with rehearsal(board.server_port) as board:
        submission.send_pending()
    assert len(board.submissions) == 1


def test_a_quota_that_is_used_up_says_when_to_try_again(board, ada, finished, monkeypatch):
    real = submission.datetime.datetime

    class Noon(real):
        @classmethod
        def now(cls):
            return real(2026, 1, 1, 12, 0, 0)

    monkeypatch.setattr(submission.datetime, "datetime", Noon)
    board.trick = answering(429, b'{"error": "Ten in an hour."}', **{"Retry-After": "125"})
    with pytest.raises(WorkshopError) as refused:
        submission.submit(packed(finished))
    assert "Ten in an hour." in str(refused.value)
    assert "to send it, from 12:02:05 on: uv run" in str(refused.value)
    assert len(submission.kept()) == 1


def test_one_package_that_is_not_taken_does_not_stop_the_others(board, ada, finished, capsys):
    folder = packed(finished)
    other = folder.with_name("0" * 32)
    folder.rename(other)
    os.utime(other / submission.RECORD, (1, 1))  # the older one
    packed(finished)
    taken = []

    def refuse_the_first(handler):
        if handler.path == "/api/submissions" and not taken:
            taken.append(1)
            handler.answer(409, {"error": "Other images."})
            return True
        return False

    board.trick = refuse_the_first
    with pytest.raises(WorkshopError, match="1 of 2 packages"):
        submission.send_pending()
    assert "Other images." in capsys.readouterr().err
    assert [path.name for path in submission.kept()] == ["0" * 32]
    assert len(board.submissions) == 1


def test_a_package_of_which_a_file_is_gone_is_named(board, ada, finished):
    folder = packed(finished)
    (folder / "files" / "config.yaml").unlink()
    with pytest.raises(WorkshopError, match="is no whole package"):
        submission.submit(folder)


def test_an_upload_that_is_cut_off_loses_nothing(board, ada, finished):
    def hang_up(handler):
        if handler.command == "PUT" and int(handler.headers["Content-Length"]) > 10**6:
            handler.connection.shutdown(socket.SHUT_RDWR)
            return True
        return False

    board.trick = hang_up
    with pytest.raises(WorkshopError, match="Nothing is lost"):
        submission.submit(packed(finished, b"x" * 5_000_000))
    board.trick = None
    submission.send_pending()
    assert len(board.submissions) == 1


def test_a_server_that_says_no_in_the_middle_of_an_upload_is_heard(board, ada, finished):
    def too_large(handler):
        if handler.command == "PUT" and int(handler.headers["Content-Length"]) > 10**6:
            handler.answer(413, {"error": "Too large."}, Connection="close")
            handler.connection.shutdown(socket.SHUT_WR)
            time.sleep(0.2)
            handler.close_connection = True
            return True
        return False

    board.trick = too_large
    # Too much for the buffers of any system.
    with pytest.raises(WorkshopError, match="Too large"):
        submission.submit(packed(finished, b"x" * 40_000_000))


def test_a_model_that_the_server_refuses_is_an_error_with_the_reason(board, ada, finished):
    answer = {"id": 1, "state": "refused", "reason": "NaN on \x1b[31mimage 3"}
    board.trick = lambda handler: handler.command == "GET" and (handler.answer(200, answer) or True)
    with pytest.raises(WorkshopError, match=r"refused submission 1: NaN on  \[31mimage 3"):
        submission.submit(packed(finished))
    assert submission.kept() == []


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ({"suspect": "knows the test set: 0.99"}, ["rank   none, until", "knows the test set"]),
        ({"rank": None, "best": False}, ["an earlier submission of yours is better"]),
        ({"score": "<b>", "low": None, "link": "//evil"}, ["score  ?", "http://x//evil"]),
        (
            {"contradicted": True, "claim": {"metric": "test_accuracy", "value": 0.99}},
            ["the run says test_accuracy 0.9900: the score contradicts"],
        ),
    ],
)
def test_what_the_server_found_is_said_whatever_it_is(answer, shown, capsys):
    submission.print_result({"id": 1, "state": "scored"} | answer, "http://x")
    said = capsys.readouterr().out
    assert [line for line in shown if line not in said] == []


def test_leaving_while_the_score_is_computed_says_how_to_see_it(
    board, ada, finished, capsys, monkeypatch
):
    answer = {"id": 1, "state": "queued", "ahead": 3}
    board.trick = lambda handler: handler.command == "GET" and (handler.answer(200, answer) or True)

    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(submission.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        submission.submit(packed(finished))
    said = capsys.readouterr().out
    assert "It was sent as submission 1 and will be scored without you" in said
    assert len(board.submissions) == 1


def test_a_server_that_falls_silent_while_one_waits_is_left(board, ada, finished, monkeypatch):
    monkeypatch.setattr(submission, "SILENCE", 0.0)
    board.trick = lambda handler: handler.command == "GET" and raw(b"")(handler)
    with pytest.raises(WorkshopError, match="It was sent as submission 1"):
        submission.submit(packed(finished))


# --------------------------------------------------------------------- against the real server


@pytest.fixture
def room(tmp_path):
    with running(tmp_path / "leaderboard") as found:
        yield found


def scorer(room):
    """A stand-in that scores what waits, in a thread; returns how to stop it."""
    stop = threading.Event()

    def work():
        while not stop.wait(0.05):
            if job := room.db.claim("scorer", 30_000):
                room.db.finish(job.id, "scorer", score(0.8))

    thread = threading.Thread(target=work)
    thread.start()
    return lambda: (stop.set(), thread.join())


def test_the_real_server_takes_a_run_and_a_submission(room, mlflow_store, finished, capsys):
    code = room.db.competition().join_code
    assert cli.main(["join", f"{code}@{room.settings.address}", "--name", "Ada"]) == 0
    with shared_run() as run_id:
        log_epochs(1, 2)
        mlflow.log_metric("loss", float("inf"))
    ada = membership.current()
    wait_until(lambda: sync(ada).training == [])
    (found,) = room.board()["live"]
    assert (found["run"], found["status"], found["epochs"]) == (run_id, "finished", 3)
    assert found["metrics"]["val_accuracy"] == 0.2
    stop = scorer(room)
    try:
        submission.submit(packed(finished))
        submission.submit(packed(finished))
    finally:
        stop()
    said = capsys.readouterr().out
    assert "score  0.8000" in said
    assert said.count("rank   1 of 1") == 2
    (entry,) = room.board()["entries"]
    assert entry["summary"] == "Own model=own seed=3"
    assert entry["claim"] == {"metric": "val_accuracy", "value": 0.2}


def test_the_real_server_says_why_one_may_not_join(room):
    code, address = room.db.competition().join_code, room.settings.address
    for name, word, message in (
        ("Ada", "AAAA-AAAA", "does not take the code AAAA-AAAA"),
        ("\u202eevil", code, "does not take the name"),
    ):
        with pytest.raises(WorkshopError, match=message):
            membership.join(f"{word}@{address}", name)
    room.join("Ada")
    with pytest.raises(WorkshopError, match="is taken"):
        membership.join(f"{code}@{address}", "ADA")


# ------------------------------------------------------------------------------ the part's script


def test_a_trial_is_not_sent(mlflow_store, tmp_path):
    use_store()
    where = {"experiment_id": experiment_id("part3-tuning")}
    with mlflow.start_run(**where), mlflow.start_run(**where, nested=True) as trial:
        mlflow.log_param("a", 1)
    with pytest.raises(Crash, match="is a trial of a search"):
        call(SUBMIT, f"run_id={trial.info.run_id}", "experiment=part3-tuning", cwd=tmp_path)


@pytest.mark.slow
def test_three_commands_lead_to_a_score(board, mlflow_store, tmp_path, capsys):
    assert cli.main(["join", f"K7QM-2XPD@{board.address}", "--name", "Ada"]) == 0
    call(TRAIN, *SMALL, "tracking=shared", cwd=tmp_path)
    said = call(SUBMIT, "run_id=best", cwd=tmp_path)
    assert "checked on 300 validation images" in said
    assert "rank   1 of 1" in said
    assert call(SUBMIT, "run_id=latest", cwd=tmp_path).count("#entry-1") == 1
    (sent,) = board.submissions
    model = board.blobs[sent["model"]]
    assert run_onnx(model, some_pixels(5)).shape == (5, 10)
    assert sent["claim"]["metric"] == "val_accuracy"
    assert sent["data_digest"] == load_training_data("digits").digest
    assert "checkpoints/best.pt" not in sent["files"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "overrides", "chosen"),
    [
        ("part1_logistic_regression", [], ["metric=val_accuracy", "run_id=best"]),
        ("part2_mlp_cnn", ["model=cnn", "model.channels=[4]", "training.epochs=1"], []),
        ("part2_mlp_cnn", ["model=mlp", "training.epochs=1"], []),
    ],
)
def test_runs_of_the_other_parts_are_sent_too(
    part, overrides, chosen, board, ada, mlflow_store, tmp_path
):
    call(ROOT / "solutions" / part / "train.py", "data=digits", *overrides, cwd=tmp_path)
    said = call(SUBMIT, f"experiment={part.replace('_', '-')}", *chosen, cwd=tmp_path)
    assert "rank   1 of 1" in said
    (sent,) = board.submissions
    assert sent["kind"] == ("sklearn" if "part1" in part else "torch")
    assert any(path.endswith(".png") for path in sent["files"]) == ("part1" in part)


def test_a_model_of_part_1_that_takes_no_images_is_not_sent(board, ada, mlflow_store):
    """Whose preprocessing stands outside of the pipeline that is logged."""
    data = load_training_data("digits")
    outside = data.train.images.reshape(-1, 784)
    with start_run({"experiment": "part1-logistic-regression"}, data):
        classifier = RidgeClassifier().fit(outside, data.train.labels)
        mlflow.sklearn.log_model(classifier, name="model", pip_requirements=["scikit-learn"])
    with pytest.raises(Crash, match=r"does not take images as the data set has them"):
        Driver(PART3).command("submit.py", "experiment=part1-logistic-regression", own_store=False)
    assert not board.submissions


@pytest.mark.slow
def test_the_flag_pending_is_understood(board, finished, tmp_path):
    join(board)
    done = run(SUBMIT, "--pending", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "No package waits to be sent." in done.stdout
