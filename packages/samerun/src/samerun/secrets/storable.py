"""What of a checkout may be stored with a run: no secrets, no data; and what may, by whose word.

Contents are looked at, not file names alone. The forms of tokens come from `masking`; beside a
secret-looking name it is a quoted string that looks random. There is a false alarm now and then,
which costs a file's content but not its digest, and `store` in pyproject.toml overrules it:

    [tool.samerun]
    store = ["tables/small.csv", "tests/test_login.py"]
"""

import fnmatch
import hashlib
import math
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from samerun.errors import RecordError
from samerun.secrets.masking import MASK, is_secret, known_in, tokens_in, words

LARGEST_FILE = 2**20  # bytes
LARGEST_HASHED = 2**28  # bytes; it takes a moment

_SECRET_FILES = re.compile(
    r"\.env(?:\..*|rc)?|\.(?:netrc|pypirc|npmrc|htpasswd|pgpass|git-credentials)|_netrc|kaggle\.json"
    r"|id_(?:rsa|dsa|ed25519|ecdsa)(?:\..*)?|.*\.(?:pem|key|pfx|p12|jks|keystore|kdbx|ovpn)",
    re.I,
)
_CODE = words(
    """
    .c .cc .cpp .cu .cuh .go .h .hpp .ipynb .java .jl .js .lean .m .md .php .py .pyi .pyx .qmd
    .r .rmd .rs .rst .scala .sql .tex .ts .typ
    """
)
_SECRET_STEMS = re.compile(r"(?:secrets?|credentials?|passwords?|api_?keys?)(?:_local)?", re.I)
DATA = words(
    """
    .7z .arff .arrow .avi .avro .bam .bmp .bz2 .csv .dat .dcm .dta .edf .fasta .fastq .feather
    .fif .fits .flac .geojson .geotiff .gif .gpkg .gpx .gz .h5 .hdf5 .jp2 .jpeg .jpg .jsonl .kml
    .las .libsvm .mat .mov .mp3 .mp4 .nc .ndjson .nii .npy .npz .ods .ogg .orc .parquet .pdb
    .pgm .pkl .png .pnm .ppm .rda .rdata .rds .sas7bdat .sav .sdf .shp .sqlite .svmlight .tab
    .tar .tfrecord .tif .tiff .tsv .vcf .wav .webp .xls .xlsb .xlsx .xpt .xz .zarr .zip .zst
    """
)
_CONFIGURATION = frozenset(
    [".cfg", ".conf", ".config", ".env", ".ini", ".properties", ".sh", ".toml", ".yaml", ".yml"]
)


@dataclass(frozen=True)
class Rules:
    """What a project says in `[tool.samerun]`: `store` names files by patterns, as in `data/*.csv`.

    They are stored whatever they look like, if they are text, small and without a known secret.
    """

    store: tuple[str, ...] = ()

    def asks_for(self, path: str) -> bool:
        return any(fnmatch.fnmatchcase(path, pattern) for pattern in self.store)


