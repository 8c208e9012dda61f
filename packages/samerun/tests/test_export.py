"""What goes into a crate, and what stays out."""

import os
import zipfile
from pathlib import Path

import pytest
from fake_secrets import FAKE
from record_fixtures import git

from samerun.code.checkout import Code
from samerun.code.known import KnownFile, content_of
from samerun.command.repeat import Command
from samerun.errors import RecordError
from samerun.export import about, checklist, packing, sources, write
from samerun.export.about import About, Author
from samerun.export.sources import Sources, swhid
from samerun.recorded import RecordedRun
from samerun.trace import Trace

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def traced(*files: KnownFile, **values: object) -> Trace:
    unknown: dict = dict.fromkeys(("seed", "script", "data", "environment", "machine"))
    started = "2026-11-25T10:00:00+00:00"
    known = {"started": started, "directory": "/x", "command": (), "overrides": (), "config": {}}
    return Trace(**unknown | known | {"code": Code(), "problems": {}, "files": files} | values)


def run_of(files: Path, trace: Trace | None = None, **metrics: float) -> RecordedRun:
    points = {name: [(0, value)] for name, value in metrics.items()}
    return RecordedRun("ab" * 16, "a", "FINISHED", {}, {}, points, trace or traced(), {}, files)


# ------------------------------------------------------------------------------------- the code


def test_a_directory_and_a_revision_have_names_at_software_heritage() -> None:
    assert swhid("dir", EMPTY_TREE) == f"swh:1:dir:{EMPTY_TREE}"
    assert swhid("rev", None) is None
    assert swhid("rev", "0" * 64) is None, "there is none for SHA-256 yet"


def test_code_without_a_commit_is_made_from_its_patch_alone(tmp_path: Path) -> None:
    patch = b"diff --git a/x b/x\nnew file mode 100755\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+1\n"
    taken = sources.take(tmp_path, None, patch)
    assert (taken.revision, taken.commit) == (None, b"")
    assert taken.files == {"x": b"1\n"} and taken.modes == {"x": "100755"}
    code = tmp_path / "code"
    code.mkdir()
    (code / "x").write_bytes(b"1\n")
    assert sources.rebuild(tmp_path / "new", taken, code, patch) == {"x": (None, "100755")}


def test_names_bytes_and_modes_of_a_commit_are_kept(checkout: Path) -> None:
    (checkout / "été").mkdir()
    (checkout / "été" / 'a "b".txt').write_bytes(b"\r\n\0\xff")
    (checkout / "empty").write_bytes(b"")
    (checkout / "link").symlink_to("train.py")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "second")
    commit = git(checkout, "rev-parse", "HEAD").strip()
    taken = sources.take(checkout, commit, b"")
    assert taken.files['été/a "b".txt'] == b"\r\n\0\xff"
    assert taken.files["empty"] == b""
    assert taken.files["link"] == b"train.py" and taken.modes == {"link": "120000"}
    assert taken.directory == git(checkout, "rev-parse", "HEAD^{tree}").strip()
    assert taken.commit.decode() == git(checkout, "cat-file", "commit", "HEAD")


def test_a_commit_that_the_clone_does_not_have_is_named(checkout: Path) -> None:
    with pytest.raises(RecordError, match=r"commit 000000000000 of this run is not in.*Fetch it"):
        sources.take(checkout, "0" * 40, b"")


