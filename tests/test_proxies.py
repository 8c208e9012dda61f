"""Whoever sits behind a proxy, with a password or without, joins and submits all the same."""

import base64
import contextlib
import hashlib
import http.client
import http.server
import select
import socket
import ssl
import subprocess
import threading

import pytest

from workshop.participant import membership, proxies
from workshop.participant.connection import Connection, NoAnswer
from workshop.participant.rehearsal import rehearsal

BOARD = "board.example"  # a name that only the proxy knows
NAME, PASSWORD = "ada", "s@cret:ß"
QUOTED = "ada:s%40cret%3A%C3%9F"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_CONNECT(self):
        if not self._allowed():
            return
        with socket.create_connection(("127.0.0.1", self.server.behind)) as other:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: other, other: self.connection}
            while True:
                for ready in select.select(list(ends), [], [])[0]:
                    content = ready.recv(65536)
                    if not content:
                        return
                    ends[ready].sendall(content)

    def do_GET(self):
        if not self._allowed():
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.removeprefix(f"http://{self.headers['Host']}")
        assert path.startswith("/")
        headers = {k: v for k, v in self.headers.items() if not k.startswith("Proxy-")}
        forward = http.client.HTTPConnection("127.0.0.1", self.server.behind)
        forward.request(self.command, path, body, headers)
        answer = forward.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.getheader("Content-Type"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_GET

    def _allowed(self) -> bool:
        login = self.headers.get("Proxy-Authorization", "")
        self.server.asked.append((self.command, self.path))
        if login == "Basic " + base64.b64encode(f"{NAME}:{PASSWORD}".encode()).decode():
            return True
        self.send_response(407)
        self.send_header("Proxy-Authenticate", "Basic")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False

    def log_message(self, *_):
        pass


@pytest.fixture
def board(tmp_path, monkeypatch):
    monkeypatch.setenv(membership.FOLDER, str(tmp_path / "configuration"))
    with rehearsal() as found:
        yield found


@pytest.fixture
def proxy(board, monkeypatch):
    """A proxy that wants a password, as the environment names it."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads, server.behind, server.asked = True, board.server_port, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def named(login: str | None) -> None:
        address = f"http://{f'{login}@' if login else ''}127.0.0.1:{server.server_port}"
        monkeypatch.setenv("http_proxy", address)
        monkeypatch.setenv("https_proxy", address)

    named(QUOTED)
    server.named = named
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def https(board, tmp_path, monkeypatch):
    """Let the board speak https, with a certificate for its name that this computer trusts."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    make += ["-subj", f"/CN={BOARD}", "-addext", f"subjectAltName=DNS:{BOARD}"]
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(
            [*make, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
        )
    if not certificate.exists():
        pytest.skip("needs openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    board.socket = context.wrap_socket(board.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return board


def test_joining_passes_a_proxy_that_wants_a_password(proxy, board):
    joined = membership.join(f"K7QM-2XPD@{BOARD}:8765", "Ada").membership
    assert joined.name == "Ada"
    assert ("POST", f"http://{BOARD}:8765/api/join") in proxy.asked


def test_joining_by_https_passes_it_through_a_tunnel(proxy, https):
    joined = membership.join(f"K7QM-2XPD@https://{BOARD}", "Ada").membership
    assert joined.name == "Ada"
    assert set(proxy.asked) == {("CONNECT", f"{BOARD}:443")}
    assert "POST /api/join" in https.seen


def test_an_upload_passes_it_too(proxy, board):
    token = membership.join(f"K7QM-2XPD@{BOARD}:8765", "Ada").membership.token
    chunks = [b"onnx " * 1000, b"more"]
    digest, size = hashlib.sha256(b"".join(chunks)).hexdigest(), sum(map(len, chunks))
    connection = Connection(f"http://{BOARD}:8765", token)
    connection.request("PUT", f"/api/blobs/{digest}", upload=(iter(chunks), size))
    assert board.blobs[digest] == b"".join(chunks)
    assert proxy.asked[-1] == ("PUT", f"http://{BOARD}:8765/api/blobs/{digest}")


def test_the_proxys_password_stays_with_it(proxy, https):
    headers = []
    https.trick = lambda handler: headers.append(handler.headers)
    membership.join(f"K7QM-2XPD@https://{BOARD}", "Ada")
    assert headers
    assert not any("Proxy-Authorization" in seen for seen in headers)


@pytest.mark.parametrize("login", [None, "ada:wrong", "ada"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_missing_or_wrong_password_is_said(proxy, login, scheme):
    proxy.named(login)
    with pytest.raises(NoAnswer, match="the proxy between wants a name and a password"):
        Connection(f"{scheme}://{BOARD}").request("GET", "/api/me")


@pytest.mark.parametrize("near", ["127.0.0.1", "192.168.1.5", "10.0.0.7", "localhost", "ada.local"])
def test_the_room_is_reached_directly(proxy, near):
    assert proxies.between("http", near) is None


@pytest.mark.parametrize("far", ["8.8.8.8", BOARD, "local.example"])
def test_the_world_is_reached_by_the_proxy(proxy, far):
    assert proxies.between("https", far).port == proxy.server_port


def test_what_no_proxy_lists_is_reached_directly(proxy, monkeypatch):
    monkeypatch.setenv("no_proxy", f"other.example,{BOARD}")
    assert proxies.between("https", BOARD) is None
    assert proxies.between("https", "more.example")


def test_a_proxy_for_everything_is_one_for_the_board(proxy, monkeypatch):
    monkeypatch.delenv("http_proxy")
    monkeypatch.setenv("all_proxy", "127.0.0.1:3128")
    assert proxies.between("http", BOARD) == proxies.Proxy("127.0.0.1", 3128)


def test_a_proxy_of_another_kind_is_named_without_its_password(proxy, monkeypatch):
    monkeypatch.setenv("http_proxy", "socks5://ada:cret@far.example:1080")
    with pytest.raises(NoAnswer, match=r"socks5://far\.example is none of HTTP") as caught:
        Connection(f"http://{BOARD}").request("GET", "/api/me")
    assert "cret" not in str(caught.value)


def test_no_password_is_shown_where_a_proxy_is():
    assert "cret" not in repr(proxies.Proxy("a.example", 3128, {"Proxy-Authorization": "cret"}))