def rules_of(root: Path) -> Rules:
    """Return the rules of the project in this folder.

    Raises
    ------
    RecordError
        pyproject.toml is not TOML, or says something that is not known.
    """
    file = root / "pyproject.toml"
    if not file.is_file():
        return Rules()
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("samerun", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecordError(f"{file} cannot be read: {error}") from error
    patterns = said.get("store", [])
    if (
        set(said) - {"store"}
        or not isinstance(patterns, list)
        or any(not isinstance(pattern, str) for pattern in patterns)
    ):
        raise RecordError(
            f'[tool.samerun] in {file} says {said}. Expected: store = ["tables/*.csv"], the '
            "patterns of files whose contents are to be stored."
        )
    return Rules(tuple(patterns))


def why_not_stored(path: str, content: bytes, rules: Rules = Rules()) -> str | None:
    """Return why the content of an untracked file is not stored, None if it may be.

    Parameters
    ----------
    path : relative to the checkout, with `/`
    content : of the file; what is longer than LARGEST_FILE need not be given whole
    rules : what the project asks for
    """
    if len(content) > LARGEST_FILE:
        return "larger than 1 MB"
    if b"\0" in content:
        return "not text"
    if rules.asks_for(path):
        return _known_secret_in(content)
    return _why_by_name(PurePosixPath(path)) or secret_in(content, path)


def _why_by_name(path: PurePosixPath) -> str | None:
    suffix = path.suffix.lower()
    if _SECRET_FILES.fullmatch(path.name) or _SECRET_STEMS.fullmatch(path.stem):
        return "by its name a secret"
    if suffix not in _CODE and suffix not in DATA and is_secret(path.stem):
        return "by its name a secret"
    return "data" if suffix in DATA else None


def left_out(root: Path, paths: Sequence[str], rules: Rules) -> dict[str, str]:
    """Return which files that git does not track are not stored: size, digest and why of each."""
    reasons = {}
    for path in paths:
        file = root / path
        if file.is_symlink():
            continue  # git stores where it points to
        try:
            with file.open("rb") as opened:
                why = why_not_stored(path, opened.read(LARGEST_FILE + 1), rules)
            if why:
                reasons[path] = described(*_size_and_digest(file), why)
        except OSError as error:
            reasons[path] = f"cannot be read: {error.strerror}"
    return reasons


def without_secrets(patch: bytes, root: Path, rules: Rules) -> tuple[bytes, dict[str, str]]:
    """Return a patch without the files whose changes hold a secret, and which these are."""
    kept, reasons = [], {}
    for part in re.split(rb"^(?=diff --git )", patch, flags=re.M):
        header = part.partition(b"\n")[0].removeprefix(b"diff --git ")
        path = os.fsdecode(header[len(header) // 2 + 3 :])  # of "a/PATH b/PATH"
        found = _known_secret_in(part) if rules.asks_for(path) else secret_in(part, path)
        if found is None or not header:
            kept.append(part)
            continue
        what = found.partition(": ")[2]  # without the line, which is that of the patch
        try:
            reasons[path] = described(*_size_and_digest(root / path), what)
        except OSError:  # deleted
            reasons[path] = what
    return b"".join(kept), reasons


def described(size: int, digest: str | None, why: str) -> str:
    """Return what a trace says of a file that it does not hold."""
    return f"{size} bytes, sha256 {digest}; {why}" if digest else f"{size} bytes; {why}"


def _size_and_digest(file: Path) -> tuple[int, str | None]:
    size = file.stat().st_size
    if size > LARGEST_HASHED:
        return size, None
    with file.open("rb") as opened:
        return size, hashlib.file_digest(opened, "sha256").hexdigest()


# ----------------------------------------------------------------------------------- by contents

KNOWN = "a secret of the configuration or the environment"
_ADDRESS = re.compile(r"://(?P<user>[^\s:/@\"'`]*):(?P<value>[^\s/@\"'`]+)@(?P<host>[\w.\-]+)")
_STEMS = (
    "passw", "passphrase", "passcode", "pwd", "secret", "token", "cred", "auth", "bearer", "cookie",
    "dsn", "jwt", "webhook", "sas", "key", "conn",
)  # fmt: skip
_QUOTED = re.compile(
    r"(?P<key>[A-Za-z_][\w.\-]*)\\?[\"']?\]?\s*(?::\s*[\w.\[\]| ]+?(?==))?(?:==?|:|=>)"
    r"\s*\(?\s*[bBrRuUfF]{0,2}(?P<mark>\\?(?:\"\"\"|'''|\"|'))"
    r"\s*(?P<value>[^\"'\n\\]{6,400})\s*(?P=mark)"
)
_CALLED = re.compile(
    r"\(\s*\\?[\"'](?P<key>[A-Za-z_][\w.\-]*)\\?[\"'],\s*"
    r"(?P<mark>\\?[\"'])(?P<value>[^\"'\n\\]{6,400})(?P=mark)"
)
_BARE = re.compile(
    r"^[+\s-]*(?:export\s+|set\s+)?(?P<key>[A-Za-z_][\w.\-]*)\s*[:=]\s*(?:[|>][+-]?\s+)?"
    r"(?P<value>[^\s\"'#&|>*{\[][^\s#]{5,400})\s*(?:#.*)?$",
    re.M,
)
_CONTINUES = re.compile(r"(?:[=:(|>\\]|\"\"\"|''')[+-]?\s*$")
_PLACEHOLDER_WORDS = re.compile(
    r"(?:a|access|admin|alice|an|and|any|api|app|auth|bad|bar|basic|bearer|bob|change|client|code|"
    r"cookie|correct|credential|credentials|db|default|demo|dummy|env|example|expired|fake|file|foo|"
    r"from|get|good|header|here|hidden|http|https|id|in|insert|invalid|is|it|key|keys|local|login|me|"
    r"mock|my|name|new|no|none|not|null|of|old|or|pass|passwd|password|path|placeholder|postgres|prefix|"
    r"private|public|put|pwd|read|refresh|root|sample|secret|secrets|session|set|some|string|super|"
    r"test|testing|text|the|this|to|token|type|uri|url|user|username|valid|value|var|word|"
    r"write|wrong|x+|your|\d{1,4}|[\W_])+",
    re.I,
)
_HINTS = re.compile(
    r"\.\.\.|\*\*\*|[{}<>$%]|EXAMPLE|example\.(?:com|org|net)|x{4}|0{6}|1234567", re.I
)
_NAME_LIKE = re.compile(r"[A-Za-z_][A-Za-z_]*(?:[.\-/:][A-Za-z_]+)*(?:[._-]?v?\d{1,2})?")
_PATH_LIKE = re.compile(r"~?\.{0,2}/.*|[A-Za-z]:\\.*|.*\.[a-z]{2,4}\d?|[a-z][a-z0-9+.-]*://.*")
_PASSWORD = re.compile(r"passw|passphrase|passcode|pwd", re.I)


def secret_in(content: bytes, path: str = "", *, by_name: bool = True) -> str | None:
    """Return which secret a text holds and where, as in `line 3: a GitHub token`; None if none.

    by_name : look for values beside a name such as `password`, too. It takes minutes in 10 MB
    """
    text = content.decode(errors="replace")
    suffix = PurePosixPath(path).suffix.lower()
    found = min(_secrets(text, suffix) if by_name else _by_form(text), default=None)
    if found is None:
        return None
    start, _, kind = found
    return f"line {text.count(chr(10), 0, start) + 1}: {kind}"


def _known_secret_in(content: bytes) -> str | None:
    text = content.decode(errors="replace")
    start = min((found.start() for found in known_in(text)), default=None)
    return None if start is None else f"line {text.count(chr(10), 0, start) + 1}: {KNOWN}"


def without_values(text: str) -> str:
    """Return Python code with `***` in place of what `secret_in` finds."""
    parts, position = [], 0
    for start, end, _ in sorted(_secrets(text, ".py")):
        if end > position:
            parts += [text[position:start], MASK]
            position = end
    return "".join([*parts, text[position:]])


def _by_form(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield where secrets start and end that are known or have a form of their own."""
    for kind, found in tokens_in(text):
        if not _is_made_up(found[0]):
            yield *found.span(), kind
    for found in _ADDRESS.finditer(text):
        value, host = found["value"], found["host"].lower()
        if value != found["user"] and not _is_placeholder(value) and "example" not in host:
            yield *found.span("value"), "a password in an address"
    for found in known_in(text):
        yield *found.span(), KNOWN


def _secrets(text: str, suffix: str) -> Iterator[tuple[int, int, str]]:
    """Yield where secrets start and end, and what each one is."""
    yield from _by_form(text)
    patterns = (_QUOTED, _BARE) if suffix in _CONFIGURATION else (_QUOTED, _CALLED)
    for line, part in _suspicious(text):
        for pattern in patterns:
            for found in pattern.finditer(part):
                if is_secret(found["key"]) and _looks_random(found["key"], found["value"].strip()):
                    start, end = found.span("value")
                    yield line + start, line + end, f"a value beside {found['key']}"


def _suspicious(text: str) -> Iterator[tuple[int, str]]:
    """Yield where lines that name a secret start, and them; with the next one, if they go on."""
    lower = text.encode("ascii", "replace").decode().lower()  # as long as the text itself
    starts = set()
    for stem in _STEMS:
        position = lower.find(stem)
        while position >= 0:
            starts.add(text.rfind("\n", 0, position) + 1)
            position = lower.find(stem, position + 1)
    for start in sorted(starts):
        end = _end_of_line(text, start)
        if _CONTINUES.search(text, start, end):
            end = _end_of_line(text, end + 1)
        yield start, text[start:end]


def _end_of_line(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _looks_random(key: str, value: str) -> bool:
    """Tell a secret from a placeholder, a name, a path or a sentence."""
    words = value.removeprefix("Bearer ").removeprefix("Basic ")
    if any(c.isspace() for c in words) or _is_placeholder(words) or _PATH_LIKE.fullmatch(words):
        return False
    password = _PASSWORD.search(key) is not None
    if _NAME_LIKE.fullmatch(words):  # "Kugelblitz" as password is none, "access_token" as token is
        return password and words.isalnum() and len(words) >= (8 if words.isalpha() else 6)
    if len(words) < (6 if password else 8):
        return False
    return _bits(words) >= (2.3 if password else 2.8)


def _is_placeholder(value: str) -> bool:
    return bool(_HINTS.search(value) or _PLACEHOLDER_WORDS.fullmatch(value))


def _is_made_up(token: str) -> bool:
    """Tell `ghp_xxxxxxxx` and AWS's AKIA...EXAMPLE of documentation from a token."""
    body = token[6:] if len(token) > 12 else token
    return "EXAMPLE" in token or "..." in token or "xxxxxx" in token.lower() or _bits(body) < 2.5


def _bits(value: str) -> float:
    """Return the entropy of a text in bits per character."""
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts)
