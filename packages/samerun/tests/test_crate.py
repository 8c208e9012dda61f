"""A run leaves the machine: as a crate that an archive takes, and that somebody else runs again."""

import contextlib
import csv
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

import pytest
from record_fixtures import git

from samerun import cli
from samerun.received.sandbox import sandbox

pytestmark = pytest.mark.slow  # each starts a process that imports MLflow

TRAIN = """\
import argparse
import os
import socket
import tempfile
from pathlib import Path

import mlflow
import numpy as np
from shift import SHIFT

import samerun

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()
table = Path("data/täble.csv")
with samerun.start_run(vars(options), samerun.dataset("table", table), experiment="lines"):
    mlflow.log_params(samerun.flatten(vars(options)))
    weights = np.random.default_rng(options.seed).random(3) + SHIFT
    weights *= np.loadtxt(table, delimiter=",").mean()
    for step in range(3):
        weights = np.sqrt(weights)
        mlflow.log_metric("loss", float(weights.sum()), step=step)
    mlflow.log_metrics({"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 1.0})
    mlflow.log_text("a report", "report.txt")
    mlflow.log_text(str(sorted(os.environ)), "variables.txt")
    mlflow.log_text(str(os.listdir(Path.home())), "home.txt")
    mlflow.log_text(str([name for _, name in socket.if_nameindex()]), "network.txt")
    said = []
    for place in (Path("/usr/local/written"), Path(".git/written")):
        try:
            place.write_text("x")
            place.unlink()
            said.append("written")
        except OSError as error:
            said.append(error.strerror)
    mlflow.log_text(str(said), "outside.txt")
    mlflow.log_text(str(os.listdir("..")), "beside.txt")
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "weights.npz", weights=weights)
        mlflow.log_artifacts(folder, "model")
"""


# The JSON-LD context of RO-Crate 1.1, by its contributors, in the public domain (CC0 1.0):
# https://w3id.org/ro/crate/1.1/context
CONTEXT = Path(__file__).parent / "ro-crate-1.1-context.jsonld.gz"
VALIDATOR = "roc-validator==0.13.0"
# Puts the context into the validator's cache as if it had been fetched.
FILL = """
import gzip, io, sys
import requests, requests_cache, urllib3

class File(requests.adapters.HTTPAdapter):
    def send(self, request, **options):
        body = io.BytesIO(gzip.open(sys.argv[2]).read())
        headers = {"Content-Type": "application/ld+json"}
        answer = urllib3.HTTPResponse(
            body, headers, 200, preload_content=False, request_method="GET", request_url=request.url
        )
        return self.build_response(request, answer)

session = requests_cache.CachedSession(sys.argv[1], backend="sqlite", expire_after=-1)
session.mount("https://w3id.org/", File())
for kinds in ("application/ld+json, application/json", "application/ld+json"):
    session.get("https://w3id.org/ro/crate/1.1/context", headers={"Accept": kinds})
"""


EVALUATE = """\
import sys

from mlflow import MlflowClient
from shift import SHIFT

from samerun.find import choose_run
from samerun.run import record_addition

run = choose_run(sys.argv[1].partition("=")[2], "lines", "loss")
record_addition(run, {"run_id": run.info.run_id})
MlflowClient().log_metric(run.info.run_id, "evaluated", run.data.metrics["loss"] * SHIFT)
"""


@dataclass(frozen=True)
class Made:
    """A project, a run of it, and two crates of that run."""

    root: Path
    store: Path
    crate: Path
    second: Path
    said: str
    state_before: str
    state_after: str

    @property
    def places(self) -> list[Path]:
        return [self.root, self.store.parent]


def state(root: Path) -> str:
    """Return what git shows of a checkout, and all of its objects."""
    objects = sorted(path.name for path in (root / ".git" / "objects").rglob("*"))
    return git(root, "status", "--porcelain") + git(root, "stash", "list") + str(objects)


