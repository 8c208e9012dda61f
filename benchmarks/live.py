"""What live progress costs a training, with servers good and bad.

uv run benchmarks/live.py                       half an hour on two cores
uv run benchmarks/live.py --rounds 4 --epochs 60

Part 3's baseline is trained on digits with tracking=local and with tracking=shared, against a
server that is healthy, refuses connections, takes them and never answers, answers after 0.8 s, or
is killed in the middle. All of them take turns in every round, in an order that changes, and one
process does it all, so that nothing but the tracking differs. Servers are processes of their own.

ratio    time of a training over that of tracking=local in the same round: median, and range
fastest  the fastest training over the fastest with tracking=local: other programs only add
thread   processor time of the thread that publishes, in percent of the training's time: the most
         that it can take away from the training, and what other programs disturb least
end      milliseconds that the end of the run waited for the last points: median
arrived  points at the server when the training ended, of those that it logged

The last line, local again, is the noise: nothing differs there.
"""

import argparse
import contextlib
import json
import logging
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PART = ROOT / "solutions" / "part3_competition"
SLOW = 0.8  # seconds
KINDS = ("healthy", "refused", "hanging", "slow", "killed midway", "local again")


def serve(kind: str) -> None:
    """Be a server until standard input ends; print the port, and the points at the end."""
    from workshop.participant.rehearsal import rehearsal

    with rehearsal() as board:
        if kind == "hanging":
            board.trick = lambda handler: time.sleep(3600)
        if kind == "slow":
            board.trick = lambda handler: time.sleep(SLOW)
        print(board.server_port, flush=True)
        sys.stdin.read()
        print(json.dumps(sum(map(len, board.points.values()))), flush=True)


@dataclass
class Server:
    """A server as a process; `points` is what it has, once it has ended in peace."""

    kind: str
    port: int = 0
    points: int = 0
    process: subprocess.Popen | None = None

    def __enter__(self) -> "Server":
        if self.kind == "refused":
            with socket.socket() as found:
                found.bind(("127.0.0.1", 0))
                self.port = found.getsockname()[1]
            return self
        command = [sys.executable, __file__, "--serve", self.kind]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes)
        self.port = int(self.process.stdout.readline())
        return self

    def kill(self) -> None:
        self.process.kill()

    def __exit__(self, *_: object) -> None:
        if self.process:
            said, _ = self.process.communicate()
            self.points = int(said or 0)


@dataclass
class Measured:
    seconds: list[float] = field(default_factory=list)
    thread: list[float] = field(default_factory=list)
    end: list[float] = field(default_factory=list)
    arrived: list[int] = field(default_factory=list)


def train(experiment, cfg, measured: Measured) -> float:
    """Train once and note what it took; return the seconds."""
    began = time.perf_counter()
    experiment(cfg)
    measured.seconds.append(time.perf_counter() - began)
    return measured.seconds[-1]


@contextlib.contextmanager
def joined(server: Server | None, folder: Path) -> Iterator[None]:
    """Be a member of a server, with a configuration folder that has seen nothing yet."""
    from workshop.participant import membership

    os.environ[membership.FOLDER] = tempfile.mkdtemp(dir=folder)
    if server:
        member = membership.Membership(f"http://127.0.0.1:{server.port}", "any-token", "Ada", 1)
        membership._keep(member, None)
    yield


def measure(rounds: int, epochs: int, folder: Path) -> dict[str, Measured]:
    from workshop.drive import Driver
    from workshop.participant.live import Publisher

    logging.disable(logging.WARNING)  # what they say of bad servers
    part = Driver(PART)
    asked = ["data=digits", f"training.epochs={epochs}"]
    local, shared = (part.compose(*asked, f"tracking={name}") for name in ("local", "shared"))
    with part._neighbours():
        experiment = part.load("train.py").experiment
        found = {kind: Measured() for kind in ("local", *KINDS)}
        leave, publish = Publisher.__exit__, Publisher._publish

        def timed_end(self, *error):
            began = time.perf_counter()
            leave(self, *error)
            current.end.append(1000 * (time.perf_counter() - began))

        def timed_thread(self, feed):
            mine = current
            try:
                return publish(self, feed)
            finally:
                mine.thread.append(time.thread_time())

        Publisher.__exit__, Publisher._publish = timed_end, timed_thread
        with joined(None, folder):
            usual = train(experiment, local, Measured())  # imports, and the first use of the store
        for turn in range(rounds):
            for kind in random.Random(turn).sample(["local", *KINDS], len(KINDS) + 1):
                current = found[kind]
                if kind.startswith("local"):
                    usual = train(experiment, local, current)
                else:
                    one_of_them(kind, experiment, shared, current, usual, folder)
                print(f"round {turn + 1}, {kind}: {current.seconds[-1]:.2f} s", file=sys.stderr)
    return found


def one_of_them(kind, experiment, cfg, current: Measured, usual: float, folder: Path) -> None:
    with Server("healthy" if kind == "killed midway" else kind) as server, joined(server, folder):
        timer = threading.Timer(usual / 2, server.kill) if kind == "killed midway" else None
        if timer:
            timer.start()
        train(experiment, cfg, current)
        while len(current.thread) < len(current.seconds):
            time.sleep(0.1)  # what the thread does after the end, nobody waits for
        if timer:
            timer.join()
    current.arrived.append(server.points)


def show(found: dict[str, Measured], rounds: int, epochs: int) -> None:
    local = found["local"]
    seconds = statistics.median(local.seconds)
    print(f"\n{epochs} epochs, {seconds:.1f} s with tracking=local, {rounds} rounds\n")
    print("| server | ratio | range | fastest | thread, % | end, ms | arrived |")
    print("|---|---|---|---|---|---|---|")
    for kind in KINDS:
        row = found[kind]
        ratios = [a / b for a, b in zip(row.seconds, local.seconds, strict=True)]
        cells = [
            kind,
            f"{statistics.median(ratios):.3f}",
            f"{min(ratios):.3f} to {max(ratios):.3f}",
            f"{min(row.seconds) / min(local.seconds):.3f}",
        ]
        if row.end:
            shares = [100 * a / b for a, b in zip(row.thread, row.seconds, strict=True)]
            cells.append(f"{statistics.median(shares):.2f}")
            cells.append(f"{statistics.median(row.end):.0f}")
            if kind != "killed midway":  # which can say nothing any more
                cells.append(f"{statistics.median(row.arrived):.0f} of {4 * epochs + 1}")
        print(f"| {' | '.join(cells + [''] * (7 - len(cells)))} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve)
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{(folder / 'mlflow.db').as_posix()}"
        show(measure(asked.rounds, asked.epochs, folder), asked.rounds, asked.epochs)


if __name__ == "__main__":
    main()
