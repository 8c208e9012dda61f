"""Runs a command that ends with whoever started it, however that ended: `kill -9`, too.

    python lifeline.py COMMAND...

Whoever starts it holds the other end of its standard input, and the system closes that.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import Any

OWN_GROUP: dict[str, Any] = {"process_group": 0}
if sys.platform == "win32":
    OWN_GROUP = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}


def main() -> int:
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, **OWN_GROUP)

    def wait_for_the_other_end() -> None:
        os.read(0, 1)  # not through sys.stdin, whose lock Python wants at its end
        end(process.pid)

    threading.Thread(target=wait_for_the_other_end, daemon=True).start()
    status = process.wait()
    end(process.pid)  # what it started and left behind
    return status if status >= 0 else 128 - status


def end(group: int) -> None:
    if sys.platform == "win32":
        command = ["taskkill", "/F", "/T", "/PID", str(group)]
        subprocess.run(command, check=False, capture_output=True)
        return
    # macOS says PermissionError of a group that has ended.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
