"""What `workshop doctor` says of a machine."""

import socket
import sys

import pytest

from workshop import cli, doctor
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
        monkeypatch.setattr(doctor, "PORT", server.getsockname()[1])
        assert doctor._port(doctor.ROOT).state == "WARN"
    assert doctor._port(doctor.ROOT).state == "OK"


def test_a_look_that_fails_is_a_finding(monkeypatch):
    def broken(_):
        raise OSError("the disk is gone")

    monkeypatch.setattr(doctor.shutil, "disk_usage", broken)
    assert found()["disk"] == Finding("FAIL", "disk", "OSError: the disk is gone")


@pytest.mark.parametrize(("state", "status"), [("WARN", 0), ("FAIL", 1)])
def test_the_exit_status_tells_failures_from_warnings(state, status, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "findings", lambda: [Finding(state, "[b]disk[/]", "[red]full")])
    assert cli.main(["doctor"]) == status
    assert "[red]full" in capsys.readouterr().out
