"""How checks and hints look on the screen."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from workshop.answers import Replaced
from workshop.checks import Result, next_hole
from workshop.course import Course, Hole
from workshop.course import section as course_section
from workshop.doctor import Finding
from workshop.errors import WorkshopError

STYLES = {"done": "green", "open": "yellow", "wrong": "red", "waiting": "dim"}


def progress(results: Iterable[Result]) -> list[Result]:
    """Collect the results, and show on a terminal that something happens meanwhile."""
    console = Console(stderr=True)
    found = []
    try:
        with console.status("Running your code on the digits ...", spinner="line"):
            for result in results:
                found.append(result)
    except KeyboardInterrupt:
        console.print(f"Interrupted after {len(found)} checks.")
        if not found:
            raise
    return found


def table(found: list[Result], course: Course, tree: Path | None = None) -> None:
    """Print a line for each hole, what is wrong, and what comes next."""
    console = Console(highlight=False)
    view = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("TODO", "state", "what", "where"):
        view.add_column(column, no_wrap=column in ("TODO", "state"), header_style="bold")
    for result in found:
        where = f"{result.file.name}, {result.place}"
        view.add_row(
            result.hole.id, f"[{STYLES[result.state]}]{result.state}[/]", result.hole.title, where
        )
    console.print(view)

    same: dict[str, list[str]] = {}  # what stops several holes is said once
    for result in found:
        if result.state in ("wrong", "waiting"):
            same.setdefault(result.message, []).append(result.hole.id)
    for message, ids in same.items():
        console.print(f"\n[bold]TODO {', '.join(ids)}[/] {escape(message)}", soft_wrap=True)
    console.print()
    done = sum(result.state == "done" for result in found)
    hole = next_hole(course, found, tree)
    if hole is None:
        answers = course.solutions.relative_to(course.root) / found[0].hole.part
        console.print(
            f"All {done} done. To compare, our answers: {escape(answers.as_posix())}",
            soft_wrap=True,
        )
        return
    file, region = course.part_of(hole).regions(tree or course.root)[hole.id]
    place = file.relative_to(course.root) if file.is_relative_to(course.root) else file
    about = course_section(course, hole)
    console.print(
        f"{done} of {len(found)} done. Next: TODO {hole.id} in {escape(place.as_posix())}, "
        f"{region.place}\n  {escape(hole.ask)}\n"
        + (f"  read:    {escape(f'{hole.part}/README.md, {about}')}\n" if about else "")
        + f"  a hint:  uv run workshop hint {hole.id}",
        soft_wrap=True,
    )


def findings(found: Iterable[Finding]) -> bool:
    """Print what the doctor found, as it comes; return whether anything failed."""
    styles = {"OK": "green", "WARN": "yellow", "FAIL": "red"}
    console, failed = Console(highlight=False), False
    for finding in found:
        failed = failed or finding.state == "FAIL"
        console.print(
            f"[{styles[finding.state]}]{finding.state:5}[/]{escape(finding.what):15}", end=""
        )
        console.print(finding.message, markup=False, soft_wrap=True)
    return failed


def hint(hole: Hole, step: int) -> None:
    """Print one rung of a hole's ladder of hints, and how to get the next.

    Raises
    ------
    WorkshopError
        The ladder has no such rung.
    """
    if not 1 <= step <= len(hole.hints):
        raise WorkshopError(
            f"TODO {hole.id} has hints 1 to {len(hole.hints)}, not {step}. "
            f"The answer stands in solutions/{hole.part}/{hole.file}"
        )
    console = Console(highlight=False, markup=False)
    console.print(f"TODO {hole.id}  {hole.part}/{hole.file}", style="bold", soft_wrap=True)
    console.print(f"{hole.ask}\n", soft_wrap=True)
    console.print(f"Hint {step} of {len(hole.hints)}:\n{hole.hints[step - 1]}\n", soft_wrap=True)
    if step < len(hole.hints):
        console.print(f"more:   uv run workshop hint {hole.id} {step + 1}")
    console.print(f"check:  uv run workshop check {hole.id}")


def difference(lines: list[str]) -> None:
    """Print how an answer differs from ours; the signs say it, the colours only repeat it."""
    console = Console(highlight=False)
    if not lines:
        console.print("Your answer is ours, to the letter.")
    for line in lines:
        style = {"-": "red", "+": "green", "@": "cyan"}.get(line[:1])
        console.print(line, style=style, markup=False, soft_wrap=True)


def replaced(done: Replaced, course: Course) -> None:
    """Print which files were written, and where what they held is kept."""
    for file in done.files:
        print(f"wrote {file.relative_to(course.root).as_posix()}")
    if done.kept:
        kept = done.kept.relative_to(course.root).as_posix()
        print(f"What was there before is kept in {kept}. Reload what is open in an editor.")
