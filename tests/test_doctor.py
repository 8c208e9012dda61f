"""What `workshop doctor` says of a machine."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from workshop import cli, doctor, surroundings
from workshop.doctor import Finding


def found(root=doctor.ROOT):
    return {finding.what: finding for finding in doctor.findings(root)}


def test_a_ready_machine_has_no_failure():
    assert [f for f in found().values() if f.state == "FAIL"] == []


def test_a_folder_without_lock_and_git_is_named(tmp_path):
    findings = found(tmp_path)
    assert findings["packages"].state == "FAIL"
    assert str(tmp_path) in findings["packages"].message
    assert findings["git"].state == "WARN"


def fake_uv(folder, version):
    program = folder / "uv"
    program.write_text(f"#!/bin/sh\necho 'uv {version} (x86_64-unknown-linux-gnu)'\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
@pytest.mark.parametrize(("version", "state"), [("0.6.17", "FAIL"), ("0.7.0", "OK"), ("1.0", "OK")])
def test_a_uv_older_than_the_project_asks_for_is_a_failure(version, state, monkeypatch, tmp_path):
    monkeypatch.setenv("UV", fake_uv(tmp_path, version))
    finding = found()["uv"]
    assert finding.state == state and version in finding.message
    assert ("expected >=0.7.0: uv self update" in finding.message) == (state == "FAIL")


def test_a_missing_uv_is_a_warning(monkeypatch):
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert found()["uv"].state == "WARN"


def test_a_package_of_another_version_is_a_warning(monkeypatch):
    installed = {**doctor.machine.installed_packages(), "numpy": "0.1"}
    monkeypatch.setattr(doctor.machine, "installed_packages", lambda: installed)
    assert found()["packages"] == Finding("WARN", "packages", found()["packages"].message)
    assert "numpy 0.1, locked" in found()["packages"].message


def test_missing_data_is_a_warning_and_nothing_is_downloaded(monkeypatch, tmp_path):
    monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
    monkeypatch.setattr("workshop.data.DATA_DIR", tmp_path / "data")
    finding = found()["Fashion-MNIST"]
    assert finding.state == "WARN"
    assert "train-images-idx3-ubyte.gz is missing" in finding.message
    assert "uv run workshop data" in finding.message
    assert not (tmp_path / "data").exists()


def test_a_synchronised_folder_is_a_warning(tmp_path):
    folder = tmp_path / "OneDrive - University" / "workshop"
    folder.mkdir(parents=True)
    assert found(folder)["folder"].state == "WARN"


def test_a_port_in_use_is_a_warning(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(surroundings, "PORT", server.getsockname()[1])
        assert surroundings.port(doctor.ROOT).state == "WARN"
    assert surroundings.port(doctor.ROOT).state == "OK"


def test_a_look_that_fails_is_a_finding(monkeypatch):
    def broken(_):
        raise OSError("the disk is gone")

    monkeypatch.setattr(surroundings.shutil, "disk_usage", broken)
    assert found()["disk"] == Finding("FAIL", "disk", "OSError: the disk is gone")


@pytest.mark.parametrize(("state", "status"), [("WARN", 0), ("FAIL", 1)])
def test_the_exit_status_tells_failures_from_warnings(state, status, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "findings", lambda: [Finding(state, "[b]disk[/]", "[red]full")])
    assert cli.main(["doctor"]) == status
    assert "[red]full" in capsys.readouterr().out


def test_another_environment_that_is_active_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    finding = found()["environment"]
    assert finding.state == "WARN" and str(tmp_path) in finding.message
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    assert found()["environment"].state == "OK"


@pytest.mark.parametrize(
    ("system", "processor", "told"),
    [
        ("Darwin", "x86_64", "Intel"),
        ("Darwin", "arm64", "uv sync"),
        ("Windows", "AMD64", "uv sync"),
        ("Linux", "riscv64", "Linux on riscv64"),
    ],
)
def test_without_pytorch_it_says_whether_this_machine_can_have_it(
    system, processor, told, monkeypatch
):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor.platform, "system", lambda: system)
    monkeypatch.setattr(doctor.platform, "machine", lambda: processor)
    finding = doctor._torch(doctor.ROOT)
    assert finding.state == "FAIL" and told in finding.message
    assert ("uv sync" in finding.message) == (told == "uv sync")


def mounted(monkeypatch, *places):
    disks = [SimpleNamespace(mountpoint=str(place), fstype=kind) for place, kind in places]
    monkeypatch.setattr("psutil.disk_partitions", lambda all: disks)


@pytest.mark.parametrize("kind", ["nfs4", "CIFS", "9p"])
def test_a_network_disk_is_a_warning(kind, monkeypatch, tmp_path):
    below = tmp_path / "home" / "workshop"
    below.mkdir(parents=True)
    mounted(monkeypatch, ("/", "ext4"), (tmp_path, "ext4"), (tmp_path / "home", kind))
    assert surroundings.folder(below).state == "WARN"
    assert kind.lower() in surroundings.folder(below).message
    assert surroundings.folder(tmp_path).state == "OK"


def test_little_memory_and_a_single_core_are_warnings(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    for total, state in ((3.9e9, "WARN"), (4.1e9, "OK")):
        memory = SimpleNamespace(total=total)
        monkeypatch.setattr("psutil.virtual_memory", lambda memory=memory: memory)
        assert surroundings.memory(doctor.ROOT).state == state
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert surroundings.memory(doctor.ROOT).state == "WARN"


def test_a_disk_that_is_nearly_full_is_a_warning(monkeypatch, tmp_path):
    for free, state in ((2 * 10**9 - 1, "WARN"), (2 * 10**9, "OK")):
        monkeypatch.setattr(surroundings.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))  # noqa: B023
        assert surroundings.disk(tmp_path).state == state


@pytest.mark.parametrize(
    ("encoding", "state"), [("cp1252", "WARN"), ("UTF-8", "OK"), ("utf8", "OK"), (None, "WARN")]
)
def test_a_console_without_unicode_is_a_warning(encoding, state, monkeypatch):
    monkeypatch.setattr(surroundings.sys, "stdout", SimpleNamespace(encoding=encoding))
    assert surroundings.console(doctor.ROOT).state == state


def test_a_store_that_is_not_there_yet_is_well_and_stays_away(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path.as_posix()}/mlflow.db")
    assert surroundings.store(doctor.ROOT).state == "OK"
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_runs_cannot_be_recorded_to_is_a_failure(monkeypatch, mlflow_store):
    assert surroundings.store(doctor.ROOT).state == "OK"
    mlflow_store.write_bytes(b"no database at all" * 100)
    finding = surroundings.store(doctor.ROOT)
    assert finding.state == "FAIL" and "damaged" in finding.message
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    assert surroundings.store(doctor.ROOT).state == "FAIL"


def test_a_store_that_is_written_to_is_not_waited_for(mlflow_store):
    import sqlite3

    writer = sqlite3.connect(mlflow_store)
    writer.execute("BEGIN IMMEDIATE")
    finding = surroundings.store(doctor.ROOT)
    writer.rollback()
    writer.close()
    assert finding.state == "OK" and "at this moment" in finding.message


def test_looking_changes_nothing_in_the_store(mlflow_store):
    before = mlflow_store.read_bytes(), sorted(mlflow_store.parent.iterdir())
    surroundings.store(doctor.ROOT)
    assert (mlflow_store.read_bytes(), sorted(mlflow_store.parent.iterdir())) == before


def test_variables_that_lead_a_run_elsewhere_are_failures_and_others_are_named(
    monkeypatch, mlflow_store
):
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "_MLFLOW_"))]:
        monkeypatch.delenv(name)
    assert surroundings.variables(doctor.ROOT).state == "OK"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    finding = surroundings.variables(doctor.ROOT)
    assert finding.state == "WARN"
    assert "MLFLOW_EXPERIMENT_NAME (the configuration names" in finding.message
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    finding = surroundings.variables(doctor.ROOT)
    assert finding.state == "FAIL" and "unset" in finding.message


def test_a_proxy_is_named_without_its_password(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "localhost")
    assert surroundings.proxy(doctor.ROOT).state == "OK"
    monkeypatch.setenv("https_proxy", "http://ada:lovelace@proxy.example:3128")
    finding = surroundings.proxy(doctor.ROOT)
    assert finding.state == "WARN" and "proxy.example:3128" in finding.message
    assert "lovelace" not in finding.message


def test_zsh_is_told_of_its_brackets_and_no_other_shell_is(monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/zsh")
    assert "'model.hidden=[512,512]'" in surroundings.shell(doctor.ROOT).message
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert surroundings.shell(doctor.ROOT).message == "fish"


class Board:
    """A leaderboard that knows everybody, with a clock of its own."""

    def __init__(self, ahead):
        self.ahead = ahead

    def request(self, method, path, *, seconds):
        return {"time": time.time() + self.ahead} if path == "/health" else {"name": "Ada"}


@pytest.mark.parametrize(
    ("ahead", "state"), [(0, "OK"), (50, "OK"), (-50, "OK"), (90, "WARN"), (-90, "WARN")]
)
def test_a_clock_that_differs_from_the_leaderboards_is_a_warning(ahead, state, monkeypatch):
    joined = SimpleNamespace(
        name="Ada", address="http://board.example", connection=lambda: Board(ahead)
    )
    monkeypatch.setattr("workshop.participant.membership.load", lambda: joined)
    finding = surroundings.leaderboard(doctor.ROOT)
    assert finding.state == state
    assert ("differs" in finding.message) == (state == "WARN")


def test_a_leaderboard_that_does_not_answer_is_a_warning(monkeypatch):
    from workshop.participant.membership import Membership

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
    joined = Membership(address, "a-token-of-no-use", "Ada", 1)
    monkeypatch.setattr("workshop.participant.membership.load", lambda: joined)
    finding = surroundings.leaderboard(doctor.ROOT)
    assert finding.state == "WARN" and "does not answer" in finding.message
    assert "a-token" not in finding.message


def test_who_has_not_joined_is_well(monkeypatch):
    monkeypatch.setattr("workshop.participant.membership.load", lambda: None)
    assert surroundings.leaderboard(doctor.ROOT).state == "OK"


def test_a_program_reads_the_findings(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "findings", lambda: [Finding("FAIL", "disk", "full")])
    assert cli.main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == [
        {"state": "FAIL", "what": "disk", "message": "full"}
    ]


def test_the_doctor_does_not_import_mlflow():
    code = (
        "import sys; from workshop import doctor, surroundings as s\n"
        "[look(doctor.ROOT) for look in s.LOOKS.values()]; print('mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# setup


@pytest.fixture
def fresh(monkeypatch, tmp_path, store_template):
    """A machine before the day: a store of its own that is not there yet, and no data."""
    import mlflow

    store = tmp_path / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store.as_posix()}")
    monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
    monkeypatch.setattr(
        "samerun.store.tracking.create_store", lambda path: shutil.copy(store_template, path)
    )
    yield store
    mlflow.set_tracking_uri(None)


def test_setup_makes_everything_ready_and_says_so(fresh, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("workshop.data.fetch_fashion_mnist", lambda **_: tmp_path)
    monkeypatch.setattr(doctor, "findings", lambda: [Finding("OK", "disk", "")])
    assert cli.main(["setup"]) == 0
    out = capsys.readouterr().out
    assert fresh.exists()
    assert f"Fashion-MNIST, verified, in {tmp_path}" in out
    assert out.splitlines()[-1].startswith("READY.")


def test_setup_without_a_network_does_all_the_rest(fresh, monkeypatch, capsys):
    from workshop.data import DataError

    def no_network(**_):
        raise DataError("Fashion-MNIST could not be downloaded")

    monkeypatch.setattr("workshop.data.fetch_fashion_mnist", no_network)
    monkeypatch.setattr(doctor, "findings", lambda: [Finding("WARN", "Fashion-MNIST", "missing")])
    assert cli.main(["setup"]) == 0
    captured = capsys.readouterr()
    assert fresh.exists()
    assert "could not be downloaded" in captured.err
    assert captured.out.splitlines()[-1] == "READY. Worth a look: Fashion-MNIST."


def test_setup_that_fails_names_what_and_exits_by_it(fresh, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("workshop.data.fetch_fashion_mnist", lambda **_: tmp_path)
    well = Finding("OK", "memory", "8 GB, 4 cores")
    bad = [Finding("FAIL", "run store", "damaged"), well, Finding("WARN", "disk", "little")]
    monkeypatch.setattr(doctor, "findings", lambda: bad)
    assert cli.main(["setup"]) == 1
    out = capsys.readouterr().out
    assert "8 GB" not in out  # what is well is not listed
    assert "damaged" in out and out.splitlines()[-1].startswith("NOT READY: run store.")
