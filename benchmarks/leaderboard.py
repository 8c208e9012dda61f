"""The leaderboard under the load of a room, and under blows. Everything runs on this machine.

uv run benchmarks/leaderboard.py load                               300 + 300 for five minutes
uv run benchmarks/leaderboard.py load --postgresql --workers 2
uv run benchmarks/leaderboard.py load --submissions 100000 --seconds 60
uv run benchmarks/leaderboard.py load --participants 100 --viewers 100 --seconds 30
uv run benchmarks/leaderboard.py faults                             the same, with twenty kills
uv run benchmarks/leaderboard.py faults --postgresql
uv run benchmarks/leaderboard.py mirror                             MLflow's log_batch, and ours

load    Participants log one point a second each, viewers watch the stream, models are submitted and
        scored. Afterwards every acknowledged point is looked for in the database and in MLflow.
faults  Meanwhile web workers, scorer, mirror, MLflow's server, the whole server and, with
        --postgresql, the database get SIGKILL in random order. Afterwards every acknowledged record
        has to be there, no submission may be stuck, and each score and rank has to be what a
        computation from scratch gives.
mirror  Seconds that a point each of 300 runs takes, run by run and as the mirror does it.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import sqlalchemy as sa

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

import servers  # noqa: E402  the PostgreSQL of the tests
from room import value_of  # noqa: E402

from workshop.data import load_dataset  # noqa: E402
from workshop.leaderboard import mirror, ranking, scorer, tables  # noqa: E402
from workshop.leaderboard.database import Database  # noqa: E402
from workshop.leaderboard.settings import Settings  # noqa: E402

START = 180.0  # seconds until everything is up
SCORED = 300.0  # until the last submission has its score
CAUGHT_UP = 120.0  # until MLflow has everything
DATA = "digits"


# The server


class Server:
    """A `workshop serve` in a folder, which can be killed and started again."""

    def __init__(self, folder: Path, url: str | None, workers: int) -> None:
        self.port, self.folder = servers.free_port(), folder
        self.settings = Settings.of(folder, database_url=url)
        self.command = [sys.executable, "-m", "workshop.cli", "serve", "--host", "127.0.0.1"]
        self.command += ["--port", str(self.port), "--folder", str(folder), "--data", DATA]
        self.command += ["--workers", str(workers)]
        self.command += ["--database-url", url] if url else []
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        self.log = (self.folder.parent / "serve.log").open("ab")
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)

    def wait_until_up(self) -> None:
        import httpx

        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                up = httpx.get(f"http://127.0.0.1:{self.port}/mlflow/version", timeout=5)
                if up.status_code == 200:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.2)
        said = (self.folder.parent / "serve.log").read_text(encoding="utf-8")
        raise SystemExit(f"The server did not start:\n{said}")

    def children(self) -> dict[int, str]:
        """Return what each child process does."""
        listed = ["ps", "--ppid", str(self.process.pid), "-o", "pid=,args="]
        said = subprocess.run(listed, capture_output=True, text=True).stdout.splitlines()
        words = [line.split() for line in said if "leaderboard.child" in line]
        return {int(line[0]): line[-1] for line in words}

    def processor_seconds(self) -> dict[str, float]:
        """Return the processor time of each kind of child until now."""
        found: dict[str, float] = {}
        for pid, kind in self.children().items():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks = sum(map(int, fields[11:15]))  # its own, and of children that ended
                found[kind] = found.get(kind, 0.0) + ticks / os.sysconf("SC_CLK_TCK")
        return found

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=30)


class PostgreSQL:
    """A PostgreSQL in a folder, with everything on its disk, which can be killed."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.options = (folder / "data" / "postmaster.opts").read_text().split()
        self.program = self.options[0].strip('"')
        self.arguments = [word.strip('"') for word in self.options[1:]]

    def kill(self) -> None:
        """SIGKILL the server, as a power cut would, and start it again."""
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        command = [self.program, *self.arguments]
        if servers.IS_ROOT:
            command = ["runuser", "-u", "postgres", "--", *command]
        log = (self.folder / "log").open("ab")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            time.sleep(0.5)  # the processes of the one that was killed end by themselves
            started = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(timeout=2)
                continue
            return
        raise SystemExit(f"PostgreSQL does not start again: {self.folder / 'log'}")