def samerun(*words: str, cwd: Path, store: Path) -> tuple[int, str, str]:
    """Type a command in a folder; return its exit status, and what it printed."""
    said, complained = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(complained),
    ):
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store.as_posix()}")
        patch.setenv("SAMERUN_CACHE", str(store.parent / "cäche"))
        status = cli.main(list(words))
    return status, said.getvalue(), complained.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, store_template: Path) -> Made:
    folder = tmp_path_factory.mktemp("mön projet")
    root, store = folder / "tïny lines", folder / "störe" / "mlflow.db"
    (root / "data").mkdir(parents=True)
    store.parent.mkdir()
    store.write_bytes(store_template.read_bytes())
    (root / ".gitignore").write_bytes(b"data/\n__pycache__/\n")
    project = b'[project]\nname = "tiny-lines"\nversion = "1"\nlicense = "Apache-2.0"\n'
    (root / "pyproject.toml").write_bytes(project)
    (root / "AUTHORS").write_bytes("# People\nÉmilie du Châtelet <emilie@example.org>\n".encode())
    (root / "uv.lock").write_bytes(b"version = 1\n")
    (root / "train.py").write_bytes(TRAIN.encode())
    (root / "run.sh").write_bytes(b"#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "gone.txt").write_bytes(b"gone\n")
    (root / "picture.bin").write_bytes(bytes(range(256)))
    (root / "data" / "täble.csv").write_bytes(b"1,2,3\n4,5,7\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    git(root, "commit", "-q", "--allow-empty", "-m", "second, which nobody else has")
    (root / "shift.py").write_bytes(b"SHIFT = 0.5\n")
    (root / "gone.txt").unlink()
    (root / "picture.bin").write_bytes(bytes(reversed(range(256))))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "SAMERUN_"))}
    address = {"MLFLOW_TRACKING_URI": f"sqlite:///{store.as_posix()}"}
    command = [sys.executable, "train.py", "--seed", "3"]
    subprocess.run(command, cwd=root, env=kept | address, check=True)
    run_id = next(store.parent.rglob("trace.json")).parents[2].name
    (root / "shift.py").write_bytes(b"SHIFT = 0.25  # later\n")
    (root / "evaluate.py").write_bytes(EVALUATE.encode())
    evaluate = [sys.executable, "evaluate.py", f"run_id={run_id}"]
    subprocess.run(evaluate, cwd=root, env=kept | address, check=True)
    (root / "shift.py").write_bytes(b"SHIFT = 0.5\n")
    (root / "evaluate.py").unlink()
    crates = [folder / "run.zip", folder / "again" / "run.zip"]
    before = state(root)
    for crate in crates:
        words = ("export", run_id[:8], str(crate), "--with-data", "--author", "Ada Lovelace")
        status, said, complained = samerun(*words, cwd=root, store=store)
        assert status == 0, complained
    return Made(root, store, *crates, said, before, state(root))


@dataclass(frozen=True)
class Repeated:
    status: int
    said: str
    outcome: dict[str, object]
    files: Path  # the artifacts of the repetition
    left: list[str]  # of the folder that it was started in


SECRET = "hf_" + "Kx9" * 12


