"""AUTHORS, CITATION.cff, codemeta.json and CHANGELOG.md say what an archive asks, and the same."""

import json
import re
import tomllib

import pytest
import yaml
from commands import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOLLOWED = {("Julian", "Agudelo"), ("Joseph", "Allyndrée")}


@pytest.fixture
def authors() -> list[str]:
    return (ROOT / "AUTHORS").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def citation() -> dict:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


@pytest.fixture
def codemeta() -> dict:
    return json.loads((ROOT / "codemeta.json").read_text(encoding="utf-8"))


def test_the_authors_are_named(authors):
    assert authors
    assert all(line == line.strip() != "" for line in authors)


def test_the_citation_has_what_its_format_asks_for(citation):
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["type"] == "software"


def test_the_citation_names_the_authors_the_version_and_the_licence(citation, authors):
    assert [author["name"] for author in citation["authors"]] == authors
    assert str(citation["version"]) == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


def test_the_citation_names_the_workshop_that_this_one_follows(citation):
    (followed,) = citation["references"]
    assert {"type", "title", "authors"} <= followed.keys()
    names = {(author["given-names"], author["family-names"]) for author in followed["authors"]}
    assert names == FOLLOWED


def test_the_credit_is_the_same_line_wherever_it_stands(citation):
    (followed,) = citation["references"]
    line = (
        f"After the workshop “{followed['title']}” by "
        + " and ".join(f"{one['given-names']} {one['family-names']}" for one in followed["authors"])
        + "."
    )
    assert followed["notes"] == line
    for name in ("README.md", "slides/en/words.typ"):
        assert line in (ROOT / name).read_text(encoding="utf-8"), name


def test_texts_and_figures_have_a_licence_beside_that_of_the_code():
    for name in ("README.md", "LICENSE-TEXTS.md", "slides/en/words.typ", "slides/fr/words.typ"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "CC BY 4.0" in text and "MIT" in text, name


def test_codemeta_says_the_same_as_the_citation(codemeta, citation, authors):
    assert codemeta["@context"] == "https://w3id.org/codemeta/3.0"
    assert codemeta["type"] == "SoftwareSourceCode"
    assert codemeta["name"] == citation["title"]
    assert codemeta["description"] == citation["abstract"]
    assert codemeta["version"] == citation["version"]
    assert codemeta["license"] == f"https://spdx.org/licenses/{citation['license']}"
    assert codemeta["keywords"] == citation["keywords"]
    assert [author["name"] for author in codemeta["author"]] == authors
    based = codemeta["isBasedOn"]
    assert based["name"] == citation["references"][0]["title"]
    assert {(one["givenName"], one["familyName"]) for one in based["author"]} == FOLLOWED


def test_codemeta_names_the_package_and_its_python(codemeta):
    assert codemeta["identifier"] == PROJECT["name"]
    assert codemeta["runtimePlatform"].split()[1] == PROJECT["requires-python"].removeprefix(">=")


def test_the_changes_of_this_version_are_told_first():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    editions = re.findall(r"^## (\d+\.\d+\.\d+)", text, re.MULTILINE)
    assert editions[0] == PROJECT["version"]
    numbers = [tuple(map(int, edition.split("."))) for edition in editions]
    assert numbers == sorted(set(numbers), reverse=True)
    after = text.split(f"## {editions[0]}")[1]
    assert re.search(r"^- \S", after.split("\n## ")[0], re.MULTILINE)
