"""`workshop serve` as an instructor runs it: what it says, what survives, how it ends."""

import contextlib
import hashlib
import io
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import httpx
import mlflow
import numpy as np
import psutil
import pytest
import servers
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from workshop import cli
from workshop.data import load_dataset
from workshop.errors import WorkshopError
from workshop.leaderboard import addresses, serve
from workshop.leaderboard.serve import Options

ROOT = Path(__file__).resolve().parents[1]
START_S = 120.0  # for everything to be up, on a machine that is busy


class Served:
    """A running `workshop serve` on the digits, and one who takes part."""

    def __init__(self, folder: Path, *arguments: str, port: int = 0, **variables: str) -> None:
        self.folder, self.port = folder, port or servers.free_port()
        command = [sys.executable, "-m", "workshop.cli", "serve", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--folder", str(folder), "--data", "digits"]
        self.process = subprocess.Popen(
            [*command, *arguments],
            env=os.environ | {"PYTHONIOENCODING": "utf-8"} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        self.token = ""
        servers.wait_until(
            lambda: self.process.poll() is not None or "stop " in self.text, START_S, "start"
        )
        assert self.process.poll() is None, self.text
        self.pids = self.children()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.said.append(line)

    @property
    def text(self) -> str:
        return "".join(self.said)

    @property
    def code(self) -> str:
        return re.search(r"workshop join (\S+)@", self.text).group(1)

    def children(self) -> dict[str, int]:
        """The processes that do the work, by what they do."""
        listed = ["ps", "--ppid", str(self.process.pid), "-o", "pid=,args="]
        lines = subprocess.run(listed, capture_output=True, text=True).stdout.splitlines()
        found = [line.split() for line in lines if "leaderboard.child" in line]
        return {words[-1]: int(words[0]) for words in found}

    def join(self, name: str) -> None:
        answer = self.client.post("/api/join", json={"code": self.code, "name": name})
        assert answer.status_code == 201, answer.text
        self.token = answer.json()["token"]

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def post_live(
        self, run: str, position: int, *values: float, status: str = "running"
    ) -> httpx.Response:
        points = [
            {"metric": "val", "step": step, "time": step, "value": value}
            for step, value in enumerate(values, position)
        ]
        head = {"id": run, "name": "cnn", "started": 1_800_000_000_000}
        body = {"run": head, "position": position, "points": points, "status": status}
        return self.client.post("/api/live", json=body, headers=self.auth)

    def live(self, *arguments, **more) -> int:
        answer = self.post_live(*arguments, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()["position"]

    def upload(self, content: bytes) -> httpx.Response:
        sha256 = hashlib.sha256(content).hexdigest()
        return self.client.put(f"/api/blobs/{sha256}", content=content, headers=self.auth)

    def submit(self, seed: int = 0) -> int:
        """Submit a model and return the submission's number."""
        content, config = linear_model(seed), b"lr: 0.1\n"
        for each in (content, config):
            assert self.upload(each).status_code in (200, 201)
        body = {
            "run": {"id": secrets.token_hex(16), "name": "linear", "started": 1_800_000_000_000},
            "model": hashlib.sha256(content).hexdigest(),
            "data": "digits",
            "data_digest": digits_digest(),
            "kind": "sklearn",
            "metrics": {"val": [[0, 1_800_000_000_000, 0.5]]},
            "files": {"trace/config.yaml": hashlib.sha256(config).hexdigest()},
        }
        answer = self.client.post("/api/submissions", json=body, headers=self.auth)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def state(self, submission: int) -> str:
        return self.client.get(f"/api/submissions/{submission}").json()["state"]

    def wait_for_score(self, submission: int) -> None:
        wait(lambda: self.state(submission) == "scored", "a score")

    def entries(self) -> dict[str, dict]:
        board = self.client.get("/api/board").json()
        return {entry["name"]: entry for entry in board["entries"]}

    @property
    def mlflow(self) -> MlflowClient:
        return MlflowClient(f"http://127.0.0.1:{self.port}/mlflow")

    def runs(self, experiment: str) -> dict[str, Run]:
        """The runs in the shared MLflow, by name, as a participant reads them."""
        with contextlib.suppress(MlflowException):
            found = self.mlflow.get_experiment_by_name(experiment)
            if found:
                runs = self.mlflow.search_runs([found.experiment_id])
                return {run.info.run_name: run for run in runs}
        return {}

    def stop(self, number: int = signal.SIGINT) -> int:
        """End the server as Ctrl+C does, and return its exit status."""
        self.process.send_signal(number)
        status = self.process.wait(timeout=60)
        self._reader.join(timeout=10)
        return status

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.stop()


def wait(true, what: str, seconds: float = 60) -> None:
    servers.wait_until(true, seconds, what)


@cache
def digits_digest() -> str:
    return load_dataset("digits").digest


def linear_model(seed: int) -> bytes:
    """A model that nobody trained."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(seed).normal(size=(784, 10)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
    ]
    inputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 28, 28])]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])]
    held = [numpy_helper.from_array(weights, "weights")]
    graph = helper.make_graph(nodes, "linear", inputs, outputs, held)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server for tests that need no fresh one; each of them joins under a name of its own."""
    made = Served(tmp_path_factory.mktemp("served") / "leaderboard")
    yield made
    made.close()


def refusal(folder: Path, *arguments: str, **variables: str) -> str:
    """Run `workshop serve`, which must refuse to start, and return what it says."""
    command = [sys.executable, "-m", "workshop.cli", "serve", "--host", "127.0.0.1"]
    done = subprocess.run(
        [*command, "--folder", str(folder), *arguments],
        env=os.environ | variables,
        capture_output=True,
        encoding="utf-8",
        timeout=START_S,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    return done.stderr


# What it says


@pytest.mark.slow
def test_it_prints_where_it_is_and_how_to_join(served: Served) -> None:
    address = f"127.0.0.1:{served.port}"
    assert f"http://{address}\n" in served.text
    assert re.search(
        rf"uv run workshop join [0-9A-Z]{{4}}-[0-9A-Z]{{4}}@{address} --name", served.text
    )
    assert f"listens on  port {served.port} of 127.0.0.1" in served.text
    assert "models run  no " in served.text  # network, files ...: what holds on this machine
    assert str(served.folder) in served.text


@pytest.mark.slow
def test_the_join_code_on_the_screen_is_the_one_on_the_page(served: Served) -> None:
    shown = served.client.get("/api/board").json()["competition"]["join"]
    assert shown == f"{served.code}@127.0.0.1:{served.port}"


@pytest.mark.slow
def test_nobody_else_can_look_into_its_folder_or_reach_mlflow_directly(served: Served) -> None:
    wait((served.folder / "mlflow.socket").exists, "MLflow")
    assert served.folder.stat().st_mode & 0o077 == 0
    assert (served.folder / "mlflow.socket").stat().st_mode & 0o077 == 0


# What it does


@pytest.mark.slow
def test_a_live_run_is_seen_on_the_board_and_in_mlflow(served: Served) -> None:
    served.join("Live Lena")
    served.live("a" * 32, 0, 0.5, 0.625)

    def shown() -> list[dict]:
        live = served.client.get("/api/board").json()["live"]
        return [one["metrics"] for one in live if one["name"] == "Live Lena"]

    # Waited for: a board that was rendered just before serves newcomers for a while.
    wait(lambda: shown() == [{"val": 0.625}], "the run on the board")
    wait(lambda: served.runs("live").get("Live Lena · cnn"), "the run in MLflow")
    run = served.runs("live")["Live Lena · cnn"]
    assert run.info.status == "RUNNING" and run.data.metrics == {"val": 0.625}
    history = served.mlflow.get_metric_history(run.info.run_id, "val")
    assert [(point.step, point.value) for point in history] == [(0, 0.5), (1, 0.625)]


@pytest.mark.slow
def test_a_submission_gets_a_score_and_a_run_that_the_board_links_to(served: Served) -> None:
    served.join("Sent Sofia")
    served.wait_for_score(served.submit())

    def link() -> str | None:
        return served.entries().get("Sent Sofia", {}).get("mlflow")

    wait(link, "the link to MLflow")
    wait(lambda: "score" in served.runs("submissions")["Sent Sofia · linear"].data.metrics, "score")
    run = served.runs("submissions")["Sent Sofia · linear"]
    entry = served.entries()["Sent Sofia"]
    assert run.data.metrics["score"] == entry["score"]
    assert link() == f"/mlflow/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


@pytest.mark.slow
def test_participants_read_each_others_configuration_and_not_their_models(
    served: Served, tmp_path: Path
) -> None:
    served.join("Read Rosa")
    served.submit(1)
    wait(lambda: "Read Rosa · linear" in served.runs("submissions"), "the run in MLflow")
    run = served.runs("submissions")["Read Rosa · linear"]

    def files() -> set[str]:
        return {file.path for file in served.mlflow.list_artifacts(run.info.run_id, "trace")}

    wait(files, "the files in MLflow")
    assert files() == {"trace/config.yaml"}
    address = f"http://127.0.0.1:{served.port}/mlflow"
    local = mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path="trace/config.yaml", dst_path=str(tmp_path),
        tracking_uri=address,
    )  # fmt: skip
    assert Path(local).read_bytes() == b"lr: 0.1\n"
    shown = served.client.get(
        "/mlflow/get-artifact", params={"run_uuid": run.info.run_id, "path": "trace/config.yaml"}
    )
    assert shown.headers["content-security-policy"].startswith("sandbox")


@pytest.mark.slow
def test_mlflows_client_cannot_write(served: Served) -> None:
    served.join("Write Wanda")
    served.live("b" * 32, 0, 0.5)
    wait(lambda: served.runs("live").get("Write Wanda · cnn"), "the run in MLflow")
    run = served.runs("live")["Write Wanda · cnn"].info.run_id
    client = served.mlflow
    for attempt in (
        lambda: client.create_experiment("mine"),
        lambda: client.create_run("1"),
        lambda: client.log_metric(run, "val", 0.99),
        lambda: client.set_tag(run, "participant", "me"),
        lambda: client.log_param(run, "a", "b"),
        lambda: client.rename_experiment("1", "mine"),
        lambda: client.delete_run(run),
        lambda: client.log_text(run, "mine", "trace/config.yaml"),
        lambda: client.create_registered_model("mine"),
    ):
        with pytest.raises(Exception, match=r"for reading|403"):
            attempt()
    assert served.runs("live")["Write Wanda · cnn"].data.metrics == {"val": 0.5}
    names = {found.name for found in client.search_experiments()}
    assert names == {"live", "submissions"}


@pytest.mark.slow
def test_mlflows_pages_are_there(served: Served) -> None:
    wait(lambda: served.client.get("/mlflow/").status_code == 200, "MLflow")
    page = served.client.get("/mlflow/").text
    for script in re.findall(r'src="([^"]+)"', page):
        assert served.client.get(f"/mlflow/{script}").status_code == 200
    packed = served.client.get(
        "/mlflow/" + re.search(r'"(static-files\S+main\S+js)"', page).group(1)
    )
    assert packed.headers["content-encoding"] == "gzip"


# What it survives


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["web", "scorer", "mirror", "mlflow"])
def test_a_process_that_is_killed_is_started_again_and_nothing_is_lost(
    served: Served, killed: str
) -> None:
    name, run = f"Killed {killed}", secrets.token_hex(16)
    served.join(name)
    assert served.live(run, 0, 0.125) == 1
    sent = served.submit(len(killed))
    before = served.children()
    os.kill(before[killed], signal.SIGKILL)
    wait(lambda: served.children().get(killed, before[killed]) != before[killed], "a new process")

    def send() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return served.live(run, 1, 0.25) == 2
        return False

    wait(send, "an answer")
    served.wait_for_score(sent)
    wait(lambda: served.runs("live").get(f"{name} · cnn"), "the run in MLflow")
    wait(lambda: served.runs("live")[f"{name} · cnn"].data.metrics == {"val": 0.25}, "its point")
    wait(lambda: served.runs("submissions").get(f"{name} · linear"), "the submission in MLflow")
    others = {kind: pid for kind, pid in before.items() if kind != killed}
    assert others.items() <= served.children().items()
    wait(lambda: f"{killed}" in served.text.split("stop ")[1], "a line on the screen")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
def test_a_web_worker_that_hangs_is_replaced_and_one_that_slept_with_us_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    with serve._listening("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        options = Options(host="127.0.0.1", port=address[1], data="digits")
        settings = serve._settings(options, tmp_path, address[1])
        serve._prepare(settings, options)
        supervisor = serve._Supervisor(settings, listener, options)
        supervisor.children = supervisor.children[:1]
        with supervisor:
            supervisor.wait_until_healthy(address)
            (web,) = supervisor.children
            first = web.process
            wait(lambda: supervisor._look() or web._has_beaten, "a beat")
            os.kill(first.pid, signal.SIGSTOP)
            supervisor._look()  # takes the beats from before
            web.heard -= 3600  # as if the machine had slept for an hour
            supervisor.looked -= 3600
            supervisor._look()
            assert "hangs" not in capsys.readouterr().out
            monkeypatch.setattr(serve, "SILENCE", 2.0)
            wait(lambda: supervisor._look() or web.process is not first, "another process")
            monkeypatch.undo()
            assert first.returncode == -signal.SIGKILL
            assert "web-1 hangs" in capsys.readouterr().out
            supervisor.wait_until_healthy(address)


@pytest.mark.slow
def test_a_second_server_on_the_same_folder_is_refused(served: Served) -> None:
    said = refusal(served.folder, "--port", str(servers.free_port()))
    assert "Another `workshop serve` is running" in said and "--folder other" in said
    assert served.client.get("/health").status_code == 200


@pytest.mark.slow
def test_a_port_that_is_taken_is_named(served: Served, tmp_path: Path) -> None:
    said = refusal(tmp_path, "--port", str(served.port), "--data", "digits")
    assert f"port {served.port}" in said and "--port 8766" in said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_after_a_kill_of_the_whole_server_the_next_one_goes_on_where_it_was(
    tmp_path: Path,
) -> None:
    first = Served(tmp_path / "leaderboard")
    try:
        first.join("Ada")
        first.live("c" * 32, 0, 0.5)
        first.wait_for_score(first.submit(1))
        waiting = first.submit(2)
        first.process.kill()
        first.process.wait()
        wait(lambda: not any(map(is_running, first.pids.values())), "the end of all processes", 10)
    finally:
        first.close()
    second = Served(tmp_path / "leaderboard", port=first.port)
    try:
        second.token = first.token
        assert second.code == first.code
        assert second.live("c" * 32, 1, 0.75, status="finished") == 2
        second.wait_for_score(waiting)
        assert second.entries()["Ada"]["submissions"] == 2
        wait(lambda: second.runs("live").get("Ada · cnn"), "the run in MLflow")
        wait(lambda: second.runs("live")["Ada · cnn"].info.status == "FINISHED", "its end")
        assert second.runs("live")["Ada · cnn"].data.metrics == {"val": 0.75}
        # And Ctrl+C ends it although somebody watches.
        with contextlib.ExitStack() as stack:
            for _ in range(5):
                viewer = stack.enter_context(second.client.stream("GET", "/api/events"))
                assert next(viewer.iter_lines()).startswith(("event", ":", "retry"))
            assert second.stop() == 0
        assert not any(map(is_running, second.pids.values()))
        assert "Everything is kept in" in second.text and "Traceback" not in second.text
    finally:
        second.close()


def is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False


@pytest.mark.slow
def test_two_workers_on_postgresql_and_s3_do_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto = pytest.importorskip("moto.server", reason="needs moto: uv run --group maintain")
    boto3 = pytest.importorskip("boto3")
    store = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    host, port = store.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3").create_bucket(Bucket="board")
    (tmp_path / "database").mkdir()
    with servers.postgresql(tmp_path / "database") as url:
        where = ("--database-url", url, "--artifacts", "s3://board/here")
        made = Served(tmp_path / "leaderboard", *where, "--workers", "2", "--scorers", "2")
        try:
            made.join("Ada")
            made.live("d" * 32, 0, 0.5)
            made.wait_for_score(made.submit())
            wait(lambda: made.runs("live").get("Ada · cnn"), "the run in MLflow")

            def is_copied() -> bool:
                run = made.runs("submissions").get("Ada · linear")
                return bool(run) and "score" in run.data.metrics

            wait(is_copied, "the score in MLflow")
            run = made.runs("submissions")["Ada · linear"]
            files = made.mlflow.list_artifacts(run.info.run_id, "trace")
            assert [file.path for file in files] == ["trace/config.yaml"]
            keys = {item.key.split("/")[1] for item in bucket.objects.all()}
            assert keys == {"models", "mlflow"}
            assert not list(made.folder.glob("*.db"))
            elsewhere = ("--port", str(servers.free_port()), *where, "--data", "digits")
            said = refusal(tmp_path / "other", *elsewhere)
            assert "Another `workshop serve` works on the database" in said
            logs = {path.name for path in (made.folder / "logs").iterdir()}
            assert {"web-2.log", "scorer-2.log"} <= logs
            assert made.stop() == 0
        finally:
            made.close()
            store.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with little room."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=200m", "none", str(folder)]
    if sys.platform != "linux" or not servers.IS_ROOT or subprocess.run(command).returncode:
        pytest.skip("needs root, to mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_said_and_leaves_nothing_half_written(small_disk: Path) -> None:
    made = Served(small_disk / "leaderboard")
    try:
        made.join("Ada")
        made.live("e" * 32, 0, 0.5)
        before = {path for path in (made.folder / "blobs").rglob("*") if path.is_file()}
        with (small_disk / "filler").open("wb", 0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"\0" * 10_000)
        answer = made.upload(os.urandom(3_000_000))
        assert answer.status_code == 507 and "disk is full" in answer.json()["error"]
        assert made.post_live("e" * 32, 1, 0.75).status_code == 507
        after = {path for path in (made.folder / "blobs").rglob("*") if path.is_file()}
        assert after == before and not any((made.folder / "incoming").iterdir())
        assert made.client.get("/api/board").status_code == 200
        (small_disk / "filler").unlink()

        def goes_on() -> bool:
            return made.post_live("e" * 32, 1, 0.75).status_code == 200

        wait(goes_on, "room on the disk")
        made.wait_for_score(made.submit())
        wait(lambda: made.runs("live").get("Ada · cnn"), "the run in MLflow")
        wait(lambda: made.runs("live")["Ada · cnn"].data.metrics == {"val": 0.75}, "its point")
    finally:
        made.close()


# What it refuses


@pytest.mark.slow
def test_a_folder_with_another_competition_is_refused(served: Served, tmp_path: Path) -> None:
    from workshop.leaderboard.database import Database

    db = Database(f"sqlite:///{(tmp_path / 'leaderboard.db').as_posix()}")
    db.create()
    db.start_competition(data="fashion_mnist", name="Test")
    db.close()
    said = refusal(tmp_path, "--port", str(servers.free_port()), "--data", "digits")
    assert "is on fashion_mnist, not on digits" in said


@pytest.mark.slow
def test_without_fashion_mnist_it_offers_the_digits(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    port = str(servers.free_port())
    said = refusal(tmp_path, "--port", port, FASHION_MNIST_DIR=str(tmp_path / "empty"))
    assert "uv run workshop serve --data digits" in said


@pytest.mark.slow
def test_a_database_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://me:secret@127.0.0.1:{servers.free_port()}/board"
    said = refusal(tmp_path, "--port", str(servers.free_port()), "--database-url", url)
    assert "--database-url" in said and "secret" not in said


@pytest.mark.parametrize("scorers", [0, 3])
def test_there_are_no_more_scorers_than_cores(
    scorers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "usable_cores", lambda: 2)
    with pytest.raises(WorkshopError, match=rf"--scorers {scorers} .* has 2. Expected 1 to 2"):
        serve.serve(Options(folder=tmp_path / "none", scorers=scorers))
    assert not (tmp_path / "none").exists()


def test_an_address_that_no_browser_opens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkshopError, match=r"--address board.example.org is no address"):
        serve._settings(Options(address="board.example.org"), tmp_path, 8765)


ADDRESSES = {
    "lo": ["127.0.0.1"],
    "docker0": ["172.17.0.1"],
    "wlan0": ["192.168.8.2"],
    "eth0": ["10.1.2.3"],
    "eth1": ["169.254.7.7"],
    "eth2": ["192.168.99.1"],  # which is down
}


@pytest.mark.parametrize(
    ("way_out", "expected"),
    [
        ("10.1.2.3", ["10.1.2.3", "192.168.8.2", "169.254.7.7", "172.17.0.1"]),
        # A router of one's own, without the internet behind it.
        (None, ["10.1.2.3", "192.168.8.2", "169.254.7.7", "172.17.0.1"]),
    ],
)
def test_the_address_that_phones_reach_comes_first(
    way_out: str | None, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {
        name: [SimpleNamespace(family=socket.AF_INET, address=address) for address in addresses]
        for name, addresses in ADDRESSES.items()
    }
    up = {name: SimpleNamespace(isup=name != "eth2") for name in ADDRESSES}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: found)
    monkeypatch.setattr(psutil, "net_if_stats", lambda: up)
    monkeypatch.setattr(addresses, "_way_out", lambda: way_out)
    assert addresses.reachable() == expected
    assert addresses.reachable("10.1.2.3") == ["10.1.2.3"]


def test_without_a_network_the_machine_itself_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {})
    monkeypatch.setattr(addresses, "_way_out", lambda: None)
    assert addresses.reachable() == ["127.0.0.1"]


def test_a_public_address_is_what_participants_are_told(tmp_path: Path) -> None:
    settings = serve._settings(Options(address="https://board.example.org/"), tmp_path, 8765)
    assert settings.address == "https://board.example.org"
    assert "board.example.org" in settings.allowed_hosts
    assert "127.0.0.1:8765" in settings.allowed_hosts  # as the proxy may ask
    assert "evil.test" not in settings.allowed_hosts


def test_a_long_folder_has_its_socket_elsewhere(tmp_path: Path) -> None:
    assert len(os.fsencode(serve._mlflow_socket(tmp_path / ("x" * 150)))) <= serve.SOCKET_PATH
    assert serve._mlflow_socket(Path("/data")) == "/data/mlflow.socket"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_qr_code_is_drawn_with_what_the_terminal_has(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    drawn = serve._qr("http://192.168.1.5:8765")
    drawn.encode(encoding)
    assert ("##" in drawn) == (encoding == "ascii")
    assert len(drawn.splitlines()) > 10


# The set-up in containers


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


def test_images_are_pinned(compose: dict) -> None:
    images = [service["image"] for service in compose["services"].values() if "image" in service]
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    images += re.findall(r"^(?:FROM |COPY --from=)(\S+)", dockerfile, re.M)
    assert len(images) == 5
    for image in images:
        assert re.search(r":v?\d+\.\d+", image), image


def test_the_command_in_the_container_is_one_that_there_is(compose: dict) -> None:
    words = [word.partition("${")[0] for word in compose["services"]["leaderboard"]["command"]]
    parsed = cli._parser().parse_args(words)
    given = {name: value for name, value in vars(parsed).items() if name != "command"}
    assert Options(**given).workers == 2
    assert Options(**given).artifacts == "s3://leaderboard"


def test_no_secret_has_a_default(compose: dict) -> None:
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY", name):
                assert re.fullmatch(r"\$\{\w+:\?.+\}", value), name
