"""Screenshots of web pages, taken by headless Chromium from servers of our own.

Chromium is steered through a pair of pipes (--remote-debugging-pipe), which needs no library; so
this runs on Linux and macOS.
"""

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from io import BytesIO

from runs import STORE
from style import FOLDER

SMALLEST = """(left, top, width, height) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), sizes = [];
  while (walker.nextNode()) {
    const node = walker.currentNode, range = document.createRange();
    if (!node.data.trim() || !node.parentElement.checkVisibility()) continue;
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    if (box.width > 1 && box.left >= left && box.right <= left + width
        && box.top >= top && box.bottom <= top + height)
      sizes.push(parseFloat(getComputedStyle(node.parentElement).fontSize));
  }
  return Math.min(...sizes);
}"""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Serve the scratch store on this machine; yield the address."""
    port = free_port()
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = ["-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    started = subprocess.Popen(
        [sys.executable, *command, "--backend-store-uri", STORE],
        env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/health", timeout=2)
                break
            time.sleep(0.5)
        yield address
    finally:
        os.killpg(started.pid, 15)  # the server and its worker: a session of their own
        started.wait()


class Page:
    """One page of a browser, steered over the DevTools protocol."""

    def __init__(self, send, receive):
        self._send, self._receive, self._last, self._rest = send, receive, 0, b""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    _session = None

    def _call(self, method: str, **params) -> dict:
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                self._rest += os.read(self._receive, 1 << 16)
            answer, _, self._rest = self._rest.partition(b"\0")
            read = json.loads(answer)
            if read.get("id") == self._last:
                if "error" in read:
                    raise RuntimeError(f"{method}: {read['error']}")
                return read["result"]

    def size(self, width: int, height: int, scale: float = 2) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **metrics)

    def open(self, url: str, seconds: float = 12) -> None:
        """Open an address and give its scripts time to draw."""
        self._call("Page.navigate", url=url)
        time.sleep(seconds)

    def run(self, script: str) -> object:
        """Run JavaScript in the page; return what it comes to."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        return found["result"].get("value")

    def smallest_text(self, left: int, top: int, width: int, height: int) -> float:
        """Return the size of the smallest text in a part of the page, in its pixels."""
        return float(self.run(f"({SMALLEST})({left}, {top}, {width}, {height})"))

    def shoot(self, left: int, top: int, width: int, height: int) -> bytes:
        clip = {"x": left, "y": top, "width": width, "height": height, "scale": 1}
        return base64.b64decode(self._call("Page.captureScreenshot", clip=clip)["data"])


@contextlib.contextmanager
def browser() -> Iterator[Page]:
    """Start a headless browser with a fresh profile; yield a page of it."""
    program = next((found for b in BROWSERS if (found := shutil.which(b))), None)
    if program is None:
        raise SystemExit(f"Screenshots need a browser. Looked for: {', '.join(BROWSERS)}")
    to_read, to_send = os.pipe()
    from_read, from_send = os.pipe()

    def connect() -> None:  # Chromium reads from 3 and writes to 4
        ends = os.dup(to_read), os.dup(from_send)
        for end, place in zip(ends, (3, 4), strict=True):
            os.dup2(end, place)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        started = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--remote-debugging-pipe", f"--user-data-dir={profile}", "--lang=en"],
            preexec_fn=connect, close_fds=False, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield Page(to_send, from_read)
        finally:
            os.killpg(started.pid, 15)
            started.wait()


def keep(page: Page, name: str, left: int, top: int, width: int, height: int) -> None:
    """Write a part of a page as NAME.png in few bytes: 128 colours are enough for text.

    The file says how large its smallest text is in its own pixels. A test compares that with the
    size at which the picture stands on its slide.
    """
    from PIL import Image, PngImagePlugin

    shot = page.shoot(left, top, width, height)
    with Image.open(BytesIO(shot)) as image:
        smallest = page.smallest_text(left, top, width, height) * image.width / width
        said = PngImagePlugin.PngInfo()
        said.add_text("smallest text", f"{smallest:.1f}")
        few = image.convert("RGB").quantize(128)
        few.save(FOLDER / f"{name}.png", optimize=True, pnginfo=said)
