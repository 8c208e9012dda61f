"""A stranger's code is locked in, and the system around it does nothing that it asks for."""

import os
import socket
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_secrets import FAKE
from record_fixtures import git
from test_export import traced

from samerun.code.known import KnownFile, content_of
from samerun.received import sandbox
from samerun.received.sandbox import Sandbox, data_files
from samerun.reproduce import Obstacle, keeping

needs_bubblewrap = pytest.mark.skipif(
    not sandbox.sandbox([], [], Path("/home")).words, reason="no bubblewrap here"
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a person, with what is nobody else's."""
    folder = tmp_path / "höme"
    folder.mkdir()
    (folder / "diary.txt").write_bytes(b"dear diary")
    (folder / "table.csv").write_bytes(b"1,2\n")
    return folder


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """The folder of a repetition, with the repository of its code."""
    folder = tmp_path / "prïvate"
    (folder / "project").mkdir(parents=True)
    (folder / "output.txt").write_bytes(b"what it printed\n")
    git(folder / "project", "init", "-q")
    return folder


def locked_in(words: Sandbox, script: str, *projects: Path) -> str:
    command = [*words.around(projects), "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, cwd=projects[0], encoding="utf-8")
    return done.stdout + done.stderr


# ------------------------------------------------------------------------- what it can write to


@needs_bubblewrap
def test_code_writes_to_its_projects_and_to_nothing_beside_them(private: Path, home: Path) -> None:
    (private / "project-1").mkdir()
    script = f"""
        echo mine > result.txt; echo mine > ../project-1/result.txt
        rm -f ../output.txt; ln -s {home}/diary.txt ../output-1.txt; mkdir ../project-2
        echo evil > {home}/diary.txt
    """
    projects = private / "project", private / "project-1"
    locked_in(sandbox.sandbox([], [], home), script, *projects)
    assert all((project / "result.txt").exists() for project in projects)
    names = sorted(path.name for path in private.iterdir())
    assert names == ["output.txt", "project", "project-1"]
    assert (private / "output.txt").read_bytes() == b"what it printed\n"
    assert (home / "diary.txt").read_bytes() == b"dear diary"


@needs_bubblewrap
def test_code_cannot_give_settings_or_hooks_to_the_git_outside(private: Path, home: Path) -> None:
    repository = private / "project" / ".git"
    before = (repository / "config").read_bytes()
    script = """
        git config filter.x.smudge "touch pwned"; echo evil > .git/config
        mkdir -p .git/hooks; echo evil > .git/hooks/post-checkout; mv .git .git2; rm -rf .git
    """
    said = locked_in(sandbox.sandbox([], [], home), script, private / "project")
    assert "Read-only file system" in said
    assert (repository / "config").read_bytes() == before
    assert not list(repository.rglob("post-checkout"))


def test_a_folder_is_bound_once_and_after_all_that_hides_it(tmp_path: Path) -> None:
    here = str(tmp_path)
    words = Sandbox(("bwrap", "-x")).around([tmp_path, tmp_path])
    assert words == ("bwrap", "-x", "--bind", here, here, "--")
    assert Sandbox(why_not="none").around([tmp_path]) == ()


# ------------------------------------------------------------------------------- what it can see


@needs_bubblewrap
def test_a_file_of_data_is_shown_and_not_the_folder_it_lies_in(private: Path, home: Path) -> None:
    known = content_of(b"1,2\n")
    trace = traced(KnownFile("/their/table.csv", "data", known.sha256, known.size))
    found = list(data_files(trace, {"HOME": str(home)}))
    assert found == [home / "table.csv"]
    made = sandbox.sandbox(found, [], home)
    look = f"cd {home}; ls -A; cat table.csv; echo 3 > table.csv"
    said = locked_in(made, look, private)
    assert said.splitlines()[:2] == ["table.csv", "1,2"]
    assert "Read-only file system" in said
    assert (home / "table.csv").read_bytes() == b"1,2\n"


def test_data_are_shown_by_their_digest_alone(tmp_path: Path) -> None:
    for name in ("data", "other", "secrets"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "images.gz").write_bytes(b"12345")
    (tmp_path / "other" / "images.gz").write_bytes(b"54321")
    (tmp_path / "secrets" / "images.gz").mkdir()
    variables = {name.upper(): str(tmp_path / name) for name in ("data", "other", "secrets")}
    variables |= {"HERE": ".", "EMPTY": "", "ODD": "/\0"}
    digest = content_of(b"12345").sha256
    for path in ("/their/place/images.gz", "D:\\their place\\images.gz", "images.gz"):
        trace = traced(KnownFile(path, "data", digest, 5))
        assert list(data_files(trace, variables)) == [tmp_path / "data" / "images.gz"]
        assert not list(data_files(traced(KnownFile(path, "data", digest, 6)), variables))
    assert not list(data_files(traced(KnownFile("images.gz", "imported", digest, 5)), variables))
    assert not list(data_files(traced(), variables))


def test_data_that_lie_where_the_run_had_them_are_shown(tmp_path: Path) -> None:
    (tmp_path / "images.gz").write_bytes(b"12345")
    known = KnownFile(str(tmp_path / "images.gz"), "data", content_of(b"12345").sha256, 5)
    assert list(data_files(traced(known), {})) == [tmp_path / "images.gz"]
    assert not list(data_files(traced(KnownFile(known.path, "data", "00", 5)), {}))


@needs_bubblewrap
def test_a_home_is_hidden_wherever_it_lies_and_whatever_lies_around_it(
    private: Path, home: Path
) -> None:
    made = sandbox.sandbox([home, home.parent], [], home)
    assert locked_in(made, f"ls -A {home}; echo $HOME", private) == f"{home}\n"


def test_variables_that_lead_to_the_person_are_withheld() -> None:
    secret = {"HF_TOKEN": "abc", "URL": f"https://me:{FAKE['npm']}@example.org", "A": FAKE["AWS"]}
    session = {
        "SSH_AUTH_SOCK": "/x",
        "HTTPS_PROXY": "http://proxy",
        "http_proxy": "x",
        "USER": "me",
    }
    plain = {
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "FASHION_MNIST_DIR": "/data",
        "PATH": "/bin",
    }
    assert sandbox._withheld(secret | session | plain) == {*secret, *session}


@needs_bubblewrap
def test_what_is_withheld_is_not_there(
    private: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", FAKE["Hugging Face"])
    monkeypatch.setenv("HARMLESS", "kept")
    said = locked_in(sandbox.sandbox([], [], home), "env", private)
    assert "HARMLESS=kept" in said and "HF_TOKEN" not in said


# -------------------------------------------------------------------------------- where it is none


@pytest.mark.parametrize(
    ("platform", "found", "said"),
    [
        ("darwin", "/bwrap", "only Linux"),
        ("win32", None, "only Linux"),
        ("linux", None, "not installed"),
    ],
)
def test_why_there_is_no_sandbox_is_said(
    platform: str, found: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox.sys, "platform", platform)
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: found)
    made = sandbox.sandbox([], [], Path("/home/me"))
    assert made.words == () and said in made.why_not


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has one")
def test_a_system_that_forbids_what_bubblewrap_needs_has_no_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bwrap"
    said = "bwrap: No permissions to create new namespace"
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    made = sandbox.sandbox([], [], Path("/home/me"))
    assert made.words == () and made.why_not == f"bubblewrap does not work here: {said}"


# ----------------------------------------------------------------- what the code leaves behind


def with_journal(store: Path, victim: Path) -> None:
    """Put a journal beside a store by which SQLite, when it opens it, removes another file."""
    with sqlite3.connect(store) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    magic = bytes.fromhex("d9d505f920a163d7")
    pages = store.stat().st_size // 4096
    header = (magic + struct.pack(">IIIII", 0, 0, pages, 512, 4096)).ljust(512, b"\0")
    name = os.fsencode(victim)
    names = struct.pack(">I", 0x40000000 // 4096 + 1) + name
    names += struct.pack(">II", len(name), sum(name)) + magic
    store.with_name(f"{store.name}-journal").write_bytes(header + names)


def test_a_journal_beside_the_store_is_not_obeyed(tmp_path: Path) -> None:
    victim, proof = tmp_path / "thesis.tex", tmp_path / "proof.db"
    victim.write_bytes(b"years of work")
    with_journal(proof, victim)
    with sqlite3.connect(proof) as connection:
        connection.execute("SELECT * FROM t")
    connection.close()
    assert not victim.exists(), "SQLite does what this test is about"
    victim.write_bytes(b"years of work")
    (tmp_path / "project").mkdir()
    store = tmp_path / "project" / "mlflow.db"
    with_journal(store, victim)
    with pytest.raises(Obstacle, match=r"in the midst of a change .* mlflow\.db-journal"):
        keeping.repetition(store, {})
    assert victim.read_bytes() == b"years of work"


def test_a_link_beside_the_store_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"")
    (tmp_path / "mlflow.db-wal").symlink_to(tmp_path / "gone")
    with pytest.raises(Obstacle, match=r"mlflow\.db-wal"):
        keeping.repetition(tmp_path / "mlflow.db", {})


@pytest.fixture
def places(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """What may lie in the place of a file: a link to one, a pipe, a socket, a folder, nothing."""
    (tmp_path / "their.db").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "their.db")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    here = os.getcwd()
    os.chdir(tmp_path)  # the name of a socket is short
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")
    os.chdir(here)
    yield {name: tmp_path / name for name in ("link", "pipe", "socket", "folder", "nothing")}
    server.close()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
@pytest.mark.parametrize("kind", ["link", "pipe", "socket", "folder", "nothing"])
def test_what_is_no_store_of_its_own_is_not_opened(kind: str, places: dict[str, Path]) -> None:
    with pytest.raises(Obstacle, match="something else in the place of its store"):
        keeping.repetition(places[kind], {})


@pytest.mark.slow
def test_a_store_that_the_code_has_spoilt_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"SQLite format 3\0" + b"evil" * 1000)
    with pytest.raises(Obstacle, match=r"left cannot be read: .*not a database"):
        keeping.repetition(tmp_path / "mlflow.db", {})


def run_with(artifacts: Path) -> SimpleNamespace:
    return SimpleNamespace(info=SimpleNamespace(artifact_uri=artifacts.as_uri()), outputs=None)


def test_artifacts_that_lead_to_files_of_the_person_are_not_taken(tmp_path: Path) -> None:
    tree, home = tmp_path / "tree", tmp_path / "home"
    (tree / "artifacts" / "folder").mkdir(parents=True)
    home.mkdir()
    (home / "key").write_bytes(b"private")
    (tree / "artifacts" / "fine.txt").write_bytes(b"x")
    found = keeping._artifacts(SimpleNamespace(), run_with(tree / "artifacts"), tree)
    assert found == [(tree / "artifacts", None)]
    with pytest.raises(Obstacle, match="leads elsewhere"):
        keeping._artifacts(SimpleNamespace(), run_with(home), tree)
    (tree / "artifacts" / "link").symlink_to(home / "key")
    with pytest.raises(Obstacle, match="leads elsewhere"):
        keeping._artifacts(SimpleNamespace(), run_with(tree / "artifacts"), tree)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_an_artifact_that_would_never_end_is_not_read(kind: str, places: dict[str, Path]) -> None:
    tree = places[kind].parent
    (tree / "artifacts").mkdir()
    places[kind].rename(tree / "artifacts" / "model.bin")
    with pytest.raises(Obstacle, match="is no file"):
        keeping._artifacts(SimpleNamespace(), run_with(tree / "artifacts"), tree)
