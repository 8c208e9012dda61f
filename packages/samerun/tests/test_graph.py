"""A run as a picture: what stands in its boxes, whatever the run is called."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest

import samerun
from samerun import trace
from samerun.cli import main
from samerun.display import graph
from samerun.find import find_run
from samerun.recorded import RecordedRun

SVG = "{http://www.w3.org/2000/svg}"
CONFIG = {"seed": 3, "transform": {"by": 2}, "data": {"split": 0.2}, "rate": 0.1}


@pytest.fixture
def run_id(mlflow_store: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(checkout)
    data = samerun.dataset("wine", [1, 2, 3], source="the cellar")
    with samerun.start_run(CONFIG, data, experiment="wines") as run:
        mlflow.set_tag("mlflow.runName", 'a <b> & "c" \x1b[31m')
        mlflow.log_metrics({"loss": 0.5, "val_accuracy": 0.25}, step=1)
        mlflow.log_metrics({"loss": 0.25, "test_accuracy": 0.75}, step=2)
        mlflow.log_text("weights", "kept/best.pt")
        mlflow.log_text("a note", "note.txt")
    return str(run.info.run_id)


def picture(run_id: str, tmp_path: Path) -> str:
    assert main(["trace", run_id, "--graph", str(tmp_path / "run.svg")]) == 0
    return (tmp_path / "run.svg").read_text(encoding="utf-8")


def boxes(svg: str) -> dict[str, list[str]]:
    groups = ET.fromstring(svg).iter(f"{SVG}g")
    texts = [[text.text or "" for text in group.iter(f"{SVG}text")] for group in groups]
    return {title: lines for title, *lines in texts}


def test_a_picture_holds_the_whole_chain_in_its_order(run_id: str, tmp_path: Path) -> None:
    said = boxes(picture(run_id, tmp_path))
    assert list(said) == [
        "Data", "Preprocessing", "Split", "Configuration",
        "Code", "Environment", "Weights", "Metrics",
    ]  # fmt: skip
    digest = find_run(run_id).data.tags["trace.dataset_digest"]
    assert said["Data"] == ["wine", digest[:16], "the cellar"]
    assert said["Preprocessing"] == ["by = 2"]
    assert said["Split"] == ["split = 0.2"]
    assert said["Configuration"][:2] == ["4 values", "seed 3"]
    assert said["Weights"] == ["kept/best.pt"]
    assert said["Metrics"] == ["0.75 test_accuracy", "0.25 val_accuracy", "0.25 loss"]


def recorded(seen: trace.Trace) -> dict[str, tuple[str, ...]]:
    run = RecordedRun("0" * 32, "a run", "FINISHED", {}, {}, {}, seen, {}, Path())
    return {step.title: step.lines for step in graph.steps(run)}


def test_what_the_configuration_does_not_name_is_in_the_code(checkout: Path) -> None:
    chain = recorded(trace.collect({"seed": 0, "splitter": 1, "transformer": 2}, None, checkout))
    assert chain["Preprocessing"] == chain["Split"] == ("in the code",)
    assert chain["Data"] == ("unknown",)


def test_a_changed_tree_is_drawn_as_changed(checkout: Path) -> None:
    (checkout / "train.py").write_bytes(b"print(2)\n")
    (checkout / "more.py").write_bytes(b"print(3)\n")
    seen = trace.collect({}, None, checkout)
    assert seen.code.commit is not None
    assert recorded(seen)["Code"][1:] == (seen.code.commit[:16], "2 files changed")
    assert recorded(replace(seen, patch=b""))["Code"][2] == ""


def test_a_hostile_name_is_text_in_the_picture(run_id: str, tmp_path: Path) -> None:
    svg = picture(run_id, tmp_path)
    assert "\x1b" not in svg
    assert (ET.fromstring(svg).findtext(f"{SVG}title") or "").startswith('a <b> & "c" ?[31m, run ')


def test_many_and_long_lines_stay_in_their_box() -> None:
    paths = tuple(f"a/very/long/folder/of/checkpoints/epoch-{n:04}.pt" for n in range(300))
    svg = graph.draw([graph.Step("Weights", paths)] * 8, "x" * 1000)
    lines = boxes(svg)["Weights"]
    assert len(lines) == graph.LINES
    assert max(map(graph._width, lines)) <= graph.ROOM
    assert lines[0] == "\N{HORIZONTAL ELLIPSIS}nts/epoch-0000.pt"
    assert lines[-1] == "and 297 more"


@pytest.mark.parametrize("text", ["0" * 64, "m" * 40, "\u6d77" * 30, "a b" * 20])
def test_a_cut_text_keeps_both_ends_and_is_no_shorter_than_it_must(text: str) -> None:
    short = graph._cut(text, graph.ROOM)
    head, tail = short.split("\N{HORIZONTAL ELLIPSIS}")
    assert text.startswith(head) and text.endswith(tail)
    assert 0 <= len(head) - len(tail) <= 1
    assert graph.ROOM - 3 * graph.LETTER < graph._width(short) <= graph.ROOM


def test_all_is_inside_of_the_picture_and_the_way_back_leads_to_the_configuration() -> None:
    svg = graph.draw([graph.Step(str(number), ("x",)) for number in range(8)], "t")
    root = ET.fromstring(svg)
    _, _, width, height = map(int, root.attrib["viewBox"].split())
    rects = [r for g in root.iter(f"{SVG}g") for r in g.iter(f"{SVG}rect")]
    for rect in rects:
        x, y, w, h = (int(rect.attrib[key]) for key in ("x", "y", "width", "height"))
        assert x >= 0 and x + w <= width and y >= 0 and y + h <= height
    assert len({(rect.attrib["x"], rect.attrib["y"]) for rect in rects}) == 8
    (back,) = (p for p in root.iter(f"{SVG}path") if "stroke-dasharray" in p.attrib)
    numbers = [int(number) for number in re.findall(r"\d+", back.attrib["d"])]
    right = int(rects[3].attrib["x"]) + int(rects[3].attrib["width"])
    assert right < numbers[-1] < right + 5  # the right side of the fourth box
    middle = int(rects[3].attrib["y"]) + int(rects[3].attrib["height"]) // 2
    assert numbers[-2] == middle
    assert max(numbers) <= max(width, height)


def test_who_cannot_see_the_picture_hears_it(run_id: str, tmp_path: Path) -> None:
    root = ET.fromstring(picture(run_id, tmp_path))
    told = root.findtext(f"{SVG}desc") or ""
    assert root.attrib["role"] == "img"
    assert "Data: wine, " in told and "Metrics: 0.75 test_accuracy" in told


@pytest.mark.parametrize("name", ["run.png", "run"])
def test_a_name_that_no_viewer_knows_is_refused(
    name: str, run_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", run_id, "--graph", str(tmp_path / name)]) == 2
    assert "Give it a name like run.svg" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def test_a_folder_that_is_not_there_is_one_message(
    run_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", run_id, "--graph", str(tmp_path / "none" / "run.svg")]) == 2
    assert "cannot be written" in capsys.readouterr().err
