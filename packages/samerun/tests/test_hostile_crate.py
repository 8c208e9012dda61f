"""A crate from a stranger is refused when it asks for more than to run a script of its own."""

import base64
import contextlib
import copy
import dataclasses
import io
import json
import os
import random
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from record_fixtures import git
from rich.console import Console

from samerun.code.checkout import Code
from samerun.code.known import KnownFile, content_of
from samerun.command.repeat import Command
from samerun.data import Data
from samerun.errors import RecordError
from samerun.export import packing, record, sources, write
from samerun.export.about import Author
from samerun.machine.description import Environment, Machine
from samerun.received import patches, read, repeat, safety, sandbox, trust
from samerun.received.read import Crate, read_crate
from samerun.received.repeat import readable_lines
from samerun.received.safety import Limits
from samerun.recorded import RecordedRun
from samerun.reproduce import Obstacle, environment
from samerun.trace import Trace, to_json

WHEN = ("2026-11-25T10:00:00+00:00", "2026-11-25T10:01:00+00:00")
Members = dict[str, packing.Member]
Change = Callable[[Trace], Trace]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("projèct") / "clone"
    root.mkdir()
    (root / "train.py").write_bytes(b"print('one')\n")
    (root / "conf").mkdir()
    (root / "conf" / "config.yaml").write_bytes(b"seed: 1\n")
    (root / ".gitattributes").write_bytes(b"*.png binary\n")
    (root / "LICENSE").write_bytes(b"As you like it.\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    git(root, "commit", "-q", "--allow-empty", "-m", "second")
    return root


PATCH = b"""\
diff --git a/train.py b/train.py
--- a/train.py
+++ b/train.py
@@ -1 +1 @@
-print('one')
+print('two')
"""


def trace_of(root: Path, patch: bytes = PATCH) -> Trace:
    return Trace(
        started="2026-11-25T10:00:00+00:00",
        seed=1,
        script="train.py",
        directory="/somewhere",
        command=("train.py", "seed=1"),
        overrides=("seed=1",),
        config={"seed": 1, "api_key": "***"},
        code=Code(git(root, "rev-parse", "HEAD").strip(), "main", True, ("train.py",)),
        data=Data("table", "0123", "data/table.csv"),
        environment=Environment("CPython 3.11.9"),
        machine=Machine("Linux", "a processor", 2, 2, variables={"OMP_NUM_THREADS": "1"}),
        problems={},
        repeat=Command(("uv", "run", "train.py", "seed=1", "model/kind=small", "~model.dropout")),
        patch=patch,
        packages=("numpy==2.0.0",),
        files=(KnownFile("train.py", "imported", "00", 3, "commit"),),
    )


def members_of(root: Path, trace: Trace, tmp_path: Path, ran: bytes = PATCH) -> Members:
    """Return what is in a crate of a run of this trace, though what ran had the changes `ran`."""
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir(exist_ok=True)
    points = [(0, 0.1 + 0.2), (1, float("nan")), (2, float("-inf"))]
    metrics = {"loss": points, "accuracy": [(0, 1 / 3)]}
    run = RecordedRun(
        "ab" * 16, "a run", "FINISHED", {"k": "v"}, {"seed": "1"}, metrics, trace, {}, artifacts
    )
    files: Members = {
        "trace/trace.json": to_json(trace).encode(),
        "trace/config.yaml": b"seed: 1\n",
        "trace/packages.txt": b"numpy==2.0.0\n",
        "artifacts/model/weights.npz": b"\0\1",
    }
    if trace.patch:
        files["trace/changes.patch"] = trace.patch
    taken = sources.take(root, git(root, "rev-parse", "HEAD").strip(), ran)
    return write.contents(run, [taken], files, {}, Author("Ada"), WHEN)


@pytest.fixture
def crate_of(project: Path, tmp_path: Path) -> Callable[..., Members]:
    """What makes the members of a crate, of the usual trace or of a changed one."""

    def make(change: Change = lambda trace: trace, patch: bytes = PATCH) -> Members:
        return members_of(project, change(trace_of(project, patch)), tmp_path)

    return make


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Crate]:
    """What packs members and opens the crate in a new folder."""

    def pack_and_read(members: Mapping[str, packing.Member], **limits: int) -> Crate:
        packing.pack(members, tmp_path / "run.zip")
        return read_crate(tmp_path / "run.zip", tmp_path / "opened", Limits(**limits))

    return pack_and_read


@pytest.fixture
def unpacked(tmp_path: Path) -> Callable[..., Mapping[str, str]]:
    """What makes an archive of raw entries, with no list of sums, and unpacks it."""

    def write_and_unpack(
        *entries: tuple[zipfile.ZipInfo | str, bytes], **limits: int
    ) -> Mapping[str, str]:
        path = tmp_path / "raw.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for info, content in entries:
                archive.writestr(info, content)
        return safety.unpack(path, tmp_path / "target" / "crate", Limits(**limits))

    return write_and_unpack


def altered(members: Members, name: str, /, **values: object) -> Members:
    said = json.loads(members[name])
    return members | {name: json.dumps(said | values).encode()}


# ------------------------------------------------------------------------------ one that is good


def test_a_crate_gives_back_the_run_to_the_last_bit(crate_of, opened) -> None:
    crate = opened(crate_of())
    run = crate.run
    assert (run.run_id, run.name, run.status) == ("ab" * 16, "a run", "FINISHED")
    assert run.params == {"seed": "1"} and run.tags == {"k": "v"}
    assert repr(run.metrics["loss"]) == "[(0, 0.30000000000000004), (1, nan), (2, -inf)]"
    assert run.metrics["accuracy"] == [(0, 1 / 3)]
    assert run.trace.patch == PATCH
    assert run.trace.packages == ("numpy==2.0.0",)
    assert (run.files / "model" / "weights.npz").read_bytes() == b"\0\1"
    assert (run.files / "trace" / "changes.patch").read_bytes() == PATCH
    assert crate.changed == (("train.py",),)


