"""Joining the leaderboard: what a participant types, and the file that holds the token.

The file lies in the user's own configuration folder, outside of any repository, and is readable by
its owner alone from its first moment.
"""

import contextlib
import json
import os
import re
import secrets
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from workshop.errors import WorkshopError
from workshop.participant.connection import Connection, NoAnswer, Refused

FOLDER = "WORKSHOP_CONFIG_DIR"  # names another place for it
FILE = "membership.json"
CODE = re.compile(r"([A-Za-z0-9]{4})[-\u2010-\u2015 ]?([A-Za-z0-9]{4})")
TOKEN = re.compile(r"[\x21-\x7e]{8,500}")
EXAMPLE = "K7QM-2XPD@192.168.1.5:8765"
HOW_TO_JOIN = (
    "Join it once: uv run workshop join CODE@HOST:PORT --name YOUR-NAME  (the code stands on the "
    "leaderboard's page)"
)


@dataclass(frozen=True)
class Membership:
    """Who one is, and where. The token stays out of everything that is printed."""

    address: str
    token: str = field(repr=False)
    name: str
    participant: int
    competition: str | None = None  # which one it is, at whatever address

    def connection(self) -> Connection:
        return Connection(self.address, self.token)


@dataclass(frozen=True)
class Joined:
    """What came of joining: `new` is false if one was in before, `before` is the server left.

    `moved_from` is the address at which the same competition was joined before.
    """

    membership: Membership
    new: bool
    before: Membership | None = None
    moved_from: str | None = None


def config_folder() -> Path:
    """Return where this user's configuration lies, on this system."""
    if own := os.environ.get(FOLDER):
        return Path(own)
    home = {
        "win32": os.environ.get("APPDATA") or "~/AppData/Roaming",
        "darwin": "~/Library/Application Support",
    }.get(sys.platform, os.environ.get("XDG_CONFIG_HOME") or "~/.config")
    return Path(home).expanduser() / "reproducible-ml-workshop"


def load() -> Membership | None:
    """Return the membership of this user, None without one.

    Raises
    ------
    WorkshopError
        The file cannot be read.
    """
    return _read(config_folder() / FILE)


def current() -> Membership:
    """Return the membership of this user, or raise a WorkshopError that says how to join."""
    membership = load()
    if membership is None:
        raise WorkshopError(f"You have not joined a leaderboard yet. {HOW_TO_JOIN}")
    return membership


def join(text: str, name: str) -> Joined:
    """Join the server that `text` names, and keep the token.

    Joining it again changes nothing. Joining another one keeps the old membership beside the new
    one, and coming back finds it again.

    Parameters
    ----------
    text : CODE@HOST:PORT or CODE@https://HOST
    name : what the board shows

    Raises
    ------
    WorkshopError
        The text is no such thing, no server is there, the code is wrong, the name is taken.
    """
    code, address = parse(text)
    name = " ".join(name.split())
    if not name:
        raise WorkshopError("A name is missing. Expected what the board shall show: --name Ada")
    before = load()
    competition = _competition(address)
    if moved := _moved(competition, address):
        _check_name(moved, name, address)
        here = replace(moved, address=address)
        _keep(here, None if before == moved else before)
        _backup(moved.address).unlink(missing_ok=True)
        return Joined(here, new=False, moved_from=moved.address)
    for known in (before, _read(_backup(address))):
        if known and known.address == address and _is_known(known):
            _check_name(known, name, address)
            if known is not before:
                _keep(known, before)
            return Joined(known, new=False, before=None if known is before else before)
    try:
        answer = Connection(address).request("POST", "/api/join", {"code": code, "name": name})
    except NoAnswer as error:
        raise WorkshopError(
            f"{error}\nTried {address}/api/join. Is that what the page shows, is this computer in "
            "the same network, and is the leaderboard running?"
        ) from None
    except Refused as error:
        raise _explained(error, address, code, name) from None
    token = answer.get("token")
    if not (isinstance(token, str) and TOKEN.fullmatch(token)):
        raise WorkshopError(f"{address} answered without a token: it is not the leaderboard.")
    return _joined(address, token, answer, before, competition)


def _check_name(known: Membership, name: str, address: str) -> None:
    if known.name.casefold() != name.casefold():
        raise WorkshopError(
            f"On this computer {known.name!r} has joined {address}, and everybody takes part once. "
            "Whoever leads the workshop can change the name. For a second participant on one "
            f"computer, let {FOLDER} name another folder."
        )


def _competition(address: str) -> str | None:
    """Ask a server which competition it holds; None if it does not say."""
    with contextlib.suppress(Refused, NoAnswer):
        found = Connection(address).request("GET", "/health", seconds=5).get("competition")
        return found if isinstance(found, str) else None
    return None


