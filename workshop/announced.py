"""What the slides announce of a course: slides/course.toml, which an instructor fills in."""

import io
import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from workshop.errors import WorkshopError


@dataclass(frozen=True)
class Course:
    """Where participants find the repository, and when the course takes place; empty: not said."""

    repository: str = ""
    date: str = ""

    def missing(self) -> list[str]:
        """Return the names of what nobody has filled in."""
        return [field.name for field in fields(self) if not getattr(self, field.name)]


def read(path: Path) -> Course:
    """Return what the file says.

    Raises
    ------
    WorkshopError
        It is no TOML, holds another key or no text, or its address has a space or a quote, which
        would end it in the command that the slide shows.
    """
    keys = [field.name for field in fields(Course)]
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WorkshopError(f"slides/{path.name} is no TOML: {error}") from None
    for key, value in found.items():
        if key not in keys:
            raise WorkshopError(f"slides/{path.name} has {key!r}, expected: {', '.join(keys)}")
        if not isinstance(value, str):
            raise WorkshopError(
                f"slides/{path.name}: {key} is {value!r}, expected a text in quotes"
            )
    course = Course(**{key: value.strip() for key, value in found.items()})
    if re.search(r"[\s\"'`$;&|<>()]", course.repository):
        raise WorkshopError(
            f"slides/{path.name}: repository is {course.repository!r}, expected what git clone "
            'takes without quotes, such as "https://HOST/PEOPLE/PROJECT.git"'
        )
    return course


def qr_code(address: str) -> bytes:
    """Return the QR code of an address as SVG, its quiet zone included."""
    import segno

    drawn = io.BytesIO()
    segno.make(address, error="m", micro=False).save(drawn, kind="svg", border=4, xmldecl=False)
    return drawn.getvalue()
