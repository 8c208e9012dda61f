"""What a project says of itself: its name, its licence, its authors. No addresses of people."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LICENCE_FILES = re.compile(r"(?:licen[cs]e|copying)(?:\.(?:md|txt|rst))?", re.I)
SPDX_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
ORCID = re.compile(r"https://orcid\.org/\d{4}-\d{4}-\d{4}-\d{3}[\dX]")


@dataclass(frozen=True)
class Author:
    """Somebody to name. `person` is False of an entity, such as a laboratory."""

    name: str
    person: bool = True
    orcid: str | None = None


@dataclass(frozen=True)
class About:
    """What the files of a project say.

    licence : its name in the list of SPDX, or an expression of such names
    licence_file : the file with its text
    """

    name: str | None = None
    licence: str | None = None
    licence_file: str | None = None
    authors: tuple[Author, ...] = ()

    @property
    def licence_said(self) -> str | None:
        """The licence in words, as a crate has it; None if none is stated."""
        return self.licence or (f"see code/{self.licence_file}" if self.licence_file else None)

    @property
    def licence_address(self) -> str | None:
        """The address of the licence's text, if it is one licence of the list."""
        if self.licence and SPDX_NAME.fullmatch(self.licence):
            return f"https://spdx.org/licenses/{self.licence}"
        return None


def read(files: Mapping[str, bytes]) -> About:
    """Read CITATION.cff, pyproject.toml and AUTHORS of a project, as far as they can be read.

    files : contents by paths from the root of the project
    """
    citation = _citation(files.get("CITATION.cff", b""))
    project = _project(files.get("pyproject.toml", b""))
    licence = citation.get("license") or project.get("license")
    return About(
        name=_text(citation.get("title")) or _text(project.get("name")),
        licence=_text(licence),
        licence_file=next((path for path in sorted(files) if LICENCE_FILES.fullmatch(path)), None),
        authors=(
            _cited(citation.get("authors"))
            or _packaged(project.get("authors"))
            or _listed(files.get("AUTHORS", b""))
        ),
    )


def _citation(content: bytes) -> Mapping[str, Any]:
    import yaml

    try:
        said = yaml.safe_load(content.decode())
    except (ValueError, yaml.YAMLError):
        return {}
    return said if isinstance(said, dict) else {}


def _project(content: bytes) -> Mapping[str, Any]:
    try:
        said = tomllib.loads(content.decode()).get("project", {})
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _cited(said: object) -> tuple[Author, ...]:
    found = []
    for one in said if isinstance(said, list) else []:
        if not isinstance(one, dict):
            continue
        person = " ".join(str(one[key]) for key in ("given-names", "family-names") if one.get(key))
        if name := person or _text(one.get("name")):
            orcid = _text(one.get("orcid"))
            orcid = orcid if orcid and ORCID.fullmatch(orcid) else None
            found.append(Author(name, bool(person), orcid))
    return tuple(found)


def _packaged(said: object) -> tuple[Author, ...]:
    entries = [one for one in said if isinstance(one, dict)] if isinstance(said, list) else []
    return tuple(Author(one["name"]) for one in entries if _text(one.get("name")))


def _listed(content: bytes) -> tuple[Author, ...]:
    lines = [line.strip() for line in content.decode(errors="replace").splitlines()]
    names = [re.sub(r"\s*<[^>]*>", "", line) for line in lines if line and line[0] not in "#=-*"]
    return tuple(Author(name, person=False) for name in names if name)
