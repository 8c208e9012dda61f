"""The course: its parts, their holes, and the stub trees derived from the solutions.

A part is described by `exercises/partN.toml`: the folder, and for every hole the stub that a
participant meets, the ladder of hints, the holes it needs, wrong answers that its check must reject
and right ones that it must accept. What a hole asks stands in the source file, in the marker of its
region.
"""

import shutil
import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from workshop import regions
from workshop.errors import WorkshopError
from workshop.regions import Region

ROOT = Path(__file__).resolve().parents[1]
EXERCISES = Path(__file__).resolve().parent / "exercises"
# What runs and tools leave in a part's folder is not part of the course; nor is what is hidden.
LEFT_BEHIND = {"__pycache__", "outputs", "multirun"}


@dataclass(frozen=True)
class Answer:
    """A plausible answer to a hole: a wrong one, or a right one that is unlike ours."""

    why: str
    body: str


@dataclass(frozen=True)
class Hole:
    """One TODO of the course.

    `title` is for tables, `ask` is what the marker asks. `file` is relative to the part's folder;
    `needs` are the ids of the holes that must be done before this one can be checked.
    """

    id: str
    part: str
    file: str
    title: str
    ask: str
    stub: str
    hints: tuple[str, ...]
    needs: tuple[str, ...]
    wrong: tuple[Answer, ...]
    right: tuple[Answer, ...] = ()


@dataclass(frozen=True)
class Part:
    """One part: its folder's name, its holes in their order, and the module of its checks."""

    folder: str
    holes: tuple[Hole, ...]
    checks: Path

    def files(self, tree: Path) -> list[Path]:
        """Return the files of this part in a tree, relative to the part's folder, sorted."""
        base = tree / self.folder
        found = (path.relative_to(base) for path in base.rglob("*") if path.is_file())
        return sorted(path for path in found if not any(map(_is_left_behind, path.parts)))

    def regions(self, tree: Path) -> dict[str, tuple[Path, Region]]:
        """Return file and region of every hole that a tree holds, by id."""
        base = tree / self.folder
        return {
            region.id: (base / file, region)
            for file in self.files(tree)
            for region in regions.read(base / file)
        }


def _is_left_behind(name: str) -> bool:
    return name in LEFT_BEHIND or name.startswith(".")


@dataclass(frozen=True)
class Course:
    """All parts of the checkout at `root`; `root/solutions` is the source of the parts."""

    root: Path
    parts: tuple[Part, ...]

    @property
    def solutions(self) -> Path:
        return self.root / "solutions"

    @property
    def holes(self) -> dict[str, Hole]:
        return {hole.id: hole for part in self.parts for hole in part.holes}

    def part_of(self, hole: Hole) -> Part:
        return next(part for part in self.parts if part.folder == hole.part)

    def part(self, name: str) -> Part:
        """Return the part that `name` means: its folder, `part1` or `1`.

        Raises
        ------
        WorkshopError
            There is none.
        """
        short = name.strip("/\\").removeprefix("part")
        for part in self.parts:
            if short in (part.folder.removeprefix("part"), part.folder[len("part")]):
                return part
        raise WorkshopError(
            f"{name!r} is no part of this workshop. There are: "
            f"{', '.join(part.folder for part in self.parts)}"
        )

    def select(self, what: str | None) -> list[Hole]:
        """Return the holes that `what` names: a TODO, a part (its folder, `part1` or `1`), or all.

        Raises
        ------
        WorkshopError
            `what` names neither.
        """
        holes = self.holes
        if what is None:
            return list(holes.values())
        if what in holes:
            return [holes[what]]
        name = what.strip("/\\").removeprefix("part")
        for part in self.parts:
            if name in (part.folder.removeprefix("part"), part.folder[len("part")]):
                return list(part.holes)
        raise WorkshopError(
            f"{what!r} is no part and no TODO of this workshop.\n"
            f"  parts: {', '.join(part.folder for part in self.parts)}\n"
            f"  TODOs: {', '.join(holes)}"
        )


def is_open(hole: Hole, body: str) -> bool:
    """Tell whether a region still holds its stub."""
    return body.strip() == hole.stub.strip()


def latest_open(course: Course) -> Hole:
    """Return the first open TODO of the part in which something was saved last.

    Raises
    ------
    WorkshopError
        None is open.
    """
    found = []
    for part in course.parts:
        stands = part.regions(course.root)
        unsolved = [
            hole
            for hole in part.holes
            if hole.id in stands and is_open(hole, stands[hole.id][1].body)
        ]
        if unsolved:
            saved = max(file.stat().st_mtime for file, _ in stands.values())
            found.append((saved, unsolved[0]))
    if not found:
        raise WorkshopError("No TODO is open. Whether all are right: uv run workshop check")
    latest = max(saved for saved, _ in found)
    return next(hole for saved, hole in found if saved == latest)


def load(root: Path = ROOT, exercises: Path = EXERCISES) -> Course:
    """Read the course of a checkout.

    Raises
    ------
    WorkshopError
        A description and the solutions name different holes.
    """
    return Course(root, tuple(_part(root, path) for path in sorted(exercises.glob("part*.toml"))))


