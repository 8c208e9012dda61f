"""A room of simulated participants and viewers: the other side of benchmarks/leaderboard.py.

It runs in processes of its own, started by leaderboard.py with a plan on standard input, and speaks
plain HTTP/1.1 over asyncio's streams, so that it takes little of the machine it measures. A
participant does what the real client does: it keeps its log of points, and sends what the server
has not acknowledged, from where the server says it is, until everything is there.
"""

import asyncio
import contextlib
import json
import random
import re
import sys
import time
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field

LARGEST_BATCH = 1000  # points
PAUSE = 0.5  # seconds after a failure
LAST_CHANCE = 60.0  # seconds for what is not acknowledged at the end
GZIP_HEAD = b"\x1f\x8b\x08"
SUBMISSION = re.compile(rb'"submission":(\d+)')


@dataclass
class Seen:
    """What the room experienced. Times are in ms, on the clock or as durations."""

    accepted: list[float] = field(default_factory=list)  # from when a point was due
    acknowledged: dict[str, int] = field(default_factory=dict)  # run: points
    submissions: dict[int, float] = field(default_factory=dict)  # number: when acknowledged
    screens: dict[int, list[float]] = field(default_factory=dict)  # submission: when on each
    pages: list[float] = field(default_factory=list)
    boards: list[float] = field(default_factory=list)
    streams: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    reconnections: int = 0
    bytes_to_a_screen: int = 0

    def failed(self, what: object) -> None:
        key = type(what).__name__ if isinstance(what, BaseException) else str(what)
        self.failures[key] = self.failures.get(key, 0) + 1


