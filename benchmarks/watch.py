"""From saving to knowing: how long `workshop watch` takes, beside `workshop check`.

uv run benchmarks/watch.py
uv run benchmarks/watch.py 1.3 2.5 --first --cold 1

Every stored answer to every hole, wrong and right, is saved into a solved tree that is watched, and
then ours again; each verdict is compared with that of `workshop check`, by the function that it
calls. `--first` takes one wrong answer a hole. `--cold` starts `workshop check` itself for the
first N holes, for the ratio.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from workshop import checks, course, regions
from workshop.course import LEFT_BEHIND, Course, Hole, Part
from workshop.watch.session import Options, Session
from workshop.watch.state import Event, State

# Their checks run an optimizer over batches, or a whole run of part 1.
TRAIN = {
    "1.3", "1.4", "1.5", "1.6", "1.7", "1.8", "2.4", "2.5", "2.7", "2.8", "2.14", "2.15", "3.1",
    "3.5", "3.7", "3.8",
}  # fmt: skip


class Stopwatch:
    """A front that shows nothing, and wakes whoever waits."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    async def run(self, session: Session) -> None:
        await session.over.wait()

    def show(self, before: State, event: Event, after: State) -> None:
        self.changed.set()

    async def lend_terminal(self, words: Sequence[str]) -> None:
        raise NotImplementedError


async def wait_for(session: Session, front: Stopwatch, true) -> None:
    while not true(session.state):
        front.changed.clear()
        await asyncio.wait_for(front.changed.wait(), 300)


def settled(state: State) -> bool:
    return not state.busy


async def save(session: Session, front: Stopwatch, hole: Hole, body: str) -> tuple[float, tuple]:
    """Save an answer; return the seconds until its verdict, and the verdict."""
    path = session.course.root / hole.part / hole.file
    text = regions.fill(path.read_text(encoding="utf-8"), {hole.id: body})
    start, seen = time.perf_counter(), session.state.seen
    path.write_text(text, encoding="utf-8")

    def judged(state: State) -> bool:
        return state.seen is not seen and not state.verdicts[hole.id].stale

    await wait_for(session, front, judged)
    took = time.perf_counter() - start
    found = session.state.verdicts[hole.id]
    await wait_for(session, front, settled)
    return took, (found.state, found.message)


async def measure(read: Course, part: Part, wanted: list[Hole], first: bool, out: list) -> int:
    """Save every answer into a watched tree; return by how many MB the processes have grown."""
    front = Stopwatch()
    session = Session(read, part, front, Options())
    running = asyncio.create_task(session.run())
    await wait_for(session, front, lambda state: settled(state) and state.warm)
    print(f"{part.folder}: {session.state.done} of {len(part.holes)} done", flush=True)
    before = memory()
    for hole in wanted:
        ours = session.state.seen.regions[hole.id][1].body
        answers = [*(a.body for a in hole.wrong), *(a.body for a in hole.right)]
        for body in answers[:1] if first else answers:
            took, verdict = await save(session, front, hole, body)
            (alone,) = checks.results(read, [hole])
            equal = verdict == (alone.state, alone.message)
            if not equal:
                print(f"{hole.id}: {verdict}\n  check: {(alone.state, alone.message)}")
            again, verdict = await save(session, front, hole, ours)
            out += [(hole.id, took, equal), (hole.id, again, verdict == ("done", ""))]
            print(f"{hole.id}  {took:.2f} s  {again:.2f} s", flush=True)
    grown = memory() - before
    session.over.set()
    await running
    return grown


def memory() -> int:
    """Return the MB of the processes that this one has started."""
    children = psutil.Process().children(recursive=True)
    return sum(child.memory_info().rss for child in children) // 2**20


def cold(root: Path, hole: Hole) -> float:
    """Return the seconds of `workshop check`, as it is typed."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "workshop.cli", "check", hole.id, "--tree", str(root)],
        capture_output=True, check=True,
    )  # fmt: skip
    return time.perf_counter() - start


def summary(name: str, times: list[float]) -> str:
    if len(times) < 2:
        return f"{name}: too few"
    p95 = statistics.quantiles(times, n=20)[-1]
    return f"{name}: {len(times)}, median {statistics.median(times):.2f} s, p95 {p95:.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("holes", nargs="*")
    parser.add_argument("--first", action="store_true")
    parser.add_argument("--cold", type=int, default=3, metavar="N")
    asked = parser.parse_args()
    real = course.load()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        root = Path(scratch)
        shutil.copytree(
            real.solutions, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*LEFT_BEHIND)
        )
        (root / "solutions").symlink_to(real.solutions)
        read = replace(real, root=root)
        out: list[tuple[str, float, bool]] = []
        colds: dict[str, float] = {}
        for part in read.parts:
            wanted = [hole for hole in part.holes if not asked.holes or hole.id in asked.holes]
            if not wanted:
                continue
            grown = asyncio.run(measure(read, part, wanted, asked.first, out))
            print(f"{part.folder}: the processes have grown by {grown} MB")
            colds |= {hole.id: cold(root, hole) for hole in wanted[: asked.cold]}
    still = [took for id, took, _ in out if id not in TRAIN]
    print(summary("saves, holes that train nothing", still))
    print(summary("saves, all holes", [took for _, took, _ in out]))
    print(f"verdicts as those of check: {sum(equal for *_, equal in out)} of {len(out)}")
    for id, seconds in colds.items():
        warm = statistics.median(took for other, took, _ in out if other == id)
        print(f"{id}: check {seconds:.2f} s, watch {warm:.2f} s, ratio {warm / seconds:.2f}")
    print(f"load of the machine: {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "")


if __name__ == "__main__":
    main()
