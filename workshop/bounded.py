"""Running a participant's code so that it always comes back: from a loop, a question, an exit."""

import contextlib
import ctypes
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

AGAIN = 5  # seconds after which code that caught TooLong gets another one
GRACE = 15  # seconds after the first, until the process is ended: it is blocked in some call


class TooLong(BaseException):
    """The code did not end in time. Not an Exception, which the code itself might catch."""


class Waiting(Exception):
    """The code waits for somebody to type, and nobody can."""


@contextlib.contextmanager
def bounded(seconds: float, place: Callable[[object], str]) -> Iterator[None]:
    """Raise TooLong in the block when it takes longer than this.

    A call that does not come back even then ends the process, with a message.

    Parameters
    ----------
    seconds : that the block may take
    place : says where a frame is, for that message
    """
    worker, over, lock = threading.get_ident(), threading.Event(), threading.Lock()

    def watch() -> None:
        if over.wait(seconds):
            return
        for _ in range(GRACE // AGAIN):
            with lock:
                if over.is_set():
                    return
                raise_there()
            if over.wait(AGAIN):
                return
        where = place(sys._current_frames()[worker])
        sys.__stderr__.write(
            f"\nerror: your code did not end within {seconds:g} s and cannot be stopped{where}\n"
            "  Look for a loop or a call that waits for ever.\n"
        )
        sys.__stderr__.flush()
        os._exit(1)

    with _interrupting(worker) as raise_there:
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            with lock:
                over.set()
            watcher.join()


@contextlib.contextmanager
def _interrupting(worker: int) -> Iterator[Callable[[], None]]:
    """Give a function that raises TooLong in this thread, from another one."""
    if hasattr(signal, "pthread_kill") and threading.current_thread() is threading.main_thread():
        # A signal wakes the code from a sleep or a read, too.
        def handler(*_: object) -> None:
            raise TooLong

        before = signal.signal(signal.SIGALRM, handler)
        try:
            yield lambda: signal.pthread_kill(worker, signal.SIGALRM)
        finally:
            signal.signal(signal.SIGALRM, before)
    else:
        throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
        yield lambda: throw(ctypes.c_ulong(worker), ctypes.py_object(TooLong))
        throw(ctypes.c_ulong(worker), None)


@contextlib.contextmanager
def unattended() -> Iterator[None]:
    """Let code that would wait for somebody to type fail instead."""

    def refuse(*_: object, **__: object) -> None:
        raise Waiting("breakpoint() waits for somebody to type; take it out to be checked")

    hook, sys.breakpointhook = sys.breakpointhook, refuse
    stdin, sys.stdin = sys.stdin, io.StringIO()
    try:
        yield
    finally:
        sys.breakpointhook, sys.stdin = hook, stdin