@contextlib.contextmanager
def database(asked: argparse.Namespace, folder: Path) -> Iterator[tuple[str | None, object]]:
    """Yield the address of the database, and what can kill it."""
    if not asked.postgresql:
        yield asked.database_url, None
        return
    place = folder / "postgresql"
    place.mkdir()
    folder.chmod(0o755)
    with servers.postgresql(place) as url:
        yield url, PostgreSQL(place, url)


# What is in it before


def fill(db: Database, count: int, people: int = 300) -> None:
    """Store made-up submissions that are scored, spread over so many participants."""
    now, drawn = db.now(), np.random.default_rng(0)
    images, best = 3000, {}
    rows: list[tuple[sa.Table, dict]] = []
    for number in range(people):
        row = {
            "id": 1_000_000 + number,
            "name": f"Earlier {number}",
            "skeleton": f"earlier {number}",
            "token_sha256": hashlib.sha256(b"%d" % number).hexdigest(),
            "joined": now,
            "submissions": count // people,
            "best_submission_id": None,
            "unranked_submission_id": None,
            "revision": 1,
        }
        rows.append((tables.participants, row))
    db.fill(rows)
    record = json.dumps({"run": {"id": "0" * 32, "name": "run", "started": now}, "files": {}})
    for begin in range(0, count, 10_000):
        rows = []
        for number in range(begin, min(begin + 10_000, count)):
            whose = 1_000_000 + number % people
            score = float(drawn.beta(40, 8))
            is_best = score > best.get(whose, (0.0, 0))[0]
            if is_best:
                best[whose] = score, 10_000_000 + number
            rows.append(
                (
                    tables.submissions,
                    {
                        "id": 10_000_000 + number,
                        "participant_id": whose,
                        "key": f"{number:064x}",
                        "run_id": f"{number:032x}",
                        "model_sha256": f"{number:064x}",
                        "data_digest": "",
                        "created": now - 86_400_000 + number,
                        "state": "scored",
                        "attempts": 1,
                        "counts": False,
                        "scored_at": now - 86_400_000 + number,
                        "score": score,
                        "low": score - 0.01,
                        "high": score + 0.01,
                        "test": score,
                        "test_low": score - 0.01,
                        "test_high": score + 0.01,
                        "control": score,
                        "parameters": 7850,
                        "inference_ms": 2.0,
                        "reproduced": "untried",
                        "personal_best": is_best,
                        "mirrored": True,
                        "revision": 1,
                        "summary": "made up",
                        "correct": np.packbits(drawn.random(images) < score).tobytes(),
                        "record": record,
                    },
                )
            )
        db.fill(rows)
    with db._writing() as connection:
        for whose, (_, submission) in best.items():
            connection.execute(
                tables.participants.update()
                .where(tables.participants.c.id == whose)
                .values(best_submission_id=submission)
            )


def models(folder: Path, count: int = 6) -> list[dict]:
    """Train small models of different quality; return what a submission says of each."""
    from sklearn.linear_model import LogisticRegression

    dataset = load_dataset(DATA)
    train = dataset.train
    found = []
    for number in range(count):
        some = np.random.default_rng(number).permutation(len(train))[: 40 + 100 * number]
        flat = train.images[some].reshape(len(some), -1) / 255
        fitted = LogisticRegression(max_iter=50).fit(flat, train.labels[some])
        content = linear(fitted.coef_.T / 255, fitted.intercept_)
        path = folder / f"{number}.onnx"
        path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        digest = dataset.digest
        found.append({"path": str(path), "model": sha256, "data": DATA, "data_digest": digest})
    return found


