"""What the library shows to whoever reads it first: a dozen names, a dozen modules a folder."""

import re
from pathlib import Path

import samerun

FOLDER = Path(samerun.__file__).parent
README = Path(__file__).parents[1] / "README.md"


def test_the_readme_names_the_dozen_names_of_the_library() -> None:
    text = README.read_text(encoding="utf-8")
    table = text.split("## The names")[1].split("\n\n")[1]
    named = {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert named == set(samerun.__all__)
    assert len(samerun.__all__) <= 12
    assert all(hasattr(samerun, name) for name in samerun.__all__)


def test_what_the_readme_names_in_modules_is_there() -> None:
    text = README.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(samerun\.[\w.]+)`: (.+?) \|", text, re.MULTILINE)
    assert rows
    for module, names in rows:
        found = __import__(module, fromlist=["x"])
        assert all(hasattr(found, name) for name in re.findall(r"`(\w+)`", names)), module


def test_no_folder_of_the_library_holds_more_modules_than_one_reads_at_a_glance() -> None:
    for folder in (FOLDER, *(path for path in FOLDER.rglob("*") if path.is_dir())):
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= 12, folder.name
