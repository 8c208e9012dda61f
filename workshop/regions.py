"""TODO regions: the lines of a file that a participant replaces.

    ##TODO 1.3## What is asked, in one line
    ## or in several.
    the region
    ##END##

The form is the same in Python, in YAML and in the cells of a notebook.
"""

import json
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from workshop.errors import WorkshopError

MARKER = re.compile(r"^(?P<indent>[ \t]*)##TODO (?P<id>\d+\.\d+)## (?P<ask>\S.*)$")
CONTINUED = re.compile(r"^[ \t]*## (?P<ask>\S.*)$")
SUFFIXES = {".py", ".yaml", ".ipynb"}
END = re.compile(r"^[ \t]*##END##[ \t]*$")


class RegionError(WorkshopError):
    """The markers of a file do not pair up."""


@dataclass(frozen=True)
class Region:
    """One region, as it stands in a file.

    `body` is without the indentation of its marker. `line` is the line of the marker, from 1, and
    `end` the line of its end; in a notebook both count within cell number `cell`, from 1.
    """

    id: str
    ask: str
    body: str
    line: int
    end: int
    cell: int | None = None

    @property
    def place(self) -> str:
        return f"line {self.line}" if self.cell is None else f"cell {self.cell}, line {self.line}"


def read(path: Path) -> list[Region]:
    """Return the regions of a file in their order; none for a file of another kind than code.

    Raises
    ------
    RegionError
        A region has no end, begins in another, or has the id of an earlier one.
    """
    if path.suffix not in SUFFIXES:
        return []
    try:
        text = path.read_text(encoding="utf-8")
        return parse(text, notebook=path.suffix == ".ipynb")
    except (RegionError, UnicodeDecodeError) as error:
        raise RegionError(f"{path}: {error}") from None


def parse(text: str, notebook: bool = False) -> list[Region]:
    """Return the regions of a text; see `read`."""
    found: list[Region] = []
    _rewrite(text, notebook, lambda region: found.append(region))
    ids = [region.id for region in found]
    for id in ids:
        if ids.count(id) > 1:
            raise RegionError(f"TODO {id} stands {ids.count(id)} times, expected once")
    return found


def fill(text: str, bodies: Mapping[str, str], notebook: bool = False) -> str:
    """Return the text with the regions of these ids replaced, all else equal to the byte."""
    return _rewrite(text, notebook, lambda region: bodies.get(region.id))


def without_markers(text: str) -> str:
    """Return the text with its regions' markers and questions left out, and their bodies kept."""
    kept, asking = [], False
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\r\n")
        asking = bool(MARKER.match(bare)) or (asking and bool(CONTINUED.match(bare)))
        if not asking and not END.match(bare):
            kept.append(line)
    return "".join(kept)


def _rewrite(text: str, notebook: bool, replace: Callable[[Region], str | None]) -> str:
    """Ask for every region what shall stand in it; None leaves it."""
    if not notebook:
        return _rewrite_lines(text, None, replace)
    if "##TODO" not in text:
        return text
    document = json.loads(text)
    for number, cell in enumerate(document["cells"], 1):
        source = _rewrite_lines("".join(cell["source"]), number, replace)
        cell["source"] = source.splitlines(keepends=True)
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _rewrite_lines(text: str, cell: int | None, replace: Callable[[Region], str | None]) -> str:
    lines = text.splitlines(keepends=True)
    out: list[str] = []
    at = 0
    while at < len(lines):
        out.append(lines[at])
        at += 1
        marker = MARKER.match(lines[at - 1].rstrip("\r\n"))
        if not marker:
            if "##TODO" in lines[at - 1] or END.match(lines[at - 1]):
                raise RegionError(
                    f"line {at}: a marker that begins no region: {lines[at - 1].strip()!r}; "
                    "expected '##TODO 1.3## what is asked' ... '##END##'"
                )
            continue
        first, ask = at, [marker["ask"]]
        while at < len(lines) and (more := CONTINUED.match(lines[at].rstrip("\r\n"))):
            ask.append(more["ask"])
            out.append(lines[at])
            at += 1
        begin = at
        while at < len(lines) and not END.match(lines[at]):
            if "##TODO" in lines[at]:
                break
            at += 1
        if at == len(lines) or not END.match(lines[at]):
            raise RegionError(f"line {first}: TODO {marker['id']} has no ##END##")
        old = "".join(lines[begin:at])
        region = Region(marker["id"], " ".join(ask), textwrap.dedent(old), first, at + 1, cell)
        new = replace(region)
        out.append(old if new is None else _indented(new, marker["indent"]))
        out.append(lines[at])
        at += 1
    return "".join(out)


def _indented(body: str, indent: str) -> str:
    body = textwrap.indent(body, indent)
    return body if not body or body.endswith("\n") else body + "\n"