def linear(weights: np.ndarray, bias: np.ndarray) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["scores"]),
    ]
    inputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 28, 28])]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])]
    held = {"weights": weights, "bias": bias}
    held = [numpy_helper.from_array(v.astype(np.float32), name) for name, v in held.items()]
    graph = helper.make_graph(nodes, "linear", inputs, outputs, held)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def joined(db: Database, count: int) -> list[dict]:
    code = db.competition().join_code
    salt = random.Random().getrandbits(64)
    people = []
    for number in range(count):
        participant, token = db.join(f"Participant {number} {salt % 10**6}", code)
        run = hashlib.sha256(f"{salt} {number}".encode()).hexdigest()[:32]
        people.append({"id": participant.id, "token": token, "run": run})
    return people


# One run


def played(asked: argparse.Namespace, folder: Path, blows: int = 0) -> bool:
    """Simulate a room; print what it experienced; say whether all went well."""
    with database(asked, folder) as (url, postgresql):
        server = Server(folder / "leaderboard", url, asked.workers)
        server.folder.mkdir()
        db = Database(server.settings.database_url)
        db.create()
        db.start_competition(DATA, "Benchmark", 10**6, load_dataset(DATA).digest)
        if asked.submissions:
            # Into a store that is new the mirror would copy them all meanwhile.
            uri, root = mirror.store_uri(server.settings), mirror.artifact_root(server.settings)
            mirror.Mirror(db, None, uri, root).engine.dispose()
            fill(db, asked.submissions)
        server.start()
        try:
            server.wait_until_up()
            people = joined(db, asked.participants)
            plan = {
                "port": server.port,
                "participants": people,
                "viewers": asked.viewers,
                "seconds": asked.seconds,
                "models": models(folder),
                "submitters": asked.submitters,
                "submit_every": asked.submit_every,
                "seed": asked.seed,
            }
            watcher = Watcher(db, server)
            watcher.start()
            killer = Killer(server, postgresql, blows, asked.seconds, asked.seed)
            killer.start()
            seen = SimpleNamespace(**simulate(plan))
            killer.join()
            watcher.stop()
            wait_for_scores(db, seen)
            caught_up = wait_for_mirror(db)
            return report(asked, db, server, people, seen, watcher, killer, caught_up)
        finally:
            server.stop()
            db.close()


def simulate(plan: dict) -> dict:
    """Run the room; return what it experienced.

    Its viewers are a process of their own: all of them get an event at the same moment, and while
    they unpack it nobody in their process can look at the clock.
    """
    alone = {"participants": [], "submitters": 0, "pages": False}
    plans = [plan | {"viewers": 0, "pages": True}, plan | alone]
    room = [sys.executable, str(ROOT / "benchmarks" / "room.py")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(room, **pipes) for _ in plans]
    for process, each in zip(processes, plans, strict=True):
        process.stdin.write(json.dumps(each))
        process.stdin.close()
    seen = [json.loads(process.stdout.read()) for process in processes]
    if any(process.wait() for process in processes):
        raise SystemExit("The simulated room broke down.")
    return {name: merged([each[name] for each in seen]) for name in seen[0]}


def merged(parts: list):
    if isinstance(parts[0], dict):
        keys = {key for part in parts for key in part}
        return {key: merged([part[key] for part in parts if key in part]) for key in keys}
    return sum(parts[1:], parts[0])


class Watcher(threading.Thread):
    """Looks now and then how far MLflow is behind, and how many wait for a score."""

    def __init__(self, db: Database, server: Server) -> None:
        super().__init__(daemon=True)
        self.db, self.server = db, server
        self.ended = threading.Event()
        self.behind: list[float] = []  # seconds, of the run that is furthest behind
        self.waiting: list[int] = []
        self.began, self.before = time.monotonic(), server.processor_seconds()

    def run(self) -> None:
        runs = tables.live_runs.c
        # One point a second: so many points behind are so many seconds.
        behind = sa.select(sa.func.max(runs.position - runs.mirrored_position))
        while not self.ended.wait(1):
            with contextlib.suppress(Exception), self.db._reading() as connection:
                self.behind.append(connection.execute(behind).scalar() or 0)
                self.waiting.append(self.db._queue(connection).waiting)

    def stop(self) -> None:
        self.ended.set()
        self.seconds = time.monotonic() - self.began
        after = self.server.processor_seconds()
        self.used = {kind: after[kind] - self.before.get(kind, 0) for kind in after}


