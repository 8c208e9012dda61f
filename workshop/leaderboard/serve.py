"""`workshop serve`: everything that the leaderboard consists of, in one command.

It opens the port, and starts and watches the processes that do the work: web workers, scorers,
the mirror into MLflow, and MLflow's own server. One that dies is started again. All state lies in
databases and files, so nothing is lost when any of them, or all, are killed.
"""

import contextlib
import http.client
import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from samerun.machine.description import usable_cores
from workshop.course import ROOT
from workshop.errors import WorkshopError
from workshop.leaderboard import addresses, child
from workshop.leaderboard.database import Database
from workshop.leaderboard.hold import alone
from workshop.leaderboard.records import Competition
from workshop.leaderboard.settings import Settings

FOLDER = "leaderboard"
PORT = 8765
START_WITHIN = 120.0  # seconds, on a machine that is busy
PORT_WITHIN = child.SECONDS_TO_END + 1  # a server that was killed may hold it so long
STOP_WITHIN = child.SECONDS_TO_END + 0.5
CALM = 30.0  # seconds after which a child is taken to run well
SILENCE = 30.0  # seconds after which a child that was heard before is taken to hang
ASLEEP = 3.0  # seconds between two looks: the laptop was closed, or has no time for anybody
LONGEST_PAUSE = 10.0  # before a child that keeps dying is started again
LARGEST_LOG = 10_000_000  # bytes that a log may have when it is continued
SOCKET_PATH = 100  # bytes; Linux takes 107, macOS 103
MOST_FILES = 65_536
HANG_ROUND = 5.0  # seconds between two looks at whether MLflow answers, and to wait for it


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line.

    data : None for that of the competition in the folder, else Fashion-MNIST
    address : under which a proxy makes the server public, such as https://board.example.org
    """

    host: str = "0.0.0.0"
    port: int = PORT
    folder: Path | None = None
    database_url: str | None = None
    artifacts: str | None = None
    workers: int = 1
    scorers: int = 1
    data: str | None = None
    name: str | None = None
    address: str | None = None
    hide_code: bool = False


def serve(options: Options) -> int:
    """Serve until Ctrl+C or SIGTERM; return the exit status.

    Raises
    ------
    WorkshopError
        The server cannot start; the message says why and what to do.
    """
    folder = (options.folder or ROOT / FOLDER).absolute()
    if options.workers < 1 or (os.name == "nt" and options.workers > 1):
        raise WorkshopError(
            f"--workers {options.workers} is not possible here: on Windows the server has one web "
            "worker, elsewhere one or more."
        )
    cores = usable_cores()
    if not 1 <= options.scorers <= cores:
        raise WorkshopError(
            f"--scorers {options.scorers} is not possible here: each scorer keeps a core busy, and "
            f"this machine has {cores}. Expected 1 to {cores}."
        )
    with _only_one(folder), _listening(options.host, options.port) as listener:
        port = listener.getsockname()[1]
        settings = _settings(options, folder, port)
        competition = _prepare(settings, options)
        with (
            alone(settings.database_url, _say),
            _Supervisor(settings, listener, options) as supervisor,
            ThreadPoolExecutor(1) as aside,
        ):
            sandbox = aside.submit(_sandbox)  # it takes seconds; so do the others
            supervisor.wait_until_healthy(listener.getsockname())
            if not supervisor.stopping.is_set():
                _introduce(settings, options, competition, port, sandbox.result())
                supervisor.watch()
            _say("\nStopping …")
        _say(f"Stopped. Everything is kept in {folder}; the same command goes on.")
    return 0


# Before the start


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.name != "nt":
            folder.chmod(0o700)  # it holds the secret seed
        with FileLock(folder / "serve.lock", timeout=0):
            yield
    except Timeout:
        raise WorkshopError(
            f"Another `workshop serve` is running on {folder}. Stop that one, or name another "
            "folder and port: --folder other --port 8766"
        ) from None
    except PermissionError as error:
        raise WorkshopError(f"{error}. Name a folder that you can write to: --folder …") from None


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise WorkshopError(
            f"--host {host} is no address of this machine ({error}). Leave it away to listen on "
            "all of them."
        ) from None
    with socket.socket(family) as listener:
        if os.name != "nt":  # there it would let two programs have one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        deadline = time.monotonic() + PORT_WITHIN
        while True:
            try:
                listener.bind((host, port))
                listener.listen(2048)
                break
            except (OSError, OverflowError) as error:
                if isinstance(error, OSError) and time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                raise WorkshopError(
                    f"Cannot listen on port {port} of {host}: {error}. Another program may have "
                    "it: choose one with --port 8766"
                ) from None
        yield listener


def _settings(options: Options, folder: Path, port: int) -> Settings:
    if options.address:
        address = options.address.rstrip("/")
        if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).netloc:
            raise WorkshopError(
                f"--address {options.address} is no address that a browser opens. Expected one "
                "such as https://board.example.org"
            )
    else:
        address = _at(addresses.reachable(options.host)[0], port)
    artifacts = options.artifacts
    if artifacts and "://" not in artifacts:
        artifacts = str(Path(artifacts).absolute())
    return Settings.of(
        folder,
        address=address,
        database_url=options.database_url,
        artifacts=artifacts,
        mlflow_socket=_mlflow_socket(folder),
        allowed_hosts=_allowed_hosts(address, port),
        show_code=not options.hide_code,
    )


def _at(host: str, port: int) -> str:
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}" if port == 80 else f"http://{host}:{port}"


def _allowed_hosts(address: str, port: int) -> tuple[str, ...]:
    """Return the Host headers to answer: any other means that a name was bent to this machine.

    The guard answers besides those whose address is the one that a request came in at.
    """
    name = socket.gethostname().lower()
    own = ["127.0.0.1", "localhost", "[::1]", name, f"{name}.local"]
    hosts = [urlsplit(address).netloc]
    hosts += [f"{host}:{port}" for host in own]
    hosts += own if port == 80 else []
    return tuple(dict.fromkeys(hosts))


def _mlflow_socket(folder: Path) -> str:
    if os.name == "nt":
        with socket.create_server(("127.0.0.1", 0)) as found:
            return f"127.0.0.1:{found.getsockname()[1]}"
    path = str(folder / "mlflow.socket")
    if len(os.fsencode(path)) <= SOCKET_PATH:
        return path
    key = sha256(os.fsencode(path)).hexdigest()[:8]
    return str(Path(tempfile.mkdtemp(prefix=f"workshop-{key}-")) / "mlflow.socket")


def _prepare(settings: Settings, options: Options) -> Competition:
    """Make what is missing, and check everything that could fail later; return the competition."""
    try:
        db = Database(settings.database_url)
        db.create()
        has_begun = db.revision() > 0
        data = options.data or (db.competition().data if has_begun else "fashion_mnist")
        digest = _digest(data)
        competition = db.start_competition(
            data=data, name=options.name or "Leaderboard", data_digest=digest
        )
        db.close()
    except SQLAlchemyError as error:
        raise WorkshopError(
            f"The database does not answer: {getattr(error, 'orig', None) or error}. Check "
            "--database-url, such as postgresql+psycopg://user:password@host/name"
        ) from None
    if competition.data != data:
        raise WorkshopError(
            f"The competition in {settings.folder} is on {competition.data}, not on {data}. Leave "
            "--data away to go on with it, or name another --folder."
        )
    _check_artifacts(settings)
    return competition


def _digest(data: str) -> str:
    from workshop.data import DataError, load_dataset

    try:
        return load_dataset(data).digest
    except DataError as error:
        if data == "digits":
            raise
        raise WorkshopError(
            f"{error}\nOr hold the competition on scikit-learn's digits, which need no download: "
            "uv run workshop serve --data digits"
        ) from None


def _check_artifacts(settings: Settings) -> None:
    from workshop.leaderboard.blobs import Blobs

    empty = sha256(b"").hexdigest()
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder, "empty")
        probe.touch()
        try:
            Blobs(settings.models_uri).put(empty, probe)
        except WorkshopError:
            raise
        except Exception as error:
            raise WorkshopError(
                f"Nothing can be stored at {settings.artifacts}: {error}. Check --artifacts; an "
                "s3:// address needs an existing bucket, AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL if it is not Amazon's."
            ) from None


# The processes


class _Child:
    """One process, and when it is to be started again."""

    def __init__(
        self, name: str, kind: str, environment: dict[str, str], listener: socket.socket | None
    ) -> None:
        self.name, self.kind = name, kind
        self._environment, self._listener = environment, listener
        self.process: subprocess.Popen | None = None
        self.failures = 0
        self.started = self.due = 0.0
        self._beats: int | None = None  # the end of a pipe, not on Windows
        self._has_beaten = False
        self.heard = 0.0

    def start(self, log: Path) -> None:
        """Start the process; it ends when this one does."""
        if log.exists() and log.stat().st_size > LARGEST_LOG:
            log.replace(log.with_suffix(".old.log"))
        theirs: list[int] = []
        if os.name == "nt":
            platform: dict = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        else:
            self._beats, end = os.pipe()
            os.set_blocking(self._beats, False)
            os.set_blocking(end, False)
            theirs = [end]
            inherited = theirs + ([] if self._listener is None else [self._listener.fileno()])
            # In a session of its own, since a terminal's Ctrl+C is for us alone.
            platform = {"start_new_session": True, "pass_fds": inherited}
        try:
            with log.open("ab") as output:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "workshop.leaderboard.child", self.kind],
                    env=self._environment | {child.BEATS: "".join(map(str, theirs))},
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    **platform,
                )
        finally:
            for end in theirs:
                os.close(end)
        if os.name == "nt" and self._listener is not None:
            shared = self._listener.share(self.process.pid).hex()
            self.process.stdin.write(f"{shared}\n".encode())
            self.process.stdin.flush()
        self.started = self.heard = time.monotonic()
        self._has_beaten = False

    def runs(self) -> bool:
        """Say whether the process has not ended."""
        return self.process is not None and self.process.poll() is None

    def has_died(self) -> int | None:
        """Return once the status of a process that ended, and plan the next start."""
        if self.process is None or self.process.poll() is None:
            return None
        status = self.process.returncode
        self.ask_to_end()  # closes the pipe
        if self._beats is not None:
            os.close(self._beats)
            self._beats = None
        self.process = None
        if time.monotonic() - self.started > CALM:
            self.failures = 0
        self.due = time.monotonic() + min(0.25 * 2**self.failures, LONGEST_PAUSE)
        self.failures += 1
        return status

    def hangs(self) -> bool:
        """Say whether the process runs, but was not heard for too long."""
        if self._beats is None or not self.runs():
            return False
        with contextlib.suppress(BlockingIOError):
            while os.read(self._beats, 4096):
                self.heard, self._has_beaten = time.monotonic(), True
        patience = SILENCE if self._has_beaten else START_WITHIN
        return time.monotonic() - self.heard > patience

    def ask_to_end(self) -> None:
        """Close the standard input of the process."""
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def kill(self) -> None:
        """End the process and what it started, without waiting for it."""
        process = self.process
        if process is None or process.poll() is not None:
            return
        if os.name == "nt":
            process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


class _Supervisor:
    """All child processes, and the end of them."""

    def __init__(self, settings: Settings, listener: socket.socket, options: Options) -> None:
        self.settings = settings
        self.logs = settings.folder / "logs"
        self.logs.mkdir(exist_ok=True)
        self.stopping, self.hurried = threading.Event(), threading.Event()
        self.looked = time.monotonic()
        number = "" if os.name == "nt" else str(listener.fileno())
        environment = os.environ | settings.to_env() | {child.INHERITED: number}
        environment[child.BEHIND_PROXY] = "1" if options.address else "0"
        environment["PYTHONUNBUFFERED"] = "1"
        self.children = [
            _Child(f"web-{number}", "web", environment, listener)
            for number in range(1, options.workers + 1)
        ]
        self.children += [
            _Child(f"scorer-{number}", "scorer", environment, None)
            for number in range(1, options.scorers + 1)
        ]
        self.children += [_Child(kind, kind, environment, None) for kind in ("mirror", "mlflow")]

    def __enter__(self) -> "_Supervisor":
        _allow_many_files()
        self._handlers = {}
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
            number = getattr(signal, name, None)
            is_nohup = name == "SIGHUP" and number and signal.getsignal(number) == signal.SIG_IGN
            if number and not is_nohup:
                self._handlers[number] = signal.signal(number, self._signalled)
        for one in self.children:
            self._start(one)
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for one in self.children:
            one.ask_to_end()
        deadline = time.monotonic() + STOP_WITHIN
        while any(map(_Child.runs, self.children)) and time.monotonic() < deadline:
            if self.hurried.is_set():
                break
            time.sleep(0.05)
        for one in self.children:
            one.kill()
        for one in self.children:
            if one.process is not None:
                one.process.wait()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def wait_until_healthy(self, address: tuple) -> None:
        """Wait until the web workers answer, or a signal comes.

        Raises
        ------
        WorkshopError
            They died three times, or did not answer in time.
        """
        deadline = time.monotonic() + START_WITHIN
        host, port = address[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        web = [one for one in self.children if one.kind == "web"]
        log = self.logs / f"{web[0].name}.log"
        while not self.stopping.wait(0.1):
            self._look(quiet=True)
            if _answers("/health", f"127.0.0.1:{port}", tcp=(host, port)):
                return
            if time.monotonic() > deadline or any(one.failures >= 3 for one in web):
                raise WorkshopError(
                    f"The web worker does not start. Its log, {log}, ends so:\n{_tail(log)}"
                )

    def watch(self) -> None:
        """Keep all children running until a signal comes."""
        threading.Thread(target=self._watch_mlflow, daemon=True).start()
        while not self.stopping.wait(0.2):
            self._look()

    def _start(self, one: _Child) -> None:
        one.start(self._log(one))

    def _log(self, one: _Child) -> Path:
        return self.logs / f"{one.name}.log"

    def _look(self, quiet: bool = False) -> None:
        now = time.monotonic()
        if now - self.looked > ASLEEP:  # so did the children
            for one in self.children:
                one.heard = now
        self.looked = now
        for one in self.children:
            if one.hangs():
                _say(f"{one.name} hangs and is killed.")
                one.kill()
                one.heard = now
            status = one.has_died()
            if status is not None and not quiet and (one.failures <= 3 or one.failures % 20 == 0):
                how = f"signal {-status}" if status < 0 else f"status {status}"
                _say(f"{one.name} ended ({how}) and is started again. See {self._log(one)}")
            if one.process is None and time.monotonic() >= one.due:
                self._start(one)

    def _watch_mlflow(self) -> None:
        """End MLflow's server when it hangs, such as on a search that takes for ever."""
        one = next(one for one in self.children if one.kind == "mlflow")
        process, was_up, silent = None, False, 0
        while not self.stopping.wait(HANG_ROUND):
            if one.process is not process:
                process, was_up, silent = one.process, False, 0
                continue
            is_up = _answers("/mlflow/health", "localhost", at=self.settings.mlflow_socket)
            was_up |= is_up or time.monotonic() - one.started > START_WITHIN
            silent = silent + 1 if was_up and not is_up else 0
            if silent == 3 and one.runs():
                _say("MLflow's server has not answered for half a minute.")
                one.kill()

    def _signalled(self, _number: int, _frame: object) -> None:
        if self.stopping.is_set():
            self.hurried.set()
        self.stopping.set()


