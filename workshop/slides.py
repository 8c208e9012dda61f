"""The slides: what `workshop slides` builds from slides/.

The text of a language lies in slides/LANG/, the order of the sections in slides/deck.typ, and the
layout, for all languages, in slides/theme.typ and drawings.typ. Code on slides is cut from the
solutions and from slides/examples/ at every build, so that a slide shows what the tests ran:
`#code("part1_logistic_regression/train.py::1.2")` names a TODO, a function, a method, or `all` for
the whole file. Nothing is fetched: the one font comes with matplotlib.
"""

import ast
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from workshop import announced, regions
from workshop.errors import WorkshopError

ROOT = Path(__file__).resolve().parents[1]
SLIDES = ROOT / "slides"
BUILD = SLIDES / "build"
FIGURES = SLIDES / "figures"
COURSE = SLIDES / "course.toml"
COLUMNS = 60  # of a line of code on a slide: what the last row can read
TIMESTAMP = 1767225600  # 2026-01-01, the date in every PDF: equal texts give equal bytes

ALL = "all"  # what `--lang` says for every language

COMPOSE = "compose "

_UNSAID = {
    "repository": "Nobody is told where to find the repository.",
    "date": "The title page has none.",
}

_CODE = re.compile(r'#?\bcode\(\s*"(?P<what>[^"]*)"')
_LANGS = {".py": "python", ".yaml": "yaml", ".toml": "toml"}


class SlidesError(WorkshopError):
    """The deck cannot be built; the message says why and what to do."""


@dataclass(frozen=True)
class Built:
    """A built deck: the PDF, and for the presentation the notes beside it."""

    pdf: Path
    pages: int
    notes: Path | None


def languages() -> list[str]:
    """Return the languages that the deck exists in."""
    return sorted(path.parent.name for path in SLIDES.glob("*/words.typ"))


def build(lang: str = "en", handout: bool = False, short: bool = False) -> Built:
    """Build one edition into slides/build/.

    Parameters
    ----------
    lang : the folder below slides/ that the text is read from
    handout : one page for each slide, without the steps in between
    short : the deck for three hours, without the slides that bear #long

    Raises
    ------
    SlidesError
        Typst is missing, it warns of something or fails, or code that a slide shows is not there.
    """
    compiler = compiler_for(lang, handout, short)
    pdf = BUILD / f"slides-{lang}{'-short' if short else ''}{'-handout' if handout else ''}.pdf"
    _write(pdf, _compiled(compiler))
    _check_room(compiler)
    marks = read_marks(compiler, "page-mark")
    notes = None
    if not handout:
        notes = pdf.with_suffix(".pdfpc")
        _write(notes, _pdfpc(marks, pdf.name).encode())
    return Built(pdf, len(marks), notes)


def compiler_for(lang: str = "en", handout: bool = False, short: bool = False):
    """Cut the code of a language's slides, and return a typst.Compiler for its deck.

    Raises
    ------
    SlidesError
        Typst is missing, the language does not exist, or code cannot be cut.
    WorkshopError
        slides/course.toml cannot be read.
    """
    if lang not in languages():
        raise SlidesError(
            f"There are no slides in {lang!r}. There are: {', '.join([*languages(), ALL])}"
        )
    typst = _typst()
    BUILD.mkdir(exist_ok=True)
    cuts = cut_all(sources(lang))
    _write(BUILD / "code.json", json.dumps(cuts, indent=1, ensure_ascii=False).encode())
    course = announced.read(COURSE)
    if course.repository:
        _write(BUILD / "repository.svg", announced.qr_code(course.repository))
    return typst.Compiler(
        str(SLIDES / "deck.typ"),
        root=str(ROOT),
        font_paths=[str(_fonts())],
        ignore_system_fonts=True,
        sys_inputs={
            "lang": lang,
            "handout": "yes" if handout else "no",
            "short": "yes" if short else "no",
            "repository": course.repository,
            "date": course.date,
            "version": version("reproducible-ml-workshop"),
        },
    )


def read_marks(compiler, label: str) -> list[dict]:
    """Return the values of all marks with a label, in the order of the pages."""
    return json.loads(compiler.query(f"<{label}>", field="value"))