def _moved(competition: str | None, address: str) -> Membership | None:
    """Return the membership of this competition at another address, if its token counts here."""
    if competition is None:
        return None
    paths = [config_folder() / FILE, *sorted(config_folder().glob("membership-*.json"))]
    for known in filter(None, map(_read, paths)):
        same = known.competition == competition and known.address != address
        if same and _is_known(replace(known, address=address)):
            return known
    return None


def adopt(text: str, token: str) -> Joined:
    """Join the server that `text` names with a token that was given to a participant there.

    Raises
    ------
    WorkshopError
        The text or the token is malformed, no server is there, or it does not know the token.
    """
    _, address = parse(text)
    if not TOKEN.fullmatch(token):
        raise WorkshopError("That is no token. Expected the line that you were given, and no more.")
    try:
        answer = Connection(address, token).request("GET", "/api/me")
    except Refused as error:
        raise WorkshopError(f"{address} does not take this token: {error}") from None
    return _joined(address, token, answer, load(), _competition(address))


def _joined(
    address: str, token: str, answer: dict, before: Membership | None, competition: str | None
) -> Joined:
    name, number = answer.get("name"), answer.get("participant")
    if not isinstance(name, str) or not isinstance(number, int):
        raise WorkshopError(f"{address} does not say who you are: it is not the leaderboard.")
    membership = Membership(address, token, name, number, competition)
    _keep(membership, before)
    elsewhere = before if before and before.address != address else None
    return Joined(membership, new=True, before=elsewhere)


def parse(text: str) -> tuple[str, str]:
    """Return code and address of what a participant types.

    "k7qm2xpd@192.168.1.5:8765" becomes "K7QM-2XPD" and "http://192.168.1.5:8765".

    Raises
    ------
    WorkshopError
        It is malformed; the message says what is missing.
    """
    code, at, place = text.strip().partition("@")
    found = CODE.fullmatch(code.strip())
    place = place.strip().rstrip("/")
    plain = "://" not in place
    try:
        parts = urlsplit(f"http://{place}" if plain else place)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts = host = port = None
    wrong = None
    if not at:
        wrong = "there is no @ between code and address"
    elif not found:
        wrong = f"{code!r} is no code: eight letters and digits"
    elif not host or parts.scheme not in ("http", "https") or re.search(r"\s", place):
        wrong = f"{place!r} is no address"
    elif parts.path or parts.query or parts.fragment or parts.username is not None:
        wrong = f"{place!r} is more than an address"
    elif plain and port is None:
        wrong = f"the port is missing after {place!r}"
    if wrong:
        raise WorkshopError(
            f"{text!r} cannot be joined: {wrong}. Expected what the leaderboard's page shows, such "
            f"as {EXAMPLE} or K7QM-2XPD@https://board.example.org"
        )
    shown = f"[{host}]" if ":" in host else host
    return f"{found[1]}-{found[2]}".upper(), f"{parts.scheme}://{shown}{f':{port}' if port else ''}"


def _explained(error: Refused, address: str, code: str, name: str) -> WorkshopError:
    what = {
        403: f"{address} does not take the code {code}. Type the one that its page shows now.",
        404: f"{address} is not the leaderboard: it knows nothing of /api/join.",
        409: f"The name {name!r} is taken at {address}, or looks like one that is. Choose another. "
        "(If it is yours, whoever leads the workshop gives you a new token: join ... --token)",
        422: f"{address} does not take the name {name!r}. Choose another.",
        429: f"Too many have tried to join {address} from this network. Wait a little.",
    }.get(error.status, f"{address} could not let you in (status {error.status}).")
    return WorkshopError(f"{what}\nThe server says: {error}")


def _is_known(membership: Membership) -> bool:
    """Ask the server whether the token counts still; one that does not answer has not said no."""
    try:
        membership.connection().request("GET", "/api/me", seconds=5)
    except Refused as error:
        return error.status not in (401, 403, 404)
    except NoAnswer:
        return True
    return True


def _backup(address: str) -> Path:
    place = re.sub(r"[^A-Za-z0-9.]+", "-", address.partition("://")[2])
    return config_folder() / f"membership-{place}.json"


def _keep(membership: Membership, before: Membership | None) -> None:
    if before and before.address != membership.address:
        _write(before, _backup(before.address))
    _write(membership, config_folder() / FILE)


def _read(path: Path) -> Membership | None:
    try:
        return Membership(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise WorkshopError(
            f"{path} cannot be read ({type(error).__name__}). Expected what `workshop join` wrote. "
            "Delete it and join again; the same name is free again when whoever leads the workshop "
            "says so."
        ) from None


def _write(membership: Membership, path: Path) -> None:
    """Write the file under another name, for its owner alone from the beginning, and move it."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(opened, "w", encoding="utf-8") as file:
                json.dump(asdict(membership), file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                unfinished.unlink()
    except OSError as error:
        raise WorkshopError(
            f"The membership cannot be kept in {path}: {error.strerror}. Make its folder writable, "
            f"or let {FOLDER} name another one."
        ) from error