class Killer(threading.Thread):
    """Kills processes at random."""

    def __init__(
        self, server: Server, postgresql: PostgreSQL | None, blows: int, seconds: float, seed: int
    ) -> None:
        super().__init__(daemon=True)
        self.server, self.postgresql = server, postgresql
        self.blows, self.seconds, self.drawn = blows, seconds, random.Random(seed)
        self.done: list[str] = []

    def run(self) -> None:
        kinds = ["web", "web", "scorer", "scorer", "mirror", "mlflow", "server"]
        kinds += ["database", "database"] if self.postgresql else []
        order = (kinds * (self.blows // len(kinds) + 1))[: self.blows]
        self.drawn.shuffle(order)
        for kind in order:
            time.sleep(self.seconds / (self.blows + 1) * (0.6 + 0.8 * self.drawn.random()))
            if kind == "database":
                self.postgresql.kill()
            elif kind == "server":
                self.server.process.kill()
                self.server.process.wait()
                self.server.start()
            else:
                pids = [pid for pid, each in self.server.children().items() if each == kind]
                if not pids:
                    kind += " (was not there)"
                for pid in pids[:1]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            self.done.append(kind)


def wait_for_scores(db: Database, seen: SimpleNamespace) -> None:
    deadline = time.monotonic() + SCORED
    while time.monotonic() < deadline:
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            states = [db.submission(int(id)).state for id in seen.submissions]
            if not {"queued", "scoring"} & set(states):
                return
        time.sleep(0.5)


def wait_for_mirror(db: Database) -> float | None:
    """Return the seconds until MLflow had everything, None if it did not get there."""
    began = time.monotonic()
    while time.monotonic() < began + CAUGHT_UP:
        left = db.unmirrored(limit=1)
        if not left.live and not left.submissions:
            return time.monotonic() - began
        time.sleep(0.2)
    return None


# What it came to


def report(
    asked: argparse.Namespace,
    db: Database,
    server: Server,
    people: list[dict],
    seen: SimpleNamespace,
    watcher: Watcher,
    killer: Killer,
    caught_up: float | None,
) -> bool:
    engine = "PostgreSQL" if not db.is_sqlite else "SQLite"
    print(
        f"\n{asked.participants} participants, {asked.viewers} viewers, {asked.seconds} s, "
        f"{engine}, {asked.workers} web workers, {os.cpu_count()} cores; "
        f"{asked.submissions} submissions in the store before\n"
    )
    delays = score_to_screen(db, seen)
    lost, points = lost_points(db, people, seen)
    lost_runs, in_mlflow = lost_in_mlflow(server, people, seen)
    states = [db.submission(int(id)) for id in seen.submissions]
    stuck = [one.id for one in states if one is None or one.state in ("queued", "scoring")]
    refused = [f"{one.id}: {one.reason}" for one in states if one and one.state == "refused"]
    rows = {
        "points acknowledged": points,
        "of these lost": lost,
        "lost in MLflow": f"{lost_runs} of {in_mlflow} looked for",
        "a point accepted, p50 / p95 / max": spread(seen.accepted, "ms"),
        "a score on a screen, p50 / p95 / max": spread(delays, "ms"),
        "the page, p50 / p95 / max": spread(seen.pages, "ms"),
        "the whole board, p50 / p95 / max": spread(seen.boards, "ms"),
        "the stream's first board, p50 / p95 / max": spread(seen.streams, "ms"),
        "MLflow behind, p50 / p95 / max": spread([float(b) for b in watcher.behind], "s"),
        "MLflow has everything after": "never" if caught_up is None else f"{caught_up:.1f} s",
        "submissions acknowledged, stuck, refused": f"{len(states)}, {len(stuck)}, {len(refused)}",
        "most that waited for a score": max(watcher.waiting, default=0),
        "sent to each screen": f"{seen.bytes_to_a_screen / max(1, asked.viewers) / 1e6:.2f} MB",
        "failures that participants saw": seen.failures or "none",
        "viewers that had to connect again": seen.reconnections,
        "processor seconds of the room": f"{seen.processor_seconds:.0f}",
    }
    if not killer.done:  # the time of a process that was killed is not known any more
        shares = {kind: 100 * used / watcher.seconds for kind, used in watcher.used.items()}
        rows["processor share of the server"] = ", ".join(
            f"{kind} {share:.0f} %" for kind, share in shares.items()
        )
    else:
        rows["killed"] = ", ".join(f"{killer.done.count(k)} {k}" for k in sorted(set(killer.done)))
        rows["scores that a recomputation contradicts"] = wrong_scores(db, server, states)
        rows["ranks that it contradicts"] = wrong_ranks(db, server)
    print("| | |\n|---|---|")
    for name, value in rows.items():
        print(f"| {name} | {value} |")
    for line in refused:
        print(f"refused {line}")
    bad = [lost, lost_runs, len(stuck), caught_up is None]
    bad += [rows[name] for name in rows if "contradicts" in name]
    return not any(bad)


def spread(values: list[float], unit: str) -> str:
    if len(values) < 2:
        return "not measured"
    low, high = statistics.median(values), statistics.quantiles(values, n=20)[-1]
    return f"{low:.0f} / {high:.0f} / {max(values):.0f} {unit} ({len(values)})"


def score_to_screen(db: Database, seen: SimpleNamespace) -> list[float]:
    """Return the ms from each score to each screen that was there to see it."""
    found = []
    for id, times in seen.screens.items():
        submission = db.submission(int(id))
        if id in seen.submissions and submission and submission.scored_at:
            # Whoever connects anew sees all scores, however old.
            found += [time - submission.scored_at for time in times]
    return [delay for delay in found if delay < 30_000]


def lost_points(db: Database, people: list[dict], seen: SimpleNamespace) -> tuple[int, int]:
    """Return how many acknowledged points are not in the database as they were sent."""
    runs, points = tables.live_runs.c, tables.live_points.c
    lost = total = 0
    with db._reading() as connection:
        for number, who in enumerate(people):
            acknowledged = seen.acknowledged.get(who["run"], 0)
            total += acknowledged
            id = sa.select(runs.id).where(runs.run_id == who["run"]).scalar_subquery()
            query = sa.select(points.step, points.value).where(points.live_run_id == id)
            there = {step: value for step, value in connection.execute(query)}
            lost += sum(there.get(step) != value_of(number, step) for step in range(acknowledged))
    return lost, total


def lost_in_mlflow(server: Server, people: list[dict], seen: SimpleNamespace) -> tuple[int, int]:
    """Return how many of the acknowledged points MLflow does not have."""
    engine = sa.create_engine(mirror.store_uri(server.settings))
    tag = "SELECT run_uuid FROM tags WHERE key = 'leaderboard.run' AND value = :run"
    # A submission's tag has its own run's number, which no training has here.
    query = sa.text(f"SELECT count(*) FROM metrics WHERE run_uuid IN ({tag})")
    lost = total = 0
    with engine.connect() as connection:
        for who in people:
            acknowledged = seen.acknowledged.get(who["run"], 0)
            there = connection.execute(query, {"run": who["run"]}).scalar()
            total, lost = total + acknowledged, lost + max(0, acknowledged - there)
    engine.dispose()
    return lost, total


def wrong_scores(db: Database, server: Server, states: list) -> int:
    """Score each model again, outside the server, and count scores that differ."""
    from workshop.leaderboard.blobs import Blobs

    competition = db.competition()
    blobs, again = Blobs(server.settings.models_uri), {}
    wrong = 0
    for one in states:
        if one.state != "scored":
            continue
        if one.model_sha256 not in again:
            content = blobs.get(one.model_sha256)
            seed = bytes.fromhex(competition.seed)
            again[one.model_sha256] = scorer.score_model(content, DATA, seed)
        score = again[one.model_sha256]
        wrong += (score.score, score.correct, score.test) != (one.score, one.correct, one.test)
    return wrong


def wrong_ranks(db: Database, server: Server) -> int:
    """Compute all ranks from the submissions, and count those that the board shows otherwise."""
    import httpx

    table = tables.submissions.c
    query = sa.select(table.id, table.participant_id, table.score, table.correct)
    query = query.where(table.state == "scored", table.disqualified.is_(None))
    query = query.where(table.suspect.is_(None)).order_by(table.id)
    best: dict[int, object] = {}
    with db._reading() as connection:
        for row in connection.execute(query):
            if row.participant_id not in best or row.score > best[row.participant_id].score:
                best[row.participant_id] = row
    entries = list(best.values())
    expected = {row.id: rank for row, rank in zip(entries, ranking.ranks(entries), strict=True)}
    board = httpx.get(f"http://127.0.0.1:{server.port}/api/board", timeout=60).json()
    shown = {one["submission"]: one["rank"] for one in board["entries"] if one["rank"]}
    return len(expected.items() ^ shown.items())


# MLflow's way and ours


def compare_writing(folder: Path, runs: int = 300, rounds: int = 5) -> None:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow.entities import Metric

    db = Database(f"sqlite:///{(folder / 'leaderboard.db').as_posix()}")
    db.create()
    db.start_competition(DATA, "Benchmark")
    uri = f"sqlite:///{(folder / 'mlflow.db').as_posix()}"
    made = mirror.Mirror(db, None, uri, folder.as_uri())
    ids = [f"{number:032x}" for number in range(runs)]

    def rows(step: int) -> list[mirror.Run]:
        experiment = made.experiments[mirror.LIVE]
        now = int(time.time() * 1000)
        return [
            mirror.Run(id, experiment, "run", "me", "RUNNING", 0, None, [("val", step, now, 0.5)])
            for id in ids
        ]

    seconds: dict[str, list[float]] = {"log_batch, run by run": [], "one transaction": []}
    made.write(rows(0))
    for turn in range(rounds):
        began = time.perf_counter()
        for id in ids:
            now = int(time.time() * 1000)
            made.store.log_batch(id, [Metric("val", 0.5, now, 2 * turn + 1)], [], [])
        seconds["log_batch, run by run"].append(time.perf_counter() - began)
        began = time.perf_counter()
        made.write(rows(2 * turn + 2))
        seconds["one transaction"].append(time.perf_counter() - began)
    print(f"\nOne point each of {runs} runs, SQLite, median of {rounds}:\n")
    for name, found in seconds.items():
        print(f"| {name} | {statistics.median(found):.3f} s |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["load", "faults", "mirror"])
    parser.add_argument("--participants", type=int, default=300)
    parser.add_argument("--viewers", type=int, default=300)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--submissions", type=int, default=0, help="in the store before")
    parser.add_argument("--submitters", type=int, default=1, help="that submit at the same time")
    parser.add_argument("--submit-every", type=float, default=5.0, help="seconds, of each")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--database-url", help="of an empty database")
    parser.add_argument("--postgresql", action="store_true", help="start one for this")
    parser.add_argument("--blows", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if max(asked.participants, asked.viewers) > 1000 or asked.seconds > 1800:
        parser.error("at most 1000 participants and viewers, and 1800 s")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch).resolve()
        if asked.what == "mirror":
            compare_writing(folder)
            return
        ok = played(asked, folder, asked.blows if asked.what == "faults" else 0)
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
