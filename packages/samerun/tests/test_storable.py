"""What of a checkout is stored with a run, and what is named in place of that."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_secrets import FAKE, hexadecimal, noise
from record_fixtures import FakeDataset, git

from samerun import RecordError, flatten, trace
from samerun.code import notebook
from samerun.secrets.masking import forget
from samerun.secrets.storable import Rules, rules_of, secret_in, why_not_stored

WORD = noise(14)


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    forget()


@pytest.mark.parametrize("kind", FAKE)
def test_a_token_in_a_file_keeps_it_from_being_stored(kind: str) -> None:
    assert secret_in(f"a = 1\nclient = connect({FAKE[kind]!r})\n".encode(), "a.py")
    assert secret_in(f"a = 1\nx: {FAKE[kind]}\n".encode(), "a.yaml")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("settings.py", f'API_KEY = "{WORD}"'),
        ("settings.py", f"API_KEY: str = '{WORD}'"),
        ("settings.py", f'PASSWORD = b"{WORD}"'),
        ("settings.py", f'PASSWORD = (\n    "{WORD}"\n)'),
        ("settings.py", f'SECRET = """\n{WORD}"""'),
        ("settings.py", 'PASSWORD = "Kugelblitz"'),
        ("settings.py", 'password = "hunter2"'),
        ("settings.py", f'login(user="me", password="{WORD}")'),
        ("settings.py", f'os.environ["WANDB_API_KEY"] = "{hexadecimal(40)}"'),
        ("settings.py", f'os.environ.setdefault("WANDB_API_KEY", "{hexadecimal(40)}")'),
        ("settings.py", f'headers = {{"Authorization": "Bearer {WORD}"}}'),
        ("settings.py", f'engine = create_engine("mysql://me:{WORD}@db.lab/x")'),
        ("settings.yaml", f"api_key: {WORD}"),
        ("settings.yaml", f"api_key: |\n  {WORD}\n"),
        ("run.sh", f"export WANDB_API_KEY={WORD}"),
        ("a.toml", f'sas_token = "{WORD}"'),
        ("a.json", f'{{"connection_string": "{WORD}"}}'),
        ("a.ipynb", f'"source": ["api_key = \\"{WORD}\\"\\n"]'),
    ],
)
def test_a_value_beside_the_name_of_a_secret_is_found(path: str, text: str) -> None:
    line = 2 if WORD not in text else 2 + text.partition(WORD)[0].count("\n")
    assert secret_in(f"# é\n{text}\n".encode(), path).startswith(f"line {line}: ")


@pytest.mark.parametrize(
    "text",
    [
        'parser.add_argument("--api-key", default="your-api-key-here")',
        'token = os.environ["HF_TOKEN"]',
        'password = getpass("Password: ")',
        'api_key = "<your key>"',
        'api_key = "xxxxxxxxxxxxxxxx"',
        'api_key = f"{prefix}-{number}"',
        'tokenizer = AutoTokenizer.from_pretrained("bert-base-uncased")',
        'TOKEN_NAME = "access_token"',
        'secret_file = "/run/secrets/key1.json"',
        'password = "test-password-1"',
        'token = "[MASK]"',
        'sha256 = "' + hexadecimal(64) + '"',
        'key = "' + hexadecimal(32) + '"',
        'url = "postgresql://user:password@localhost/name"',
        'url = "http://127.0.0.1:5000/a@b"',
        'cookie = "a sentence about a cookie of 1 kB"',
        "-----BEGIN RSA PRIVATE" + " KEY-----  # how such a file begins",
    ],
)
def test_ordinary_code_is_stored(text: str) -> None:
    assert secret_in(f"{text}\n".encode(), "a.py") is None


@pytest.mark.parametrize(
    "path",
    [
        ".env", ".env.local", ".netrc", "id_rsa", "server.pem", "kaggle.json", "api_token.txt",
        "secrets.yaml", "conf/credentials.json", "secrets.py", "my_password.txt", "deploy.key",
    ],
)  # fmt: skip
def test_a_file_by_its_name_a_secret_is_not_stored(path: str) -> None:
    assert why_not_stored(path, b"x\n") == "by its name a secret"


@pytest.mark.parametrize("path", ["token_embedding.py", "tokenizer.json", "auth.py", "a.env.py"])
def test_code_is_judged_by_what_it_says_not_by_its_name(path: str) -> None:
    assert why_not_stored(path, b"x = 1\n") is None


@pytest.mark.parametrize(
    "path", ["patients.csv", "a.TSV", "x.parquet", "x.npz", "x.jsonl", "x.xlsx", "x.geojson"]
)
def test_data_is_not_stored_unless_asked(path: str) -> None:
    assert why_not_stored(f"tables/{path}", b"name,age\n") == "data"
    assert why_not_stored(f"tables/{path}", b"name,age\n", Rules((f"tables/{path}",))) is None


def test_a_false_alarm_can_be_overruled_by_name(checkout: Path) -> None:
    (checkout / "pyproject.toml").write_bytes(b'[tool.samerun]\nstore = ["small/*.csv", "a.py"]\n')
    rules = rules_of(checkout)
    assert why_not_stored("small/a.csv", b"1\n", rules) is None
    assert why_not_stored("a.py", f'key = "{FAKE["AWS"]}"\n'.encode(), rules) is None
    assert why_not_stored("b.csv", b"1\n", rules) == "data"
    flatten({"password": "hunter2"})
    assert why_not_stored("a.py", b"connect('hunter2')\n", rules).startswith("line 1: a secret of")


@pytest.mark.parametrize(
    "said",
    [
        b"[tool.samerun]\nstroe = []\n",
        b"[tool.samerun]\nstore = 1\n",
        b"[tool.samerun]\nstore = [1]\n",
        b"[",
    ],
)
def test_a_mistake_in_the_rules_is_named(checkout: Path, said: bytes) -> None:
    (checkout / "pyproject.toml").write_bytes(said)
    with pytest.raises(RecordError, match=r"pyproject\.toml"):
        rules_of(checkout)


def collected(checkout: Path, cfg: dict | None = None) -> trace.Trace:
    return trace.collect(cfg or {"seed": 0}, FakeDataset(), checkout)


def test_a_key_in_an_untracked_file_does_not_reach_the_patch(checkout: Path) -> None:
    (checkout / "settings.py").write_text(f'API_KEY = "{WORD}"\n')
    (checkout / "fine.py").write_text("x = 1\n")
    seen = collected(checkout)
    assert WORD.encode() not in seen.patch and b"fine.py" in seen.patch
    assert seen.code.not_stored == ("settings.py",)
    assert "sha256" in seen.code.reasons["settings.py"]
    assert seen.code.reasons["settings.py"].startswith("27 bytes, ")
    assert "line 1: a value beside API_KEY" in seen.code.reasons["settings.py"]


def test_a_key_added_to_a_tracked_file_does_not_reach_the_patch(checkout: Path) -> None:
    (checkout / "train.py").write_text(f'print(2)\napi_key = "{WORD}"\n')
    (checkout / ".gitignore").write_text("ignored/\nmore/\n")
    seen = collected(checkout)
    assert WORD.encode() not in seen.patch and b"more/" in seen.patch
    assert seen.code.not_stored == ("train.py",) and seen.code.dirty


def test_a_secret_of_the_configuration_in_a_file_does_not_reach_the_patch(checkout: Path) -> None:
    (checkout / "train.py").write_text("connect('hunter2')\n")
    cfg = {"seed": 0, "password": "hunter2"}
    flatten(cfg)
    seen = collected(checkout, cfg)
    assert b"hunter2" not in seen.patch and seen.code.not_stored == ("train.py",)


def test_a_link_to_data_is_stored_as_the_link_that_it_is(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "far.csv").write_text("name,age\nada,36\n")
    try:
        (checkout / "near.csv").symlink_to(tmp_path / "far.csv")
    except OSError:
        pytest.skip("this system lets nobody make a link")
    seen = collected(checkout)
    assert seen.code.not_stored == () and b"near.csv" in seen.patch
    assert b"ada" not in seen.patch


def test_the_line_of_a_known_secret_is_named() -> None:
    flatten({"password": "hunter2"})
    told = why_not_stored("a.py", b"x = 1\ny = 2\nconnect('hunter2')\nz = 3\n")
    assert told is not None and told.startswith("line 3: ")


def test_a_password_in_an_address_of_an_example_is_none() -> None:
    def found(password: str, host: str) -> bool:
        text = f'url = "postgresql://ada:{password}@{host}/x"'
        return secret_in(text.encode(), "a.py") is not None

    assert found(noise(12), "db.univ.test")
    assert not found(noise(12), "db.example.org")
    assert not found("ada", "db.univ.test")


def test_a_table_of_patients_is_named_by_its_digest(checkout: Path) -> None:
    (checkout / "patients.csv").write_text("name,age\nada,36\n")
    seen = collected(checkout)
    assert b"ada" not in seen.patch and seen.code.dirty
    assert seen.code.reasons["patients.csv"].startswith("16 bytes, sha256 ")
    assert seen.code.reasons["patients.csv"].endswith("; data")


def test_the_rest_of_a_patch_without_a_secret_file_still_applies(checkout: Path) -> None:
    (checkout / "train.py").write_text(f'api_key = "{WORD}"\n')
    (checkout / ".gitignore").write_text("ignored/\nmore/\n")
    (checkout / "old.bin").write_bytes(bytes(range(255, 0, -1)))
    (checkout / "zwölf und mehr.txt").write_text("12\n", encoding="utf-8")
    (checkout / "changes").write_bytes(collected(checkout).patch)
    git(checkout, "stash", "-q", "--", "train.py", ".gitignore", "old.bin")
    (checkout / "zwölf und mehr.txt").unlink()
    git(checkout, "apply", "changes")
    assert (checkout / ".gitignore").read_text() == "ignored/\nmore/\n"
    assert (checkout / "zwölf und mehr.txt").exists()


def test_cells_of_a_notebook_keep_their_code_and_lose_their_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cells = [
        "",
        f'api_key = "{WORD}"\ntoken = tokenizer(text)',
        f"%env WANDB_API_KEY={WORD}",
        f"!curl --token {WORD} there",
        f'connect("{FAKE["GitHub"]}")',
    ]
    history = SimpleNamespace(input_hist_raw=cells)
    shell = SimpleNamespace(history_manager=history)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    seen = notebook.cells() or ""
    assert WORD not in seen and FAKE["GitHub"] not in seen
    assert 'api_key = "***"\ntoken = tokenizer(text)' in seen
    assert 'connect("***")' in seen and "--token *** there" in seen