@pytest.fixture(scope="module")
def repeated(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Repeated:
    """The crate run again by a stranger: no store, no clone, no data, the originals hidden."""
    stranger = tmp_path_factory.mktemp("stranger")
    home = stranger / "home"
    home.mkdir()
    (home / "diary.txt").write_text("dear diary", encoding="utf-8")
    hidden = [path.rename(path.with_name(f"hidden {path.name}")) for path in made.places]
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", str(home))
            patch.setenv("HF_TOKEN", SECRET)
            words = ("reproduce", str(made.crate), "--yes", "--json")
            status, said, shown = samerun(*words, cwd=stranger, store=stranger / "mlflow.db")
    finally:
        for path, place in zip(hidden, made.places, strict=True):
            path.rename(place)
    outcome = json.loads(said)
    (files,) = (path.parents[1] for path in stranger.rglob("trace/trace.json"))
    left = sorted(path.name for path in stranger.iterdir())
    return Repeated(status, shown, outcome, files, left)


def test_a_stranger_gets_exactly_the_same_from_the_crate_alone(repeated: Repeated) -> None:
    assert (repeated.status, repeated.outcome["verdict"]) == (0, "exact"), repeated.outcome


def test_what_will_be_executed_is_shown_first(repeated: Repeated) -> None:
    shown = repeated.said.partition("environment")[0]
    assert "uv run train.py --seed 3" in shown
    assert "no clone here has" in shown
    assert "+SHIFT = 0.5" in shown
    assert "uv run evaluate.py run_id=" in shown and "+SHIFT = 0.25" in shown
    assert "literal 256" not in shown, "the bytes of a picture tell nobody anything"
    assert "sandbox" in shown


@pytest.mark.skipif(not sandbox([], [], Path("/home")).words, reason="no bubblewrap here")
def test_it_sees_no_network_no_home_and_no_secret(repeated: Repeated) -> None:
    assert (repeated.files / "home.txt").read_text(encoding="utf-8") == "[]"
    assert "HF_TOKEN" not in (repeated.files / "variables.txt").read_text(encoding="utf-8")
    assert (repeated.files / "network.txt").read_text(encoding="utf-8") == "['lo']"
    outside = ["Read-only file system"] * 2
    assert (repeated.files / "outside.txt").read_text(encoding="utf-8") == str(outside)
    assert (repeated.files / "beside.txt").read_text(encoding="utf-8") == "['project']"


def test_nothing_is_left_but_the_record_of_it(repeated: Repeated) -> None:
    assert repeated.left == ["cäche", "home", "mlartifacts", "mlflow.db", "mlflow.db.lock"]


def test_without_a_yes_nothing_is_executed(made: Made, tmp_path: Path) -> None:
    status, said, complained = samerun(
        "reproduce", str(made.crate), cwd=tmp_path, store=tmp_path / "mlflow.db"
    )
    assert status == 2
    assert "--yes" in complained
    assert "train.py" in said
    assert not (tmp_path / "mlflow.db").exists()


# ----------------------------------------------------------------------------- what a crate holds


@pytest.fixture(scope="module")
def unpacked(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(made.crate) as archive:
        archive.extractall(folder)
    return folder


def test_two_crates_of_a_run_are_equal_to_the_byte(made: Made) -> None:
    assert made.crate.read_bytes() == made.second.read_bytes()


def test_the_clone_stays_as_it_was(made: Made) -> None:
    assert made.state_after == made.state_before


def test_the_names_are_those_that_git_gives(made: Made, tmp_path: Path) -> None:
    index = {"GIT_INDEX_FILE": str(tmp_path / "index")}
    shutil.copytree(made.root, tmp_path / "copy")
    revision = git(made.root, "rev-parse", "HEAD").strip()
    add = ["git", "add", "--all"]
    subprocess.run(add, cwd=tmp_path / "copy", env=os.environ | index, check=True)
    write = ["git", "write-tree"]
    environment = os.environ | index
    done = subprocess.run(write, cwd=tmp_path / "copy", env=environment, capture_output=True)
    directory = done.stdout.decode().strip()
    assert f"swh:1:rev:{revision}" in made.said
    assert f"swh:1:dir:{directory}" in made.said


def console_blocks(text: str) -> list[list[str]]:
    return [block.strip().splitlines() for block in text.split("```")[1::2]]


@pytest.mark.skipif(os.name == "nt", reason="the commands are those of a POSIX shell")
def test_the_commands_of_the_readme_prove_the_crate_whole(
    unpacked: Path, made: Made, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(unpacked, copy)
    blocks = console_blocks((copy / "README.md").read_text(encoding="utf-8"))
    (sums,) = (block for block in blocks if block[0].startswith("sha256sum"))
    (names,) = (block for block in blocks if "git write-tree" in block)
    subprocess.run(["sh", "-ec", "\n".join(sums)], cwd=copy, check=True)
    done = subprocess.run(
        ["sh", "-ec", "\n".join(names)], cwd=copy, check=True, capture_output=True
    )
    assert f"swh:1:dir:{done.stdout.decode().split()[-1]}" in made.said


def test_the_readme_says_how_to_run_it_by_hand(unpacked: Path) -> None:
    text = (unpacked / "README.md").read_text(encoding="utf-8")
    assert ["cd code", "uv run train.py --seed 3"] in console_blocks(text)
    assert (unpacked / "code" / "train.py").read_bytes() == TRAIN.encode()
    assert (unpacked / "code" / "shift.py").read_bytes() == b"SHIFT = 0.5\n"
    assert not (unpacked / "code" / "gone.txt").exists()
    for name in re.findall(r"^\| `([^`]+)`", text, re.MULTILINE):
        assert (unpacked / name).exists(), name


def test_metrics_are_a_table_that_keeps_every_bit(unpacked: Path) -> None:
    with (unpacked / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    said = json.loads((unpacked / "run.json").read_text(encoding="utf-8"))["metrics"]
    points = {name: [] for name in said}
    for row in rows:
        points[row["metric"]].append([int(row["step"]), float(row["value"])])
    assert points["loss"] == said["loss"] and len(said["loss"]) == 3
    assert points["accuracy"] == [[0, 0.9]]


def test_data_that_git_ignores_come_along_when_asked_for(unpacked: Path, made: Made) -> None:
    assert (unpacked / "data" / "data" / "täble.csv").read_bytes() == b"1,2,3\n4,5,7\n"


def test_the_checklist_knows_what_the_record_knows(unpacked: Path) -> None:
    text = (unpacked / "checklist.md").read_text(encoding="utf-8")
    boxes = {question: box for box, question in re.findall(r"- \[([x ])\] \*\*(.+)\*\*", text)}
    assert boxes["Which random seeds?"] == "x"
    assert boxes["How were the data split?"] == " "
    assert boxes["How were the hyperparameters chosen, and how many runs were made?"] == " "
    assert "  - accuracy: 0.9 [0.8, 1]" in text
    assert "Apache-2.0" in text


def test_no_address_of_a_person_and_no_account_is_told(unpacked: Path) -> None:
    metadata = (unpacked / "ro-crate-metadata.json").read_text(encoding="utf-8")
    assert "Émilie du Châtelet" in metadata and "Ada Lovelace" in metadata
    assert "emilie@example.org" not in metadata
    tags = json.loads((unpacked / "run.json").read_text(encoding="utf-8"))["tags"]
    assert tags and not [name for name in tags if name.startswith("mlflow.")]


# ------------------------------------------------------------------------------- its metadata


@pytest.fixture(scope="module")
def graph(unpacked: Path) -> dict[str, dict]:
    text = (unpacked / "ro-crate-metadata.json").read_text(encoding="utf-8")
    document = json.loads(text)
    assert document["@context"] == "https://w3id.org/ro/crate/1.1/context"
    entities = {entity["@id"]: entity for entity in document["@graph"]}
    assert len(entities) == len(document["@graph"]), "an entity is described twice"
    return entities


def each(value: object) -> list:
    return value if isinstance(value, list) else [value]


def types(entity: dict) -> set[str]:
    return set(each(entity["@type"]))


def test_the_code_of_what_was_added_later_is_there_and_described(graph, unpacked: Path) -> None:
    assert (unpacked / "code-2" / "shift.py").read_bytes() == b"SHIFT = 0.25  # later\n"
    assert (unpacked / "code-2" / "evaluate.py").read_bytes() == EVALUATE.encode()
    assert not (unpacked / "code" / "evaluate.py").exists()
    assert graph["code-2/"]["identifier"] != graph["code/"]["identifier"]


def test_the_metadata_have_what_ro_crate_requires(graph) -> None:
    descriptor, root = graph["ro-crate-metadata.json"], graph["./"]
    assert types(descriptor) == {"CreativeWork"}
    assert descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert types(root) == {"Dataset"}
    assert root["name"] and root["description"]
    assert datetime.fromisoformat(root["datePublished"]).tzinfo
    assert graph[root["license"]["@id"]]["name"] == "Apache-2.0"


def test_the_metadata_have_what_the_profile_of_a_run_requires(graph) -> None:
    root = graph["./"]
    profile = graph[root["conformsTo"]["@id"]]
    assert profile["@id"] == "https://w3id.org/ro/wfrun/process/0.5"
    assert types(profile) == {"CreativeWork"} and profile["version"] == "0.5"
    action = graph[root["mentions"]["@id"]]
    assert types(action) == {"CreateAction"}
    assert action["actionStatus"] == {"@id": "http://schema.org/CompletedActionStatus"}
    assert action["startTime"] < action["endTime"]
    tool = graph[action["instrument"]["@id"]]
    assert types(tool) == {"File", "SoftwareSourceCode"} and tool["@id"] == "code/train.py"
    assert types(graph[action["agent"]["@id"]]) == {"Person"}
    objects = {reference["@id"] for reference in action["object"]}
    results = {reference["@id"] for reference in action["result"]}
    assert {"trace/config.yaml", "trace/packages.txt", "code/uv.lock", "#data"} <= objects
    assert {"metrics.csv", "artifacts/model/weights.npz", "artifacts/report.txt"} <= results


def test_all_that_is_referred_to_is_described_and_all_that_is_described_is_there(
    graph, unpacked: Path
) -> None:
    elsewhere = {"http://schema.org/CompletedActionStatus", "https://w3id.org/ro/crate/1.1"}
    for entity in graph.values():
        for value in entity.values():
            for item in each(value):
                if isinstance(item, dict):
                    assert item["@id"] in graph or item["@id"] in elsewhere, item
    parts = {part["@id"] for part in graph["./"]["hasPart"]}
    for name, entity in graph.items():
        if {"File", "Dataset"} & types(entity) and name != "./":
            assert name in parts, name
            place = unpacked / unquote(name)
            assert place.is_dir() if name.endswith("/") else place.is_file(), name
            if size := entity.get("contentSize"):
                assert int(size) == place.stat().st_size
    described = {unquote(name) for name in graph}
    for path in unpacked.rglob("*"):
        name = path.relative_to(unpacked).as_posix()
        if path.is_file() and not name.startswith(("code/", "code-2/")):
            assert name in described, name


def test_single_values_are_no_lists_of_one(graph) -> None:
    lists = [(e["@id"], key) for e in graph.values() for key, v in e.items() if isinstance(v, list)]
    assert {key for _, key in lists} <= {"@type", "hasPart", "object", "result", "identifier"}
    assert all(len(graph[name][key]) > 1 for name, key in lists if key == "@type")


def test_every_word_of_the_metadata_is_one_of_the_context(graph) -> None:
    with gzip.open(CONTEXT, "rt", encoding="utf-8") as file:
        known = json.load(file)["@context"]
    words = {key for entity in graph.values() for key in entity if not key.startswith("@")}
    words |= {kind for entity in graph.values() for kind in types(entity)}
    assert words <= known.keys(), words - known.keys()


def test_the_validator_of_ro_crate_finds_nothing_that_is_required(
    made: Made, tmp_path: Path
) -> None:
    """It needs an older rich than we do, and so has an environment of its own."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("no uv, with which the validator is started")
    start = [uv, "run", "--offline", "--no-project", "--with", VALIDATOR, "python"]
    clean = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}

    def python(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*start, *words], env=clean, cwd=tmp_path, capture_output=True, encoding="utf-8"
        )

    if python("-c", "import rocrate_validator").returncode:
        pytest.skip(
            f"{VALIDATOR} is not in uv's cache; once: uv run --no-project --with {VALIDATOR} true"
        )
    cache = str(tmp_path / "cache")
    filled = python("-c", FILL, cache, str(CONTEXT))
    assert filled.returncode == 0, filled.stderr
    command = [
        "-c",
        "from rocrate_validator.cli import cli; cli()",
        "-y",
        "--disable-color",
        "validate",
        "--offline",
    ]
    profile = ["--cache-path", cache, "--profile-identifier", "process-run-crate-0.5"]
    done = python(*command, *profile, str(made.crate))
    assert done.returncode == 0, done.stdout
    assert "is a valid process-run-crate-0.5" in done.stdout