def test_a_patch_that_does_not_apply_is_said(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD").strip()
    patch = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-1\n+2\n"
    with pytest.raises(RecordError, match="does not apply"):
        sources.take(checkout, commit, patch)


def test_filters_of_the_person_change_nothing(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (checkout / ".gitattributes").write_bytes(b"* filter=x\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "second")
    program = '[filter "x"]\nsmudge = tr a-z A-Z\nclean = tr a-z A-Z\n'
    (tmp_path / "gitconfig").write_text(program, encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    commit = git(checkout, "rev-parse", "HEAD").strip()
    taken = sources.take(checkout, commit, b"")
    assert taken.files["train.py"] == b"print(1)\n"
    code = tmp_path / "code"
    for path, content in taken.files.items():
        (code / path).parent.mkdir(parents=True, exist_ok=True)
        (code / path).write_bytes(content)
    sources.rebuild(tmp_path / "new", taken, code, b"")
    assert git(tmp_path / "new", "rev-parse", f"{commit}^{{tree}}").strip() == taken.directory


# ------------------------------------------------------------------------------ what stays out


def test_code_with_a_secret_is_refused_with_file_and_line(tmp_path: Path) -> None:
    text = f"import os\nTOKEN = '{FAKE['GitHub']}'\n".encode()
    taken = Sources(None, EMPTY_TREE, files={"a/settings.py": text, "b.py": b"x = 1\n"})
    with pytest.raises(RecordError, match=r"a/settings.py, line 2: a GitHub token") as refused:
        write._check_secrets(taken, tmp_path)
    assert "b.py" not in str(refused.value) and FAKE["GitHub"] not in str(refused.value)
    rule = '[tool.samerun]\nstore = ["a/*.py"]\n'
    (tmp_path / "pyproject.toml").write_text(rule, encoding="utf-8")
    write._check_secrets(taken, tmp_path)


def test_an_artifact_that_is_large_or_holds_a_secret_is_named_in_place(tmp_path: Path) -> None:
    files = tmp_path / "artifacts"
    (files / "trace").mkdir(parents=True)
    (files / "trace" / "packages.txt").write_bytes(b"x" * 200)
    (files / "small.txt").write_bytes(b"fine")
    (files / "large.bin").write_bytes(b"x" * 2_000_001)
    (files / "login.txt").write_text(FAKE["OpenAI"], encoding="utf-8")
    (files / "log.txt").write_bytes(b"x\n" * 600_000 + FAKE["GitHub"].encode())
    (files / "weights.pt").write_bytes(b"\0" + FAKE["GitHub"].encode())
    (files / "outside").symlink_to(__file__)
    model = tmp_path / "m"
    model.mkdir()
    (model / "model.pt").write_bytes(b"weights")
    left_out: dict[str, str] = {}
    members = write._artifacts(run_of(files), [(model, "best/")], left_out, 2_000_000)
    assert members == {
        "artifacts/small.txt": files / "small.txt",
        "artifacts/weights.pt": files / "weights.pt",
        "artifacts/best/model.pt": model / "model.pt",
        "trace/packages.txt": files / "trace" / "packages.txt",
    }
    assert left_out["large.bin"].startswith("2000001 bytes, sha256 ")
    assert left_out["large.bin"].endswith("; larger than 1 MB")
    assert "an API key" in left_out["login.txt"]
    assert left_out["log.txt"].endswith("; line 600001: a GitHub token")
    assert left_out.keys() == {"large.bin", "log.txt", "login.txt"}


def test_data_come_along_only_as_the_run_read_them(tmp_path: Path) -> None:
    (tmp_path / "same.csv").write_bytes(b"1,2\n")
    (tmp_path / "changed.csv").write_bytes(b"3,4\n")
    (tmp_path / "large.csv").write_bytes(b"1,2\n")
    digest, secret = content_of(b"1,2\n").sha256, FAKE["GitHub"].encode()
    (tmp_path / "secret.csv").write_bytes(secret)

    def data(path: str, size: int = 4, held: str = "nowhere", kind: str = "data") -> KnownFile:
        return KnownFile(path, kind, digest, size, held)

    trace = traced(
        *map(data, ("same.csv", "changed.csv", "gone.csv", "/elsewhere/same.csv")),
        data("large.csv", size=101),
        data("committed.csv", held="commit"),
        data("code.py", kind="imported"),
        KnownFile("secret.csv", "data", content_of(secret).sha256, 40),
    )
    left_out: dict[str, str] = {}
    members = write._data(run_of(tmp_path, trace), tmp_path, left_out, 100)
    assert members == {"data/same.csv": tmp_path / "same.csv"}
    whys = {path: why.partition("; ")[2] for path, why in left_out.items()}
    assert whys["changed.csv"] == "the data has changed"
    assert whys["gone.csv"].startswith("cannot be read")
    assert whys["/elsewhere/same.csv"] == "data outside of the project"
    assert whys["large.csv"].startswith("larger than")
    assert whys["secret.csv"] == "line 1: a GitHub token"
    assert len(whys) == 5


@pytest.mark.parametrize("name", ["artifacts/a:b", "code/con.py", "code/a\\b", "artifacts/x."])
def test_a_name_that_windows_does_not_take_is_said_when_the_crate_is_made(name: str) -> None:
    with pytest.raises(RecordError, match="cannot be unpacked on every system"):
        write._check_portable(name)


def test_a_crate_is_whole_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "new" / "run.zip"
    with pytest.raises(RecordError, match=r"run\.zip cannot be written: .*gone"):
        packing.pack({"a": b"x", "b": tmp_path / "gone"}, target)
    assert list(target.parent.iterdir()) == []
    target.mkdir()
    with pytest.raises(RecordError, match="cannot be written"):
        packing.pack({"a": b"x"}, target)
    assert [path.name for path in target.parent.iterdir()] == ["run.zip"]


def test_files_and_bytes_are_packed_alike_in_whatever_order(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"two")
    packing.pack({"a": b"one", "b": tmp_path / "b"}, tmp_path / "1.zip")
    packing.pack({"b": b"two", "a": b"one"}, tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


def test_nothing_of_the_moment_or_the_machine_is_in_an_archive(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"two" * 1000)
    (tmp_path / "b").chmod(0o700)
    packing.pack({"a": b"one", "b": tmp_path / "b"}, tmp_path / "run.zip")
    with zipfile.ZipFile(tmp_path / "run.zip") as archive:
        listed = archive.infolist()
        sums = archive.read(packing.MANIFEST).decode()
    assert [info.filename for info in listed] == ["a", "b", packing.MANIFEST]
    for info in listed:
        assert info.date_time == (1980, 1, 1, 0, 0, 0)
        assert info.create_system == 3
        assert info.external_attr == 0o100644 << 16
        assert info.compress_type == zipfile.ZIP_DEFLATED
    digests = [content_of(content).sha256 for content in (b"one", b"two" * 1000)]
    assert sums == f"{digests[0]}  a\n{digests[1]}  b\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_crate_can_be_read_by_whom_other_files_can_be_read_by(tmp_path: Path) -> None:
    packing.pack({"a": b"one"}, tmp_path / "run.zip")
    (tmp_path / "other").write_bytes(b"")
    assert (tmp_path / "run.zip").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize(
    ("command", "modes", "said"),
    [
        (Command(("uv", "run", "train.py", "a=1")), {}, None),
        (Command(("uv", "run", "train.py", "../x")), {}, "the argument '../x' may lead to a place"),
        (Command(("uv", "run", "train.py")), {"a": "120000"}, "'a' in its code is a link"),
    ],
)
def test_that_a_crate_will_be_refused_is_said_when_it_is_made(
    command: Command, modes: dict[str, str], said: str | None
) -> None:
    code = Sources(None, EMPTY_TREE, files={"train.py": b"x = 1\n"}, modes=modes)
    why = write._why_refused([(traced(repeat=command), code)])
    assert why is None if said is None else (why or "").startswith(said)


def test_that_data_would_take_the_place_of_code_is_said_when_a_crate_is_made() -> None:
    code = Sources(None, EMPTY_TREE, files={"train.py": b"x = 1\n"})
    file = KnownFile("train.py", "data", content_of(b"x = 2\n").sha256, 6)
    assert "is code and, with other content, data" in write._why_refused([(traced(file), code)])


# --------------------------------------------------------------------------- licence and authors


def test_the_citation_comes_before_the_package_and_the_list() -> None:
    orcid = "https://orcid.org/0000-0002-1825-0097"
    citation = (
        f"title: T\nlicense: MIT\nauthors:\n- given-names: A\n  family-names: B\n  orcid: {orcid}\n"
        "  email: a@example.org\n- name: The lab\n"
    )
    project = '[project]\nname = "p"\nlicense = "Apache-2.0"\nauthors = [{name = "C"}]\n'
    files = {"pyproject.toml": project.encode(), "AUTHORS": b"D <d@example.org>\n"}
    said = about.read(files | {"CITATION.cff": citation.encode(), "LICENSE.md": b""})
    assert (said.name, said.licence, said.licence_file) == ("T", "MIT", "LICENSE.md")
    assert said.authors == (Author("A B", orcid=orcid), Author("The lab", person=False))
    assert said.licence_address == "https://spdx.org/licenses/MIT"
    assert said.licence_said == "MIT" and About().licence_said is None
    assert About(licence_file="COPYING").licence_said == "see code/COPYING"
    said = about.read(files)
    assert (said.name, said.licence, said.authors) == ("p", "Apache-2.0", (Author("C"),))
    assert about.read({"AUTHORS": files["AUTHORS"]}).authors == (Author("D", person=False),)


def test_an_expression_of_licences_is_no_address() -> None:
    assert About(licence="MIT OR Apache-2.0").licence_address is None


@pytest.mark.parametrize("content", [b"\xff", b"[", b"- 1", b"authors: 1", b"a: [", b""])
def test_what_cannot_be_read_of_a_project_is_passed_over(content: bytes) -> None:
    names = ("CITATION.cff", "pyproject.toml")
    assert about.read(dict.fromkeys(names, content)) == About()


# ---------------------------------------------------------------------------------- the checklist


def test_intervals_are_found_by_their_names_and_only_whole_ones(tmp_path: Path) -> None:
    run = run_of(tmp_path, acc=0.5, acc_low=0.4, acc_high=0.6, loss_low=1.0, low=3.0)
    assert checklist._intervals(run) == ("acc: 0.5 [0.4, 0.6]",)
    shown = checklist._results(run)
    assert shown == ("acc: 0.5", "loss_low: 1", "low: 3", "Every step: `metrics.csv`")
    assert checklist._intervals(run_of(tmp_path, **{"f1.lower": 0.1, "f1.upper": 0.2})) == (
        "f1: [0.1, 0.2]",
    )


def test_an_open_question_says_what_to_add() -> None:
    text = checklist.document(
        [checklist.Answer("Why?", ask="Say why."), checklist.Answer("Q", ("A",))]
    )
    assert text.decode().splitlines()[4:] == [
        "- [ ] **Why?**",
        "  - Not recorded. Say why.",
        "- [x] **Q**",
        "  - A",
    ]