def _answers(path: str, host: str, tcp: tuple | None = None, at: str = "") -> bool:
    """Say whether a server answers a GET with 200: one at `tcp`, or at a socket's path."""
    try:
        if tcp is None and "/" not in at:
            name, port = at.rsplit(":", 1)
            tcp = name, int(port)
        with contextlib.ExitStack() as stack:
            if tcp is not None:
                made = socket.create_connection(tcp, timeout=HANG_ROUND)
            else:
                made = socket.socket(socket.AF_UNIX)
                made.settimeout(HANG_ROUND)
            stack.callback(made.close)
            if tcp is None:
                made.connect(at)
            connection = http.client.HTTPConnection(host)
            connection.sock = made
            connection.request("GET", path)
            return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def _allow_many_files() -> None:
    """Raise the limit of open files, of which every viewer takes one."""
    try:
        import resource
    except ImportError:
        return  # Windows has no such limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


# What is said on the screen


def _introduce(
    settings: Settings, options: Options, competition: Competition, port: int, sandbox: str
) -> None:
    where = settings.address.removeprefix("http://")
    listens = f"port {port} of {options.host}"
    if options.host in ("0.0.0.0", "::"):
        listens = f"port {port} of all networks of this machine; of this machine alone: "
        listens += "--host 127.0.0.1"
    others = [] if options.address else addresses.reachable(options.host)[1:]
    lines = {
        "page": settings.address,
        "also at": ", ".join(_at(host, port) for host in others),
        "join": f"uv run workshop join {competition.join_code}@{where} --name YOUR-NAME",
        "MLflow": f"{settings.address}/mlflow/",
        "listens on": listens,
        "data": str(settings.folder),
        "database": _without_password(settings.database_url),
        "artifacts": settings.artifacts,
        "models run": sandbox,
        "stop": "Ctrl+C",
    }
    print(f"\n{competition.name}, on {competition.data}: {competition.state}\n")
    for word, text in lines.items():
        if text:
            print(f"  {word:<11} {text}")
    if options.hide_code:
        print("\nThe page does not show the join code.")
    if sys.stdout.isatty():
        print(f"\n{_qr(settings.address)}")
    sys.stdout.flush()


def _without_password(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)


def _sandbox() -> str:
    """Return what keeps the models that are scored from doing anything else, on this machine."""
    from workshop.leaderboard import sandbox

    try:
        return ", ".join(sandbox.protections())
    except Exception as error:  # what is said on the screen must not end the server
        return f"unknown: {error}"


def _qr(address: str) -> str:
    import segno

    code = segno.make(address, error="m")
    text = io.StringIO()
    code.terminal(text, compact=True)
    drawn = text.getvalue()
    try:
        drawn.encode(sys.stdout.encoding or "ascii")
        return drawn
    except UnicodeEncodeError:  # a console without block characters
        rows = code.matrix_iter(border=2)
        return "\n".join("".join("##" if dark else "  " for dark in row) for row in rows)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it any more
        print(line, flush=True)