def sources(lang: str) -> list[Path]:
    """Return the files that the text and layout of a deck stand in."""
    return sorted([*SLIDES.glob("*.typ"), *(SLIDES / lang).glob("*.typ")])


def _compiled(compiler) -> bytes:
    """Return the tagged PDF; every warning is an error.

    PDF/UA-1 refuses an image or an equation without an alternative text.
    """
    import typst

    try:
        pdf, warnings = compiler.compile_with_warnings(
            format="pdf", pdf_standards=["ua-1"], timestamp=TIMESTAMP
        )
    except typst.TypstError as error:
        raise SlidesError(f"Typst cannot build the slides:\n{_told(error)}") from None
    if warnings:
        told = "\n".join(_told(warning) for warning in warnings)
        raise SlidesError(f"Typst warns, and a warning on a slide is an error:\n{told}")
    return pdf


def _write(path: Path, content: bytes) -> None:
    """Write a file at once: another build may be reading it."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _check_room(compiler) -> None:
    """Refuse a slide that runs over its edge and code that wraps: Typst says nothing of either."""
    full = [
        f"{fit['title']!r} needs {fit['needs']:.0f} pt of height and has {fit['room']:.0f}"
        for fit in read_marks(compiler, "slide-fit")
        if fit["needs"] > fit["room"] + 0.01
    ]
    wide = [
        f"{fit['text'].splitlines()[0]!r} ... needs {fit['needs']:.0f} pt of width and has "
        f"{fit['room']:.0f}"
        for fit in read_marks(compiler, "code-fit")
        if fit["needs"] > fit["room"] + 0.01
    ]
    if full or wide:
        told = "\n".join(f"  {line}" for line in dict.fromkeys([*full, *wide]))
        raise SlidesError(f"More than fits stands on these slides:\n{told}")


def _told(trouble: Exception) -> str:
    """Return what Typst says with the lines it points at, without the way to this checkout."""
    said = getattr(trouble, "diagnostic", None) or str(trouble)
    hints = "".join(f"\n  hint: {hint}" for hint in getattr(trouble, "hints", ()))
    return str(said).replace(str(ROOT), "").strip() + hints


def _typst():
    try:
        import typst
    except ModuleNotFoundError:
        raise SlidesError(
            "Typst, which sets the slides, is not installed. It is in the dependency group "
            "`slides`: uv run --group slides workshop slides"
        ) from None
    return typst


def _fonts() -> Path:
    """Return the folder of DejaVu Sans, without importing matplotlib."""
    package = Path(importlib.util.find_spec("matplotlib").origin).parent
    return package / "mpl-data" / "fonts" / "ttf"


def _pdfpc(marks: Sequence[dict], pdf: str) -> str:
    """Return the notes in the form of pdfpc: the same note for every step of a slide.

    Every note opens with the time from the start of the talk at which its page begins and ends.
    """
    clock = timetable(marks)
    pages = [
        {
            "idx": index,
            "label": str(mark["number"]),
            "overlay": mark["step"] - 1,
            "note": f"{_timed(*clock[mark['number']])}\n\n{mark['note'] or ''}".strip(),
        }
        for index, mark in enumerate(marks)
    ]
    document = {"pdfpcFormat": 2, "disableMarkdown": False, "pdfFile": pdf, "pages": pages}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def timetable(marks: Iterable[dict]) -> dict[int, tuple[int, int]]:
    """Return the minutes of the talk at which every page begins and ends, by its number.

    The page of a section lasts as long as all of its slides, which begin with it.
    """
    pages = {mark["number"]: mark for mark in marks}.values()
    lasts = {}
    for page in pages:
        lasts[page["section"]] = lasts.get(page["section"], 0) + page["minutes"]
    clock, now = {}, 0
    for page in pages:
        lasting = lasts[page["section"]] if page["kind"] == "section" else page["minutes"]
        clock[page["number"]] = (now, now + lasting)
        now += page["minutes"]
    return clock


def _timed(start: int, end: int) -> str:
    """Write times as `1:05-1:07 (2 min)`, in hours and minutes."""
    begin, until = (f"{minute // 60}:{minute % 60:02}" for minute in (start, end))
    return f"{begin}–{until} ({end - start} min)"


# -------------------------------------------------------------------------------------- code


def cut_all(texts: Iterable[Path]) -> dict[str, dict]:
    """Return every piece of code that the texts name: its text, its language and its label.

    Raises
    ------
    SlidesError
        A file, a TODO or a function is not there, or a line is too long for a slide.
    """
    wanted: dict[str, list[str]] = {}  # the slides that show it
    for path in texts:
        if path.parent == SLIDES:
            continue  # the theme shows no code
        text = path.read_text(encoding="utf-8")
        for found in _CODE.finditer(text):
            wanted.setdefault(found["what"], []).append(_slide_at(path, text, found.start()))
    raw = {}
    for what, places in wanted.items():
        try:
            raw[what] = cut(what)
        except WorkshopError as error:
            raise SlidesError(
                f"{', '.join(dict.fromkeys(places))}: {error}\n"
                f'If it was renamed, write its new name in #code("{what}"), in every language.'
            ) from None
    python = {what: text for what, text in raw.items() if _language(what) == "python"}
    cuts = {}
    for what, text in (raw | _narrowed(python)).items():
        for line in text.splitlines():
            if len(line) > COLUMNS:
                raise SlidesError(
                    f"{wanted[what][0]}: a line of {what} has {len(line)} columns, expected "
                    f"{COLUMNS} at most: {line.strip()!r}"
                )
        cuts[what] = {
            "text": text.rstrip("\n"),
            "lang": _language(what),
            "label": _label(what),
        }
    return cuts


def _slide_at(path: Path, text: str, position: int) -> str:
    """Return the file and the title of the slide that holds a position of its text."""
    titles = re.findall(r"^==? +(.*)$", text[:position], re.M)
    title = f" ({titles[-1].replace('~', ' ')})" if titles else ""
    return f"slides/{path.relative_to(SLIDES).as_posix()}{title}"


def cut(what: str) -> str:
    """Return the code that FILE::NAME names, without indentation, as it stands in the file.

    FILE is looked for in solutions/ and in slides/. NAME is the id of a TODO, a function, a class,
    CLASS.METHOD, a key at the top of a YAML file, or `all`. `compose PART::OVERRIDES` names what
    Hydra composes. Docstrings are left out, and so are the markers of TODOs and the first line of a
    configuration, which says how to run it.

    Raises
    ------
    SlidesError
        There is no such file, or nothing of that name in it.
    """
    if what.startswith(COMPOSE):
        return _composed(what)
    path, name = _file_of(what), what.rpartition("::")[2]
    text = path.read_text(encoding="utf-8")
    if re.fullmatch(r"\d+\.\d+", name):
        found = {region.id: region.body for region in regions.read(path)}
        if name not in found:
            there = ", ".join(found) or "none"
            raise SlidesError(f"There is no TODO {name} in {_shown(path)}. There are: {there}")
        return found[name]
    if name == "all":
        lines = text.splitlines(keepends=True)
        if path.suffix == ".yaml":
            lines = [_fitting(line) for line in lines if not line.startswith("# ")]
        elif path.suffix == ".py":
            lines = _without_docstrings(ast.parse(text), lines)
        return _without_markers("".join(line for line in lines if line is not None))
    if path.suffix == ".yaml":
        return _value(path, text, name)
    return _definition(path, text, name)


def _value(path: Path, text: str, key: str) -> str:
    """Return a key at the top of a YAML file with all that stands below it."""
    found = re.search(rf"^{re.escape(key)}:.*\n(?:[ \t].*\n|[ \t]*\n(?=[ \t]))*", text + "\n", re.M)
    if not found:
        raise SlidesError(f"There is no key {key} at the top of {_shown(path)}.")
    return (
        "".join(_fitting(line) for line in found[0].rstrip("\n").splitlines(keepends=True)) + "\n"
    )


def _composed(what: str) -> str:
    """Return what Hydra makes of `compose PART::OVERRIDES`: the resolved configuration.

    Words without = are the keys of its top level to show, if there are any.
    """
    from omegaconf import OmegaConf

    from workshop.drive import Driver

    part, _, overrides = what.removeprefix(COMPOSE).partition("::")
    shown = [word for word in overrides.split() if "=" not in word]
    composed = Driver(ROOT / "solutions" / part).compose(
        *(word for word in overrides.split() if "=" in word)
    )
    resolved = OmegaConf.to_container(composed, resolve=True)
    return OmegaConf.to_yaml({key: resolved[key] for key in shown or resolved})


def _definition(path: Path, text: str, name: str) -> str:
    tree, lines = ast.parse(text), text.splitlines(keepends=True)
    kinds = (ast.FunctionDef, ast.ClassDef)
    scope, node = tree, None
    for part in name.split("."):
        inside = {n.name: n for n in scope.body if isinstance(n, kinds)}
        if part not in inside:
            there = ", ".join(inside) or "none"
            raise SlidesError(f"There is no {name} in {_shown(path)}. There are: {there}")
        scope = node = inside[part]
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    kept = _without_docstrings(node, lines)[first - 1 : node.end_lineno]
    return _without_markers(textwrap.dedent("".join(line for line in kept if line is not None)))


def _without_docstrings(tree: ast.AST, lines: Sequence[str]) -> list[str | None]:
    """Return the lines with None in place of those of a docstring."""
    kept: list[str | None] = list(lines)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            continue
        if ast.get_docstring(node) is None or len(node.body) == 1:
            continue
        first, last = node.body[0].lineno, node.body[0].end_lineno
        if last < len(lines) and not lines[last].strip():
            last += 1  # the blank line after it
        kept[first - 1 : last] = [None] * (last - first + 1)
    return kept


def _without_markers(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(x for x in lines if not re.match(r"\s*##( |TODO |END##)", x)).strip("\n") + "\n"


def _fitting(line: str) -> str:
    """Make a line of YAML fit: without its comment, or else with {...} on a line of its own."""
    if len(line.rstrip("\n")) > COLUMNS:
        line = re.sub(r"\s+# .*", "", line)
    if len(line.rstrip("\n")) > COLUMNS:
        line = re.sub(r"^(\s*)(\S+:) (\{.*\})$", r"\1\2\n\1  \3", line)
    return line


def _narrowed(pieces: dict[str, str]) -> dict[str, str]:
    """Return pieces of Python with their lines broken for a slide; ruff does it."""
    ruff = _ruff()
    narrowed = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {what: Path(folder) / f"{number}.py" for number, what in enumerate(pieces)}
        for what, path in paths.items():
            # A region may hold the body of a loop or a function: inside a function that is legal.
            text = "def _():\n" + textwrap.indent(pieces[what], "    ")
            path.write_text(text, encoding="utf-8")
        options = ["--isolated", "--no-cache", "--quiet", "--line-length", str(COLUMNS + 4)]
        command = [*ruff, "format", *options, folder]
        done = subprocess.run(command, capture_output=True, encoding="utf-8")
        if done.returncode:
            raise SlidesError(f"ruff cannot read what slides show:\n{done.stderr}")
        for what, path in paths.items():
            text = path.read_text(encoding="utf-8").removeprefix("def _():\n")
            narrowed[what] = textwrap.dedent(text).strip("\n")
    return narrowed


def _ruff() -> list[str]:
    if importlib.util.find_spec("ruff") is None:
        raise SlidesError(
            "ruff, which breaks long lines of code for slides, is not installed. It is in the "
            "dependency group `slides`: uv run --group slides workshop slides"
        )
    from ruff import find_ruff_bin

    return [find_ruff_bin()]


def _file_of(what: str) -> Path:
    file, colons, name = what.rpartition("::")
    if not colons or not name:
        raise SlidesError(f"{what!r} names no code. Expected FILE::NAME, such as train.py::1.2")
    for folder in (ROOT / "solutions", SLIDES):
        if (folder / file).is_file():
            return folder / file
    raise SlidesError(f"There is no {file} in solutions/ or in slides/")


def _language(what: str) -> str:
    return "yaml" if what.startswith(COMPOSE) else _LANGS[_file_of(what).suffix]


def _shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _label(what: str) -> str:
    """Return what stands below the code: the file, as a participant knows it."""
    if what.startswith(COMPOSE):
        return ""
    path, name = _file_of(what), what.rpartition("::")[2]
    file = _shown(path).removeprefix("solutions/")
    return f"{file} · TODO {name}" if re.fullmatch(r"\d+\.\d+", name) else file


# ------------------------------------------------------------------------------------ figures


def figure_scripts() -> dict[str, Path]:
    """Return the scripts that draw figures, by name."""
    drawing = (p for p in FIGURES.glob("*.py") if "\ndef draw(" in p.read_text(encoding="utf-8"))
    return {path.stem: path for path in sorted(drawing)}


def figure_key(script: Path) -> str:
    """Return the key of what a figure is made of: its script, the style, and the files it names.

    A script names them in `MADE_OF`, relative to the root of the repository.
    """
    made_of = _constant(script, "MADE_OF") or ()
    digest = hashlib.sha256()
    for path in (script, FIGURES / "style.py", *(ROOT / name for name in made_of)):
        if not path.is_file():
            raise SlidesError(f"{_shown(script)} is made of {path.name}, which is not there")
        digest.update(path.read_text(encoding="utf-8").encode() + b"\0")
    return digest.hexdigest()[:16]


def figure_words(script: Path) -> dict[str, object]:
    """Return the words of a figure by language; none if one picture serves all languages."""
    return _constant(script, "WORDS") or {}


def is_drawn(script: Path) -> bool:
    """Return whether the pictures of a figure are there, whatever they were made of."""
    words = figure_words(script)
    if not words:
        return any(script.with_suffix(kind).exists() for kind in (".svg", ".png"))
    return all(script.with_suffix(f".{lang}.svg").exists() for lang in words)


def stale_figures() -> list[str]:
    """Return the figures that are not drawn, or whose script or sources have changed since."""
    keys = _read_keys()
    return [
        name
        for name, script in figure_scripts().items()
        if keys.get(name) != figure_key(script) or not is_drawn(script)
    ]


def draw(names: Sequence[str] = ()) -> list[str]:
    """Draw these figures, or all that are stale, and note their keys; return their names.

    A figure is drawn for all its languages by one process, so that a script can keep what it
    measured for the first of them (`functools.cache`) for the others.

    Raises
    ------
    SlidesError
        There is no such figure.
    """
    scripts = figure_scripts()
    for name in names:
        if name not in scripts:
            raise SlidesError(f"There is no figure {name!r}. There are: {', '.join(scripts)}")
    drawn = list(names) or stale_figures()
    for name in drawn:
        key = figure_key(scripts[name])  # before: what changes while it draws makes it stale
        each = [(lang,) for lang in figure_words(scripts[name])] or [()]
        code = f"import {name} as f; [f.draw(*each) for each in {each}]"
        paths = f"import sys; sys.path[:0] = {[str(FIGURES), str(ROOT)]!r}; "
        if subprocess.run([sys.executable, "-c", paths + code], cwd=ROOT).returncode:
            raise SlidesError(f"slides/figures/{name}.py did not come to its end; see above")
        keys = _read_keys() | {name: key}
        text = json.dumps(dict(sorted(keys.items())), indent=1) + "\n"
        (FIGURES / "keys.json").write_text(text, encoding="utf-8", newline="\n")
    return drawn


def _constant(script: Path, name: str) -> object:
    """Return a constant of a script, without running it; None if it has none of that name."""
    for node in ast.parse(script.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return ast.literal_eval(node.value)
    return None


def _read_keys() -> dict[str, str]:
    path = FIGURES / "keys.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


# ------------------------------------------------------------------------------------ command


def make(lang: str, handout_only: bool, short: bool = False) -> None:
    """Build presentation, notes and handout, or the handout alone, and say where they are.

    `lang` may be `all`: every language, one after the other. What the instructor has not said in
    slides/course.toml is named at the end.
    """
    for one in languages() if lang == ALL else (lang,):
        for handout in (True,) if handout_only else (False, True):
            built = build(one, handout, short)
            print(f"{_shown(built.pdf)}  ({built.pages} pages)")
            if built.notes:
                print(f"{_shown(built.notes)}  (notes: pdfpc {_shown(built.pdf)})")
    for name in announced.read(COURSE).missing():
        print(f"Not said yet: {name}, in {_shown(COURSE)}. {_UNSAID[name]}", file=sys.stderr)