class Connection:
    """A connection that is kept, and made anew after a failure."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)
        return self.streams

    def close(self) -> None:
        if self.streams:
            self.streams[1].close()
            self.streams = None

    async def begin(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, dict[str, str]]:
        """Send a request; return status and headers of the answer."""
        reader, writer = await self.open()
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}"] if body else []
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        found = (line.split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), {name.lower(): value for name, value in found}

    async def ask(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, bytes]:
        """Send a request; return status and body of the answer."""
        try:
            async with asyncio.timeout(30):
                status, given = await self.begin(method, path, body, **headers)
                reader, _ = self.streams
                content = b""
                if given.get("transfer-encoding") == "chunked":
                    async for chunk in chunks(reader):
                        content += chunk
                else:
                    content = await reader.readexactly(int(given.get("content-length", 0)))
                if given.get("connection") == "close":
                    self.close()
                return status, content
        except BaseException:
            self.close()
            raise


async def chunks(reader: asyncio.StreamReader):
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")


def value_of(participant: int, step: int) -> float:
    """The value that a participant logs at a step: leaderboard.py knows it, too."""
    return (participant * 31 + step * 7) % 1000 / 1000


class Room:
    def __init__(self, plan: dict) -> None:
        self.plan, self.seen = plan, Seen()
        self.begin = time.monotonic() + 1
        self.end = self.begin + plan["seconds"]
        self.random = random.Random(plan.get("seed", 0))
        self._events: OrderedDict[bytes, list[int]] = OrderedDict()

    async def run(self) -> Seen:
        plan = self.plan
        people = plan["participants"]
        tasks = [self.participant(number, each) for number, each in enumerate(people)]
        tasks += [self.viewer() for _ in range(plan["viewers"])]
        tasks += [
            self.submitter(people[n :: plan["submitters"]]) for n in range(plan["submitters"])
        ]
        tasks += [self.pages(), self.newcomer()] if plan["pages"] else []
        await asyncio.gather(*tasks)
        return self.seen

    async def participant(self, number: int, who: dict) -> None:
        connection = Connection(self.plan["port"])
        head = {"id": who["run"], "name": f"run {number}", "started": int(time.time() * 1000)}
        due = self.begin + self.random.random()
        points: list[dict] = []
        have, status, tries = 0, "running", 0
        await asyncio.sleep(due - time.monotonic())
        while status == "running" or have < len(points):
            if status == "running" and time.monotonic() >= due:
                step = len(points)
                now = int(time.time() * 1000)
                value = value_of(number, step)
                points.append({"metric": "val", "step": step, "time": now, "value": value})
                status = "running" if due + 1 < self.end else "finished"
                due += 1
            batch = points[have : have + LARGEST_BATCH]
            body = {"run": head, "position": have, "points": batch, "status": status}
            try:
                answered, said = await connection.ask(
                    "POST", "/api/live", json.dumps(body).encode(),
                    Authorization=f"Bearer {who['token']}", Content_Type="application/json",
                )  # fmt: skip
                if answered in (200, 409):
                    have = json.loads(said)["position"]
                if answered == 200:
                    self.seen.acknowledged[who["run"]] = have
                    if len(batch) == 1 and status == "running":
                        self.seen.accepted.append(1000 * (time.monotonic() - (due - 1)))
                else:
                    raise ConnectionError(f"HTTP {answered}")
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                self.seen.failed(error if not str(error).startswith("HTTP") else str(error))
                tries += 1
                if time.monotonic() > self.end + LAST_CHANCE:
                    break
                await asyncio.sleep(PAUSE * (0.5 + self.random.random()))
                continue
            if status == "running":
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        connection.close()

    async def viewer(self) -> None:
        await asyncio.sleep(self.begin - time.monotonic() + self.random.random())
        shown: set[int] = set()
        first = True
        while time.monotonic() < self.end:
            connection = Connection(self.plan["port"])
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + self.left()):
                    await self.watch(connection, shown)
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                if not isinstance(error, TimeoutError):
                    self.seen.failed(error)
            connection.close()
            if self.left() > 0.1:
                self.seen.reconnections += 1
                await asyncio.sleep(2 if first else 2 * self.random.random())
            first = False

    def left(self) -> float:
        return max(0.0, self.end + 6 - time.monotonic())  # the last scores are waited for

    async def watch(self, connection: Connection, shown: set[int]) -> None:
        status, _ = await connection.begin("GET", "/api/events", Accept_Encoding="gzip")
        if status != 200:
            raise ConnectionError(f"HTTP {status}")
        async for chunk in chunks(connection.streams[0]):
            now = time.time() * 1000
            self.seen.bytes_to_a_screen += len(chunk)
            for submission in self.submissions_in(chunk):
                if submission not in shown:
                    shown.add(submission)
                    self.seen.screens.setdefault(submission, []).append(now)

    def submissions_in(self, chunk: bytes) -> list[int]:
        """Unpack an event once, since all viewers of a worker get the same bytes."""
        if chunk not in self._events:
            packed = chunk[10:] if chunk.startswith(GZIP_HEAD) else chunk
            text = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed)
            found = SUBMISSION.findall(text) if text.startswith(b"event: board") else []
            self._events[chunk] = [int(number) for number in found]
            while len(self._events) > 50:
                self._events.popitem(last=False)
        return self._events[chunk]

    async def submitter(self, people: list[dict]) -> None:
        """Submit a model now and then, each time as another participant, until acknowledged."""
        connection = Connection(self.plan["port"])
        every = self.plan["submit_every"]
        await asyncio.sleep(self.begin - time.monotonic() + every * self.random.random())
        for who in people:
            if time.monotonic() > self.end:
                break
            sent = dict(self.random.choice(self.plan["models"]))
            with open(sent.pop("path"), "rb") as file:
                content = file.read()
            run = {"id": f"{self.random.getrandbits(128):032x}", "name": "model"}
            body = sent | {"run": run | {"started": int(time.time() * 1000)}, "kind": "sklearn"}
            until = time.monotonic() + LAST_CHANCE + every
            while time.monotonic() < until:
                try:
                    auth = {"Authorization": f"Bearer {who['token']}"}
                    where = f"/api/blobs/{sent['model']}"
                    status, _ = await connection.ask("PUT", where, content, **auth)
                    if status not in (200, 201):
                        raise ConnectionError(f"HTTP {status} upload")
                    auth["Content_Type"] = "application/json"
                    status, said = await connection.ask(
                        "POST", "/api/submissions", json.dumps(body).encode(), **auth
                    )
                    if status not in (200, 201):
                        raise ConnectionError(f"HTTP {status} submission")
                    self.seen.submissions[json.loads(said)["id"]] = time.time() * 1000
                    break
                except (OSError, EOFError, ValueError, TimeoutError) as error:
                    self.seen.failed(error if not str(error).startswith("HTTP") else str(error))
                    await asyncio.sleep(PAUSE)
            await asyncio.sleep(every * (0.5 + self.random.random()))
        connection.close()

    async def pages(self) -> None:
        """Open the page, and the whole board, once a second."""
        connection = Connection(self.plan["port"])
        await asyncio.sleep(self.begin - time.monotonic())
        while time.monotonic() < self.end:
            for path, times in (("/", self.seen.pages), ("/api/board", self.seen.boards)):
                began = time.monotonic()
                try:
                    status, _ = await connection.ask("GET", path, Accept_Encoding="gzip")
                    if status == 200:
                        times.append(1000 * (time.monotonic() - began))
                    else:
                        self.seen.failed(f"HTTP {status} {path}")
                except (OSError, EOFError, ValueError, TimeoutError) as error:
                    self.seen.failed(error)
            await asyncio.sleep(1)
        connection.close()

    async def newcomer(self) -> None:
        """Open the stream anew once a second, and wait for its first board."""
        await asyncio.sleep(self.begin - time.monotonic() + 0.5)
        while time.monotonic() < self.end:
            connection = Connection(self.plan["port"])
            began = time.monotonic()
            with contextlib.suppress(OSError, EOFError, ValueError, TimeoutError):
                async with asyncio.timeout(30):
                    await connection.begin("GET", "/api/events", Accept_Encoding="gzip")
                    async for chunk in chunks(connection.streams[0]):
                        packed = chunk[10:] if chunk.startswith(GZIP_HEAD) else chunk
                        text = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed)
                        if text.startswith(b"event: board"):
                            self.seen.streams.append(1000 * (time.monotonic() - began))
                            break
            connection.close()
            await asyncio.sleep(1)


def main() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    plan = json.load(sys.stdin)
    seen = asyncio.run(Room(plan).run())
    json.dump(vars(seen) | {"processor_seconds": time.process_time()}, sys.stdout)


if __name__ == "__main__":
    main()