def test_the_commit_is_made_again_from_the_files(crate_of, opened, project: Path) -> None:
    crate = opened(crate_of())
    commit = git(project, "rev-parse", "HEAD").strip()
    assert git(crate.clone, "rev-parse", f"refs/heads/recorded-{commit[:12]}").strip() == commit
    assert git(crate.clone, "show", f"{commit}:train.py") == "print('one')\n"
    assert git(crate.clone, "log", "--oneline", commit).count("\n") == 1


def reads(*files: KnownFile) -> Change:
    return lambda trace: replace(trace, files=(*trace.files, *files))


def known(path: str, content: bytes, kind: str = "data", held: str = "nowhere") -> KnownFile:
    return KnownFile(path, kind, content_of(content).sha256, len(content), held)


def test_data_of_the_crate_lie_where_a_clone_has_them(crate_of, opened) -> None:
    said = reads(known("tables/one.csv", b"1,2\n"))
    crate = opened(crate_of(said) | {"data/tables/one.csv": b"1,2\n"})
    assert (crate.clone / "tables" / "one.csv").read_bytes() == b"1,2\n"
    assert crate.data == ("tables/one.csv",)


def test_an_archive_inside_stays_a_file(crate_of, opened, tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../zeros", bytes(50 * safety.MEGABYTE))
    crate = opened(crate_of() | {"artifacts/inner.zip": inner.getvalue()})
    assert (crate.run.files / "inner.zip").read_bytes() == inner.getvalue()
    assert not list(tmp_path.rglob("zeros"))


# ------------------------------------------------------------------------------- names in archives


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "artifacts/../../outside",
        "/etc/passwd",
        "C:/Windows/outside",
        "c:outside",
        "..\\outside",
        "artifacts\\outside",
        "//server/share/outside",
        "artifacts/./x",
        "artifacts//x",
        "artifacts/con",
        "artifacts/NUL.txt",
        "artifacts/com1.tar.gz",
        "artifacts/LPT¹",
        "artifacts/x:stream",
        "artifacts/x.",
        "artifacts/x ",
        "artifacts/x\n",
        "artifacts/\x1b[2J",
        "artifacts/\u202egnp.exe",
        "code/.git/hooks/post-checkout",
        "code/.GIT/config",
        "code/sub/.git/config",
        "code/.git./config",
        "code/.g\u200cit/config",
        "code/git~1/config",
        "code/．git/config",
        "a/" * 40 + "x",
        "x" * 300,
    ],
)
def test_a_path_that_leaves_the_folder_or_means_something_else_is_refused(
    name: str, unpacked, tmp_path: Path
) -> None:
    with pytest.raises(RecordError, match="refused"):
        unpacked((zipfile.ZipInfo(name), b"x"))
    assert not [path for path in tmp_path.rglob("*") if path.name != "raw.zip"]


def test_a_drive_is_named_as_one() -> None:
    with pytest.raises(RecordError, match="names a drive"):
        safety.check_name("C:/Windows/x")


def test_names_that_are_one_file_on_some_systems_are_refused(unpacked) -> None:
    with pytest.raises(RecordError, match="one file on some systems"):
        unpacked(("a/Name", b"x"), ("a/name", b"y"))


def test_the_same_name_twice_is_refused(unpacked) -> None:
    with pytest.warns(UserWarning), pytest.raises(RecordError, match="one file on some systems"):
        unpacked(("a", b"x"), ("a", b"y"))


def test_a_name_that_is_file_and_folder_is_refused(unpacked) -> None:
    with pytest.raises(RecordError, match="a file and a folder"):
        unpacked(("a/b", b"x"), ("a", b"y"))


def test_a_link_is_refused(unpacked) -> None:
    link = zipfile.ZipInfo("artifacts/link")
    link.external_attr = 0o120777 << 16
    with pytest.raises(RecordError, match="is a link"):
        unpacked((link, b"/etc/passwd"))


def test_a_device_node_is_refused(unpacked) -> None:
    device = zipfile.ZipInfo("artifacts/device")
    device.external_attr = 0o020666 << 16
    with pytest.raises(RecordError, match="no plain file"):
        unpacked((device, b""))


def test_folders_of_an_archive_are_no_harm(unpacked, tmp_path: Path) -> None:
    folder = zipfile.ZipInfo("a/")
    folder.external_attr = 0o040755 << 16
    assert unpacked((folder, b""), ("a/b", b"x")).keys() == {"a/b"}
    assert (tmp_path / "target" / "crate" / "a" / "b").read_bytes() == b"x"


# --------------------------------------------------------------------------------------- sizes


def test_a_file_that_unpacks_to_far_more_than_it_weighs_is_refused(unpacked) -> None:
    with pytest.raises(RecordError, match="unpacks to 4 MB from"):
        unpacked(("zeros", bytes(4 * safety.MEGABYTE)), small=safety.MEGABYTE)


def test_a_bomb_is_not_hidden_by_honest_files_beside_it(unpacked) -> None:
    honest = random.Random(0).randbytes(safety.MEGABYTE)
    with pytest.raises(RecordError, match="'zeros' unpacks to 12 MB from"):
        unpacked(("honest", honest), ("zeros", bytes(12 * safety.MEGABYTE)), small=safety.MEGABYTE)


def test_many_files_that_unpack_to_far_more_than_they_weigh_are_refused(unpacked) -> None:
    files = [(f"zeros/{number}", bytes(safety.MEGABYTE)) for number in range(12)]
    with pytest.raises(RecordError, match="unpacks to 12 MB from"):
        unpacked(*files, small=2 * safety.MEGABYTE)


def test_more_bytes_than_a_crate_has_are_refused(unpacked) -> None:
    with pytest.raises(RecordError, match="more than 1"):
        unpacked(("a", bytes(range(256)) * 8192), size=safety.MEGABYTE)


def test_more_files_than_a_crate_has_are_refused(unpacked) -> None:
    with pytest.raises(RecordError, match="it holds 4 files, more than 3"):
        unpacked(*((str(number), b"") for number in range(4)), files=3)