def _part(root: Path, description: Path) -> Part:
    read = tomllib.loads(description.read_text(encoding="utf-8"))
    _check_keys(description, read)
    part = Part(read["folder"], (), description.with_suffix(".py"))
    solved = part.regions(root / "solutions")
    described = [hole["id"] for hole in read["hole"]]
    if set(described) != set(solved):
        only = sorted(set(described).symmetric_difference(solved))
        raise WorkshopError(
            f"{description.name} and solutions/{part.folder} name different TODOs: "
            f"{', '.join(only)} stand in one of them only"
        )
    holes = []
    for hole in read["hole"]:
        file, region = solved[hole["id"]]
        holes.append(
            Hole(
                id=hole["id"],
                part=part.folder,
                file=file.relative_to(root / "solutions" / part.folder).as_posix(),
                title=hole["title"],
                ask=region.ask,
                stub=textwrap.dedent(hole["stub"]).lstrip("\n"),
                hints=tuple(textwrap.dedent(hint).strip() for hint in hole["hints"]),
                needs=tuple(hole.get("needs", ())),
                wrong=_answers(hole.get("wrong", ())),
                right=_answers(hole.get("right", ())),
            )
        )
    return Part(part.folder, tuple(holes), part.checks)


def _answers(read: Sequence[Mapping[str, str]]) -> tuple[Answer, ...]:
    return tuple(Answer(one["why"], textwrap.dedent(one["body"]).lstrip("\n")) for one in read)


def _check_keys(description: Path, read: dict) -> None:
    missing = [f"{description.name} has no {key}" for key in ("folder", "hole") if key not in read]
    for number, hole in enumerate(read.get("hole", ()), 1):
        name = f"the hole {hole.get('id', f'number {number}')} of {description.name}"
        missing += [
            f"{name} has no {key}" for key in ("id", "title", "stub", "hints") if key not in hole
        ]
        missing += [
            f"a {kind} answer of {name} has no {key}"
            for kind in ("wrong", "right")
            for answer in hole.get(kind, ())
            for key in ("why", "body")
            if key not in answer
        ]
    if missing:
        raise WorkshopError("\n".join(missing) + "\nCONTRIBUTING.md says what a hole needs.")


def section(course: Course, hole: Hole) -> str | None:
    """Return the heading of the README's section about a hole, which names it in bold."""
    readme = course.root / hole.part / "README.md"
    if not readme.is_file():
        return None
    before, named, _ = readme.read_text(encoding="utf-8").partition(f"**{hole.id}**")
    headings = [line for line in before.splitlines() if line.startswith("## ")]
    return headings[-1].removeprefix("## ") if named and headings else None


def derive(course: Course, part: Part) -> dict[Path, bytes]:
    """Return the files that the solutions of a part make of it, relative to its folder."""
    stubs = {hole.id: hole.stub for hole in part.holes}
    derived = {}
    for file in part.files(course.solutions):
        content = (course.solutions / part.folder / file).read_bytes()
        if regions.read(course.solutions / part.folder / file):
            text = content.decode("utf-8")
            content = regions.fill(text, stubs, notebook=file.suffix == ".ipynb").encode("utf-8")
        derived[file] = content
    return derived


def drift(course: Course, part: Part, *, inside: bool) -> list[str]:
    """Return how the part's folder differs from what the solutions make of it, a line each.

    With `inside`, the whole files are compared, byte for byte. Without it only what stands outside
    the regions: that stays equal while a participant works.
    """
    derived = derive(course, part)
    base = course.root / part.folder
    found = []
    for file, wanted in derived.items():
        if not (base / file).is_file():
            found.append(f"{part.folder}/{file.as_posix()} is missing")
            continue
        content = (base / file).read_bytes()
        if not inside and regions.read(base / file):
            notebook = file.suffix == ".ipynb"
            stubs = {hole.id: hole.stub for hole in part.holes}
            content = regions.fill(content.decode("utf-8"), stubs, notebook).encode("utf-8")
        if content != wanted:
            found.append(f"{part.folder}/{file.as_posix()} differs from the solutions")
    if inside:
        extra = set(part.files(course.root)) - set(derived)
        found += [f"{part.folder}/{file.as_posix()} is not in the solutions" for file in extra]
    return found


def write(course: Course, part: Part, kept: Path) -> list[str]:
    """Derive a part into its folder; return what was done, a line each.

    Nobody's work is lost: a file that changes or goes is first copied below `kept`.
    """
    derived = derive(course, part)
    base = course.root / part.folder
    keep = kept / datetime.now().strftime("%Y-%m-%d_%H-%M-%S") / part.folder
    done = []
    for file in sorted(set(derived) | set(part.files(course.root))):
        wanted = derived.get(file)
        old = (base / file).read_bytes() if (base / file).is_file() else None
        if old == wanted:
            continue
        if old is not None:
            (keep / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(base / file, keep / file)
        if wanted is None:
            (base / file).unlink()
            done.append(f"removed {part.folder}/{file.as_posix()}")
        else:
            (base / file).parent.mkdir(parents=True, exist_ok=True)
            (base / file).write_bytes(wanted)
            done.append(f"wrote {part.folder}/{file.as_posix()}")
    if keep.exists():
        done.append(f"what was there before is kept in {keep}")
    return done
