"""A child process of `workshop serve`: python -m workshop.leaderboard.child KIND

KIND is web, scorer, mirror or mlflow. The process ends when its standard input does. So the
supervisor stops it, and so it ends by itself when the supervisor is gone, by whatever means; Linux
kills it then at once. While all is well it writes to a pipe about once a second: a web worker from
its event loop, so that one that hangs is noticed, the others from a thread.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

from workshop.leaderboard.settings import Settings

SECONDS_TO_END = 4.0
INHERITED = "WORKSHOP_LEADERBOARD_SOCKET"  # the number of the listening socket; "" on Windows
BEATS = "WORKSHOP_LEADERBOARD_BEATS"  # the number of the pipe to the supervisor; "" on Windows
BEAT_S = 1.0
BEHIND_PROXY = "WORKSHOP_LEADERBOARD_PROXY"  # "1": the address is that of a proxy


def main(kind: str) -> None:
    """Do one part of the server's work until standard input ends."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    stop = threading.Event()
    inherited = _inherited_socket() if kind == "web" else None
    _die_with_parent()
    threading.Thread(target=_wait_for_end, args=(stop,), daemon=True).start()
    if kind != "web":
        threading.Thread(target=_keep_beating, daemon=True).start()
    work: Callable[[], None] = {
        "web": lambda: _web(inherited, stop),
        "scorer": lambda: _scorer(stop),
        "mirror": lambda: _mirror(stop),
        "mlflow": lambda: _mlflow(stop),
    }[kind]
    work()
    logging.shutdown()
    os._exit(0)  # to take the libraries down in order takes seconds, and nothing is left to save


def _web(inherited: socket.socket, stop: threading.Event) -> None:
    import uvicorn

    config = uvicorn.Config(
        "workshop.leaderboard.api:create_app",
        factory=True,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=1,  # viewers' streams never end by themselves
        # Else anybody could name another's address. Whom it trusts: $FORWARDED_ALLOW_IPS.
        proxy_headers=os.environ.get(BEHIND_PROXY) == "1",
    )

    class Server(uvicorn.Server):
        async def on_tick(self, counter: int) -> bool:
            if counter % round(10 * BEAT_S) == 0:  # uvicorn ticks ten times a second
                _beat()
            return await super().on_tick(counter)

    server = Server(config)
    threading.Thread(target=_end_server, args=(stop,), daemon=True).start()
    server.run(sockets=[inherited])


def _end_server(stop: threading.Event) -> None:
    stop.wait()
    signal.raise_signal(signal.SIGTERM)  # upon which the application ends its streams, too


def _scorer(stop: threading.Event) -> None:
    from workshop.leaderboard import scorer

    scorer.run(Settings.from_env(), stop)


def _mirror(stop: threading.Event) -> None:
    from workshop.leaderboard import mirror

    mirror.run(Settings.from_env(), stop)


def _mlflow(stop: threading.Event) -> None:
    from workshop.leaderboard import mlflow_ui

    mlflow_ui.run(Settings.from_env(), stop)


def _beat() -> None:
    if number := os.environ[BEATS]:
        with contextlib.suppress(OSError):  # the pipe is full: the supervisor hangs or is gone
            os.write(int(number), b".")


def _keep_beating() -> None:
    while True:
        _beat()
        time.sleep(BEAT_S)


def _inherited_socket() -> socket.socket:
    number = os.environ[INHERITED]
    if number:
        return socket.socket(fileno=int(number))
    # Windows hands a socket on as bytes, which only the process that it was made for can use.
    return socket.fromshare(bytes.fromhex(sys.stdin.readline()))


def _die_with_parent() -> None:
    if sys.platform != "linux":
        return
    import ctypes

    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _wait_for_end(stop: threading.Event) -> None:
    while sys.stdin.buffer.raw.read(1024):
        pass
    stop.set()
    time.sleep(SECONDS_TO_END)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