def test_a_size_that_is_a_lie_is_found(tmp_path: Path) -> None:
    path = tmp_path / "run.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"x" * 100_000)
    honest = (100_000).to_bytes(4, "little")
    assert path.read_bytes().count(honest) == 2
    path.write_bytes(path.read_bytes().replace(honest, (10).to_bytes(4, "little")))
    with pytest.raises(RecordError, match="damaged"):
        safety.unpack(path, tmp_path / "out")
    assert not (tmp_path / "out" / "a").exists() or (tmp_path / "out" / "a").stat().st_size <= 10


def test_files_that_lie_over_one_another_are_refused() -> None:
    members = [zipfile.ZipInfo(name) for name in "abcd"]
    for info in members:
        info.file_size = info.compress_size = 1000
    with pytest.raises(RecordError, match="lie over one another"):
        safety._checked(members, 3999, safety.USUAL)
    assert len(safety._checked(members, 4000, safety.USUAL)) == 4


def test_an_encrypted_file_is_refused() -> None:
    info = zipfile.ZipInfo("a")
    info.flag_bits = safety.ENCRYPTED
    with pytest.raises(RecordError, match="encrypted"):
        safety._checked([info], 100, safety.USUAL)


def test_an_unusual_compression_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", b"x")
    with pytest.raises(RecordError, match="unusual way"):
        safety.unpack(path, tmp_path / "out")


def test_an_archive_that_was_damaged_anywhere_is_said_to_be(tmp_path: Path) -> None:
    whole, random_ = io.BytesIO(), random.Random(1)
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/é.txt", "hello" * 20)
        archive.writestr("b.py", "x = 1")
    path, refused = tmp_path / "run.zip", 0
    for number in range(300):
        content = bytearray(whole.getvalue())
        content[random_.randrange(len(content))] = random_.randrange(256)
        path.write_bytes(content)
        try:
            safety.unpack(path, tmp_path / str(number))
        except RecordError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04" + bytes(50)])
def test_what_is_no_archive_is_said_to_be_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.zip").write_bytes(content)
    with pytest.raises(RecordError, match="no zip archive"):
        safety.unpack(tmp_path / "run.zip", tmp_path / "out")


# -------------------------------------------------------------------------------- altered files


def repacked(path: Path, change: Callable[[dict[str, bytes]], object]) -> None:
    """Change the files of a crate, and leave its list of sums as it was."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: files.update({"code/train.py": b"evil()\n"}), "were altered.*code/train.py"),
        (lambda files: files.pop("metrics.csv"), "are missing.*metrics.csv"),
        (lambda files: files.update({"code/more.py": b""}), "are not in.*code/more.py"),
    ],
)
def test_a_file_that_was_altered_lost_or_added_is_named(
    change, said: str, crate_of, tmp_path: Path
) -> None:
    packing.pack(crate_of(), tmp_path / "run.zip")
    repacked(tmp_path / "run.zip", change)
    with pytest.raises(RecordError, match=said):
        read_crate(tmp_path / "run.zip", tmp_path / "out")


@pytest.mark.parametrize("name", ["run.json", "trace/trace.json", "trace/cells.py", "commit"])
def test_a_text_that_is_far_too_long_is_not_read(
    name: str, crate_of, opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "LARGEST_TEXT", 100_000)
    noise = random.Random(0).randbytes(200_000)
    with pytest.raises(RecordError, match=rf"refused: {Path(name).name} has 0 MB"):
        opened(crate_of() | {name: noise})


def test_a_second_trace_among_the_artifacts_is_refused(crate_of, opened) -> None:
    with pytest.raises(RecordError, match="it has two folders trace"):
        opened(crate_of() | {"artifacts/trace/trace.json": b"{}"})


def test_a_script_that_lies_beside_the_code_is_none_of_the_project(crate_of, opened) -> None:
    members = crate_of(commanded("uv", "run", "evil.py")) | {"artifacts/evil.py": b"evil()\n"}
    with pytest.raises(RecordError, match="not one of a script of the project"):
        opened(members | {"evil.py": b"evil()\n"})


def test_an_archive_of_something_else_is_no_crate(opened) -> None:
    with pytest.raises(RecordError, match="no crate of samerun's: it lacks ro-crate"):
        opened({"a.txt": b"x"})


def test_a_crate_of_another_profile_is_no_run(crate_of, opened) -> None:
    members = crate_of()
    text = members["ro-crate-metadata.json"].replace(b"wfrun/process/0.5", b"wfrun/other/0.5")
    with pytest.raises(RecordError, match="does not follow the profile"):
        opened(members | {"ro-crate-metadata.json": text})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", b"[]"),
        ("run.json", b"{"),
        ("run.json", b"[" * 100_000),
        ("trace/trace.json", b"[" * 100_000),
        ("trace/trace.json", b"{}"),
        ("trace/trace.json", b"\xff"),
        ("trace/packages.txt", b"\xff"),
        ("ro-crate-metadata.json", b"[" * 100_000),
        ("ro-crate-metadata.json", b'{"@graph": [1]}'),
        ("ro-crate-metadata.json", b'{"@graph": [{"@id": []}]}'),
        ("ro-crate-metadata.json", b'{"@graph": null}'),
        ("trace/later.json", b'[{"path":1,"kind":"data","sha256":"0","size":3,"held":"later"}]'),
        ("trace/later.json", b'[{"path":"a","kind":"data","sha256":"0","size":"x"}]'),
        ("trace/later.json", b"[" * 100_000),
        ("trace/later.json", b"{}"),
        ("trace/added-2/trace.json", b"{}"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, content: bytes, crate_of, opened) -> None:
    with pytest.raises(RecordError, match=r"cannot be read|has the form"):
        opened(crate_of() | {name: content})


@pytest.mark.parametrize(
    "values",
    [
        {"metrics": {"loss": [[True, 1.0]]}},
        {"metrics": {"loss": [["1", 1.0]]}},
        {"metrics": {"loss": [[1, None]]}},
        {"params": {"seed": 1}},
        {"run_id": None},
        {"run_id": "../../ab" * 4},
        {"run_id": "ab" * 15},
        {"run_id": "ab" * 16 + "\n"},
        {"name": "\ud800"},
        {"metrics": {"loss": [[0, "1.0"]]}},
        {"metrics": {"loss": [[0]]}},
        {"metrics": {"loss": [[0, []]]}},
        {"metrics": {"loss": 1}},
        {"tags": []},
        {"codes": [{"directory": "0" * 40, "modes": {"train.py": 1}}]},
        {"codes": [{"modes": {}}]},
        {"codes": [1]},
    ],
)
def test_a_run_of_other_types_is_refused(values: dict, crate_of, opened) -> None:
    with pytest.raises(RecordError, match="cannot be read"):
        opened(altered(crate_of(), record.NAME, **values))


def test_a_number_that_no_metric_can_have_is_no_traceback(crate_of, opened) -> None:
    points = [[0, 10**400], [10**30, 1]]
    try:
        crate = opened(altered(crate_of(), record.NAME, metrics={"loss": points}))
    except RecordError as refused:
        assert "cannot be read" in str(refused)
    else:
        assert crate.run.metrics["loss"][0] == (0, float("inf"))


def places_in(value: object, above: tuple = ()) -> Iterator[tuple]:
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inside:
        yield (*above, key)
        if isinstance(item, dict | list):
            yield from places_in(item, (*above, key))


def test_no_value_of_a_trace_in_the_place_of_another_ends_in_a_traceback(
    project: Path, tmp_path: Path
) -> None:
    (tmp_path / "trace").mkdir()
    file, whole = tmp_path / "trace" / "trace.json", json.loads(to_json(trace_of(project)))
    known = [place for place in places_in(whole) if place[0] != "config"]
    assert len(known) > 50
    for place in known:
        for other in (1, 0.5, "s", None, [], {}, [1], {"a": 1}, [[1]]):
            trace = inside = copy.deepcopy(whole)
            for key in place[:-1]:
                inside = inside[key]
            inside[place[-1]] = other
            file.write_text(json.dumps(trace), encoding="utf-8")
            with contextlib.suppress(RecordError):
                (found,) = read._traces(file.parent)
                trust.check(found, ["train.py"])
                trust.check_data(found, {"train.py": "00"})
                repeat._command(found)
                list(sandbox.data_files(found, {}))


def test_a_crate_of_a_newer_form_is_named(crate_of, opened) -> None:
    with pytest.raises(RecordError, match="has the form 99, expected 1"):
        opened(altered(crate_of(), record.NAME, schema=99))


# ------------------------------------------------------------------------------------------ code


def test_code_that_is_not_that_of_the_commit_is_refused(crate_of, opened) -> None:
    with pytest.raises(RecordError, match="not those that ran"):
        opened(crate_of() | {"code/train.py": b"evil()\n"})


def test_code_that_claims_to_be_of_another_commit_is_refused(crate_of, opened, project) -> None:
    other = git(project, "rev-parse", "HEAD~1").strip()

    def claims(trace: Trace) -> Trace:
        return replace(trace, code=replace(trace.code, commit=other))

    with pytest.raises(RecordError, match="commit of the crate is another one"):
        opened(crate_of(claims))


def test_a_commit_with_other_files_is_refused(crate_of, opened) -> None:
    members = crate_of()
    commit = members["commit"].replace(members["commit"][5:45], b"0" * 40)
    with pytest.raises(RecordError, match="commit of the crate has other files"):
        opened(members | {"commit": commit})


def test_a_patch_that_is_not_that_of_the_code_is_refused(crate_of, opened) -> None:
    with pytest.raises(RecordError, match=r"patch of the crate (does not fit|leads to)"):
        opened(crate_of(patch=PATCH.replace(b"two", b"evil")))


@pytest.mark.parametrize(
    "path",
    [".git/hooks/post-checkout", "../outside", "/tmp/outside", ".GIT/config", "sub/.git/config"],
)
def test_a_patch_that_touches_git_or_leaves_the_project_is_refused(
    path: str, crate_of, opened, tmp_path: Path
) -> None:
    evil = (
        f"diff --git a/{path} b/{path}\nnew file mode 100755\n--- /dev/null\n+++ b/{path}\n"
        "@@ -0,0 +1 @@\n+evil\n"
    ).encode()
    with pytest.raises(RecordError, match="patch of the crate does not fit"):
        opened(crate_of(patch=PATCH + evil))
    assert not list(tmp_path.rglob("post-checkout"))


def delta(size: int) -> bytes:
    """Return a binary patch of a few bytes that says it makes a file of this size."""
    number, rest = b"", size
    while rest >= 0x80:
        number, rest = number + bytes([rest & 0x7F | 0x80]), rest >> 7
    packed = zlib.compress(b"\x03" + number + bytes([rest]) + b"\x90\x03")
    line = chr(ord("A") + len(packed) - 1).encode() + base64.b85encode(packed, pad=True)
    return b"diff --git a/x b/x\nindex 1..2\nGIT binary patch\ndelta 7\n" + line + b"\n\n"


def test_a_patch_that_makes_far_more_than_it_weighs_is_refused() -> None:
    most = trust.LARGEST_RESULT - 7  # the delta itself has 7 bytes
    trust.check_size(delta(most))
    with pytest.raises(RecordError, match="its patch makes 256 MB"):
        trust.check_size(delta(most + 1))
    for patch in (delta(3 << 30), b"literal 3221225472\nzcmV\n", delta(200 << 20) * 2):
        with pytest.raises(RecordError, match=r"its patch makes (3072|400) MB"):
            trust.check_size(patch)


def test_the_size_of_a_patch_is_looked_at_before_it_is_applied(crate_of, opened) -> None:
    with pytest.raises(RecordError, match="its patch makes 3072 MB"):
        opened(crate_of(patch=PATCH + delta(3 << 30)))


def test_the_sizes_of_patches_of_git_are_those_of_their_files(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    before = bytes(range(256)) * 400
    (tmp_path / "x").write_bytes(before)
    git(tmp_path, "add", ".")
    (tmp_path / "x").write_bytes(before + b"more\0")
    patch = git(tmp_path, "diff", "--binary").encode()
    assert b"\ndelta " in patch
    assert len(before) + 5 in list(patches.sizes(patch))


@pytest.mark.parametrize("line", [b"zcmV", b"z!!", b"A"])
def test_a_binary_patch_that_cannot_be_read_is_refused(line: bytes) -> None:
    with pytest.raises(RecordError, match="patch cannot be read"):
        trust.check_size(b"delta 7\n" + line + b"\n")


@pytest.mark.parametrize(
    "name", [".gitattributes", "conf/.GitAttributes", ".gitmodules", "a/.LFSConfig"]
)
def test_a_patch_that_changes_how_git_treats_files_is_refused(name: str) -> None:
    with pytest.raises(RecordError, match="by which git treats other files"):
        trust.check_patch({name: (None, "100644")})


@pytest.mark.parametrize(
    ("mode", "said"),
    [("120000", "is a link"), ("160000 " + "0" * 40, "is a submodule"), ("7", "7")],
)
def test_links_and_submodules_among_the_code_are_refused(mode, said, crate_of, opened) -> None:
    with pytest.raises(RecordError, match=said):
        members = crate_of()
        (code,) = json.loads(members[record.NAME])["codes"]
        opened(altered(members, record.NAME, codes=[code | {"modes": {"train.py": mode}}]))


@pytest.mark.parametrize("modes", [("100644", "120000"), ("120000", "100644"), ("120000", None)])
def test_a_patch_that_makes_or_changes_a_link_is_refused(modes) -> None:
    with pytest.raises(RecordError, match="is a link"):
        trust.check_patch({"weights": modes})
    trust.check_patch({"weights": ("100644", "100755")})


def test_a_patch_that_changes_a_path_of_no_system_is_refused() -> None:
    with pytest.raises(RecordError, match="a device on Windows"):
        trust.check_patch({"conf/aux.yaml": (None, "100644")})


def test_the_patch_of_a_crate_is_looked_at_when_it_is_opened(project, opened, tmp_path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(project, root)
    (root / ".gitattributes").write_bytes(b"*.py filter=evil\n")
    patch = git(root, "diff").encode()
    with pytest.raises(RecordError, match=r"its patch changes '\.gitattributes'"):
        opened(members_of(root, trace_of(root, patch), tmp_path, patch))


# -------------------------------------------------------------------------------------- commands


def commanded(*words: str, folder: str = ".") -> Change:
    return lambda trace: replace(trace, repeat=Command(words, folder))


@pytest.mark.parametrize(
    "words",
    [
        ("sh", "-c", "evil"),
        ("uv", "run", "sh", "-c", "evil"),
        ("uv", "pip", "install", "evil"),
        ("uv", "run", "--with", "evil", "train.py"),
        ("uv", "run", "python", "-c", "evil"),
        ("uv", "run", "python", "-X", "x", "train.py"),
        ("uv", "run", "other.py"),
        ("uv", "run", "../train.py"),
        ("uv", "run", "/tmp/train.py"),
        ("uv", "run", "https://example.org/train.py"),
        ("uv", "run", "conf/config.yaml"),
        ("uv", "run", "python", "-m", "http.server"),
        ("uv", "run", "mlflow", "server"),
        ("jupyter", "execute", "x.ipynb"),
        ("uv", "run"),
        ("uv",),
    ],
)
def test_a_command_that_is_no_script_of_the_project_is_refused(words, crate_of, opened) -> None:
    with pytest.raises(RecordError, match="not one of a script of the project"):
        opened(crate_of(commanded(*words)))


@pytest.mark.parametrize(
    "argument",
    [
        *("hydra.run.dir=/home/me", "hydra.run.dir=../../x", "--config-dir=/tmp", "/etc/passwd"),
        *("data.root=~/secrets", "~/x", "--x=~/a", "a=[~/x]", "a=~", "~root/x"),
        *("data=~root/x", "a=[~root/x]", "--a=~root/x"),
        *("hydra.searchpath=[file:///tmp]", "storage=postgresql://example.org/x", "a=//server/x"),
        *("out=C:\\Windows", "out=\\\\server\\share", "C:/x", "a=C:/x", "a=\\x"),
        *("a=[../x]", "a='../x'", "a.b=[../../x]", "a:../x", "a=..", "a=x/..", "a=b/../c"),
        *("a=[1,/etc]", "a={b:/etc}", "a=(/etc)", 'a="/x"', "a= /x", "--out=..", "--a/../b"),
        *("a={oc.env:HOME}/../x", "a=${oc.env:HOME}", "a=$HOME/y", "+_tar${x}get_=1", "a=${b}"),
        *("-o/etc/passwd", "-o../x", "-o..", "-I=/x", "-", "--", "-~"),
        *("+x=@file", "@file", "a=`/x", "x=a;/etc", "a=!/etc", "a=|/etc", "a=file:/etc/passwd"),
        *(" a=1", "'a'=1", "a b=1", ".../x", "a=..."),
    ],
)
def test_an_argument_that_may_lead_elsewhere_is_refused(argument: str) -> None:
    with pytest.raises(RecordError, match=r"refused: the argument .* may lead to a place outside"):
        trust._check_argument(argument)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("note=\x1b[2J", "has control characters"),
        ("note=a\nb", "has control characters"),
        ("note=a\u202eb", "has control characters"),
        ("+model._target_=os.system", "names what is to be called"),
        ("model={_target_:os.system}", "names what is to be called"),
        ("--model.class_path=os.system", "names what is to be called"),
        ("hydra.job.env_set.LD_PRELOAD=x.so", "changes how Hydra starts"),
        ("++hydra.callbacks.x.y=1", "changes how Hydra starts"),
        ("hydra/launcher=other", "changes how Hydra starts"),
        ("hydra={job:1}", "changes how Hydra starts"),
        ("+model@hydra.callbacks=cnn", "changes how Hydra starts"),
        ("+foo@_global_.hydra.job=bar", "changes how Hydra starts"),
        ("--experimental-rerun", "unpickle a file"),
        ("--exp=data/job.pickle", "unpickle a file"),
        ("--e", "unpickle a file"),
    ],
)
def test_an_argument_that_has_something_else_called_is_refused(argument: str, said: str) -> None:
    with pytest.raises(RecordError, match=said):
        trust._check_argument(argument)


def test_the_arguments_of_a_crate_are_looked_at_when_it_is_opened(crate_of, opened) -> None:
    with pytest.raises(RecordError, match=r"refused: the argument '\.\./x'"):
        opened(crate_of(commanded("uv", "run", "train.py", "seed=1", "../x")))


@pytest.mark.parametrize(
    "argument",
    [
        *("seed=1", "model/kind=small", "~model.dropout", "~model/dropout", "++a.b=c", "+x={a:1}"),
        *("model.hidden=[512,512]", "a={b:{c:[1,2]}}", "a=choice(1,2)", "a='two words'", "a=''"),
        *("a=-1", "a=1e-3", "-0.5", "-1e-3", "-n5", "-n", "--epochs", "--lr=1e-3", "0.3", "a=.5"),
        *("a=b/c.d", "a=data/täble.csv", "data/", "./x.csv", ".", ".hidden", "a=50%", "a=12:30"),
        *("run_id=latest", "--config-name", "--config-dir=conf", "--model.hidden=3", "a=null"),
        *("hydra.run.dir=outputs/x", "hydra.verbose=true", "+hydra/job_logging=none", "hydra_x=1"),
        *("db@backup=mysql", "+experiment@_global_=x", "me@example.org", ""),
    ],
)
def test_an_argument_that_stays_in_the_project_is_taken(argument: str) -> None:
    trust._check_argument(argument)


@pytest.mark.parametrize(
    "words",
    [
        ("uv", "run", "train.py", "--config-name", "mine", "model.hidden=[512,512]", "+x={a:1}"),
        ("python", "train.py", "--strength", "0.3"),
        ("uv", "run", "python", "-m", "train"),
        ("uv", "run", "train.py", "hydra/job_logging=none", "~model/dropout", "a=b/c.d"),
    ],
)
def test_a_script_of_the_project_with_its_arguments_is_taken(words, crate_of, opened) -> None:
    assert opened(crate_of(commanded(*words))).run.trace.repeat.words == words


def test_a_package_that_is_run_is_a_script_of_the_project(project: Path) -> None:
    trace = commanded("python", "-m", "shapes", "a=1")(trace_of(project))
    trace = replace(trace, script="src/shapes/__main__.py")
    trust.check(trace, ["src/shapes/__main__.py"])
    with pytest.raises(RecordError, match="not one of a script of the project"):
        trust.check(replace(trace, script="src/shapes/__init__.py"), ["src/shapes/__init__.py"])


@pytest.mark.parametrize("folder", ["..", "/tmp", "conf/../..", "C:/x"])
def test_a_command_in_a_folder_outside_is_refused(folder: str, crate_of, opened) -> None:
    with pytest.raises(RecordError, match="refused: the path"):
        opened(crate_of(commanded("uv", "run", "train.py", folder=folder)))


def test_a_script_is_found_from_the_folder_where_its_command_was_typed(crate_of, opened) -> None:
    assert opened(crate_of(commanded("uv", "run", "../train.py", folder="conf")))


@pytest.mark.parametrize("name", ["LD_PRELOAD", "GLIBC_TUNABLES", "PATH", "PYTHONSTARTUP"])
def test_a_variable_that_loads_other_code_is_refused(name: str, crate_of, opened) -> None:
    def sets(trace: Trace) -> Trace:
        return replace(trace, machine=replace(trace.machine, variables={name: "evil"}))

    with pytest.raises(RecordError, match=f"sets the variable '{name}'"):
        opened(crate_of(sets))


@pytest.mark.parametrize("name", ["LD_LIBRARY_PATH", "PYTHONPATH", "GIT_SSH_COMMAND", "http_proxy"])
def test_a_variable_of_no_library_that_a_trace_knows_is_refused(name, crate_of, opened) -> None:
    with pytest.raises(RecordError, match=f"sets the variable '{name}'"):
        opened(crate_of(lambda trace: replace(trace, variables={name: "evil"})))


@pytest.mark.parametrize(
    "remote", ["ext::sh -c evil", "--upload-pack=evil", "file:///etc", "https://x\nevil", "-x@y:z"]
)
def test_a_remote_that_is_no_address_is_refused(remote: str, crate_of, opened) -> None:
    def has(trace: Trace) -> Trace:
        return replace(trace, code=replace(trace.code, remote=remote))

    with pytest.raises(RecordError, match="names the remote"):
        opened(crate_of(has))


@pytest.mark.parametrize("commit", ["HEAD", "--output=x", "main", "0" * 39])
def test_a_commit_that_is_no_name_of_one_is_refused(commit: str, crate_of, opened) -> None:
    def has(trace: Trace) -> Trace:
        return replace(trace, code=replace(trace.code, commit=commit))

    with pytest.raises(RecordError, match="names the commit"):
        opened(crate_of(has))


@pytest.mark.parametrize("kind", ["imported", "data", "imported later", "other"])
def test_a_file_of_the_trace_that_lies_outside_is_refused(kind: str, crate_of, opened) -> None:
    file = KnownFile("../../.ssh/id", kind, "00", 3)
    with pytest.raises(RecordError, match="leads out of its folder"):
        opened(crate_of(lambda trace: replace(trace, files=(file,))))


@pytest.mark.parametrize("where", ["paths", "script"])
def test_a_folder_of_imports_or_a_script_outside_is_refused(where: str, crate_of, opened) -> None:
    value = {"paths": (".", "../lib"), "script": "../train.py"}[where]
    with pytest.raises(RecordError, match="leads out of its folder"):
        opened(crate_of(lambda trace: replace(trace, **{where: value})))


@pytest.mark.parametrize("path", ["/their/table.csv", "D:\\their\\table.csv"])
def test_data_that_lay_outside_of_their_project_are_no_harm(path: str, crate_of, opened) -> None:
    assert opened(crate_of(reads(KnownFile(path, "data", "00", 3)))).data == ()


@pytest.mark.parametrize("of", ["machine", "libraries"])
def test_a_value_of_a_variable_with_control_characters_is_refused(of, crate_of, opened) -> None:
    def sets(trace: Trace) -> Trace:
        if of == "machine":
            variables = {"OMP_NUM_THREADS": "1\x1b[2J"}
            return replace(trace, machine=replace(trace.machine, variables=variables))
        return replace(trace, variables={"HYDRA_FULL_ERROR": "1\n2"})

    with pytest.raises(RecordError, match="has control characters"):
        opened(crate_of(sets))


def test_a_trace_without_a_command_can_be_looked_at(crate_of, opened) -> None:
    crate = opened(crate_of(lambda trace: replace(trace, repeat=None)))
    assert dataclasses.is_dataclass(crate.run)


@pytest.mark.parametrize("end", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r"])
def test_no_line_of_a_patch_is_hidden_from_who_is_asked(end: str) -> None:
    patch = f"diff --git a/x b/x\n+a{end}GIT binary patch\n+evil()\n".encode()
    assert "+evil()" in list(readable_lines(patch))


def test_the_bytes_of_a_picture_are_not_shown() -> None:
    patch = b"diff --git a/x b/x\nGIT binary patch\nzcmV\n\ndiff --git a/y b/y\n+one\n"
    shown = [line for line in readable_lines(patch) if line]
    assert shown == ["diff --git a/x b/x", "GIT binary patch", "diff --git a/y b/y", "+one"]


# ----------------------------------------------------------- what is executed beside the commit


def shown_of(crate: Crate, monkeypatch: pytest.MonkeyPatch, clones: Sequence[Path] = ()) -> str:
    """Return what is shown of a crate and asked of a person, who answers no."""
    text = io.StringIO()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True, readline=lambda: ""))
    monkeypatch.setattr("builtins.input", lambda: "")
    console = Console(file=text, width=200)
    repeat._show(crate, sandbox.Sandbox(why_not="a test"), clones, console)
    with pytest.raises(RecordError, match="Nothing was executed"):
        repeat._ask(crate, console)
    return text.getvalue()


EVIL = b"print('evil')\n"


def with_later(files: Members, path: str, content: bytes, /, **said: object) -> Members:
    file = dataclasses.asdict(known(path, content, "imported later", "later")) | said
    return files | {
        "trace/later.json": json.dumps([file]).encode(),
        f"trace/later/{path}": content,
    }


def test_code_that_was_imported_later_is_shown_and_counted(
    crate_of, opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    crate = opened(with_later(crate_of(), "lib/train.py", EVIL))
    assert crate.later == {"lib/train.py": EVIL}
    shown = shown_of(crate, monkeypatch)
    assert "lib/train.py" in shown and "+print('evil')" in shown
    assert "Execute 1 command, 4 files of code, 1 that came later? [y/N]" in shown


def test_code_that_was_imported_later_as_it_is_in_the_commit_is_not_shown_twice(
    crate_of, opened
) -> None:
    assert not opened(with_later(crate_of(), "train.py", b"print('two')\n")).later


def test_a_trace_that_names_later_code_among_its_other_files_shows_it_as_well(
    crate_of, opened
) -> None:
    said = reads(known("sitecustomize.py", EVIL, "imported", "later"))
    crate = opened(crate_of(said) | {"trace/later/sitecustomize.py": EVIL})
    assert crate.later == {"sitecustomize.py": EVIL}


@pytest.mark.parametrize("said", [{"sha256": "00"}, {"path": "gone.py"}])
def test_later_code_that_is_not_what_the_trace_names_is_refused(said, crate_of, opened) -> None:
    with pytest.raises(RecordError, match=r"does not hold .* as it was imported"):
        opened(with_later(crate_of(), "lib.py", EVIL, **said))


@pytest.mark.parametrize(
    "path", ["numpy.py", "lib/__init__.PY", "numpy.cpython-311.so", "x.pyc", "x.pyd", "x.dll"]
)
def test_code_among_the_data_is_refused(path: str, crate_of, opened) -> None:
    with pytest.raises(RecordError, match="is among its data, and is code"):
        opened(crate_of(reads(known(path, EVIL))) | {f"data/{path}": EVIL})


def test_data_that_change_how_git_treats_files_are_refused(crate_of, opened) -> None:
    with pytest.raises(RecordError, match="is among its data, and is code"):
        opened(crate_of(reads(known("a/.gitattributes", EVIL))) | {"data/a/.gitattributes": EVIL})


@pytest.mark.parametrize("path", ["conf/config.yaml", "Conf/Config.yaml", "train.py"])
def test_data_that_take_the_place_of_code_are_refused(path: str, crate_of, opened) -> None:
    with pytest.raises(RecordError, match="is code and, with other content, data"):
        opened(crate_of(reads(known(path, EVIL))) | {f"data/{path}": EVIL})


def test_a_script_that_its_own_run_names_as_data_is_no_harm(crate_of, opened) -> None:
    assert opened(crate_of(reads(known("train.py", b"print('two')\n", held="commit"))))


@pytest.mark.parametrize("content", [b"1,2\n", b"3,4\n"])
def test_files_that_the_run_did_not_read_are_no_data(content: bytes, crate_of, opened) -> None:
    said = reads(known("a.csv", b"1,2\n"), known("b.csv", b"1,2\n", "imported"))
    name = "b.csv" if content == b"1,2\n" else "a.csv"
    with pytest.raises(RecordError, match=f"'{name}' is given as data"):
        opened(crate_of(said) | {f"data/{name}": content})


def test_data_are_named_and_settings_among_them_are_shown(
    crate_of, opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, table = b"model:\n  kind: evil\n", b"1,2\n"
    said = reads(known("conf/model/evil.yaml", settings), known("table.csv", table))
    files = {"data/conf/model/evil.yaml": settings, "data/table.csv": table}
    shown = shown_of(opened(crate_of(said) | files), monkeypatch)
    assert "conf/model/evil.yaml, table.csv" in shown
    assert "+  kind: evil" in shown and "+1,2" not in shown


def test_how_much_of_the_code_is_a_strangers_is_said(
    crate_of, opened, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crate = opened(crate_of())
    theirs = shown_of(crate, monkeypatch)
    assert "which no clone here has: all of it is the crate's: 4 files" in theirs
    assert "which your clone has, too, with the changes below" in shown_of(
        crate, monkeypatch, [project]
    )


# ------------------------------------------------------------------------- what was added later


@pytest.fixture
def with_addition(crate_of, project) -> Callable[..., Members]:
    def make(change: Change) -> Members:
        added = to_json(change(trace_of(project))).encode()
        files = {"trace/added-1/trace.json": added, "trace/added-1/changes.patch": PATCH}
        return crate_of() | files

    return make


def test_what_was_added_to_a_run_later_comes_along(with_addition, opened) -> None:
    crate = opened(with_addition(commanded("uv", "run", "train.py", "evaluate=true")))
    assert (crate.run.files / "trace" / "added-1" / "changes.patch").read_bytes() == PATCH


def test_the_command_of_an_addition_is_looked_at_as_well(with_addition, opened) -> None:
    with pytest.raises(RecordError, match="not one of a script of the project"):
        opened(with_addition(commanded("uv", "run", "sh", "-c", "evil")))


def test_an_addition_of_other_code_is_refused(with_addition, opened) -> None:
    def of_another_commit(trace: Trace) -> Trace:
        return replace(trace, code=replace(trace.code, commit="0" * 40))

    with pytest.raises(RecordError, match="2 states of the code were executed, it holds 1"):
        opened(with_addition(of_another_commit))


@pytest.mark.parametrize("content", [b"[" * 100_000, b"{}", b"\xff"])
def test_an_addition_that_cannot_be_read_is_named(content: bytes, crate_of, opened) -> None:
    with pytest.raises(RecordError, match=r"cannot be read|has the form"):
        opened(crate_of() | {"trace/added-1/trace.json": content})


def test_an_addition_without_a_number_is_named(crate_of, opened) -> None:
    with pytest.raises(RecordError, match="cannot be read"):
        opened(crate_of() | {"trace/added-x/trace.json": b"{}"})


def test_a_message_about_a_crate_cannot_steer_a_terminal(
    crate_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMERUN_CACHE", str(tmp_path / "cache"))
    members = crate_of()
    said = json.loads(members["trace/trace.json"]) | {"schema": "\x1b[2J gone"}
    packing.pack(members | {"trace/trace.json": json.dumps(said).encode()}, tmp_path / "run.zip")
    with pytest.raises(RecordError, match="has the form") as refused:
        repeat.reproduce(tmp_path / "run.zip", [], Console())
    assert "\x1b" not in str(refused.value)
    assert not list((tmp_path / "cache").rglob("trace.json")), "what was unpacked is removed"


def test_a_crate_runs_in_its_sandbox_without_packages_of_its_own_or_settings_of_the_person(
    crate_of, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMERUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    monkeypatch.setattr(repeat, "use_store", lambda: None)
    made = sandbox.Sandbox(("bwrap",))
    monkeypatch.setattr(repeat, "sandbox", lambda *given: made)
    seen: list[tuple] = []

    def reproduce(run: RecordedRun, clones: Sequence[Path], **how: object) -> str:
        seen.append((run.run_id, clones, how, os.environ.get("GIT_CONFIG_GLOBAL")))
        return "an outcome"

    monkeypatch.setattr(repeat.repeat, "reproduce", reproduce)
    packing.pack(crate_of(), tmp_path / "run.zip")
    console = Console(file=io.StringIO())
    assert repeat.reproduce(tmp_path / "run.zip", [project], console, yes=True) == "an outcome"
    ((run_id, clones, how, settings),) = seen
    assert run_id == "ab" * 16 and settings == os.devnull
    assert clones[0].name == "clone" and clones[1:] == [project]
    assert how["build"] is False and how["sandbox"] == made.around
    assert "GIT_CONFIG_GLOBAL" not in os.environ


def test_a_crate_is_told_from_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "abc").write_bytes(b"")
    named = ("run.zip", "RUN.ZIP", "abc", "0123abcd", "latest")
    assert [what for what in named if repeat.is_one(what)] == ["run.zip", "RUN.ZIP", "abc"]


# ------------------------------------------------------------------------------------ packages


@pytest.mark.parametrize(
    "lock",
    [
        *("x = " + "[" * 100_000, "version = 1\npackage = 1", "version = 1\npackage = [1]"),
        *(
            "version = 1\n[[package]]\nname = []",
            "version = 1\n[[package]]\nname = 'x'\nwheels = 1",
        ),
    ],
)
def test_a_lock_or_project_that_makes_no_sense_is_no_traceback(
    lock: str, project: Path, tmp_path: Path
) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "uv.lock").write_text(lock, encoding="utf-8")
    for folder, text in {"a": "x = " + "[" * 100_000, "b": "project = 1", "c": lock}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "pyproject.toml").write_text(text, encoding="utf-8")
    locked = replace(trace_of(project), environment=Environment("CPython 3.11.9", lock="00"))
    with pytest.raises(Obstacle, match=r"uv\.lock of the (run|commit)"):
        environment.choose(locked, tmp_path, tmp_path / "new", [], build=False)


def test_packages_of_a_crate_are_not_installed(project: Path, tmp_path: Path) -> None:
    other = replace(trace_of(project), packages=("numpy==0.0.1",), environment=None)
    with pytest.raises(Obstacle, match=r"numpy 0\.0\.1 .*code without a sandbox"):
        environment.choose(other, project, tmp_path / "new", [], build=False)
    assert not (tmp_path / "new").exists()
