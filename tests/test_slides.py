"""The slides say what the code does, and nothing on them is cut off."""

import ast
import io
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import composed, run

from samerun.compare.chance import Share, difference_interval, mcnemar
from samerun.store.tracking import use_store
from workshop import announced, cli, course, slides
from workshop.errors import WorkshopError

LANGUAGES = slides.languages()
PALETTE = json.loads((slides.SLIDES / "palette.json").read_text(encoding="utf-8"))
SMALLEST = 14  # points, on a page as wide as A4 is long
# How a language parts the thousands and the decimals of a number.
NUMBERS = {"en": (",", "."), "fr": ("~", ",")}


@pytest.fixture(scope="module", params=LANGUAGES)
def deck(request):
    """Both editions of a language, built once, and what Typst knows of them."""
    pytest.importorskip("typst", reason="the dependency group `slides` is not installed")
    pytest.importorskip("ruff", reason="the dependency group `slides` is not installed")
    lang = request.param
    compilers = {kind: slides.compiler_for(lang, kind == "handout") for kind in ("talk", "handout")}
    return SimpleNamespace(
        lang=lang,
        talk=slides.build(lang),
        handout=slides.build(lang, handout=True),
        compilers=compilers,
        text="\n".join(path.read_text(encoding="utf-8") for path in texts(lang)),
        marks={kind: slides.read_marks(c, "page-mark") for kind, c in compilers.items()},
        short=slides.read_marks(slides.compiler_for(lang, True, short=True), "page-mark"),
    )


def texts(lang: str) -> list[Path]:
    return sorted((slides.SLIDES / lang).glob("*.typ"))


def prose(text: str) -> str:
    """Return the text of slides without code, commands, mathematics, addresses and comments."""
    text = re.sub(r"```.*?```|`[^`\n]*`|(?<=[ (])\$.*?\$", "", text, flags=re.S)
    text = re.sub(r'#?\b(code|link)\("[^"]*"', "", text)
    return re.sub(r"^\s*(//|#import).*\n", "", text, flags=re.M)


def commands(lang: str) -> list[str]:
    """Return the commands in the console blocks of a language's texts."""
    found = []
    for path in texts(lang):
        for block in re.findall(r"```console\n(.*?)```", path.read_text(encoding="utf-8"), re.S):
            lines = (line.strip().split("   ")[0] for line in block.splitlines())
            found += [line for line in lines if line.startswith("uv ")]
    return found


COMMANDS = sorted({command for lang in LANGUAGES for command in commands(lang)})
SCRIPTS = [c for c in COMMANDS if re.search(r"\bpart\d\w+/\w+\.py", c)]
OTHERS = [c for c in COMMANDS if c not in SCRIPTS]


# -------------------------------------------------------------------------------- the pages


@pytest.mark.slow
def test_the_handout_has_a_page_for_every_heading_and_the_title(deck):
    headings = re.findall(r"^==? \S.*$", deck.text, re.M)
    assert deck.handout.pages == len(headings) + 1
    assert pages(deck.handout.pdf) == deck.handout.pages


@pytest.mark.slow
def test_the_talk_has_a_page_for_every_step_and_one_heading_for_each_slide(deck):
    marks = deck.marks["talk"]
    assert pages(deck.talk.pdf) == len(marks) > deck.handout.pages
    assert len({mark["number"] for mark in marks}) == deck.handout.pages
    query = deck.compilers["talk"].query("heading.where(outlined: true)", field="level")
    assert len(json.loads(query)) == deck.handout.pages - 1  # all but the title page


@pytest.mark.slow
def test_nothing_runs_over_the_edge_of_a_page(deck):
    import numpy as np
    from PIL import Image

    images = deck.compilers["handout"].compile(format="png", ppi=24)
    assert len(images) == deck.handout.pages
    for mark, png in zip(deck.marks["handout"], images, strict=True):
        with Image.open(io.BytesIO(png)) as image:
            pixels = np.asarray(image.convert("L"), dtype=int)
        if mark["kind"] == "slide":
            edges = [pixels[:, :10], pixels[:, -10:], pixels[:6]]
            assert all(edge.min() > 250 for edge in edges), mark["title"]


@pytest.mark.slow
def test_a_slide_with_too_much_on_it_fails_the_build(deck):
    full = {"title": "Too much", "needs": 500.0, "room": 320.0}
    wide = {"text": "x = 1", "needs": 800.0, "room": 718.0}
    found = {"slide-fit": [full], "code-fit": [wide]}
    stand_in = SimpleNamespace(query=lambda label, field: json.dumps(found[label.strip("<>")]))
    with pytest.raises(WorkshopError, match=r"(?s)Too much.*500.*x = 1.*800"):
        slides._check_room(stand_in)


@pytest.mark.slow
def test_two_builds_are_equal_to_the_byte(deck):
    before = deck.handout.pdf.read_bytes()
    assert slides.build(deck.lang, handout=True).pdf.read_bytes() == before


@pytest.mark.slow
def test_the_pdf_is_tagged_and_names_its_language_and_title(deck):
    content = deck.handout.pdf.read_bytes()
    assert b"/MarkInfo" in content and b"/StructTreeRoot" in content
    assert re.search(rf"/Lang\({deck.lang}(-[A-Z]+)?\)".encode(), content)
    assert b"<pdfuaid:part>1" in content  # PDF/UA-1: refused without alternative texts


@pytest.mark.slow
def test_every_image_and_equation_has_an_alternative_text(deck):
    for element in ("image", "math.equation"):
        found = json.loads(deck.compilers["handout"].query(element))
        assert found
        for one in found:
            assert len(one.get("alt") or "") >= 1, one


@pytest.mark.slow
def test_no_character_lacks_a_glyph(deck):
    # Typst only warns of a missing glyph; PDF/A-2b makes it an error.
    deck.compilers["handout"].compile(format="pdf", pdf_standards=["a-2b"])


@pytest.mark.slow
def test_the_notes_name_every_page_of_the_talk(deck):
    notes = json.loads(deck.talk.notes.read_text(encoding="utf-8"))
    assert [page["idx"] for page in notes["pages"]] == list(range(deck.talk.pages))
    said = [page["note"].partition("\n\n") for page in notes["pages"]]
    assert all(re.fullmatch(r"\d:\d\d–\d:\d\d \(\d+ min\)", time) for time, _, _ in said)
    assert not any(text.startswith((" ", "\n", "None")) for _, _, text in said)
    assert sum(bool(text) for _, _, text in said) >= 40


def minutes_of_parts(marks: list[dict]) -> list[int]:
    """Return the minutes of the talk, of the three parts and of the closing."""
    clock = slides.timetable(marks)
    sections = [mark["number"] for mark in marks if mark["kind"] == "section"]
    lasts = [end - start for start, end in map(clock.get, sections)]
    return [sum(lasts[:5]), *lasts[5:9]]  # the appendix is on top


@pytest.mark.slow
def test_both_decks_last_as_long_as_the_instructors_guide_says(deck):
    guide = (slides.ROOT / "INSTRUCTORS.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| .* \| (\d+) minutes \| (\d+) minutes \|", guide, re.M)
    full, short = (list(map(int, column)) for column in zip(*told, strict=True))
    assert minutes_of_parts(deck.marks["handout"]) == full[:-1]
    assert minutes_of_parts(deck.short) == short[:-1]
    assert (full[-1], short[-1]) == (sum(full[:-1]), sum(short[:-1]))
    assert short[-1] == 3 * 60


@pytest.mark.slow
def test_the_short_deck_is_the_full_one_without_the_slides_that_are_long(deck):
    left_out = [title for _, title, body in cut_into_slides(deck.lang) if "\n#long\n" in body]
    full = [mark["title"] for mark in deck.marks["handout"]]
    short = [mark["title"] for mark in deck.short]
    assert len(left_out) >= 20
    assert len(short) == len(full) - len(left_out)
    assert [title for title in full if title in short] == short


@pytest.mark.slow
def test_every_page_has_something_for_the_presenter_to_say(deck):
    silent = [m["title"] for m in deck.marks["handout"] if m["kind"] == "slide" and not m["note"]]
    assert silent == []


@pytest.mark.slow
def test_every_work_in_the_bibliography_is_cited(deck):
    bib = (slides.SLIDES / "references.bib").read_text(encoding="utf-8")
    works = set(re.findall(r"^@\w+\{(\w+),", bib, re.M))
    assert works == set(re.findall(r"@([a-z-]+\d{4})", deck.text))  # an unknown one fails the build


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_work_in_the_bibliography_is_listed_once_with_its_address(lang):
    bib = (slides.SLIDES / "references.bib").read_text(encoding="utf-8")
    entries = {
        name: entry for name, entry in re.findall(r"^@\w+\{(\w+),(.*?)^\}", bib, re.M | re.S)
    }
    text = "\n".join(path.read_text(encoding="utf-8") for path in texts(lang))
    listed = [
        w for found in re.findall(r"#works\((.*?)\)", text) for w in re.findall(r"\w+", found)
    ]
    assert sorted(listed) == sorted(entries)
    for name, entry in entries.items():
        assert re.search(r"^  (doi|url) +=", entry, re.M), name


# ----------------------------------------------------------------- what an instructor fills in


@pytest.fixture
def announce(tmp_path, monkeypatch):
    """Return a function that writes slides/course.toml for the test."""

    def write(text: str) -> None:
        monkeypatch.setattr(slides, "COURSE", tmp_path / "course.toml")
        (tmp_path / "course.toml").write_text(text, encoding="utf-8")

    return write


@pytest.mark.slow
def test_the_address_and_the_date_of_the_course_stand_on_its_slides(announce):
    pytest.importorskip("typst", reason="the dependency group `slides` is not installed")
    address = "https://git.example.org/lab/workshop.git"
    announce(f'repository = "{address}"\ndate = "12 May"\n')
    compiler = slides.compiler_for("en", handout=True)
    cut_code = [fit["text"] for fit in slides.read_marks(compiler, "code-fit")]
    assert f"git clone {address} workshop\ncd workshop" in cut_code
    alts = [image.get("alt") for image in json.loads(compiler.query("image"))]
    assert "QR code: the address of the repository" in alts
    assert "12 May" in compiler.query("<day>")


def test_the_qr_code_is_that_of_the_address():
    import segno

    drawn = announced.qr_code("https://git.example.org/lab/workshop.git").decode()
    size = segno.make("https://git.example.org/lab/workshop.git", error="m").symbol_size(border=4)
    assert (
        f'width="{size[0]}"' in drawn
        and drawn != announced.qr_code("https://git.example.org/lab/workshop.gis").decode()
    )


def test_what_an_instructor_has_not_said_is_named(announce, monkeypatch, capsys):
    monkeypatch.setattr(
        slides, "build", lambda *_: slides.Built(slides.BUILD / "slides-en.pdf", 1, None)
    )
    monkeypatch.setattr(slides, "_shown", lambda path: path.name)
    announce('repository = ""\ndate = "12 May"\n')
    slides.make("en", handout_only=True)
    said = capsys.readouterr().err
    assert said.startswith("Not said yet: repository, in course.toml.") and "date" not in said
    announce('repository = "https://git.example.org/a.git"\ndate = " "\n')
    slides.make("en", handout_only=True)
    assert capsys.readouterr().err.startswith("Not said yet: date, in course.toml.")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("repository = ", "is no TOML"),
        ('adress = "x"', "has 'adress', expected: repository, date"),
        ("date = 2026-05-12", "date is datetime.*expected a text in quotes"),
        ('repository = "https://a b"', "repository is 'https://a b', expected what git clone"),
        ("repository = 'https://a; rm'", "expected what git clone"),
    ],
)
def test_a_mistake_in_the_file_of_the_course_is_named(announce, text, told):
    announce(text)
    with pytest.raises(WorkshopError, match=told):
        announced.read(slides.COURSE)


def test_a_file_of_the_course_in_another_encoding_is_named(announce):
    announce("")
    slides.COURSE.write_bytes('date = "février"'.encode("latin-1"))
    with pytest.raises(WorkshopError, match="is no TOML"):
        announced.read(slides.COURSE)


def test_the_file_of_the_course_can_be_read_filled_in_or_not():
    announced.read(slides.SLIDES / "course.toml")  # or it raises


def pages(pdf: Path) -> int:
    """Count the pages of a PDF as it stands in the file's own page tree."""
    return max(
        int(n) for n in re.findall(rb"/Type\s*/Pages\b.*?/Count (\d+)", pdf.read_bytes(), re.S)
    )


# --------------------------------------------------------------------------- text and layout


@pytest.mark.parametrize("lang", LANGUAGES)
def test_todos_on_slides_are_in_the_course(lang):
    holes = course.load().holes
    for path in texts(lang):
        text = path.read_text(encoding="utf-8")
        named = re.findall(r"TODO (\d+\.\d+)", text) + re.findall(r"::(\d+\.\d+)\"", text)
        assert [id for id in named if id not in holes] == [], path.name


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_todo_has_its_turn_with_a_command_and_what_will_be_seen(lang):
    turns = [
        (title, body)
        for _, title, body in cut_into_slides(lang)
        if re.search(r"^#turn\(", body, re.M)
    ]
    named = []
    for title, body in turns:
        named += re.findall(r"^  \(\[(\d\.\d+)\], ", body, re.M)
        assert re.search(r"^  minutes: \d+,$", body, re.M), title
        assert "```console\nuv " in body, title
        assert re.search(r"^#see\[", body, re.M), title
    assert named == list(course.load().holes)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_files_and_their_todos_are_where_the_slides_of_a_part_say(lang):
    found = course.load()
    for part, path in zip(found.parts, texts(lang)[5:8], strict=True):
        text = path.read_text(encoding="utf-8")
        files = [file.as_posix() for file in part.files(slides.ROOT / "solutions")]
        for name in re.findall(r"`([\w/]+\.(?:py|yaml|ipynb))`", text):
            assert any(f"/{file}".endswith(f"/{name}") for file in files), (path.name, name)
        rows = re.findall(r"^  \[`([\w/.]+)`\], \[.*\], \[(\d\.\d.*)\],", text, re.M)
        rows += [(b, a) for a, b in re.findall(r"^  \(\[(\d\.\d+)\], \[`([\w/.]+/?)`", text, re.M)]
        for name, todos in rows:
            if "/" in name or "." in name:  # not a function, such as main
                for id in listed(todos):
                    assert found.holes[id].file.startswith(name), (path.name, id)


def listed(todos: str) -> list[str]:
    """Return the ids in `1.2, 1.4–1.6`."""
    ids = []
    for piece in todos.split(", "):
        first, last = (piece.split("–") * 2)[:2]
        part = first.split(".")[0]
        ids += [f"{part}.{n}" for n in range(*(int(x.split(".")[1]) for x in (first, last)))]
        ids.append(last)
    return ids


@pytest.mark.parametrize("lang", LANGUAGES)
def test_links_are_well_formed(lang):
    for path in texts(lang):
        for url in re.findall(r"#link\(\"([^\"]*)\"\)", path.read_text(encoding="utf-8")):
            assert re.fullmatch(
                r"https://[\w.-]+\.[a-z]+(/[\w./#-]*)?|http://127\.0\.0\.1:\d+", url
            )


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_section_is_a_file_that_the_deck_includes(lang):
    names = [path.name for path in texts(lang) if re.match(r"\d", path.name)]
    deck = (slides.SLIDES / "deck.typ").read_text(encoding="utf-8")
    assert [f"{name}.typ" for name in re.findall(r'^  "(.*)",$', deck, re.M)] == names


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_text_of_a_language_holds_no_layout(lang):
    # Lengths and styles stand in theme.typ and drawings.typ, once for all languages.
    for path in texts(lang):
        text = prose(path.read_text(encoding="utf-8"))
        text = re.sub(r"#let (talk|chain|labels) =", "", text)
        layout = (
            r"\b\d[\d.]*(?:pt|em|fr|mm|cm)\b|#(?:set|show|let|v|h|block|box|text|grid|align|par)\b"
        )
        assert re.findall(layout, text) == [], path


def test_no_size_on_a_slide_is_below_the_smallest():
    for path in [*slides.SLIDES.glob("*.typ"), *(p for lang in LANGUAGES for p in texts(lang))]:
        for size in re.findall(r"\bsize: ([\d.]+)pt", path.read_text(encoding="utf-8")):
            if not (path.name == "theme.typ" and size == "6"):  # the square before an item
                assert float(size) >= SMALLEST, path.name


@pytest.mark.parametrize("path", sorted(slides.FIGURES.glob("*.svg")), ids=lambda path: path.name)
def test_no_text_in_a_figure_is_below_the_smallest(path):
    sizes = re.findall(r"font: (?:\w+ )*([\d.]+)px", path.read_text(encoding="utf-8"))
    smaller = {float(size) for size in sizes if float(size) < SMALLEST}
    # Exponents and indices of 14 points, which mathematics sets at seven tenths.
    assert all(size == pytest.approx(0.7 * SMALLEST) for size in smaller)


@pytest.mark.parametrize("path", sorted(slides.FIGURES.glob("*.png")), ids=lambda path: path.name)
def test_no_text_in_a_screenshot_is_below_the_smallest(path):
    from PIL import Image

    theme = (slides.SLIDES / "theme.typ").read_text(encoding="utf-8")
    numbers = [r"^#let width = (\d+)pt", r"^#let side = (\d+)pt", r"(\d+)pt / full\.height"]
    width, side, highest = (int(re.search(n, theme, re.M)[1]) for n in numbers)
    with Image.open(path) as image:
        shown = min((width - 2 * side) / image.width, highest / image.height)
        assert float(image.text["smallest text"]) * shown >= SMALLEST


@pytest.mark.parametrize("pair", PALETTE["text on ground"], ids=" on ".join)
def test_text_can_be_told_from_its_ground(pair):
    light, dark = sorted((luminance(PALETTE["colours"][name]) for name in pair), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def luminance(colour: str) -> float:
    """Return the relative luminance of #RRGGBB, as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * p for weight, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_colours_of_code_and_figures_are_those_of_the_palette():
    known = {colour.upper() for colour in PALETTE["colours"].values()}
    theme = (slides.SLIDES / "code.tmTheme").read_text(encoding="utf-8")
    style = (slides.FIGURES / "style.py").read_text(encoding="utf-8")
    for text in (theme, style):
        assert {c.upper() for c in re.findall(r"#[0-9A-Fa-f]{6}", text)} <= known


# --------------------------------------------------------------------------------- editions


@pytest.mark.parametrize("lang", [lang for lang in LANGUAGES if lang != "en"])
def test_an_edition_has_the_slides_of_the_english_one(lang):
    english, other = cut_into_slides("en"), cut_into_slides(lang)
    for (place, title, body), (en_place, en_title, en_body) in zip(other, english, strict=False):
        found, expected = facts(body, lang), facts(en_body, "en")
        for what in expected:
            assert found[what] == expected[what], (
                f"{place}, {title!r}: {what}: expected {expected[what]} as in "
                f"{en_place}, {en_title!r}, found {found[what]}"
            )
    more = english[len(other) :] or other[len(english) :]
    assert more == [], f"only in one of the editions: {[slide[:2] for slide in more]}"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_words_of_the_drawings_are_the_same_in_all_languages(lang):
    def names(of: str) -> list[str]:
        text = (slides.SLIDES / of / "words.typ").read_text(encoding="utf-8")
        return re.findall(r"^#let .*|^  [\w-]+(?=:)", text, re.M)

    # Besides the words there may be a region, such as the one of French as France writes it.
    assert [name for name in names(lang) if name != "  region"] == names("en")


def cut_into_slides(lang: str) -> list[tuple[str, str, str]]:
    """Return every slide and section page: where it stands, its title, and its text."""
    found = []
    for path in texts(lang):
        parts = re.split(r"^(?==)", path.read_text(encoding="utf-8"), flags=re.M)
        for number, part in enumerate(parts[1:], start=1):
            place = f"slides/{lang}/{path.name}, page {number} of the section"
            found.append((place, part.splitlines()[0].strip("= "), part))
    return found


def facts(slide: str, lang: str) -> dict[str, object]:
    """Return what a slide has to have in common with its translations."""
    console = "".join(re.findall(r"```console\n(.*?)```", slide, re.S))
    texts = prose(slide)
    return {
        "code": re.findall(r'\bcode\("([^"]*)"', slide),
        "figures": re.findall(r'\bpicture\("([^"]*)"', slide),
        "commands": [line.split("   ")[0] for line in console.splitlines()],
        "typed code": re.findall(r"^ *```(?!console)(\w+\n.*?)^ *```$", slide, re.S | re.M),
        "code within lines": Counter(re.findall(r"(?<!`)`([^`\n]+)`(?!`)", slide)),
        "equations": Counter(re.findall(r'eq\("[^"]*", (\$.*?\$)\)', slide)),
        "TODOs": Counter(re.findall(r"TODO (\d+\.\d+)", slide)),
        "works": re.findall(r"@([a-z-]+\d{4})", slide),
        "links": re.findall(r'#link\("([^"]*)"', slide),
        "numbers": numbers(texts, lang),
        "tools": re.findall(r'"(git|uv|hydra|mlflow|optuna)"', slide),
        "layout": re.findall(r"\b(?:wide|at|columns|small|label|fill): [^,)]+", texts),
        "build-up": build_up(slide),
    }


def numbers(text: str, lang: str) -> Counter:
    """Return the numbers in a text, however the language writes them."""
    text = re.sub(r"\S+=\S+", "", text)  # what is typed
    thousands, decimals = map(re.escape, NUMBERS[lang])
    text = re.sub(rf"(?<=\d){thousands}(?=\d{{3}}\b)", "", text)
    text = re.sub(rf"(?<=\d){decimals}(?=\d)", ".", text)
    return Counter(re.findall(r"\d+(?:\.\d+)?", text))


def build_up(slide: str) -> list[str]:
    """Return what the lines of a slide are: titles, items, pauses, pieces, rows, or text."""
    lines = re.sub(r"(```\w+\n).*?(?=```)", r"\1", slide, flags=re.S).splitlines()
    mark = r"=+ |- |\d\. |```\w*|#[\w-]+|[\w-]+\(|[][(),]+"
    return [
        found[0] if (found := re.match(mark, line.strip())) else "text"
        for line in lines
        if line.strip()
    ]


FRENCH = {
    r"(?<![~-])[:;!?»]": "a space that does not break (~) before : ; ! ? »",
    r"«(?!~)": "a space that does not break (~) after «",
    r"(?<!~)%": "a space that does not break (~) before %",
    r"\d \d{3}\b": "a space that does not break (~) between thousands",
    r"[“”]": "« and » around what is quoted",
    # 1.3 is a TODO, and CC BY 4.0 a name
    r"(?<!CC BY )\b(?![123]\.\d\d?\b)\d+\.\d": "a comma before decimals",
    r"(?i)\b(?:de|que|le|se|ne) \*?(?:uv|Hydra)\b": "elision before uv and Hydra",
    r"(?i)deep learning": "apprentissage profond",
}


@pytest.mark.skipif("fr" not in LANGUAGES, reason="there is no French edition")
def test_french_is_set_as_french():
    lines = [
        # Without the names of arguments, whose colon is no punctuation.
        (path.name, re.sub(r"(?:^ *|(?<=[ (]))[a-z-]+: (?=[[\"\d]|\w+[,)(])", "", line))
        for path in texts("fr")
        for line in prose(path.read_text(encoding="utf-8")).splitlines()
    ]
    for name, script in slides.figure_scripts().items():
        words = slides.figure_words(script).get("fr", "")
        lines += [(f"{name}.py", line) for line in said(words).splitlines()]
    for name, line in lines:
        for pattern, wanted in FRENCH.items():
            assert not re.search(pattern, line), f"{name}: expected {wanted}: {line}"


# -------------------------------------------------------------------------------------- code


def test_a_todo_and_a_function_are_cut_as_they_stand():
    assert (
        slides.cut("part1_logistic_regression/train.py::1.3") == "mlflow.log_params(flatten(cfg))\n"
    )
    assert slides.cut("part1_logistic_regression/train.py::score").startswith("def score(")
    assert '"""' not in slides.cut("part2_mlp_cnn/models.py::MLP")
    listed = slides.cut("part2_mlp_cnn/conf/config.yaml::defaults")
    assert listed.startswith("defaults:\n  - data:") and listed.endswith("  - _self_\n")


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("part1_logistic_regression/train.py::scores", "There is no scores in .*There are:.*score"),
        ("part1_logistic_regression/train.py::1.99", "There is no TODO 1.99 in .*There are: 1.2"),
        ("part1_logistic_regression/tran.py::score", "There is no part1_logistic_regression/tran"),
        ("train.py", "names no code"),
    ],
)
def test_code_that_is_not_there_is_named_with_what_there_is(what, told):
    with pytest.raises(WorkshopError, match=told):
        slides.cut(what)


def test_a_renamed_function_names_the_slides_that_show_it(tmp_path, monkeypatch):
    monkeypatch.setattr(slides, "SLIDES", tmp_path)
    text = tmp_path / "en" / "01-first.typ"
    text.parent.mkdir()
    shown = '#code("part2_mlp_cnn/engine.py::train_stop")'
    text.write_text(f"== The step\n\n{shown}\n", encoding="utf-8")
    with pytest.raises(WorkshopError) as told:
        slides.cut_all([text])
    assert "slides/en/01-first.typ (The step): There is no train_stop in" in str(told.value)
    assert "There are: train_step" in str(told.value)
    assert 'write its new name in #code("part2_mlp_cnn/engine.py::train_stop")' in str(told.value)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_lines_of_code_are_broken_and_otherwise_equal(lang):
    pytest.importorskip("ruff", reason="the dependency group `slides` is not installed")
    slides.BUILD.mkdir(exist_ok=True)
    for what, cut in slides.cut_all(texts(lang)).items():
        assert max(map(len, cut["text"].splitlines())) <= slides.COLUMNS
        if cut["lang"] == "python":
            assert syntax(cut["text"]) == syntax(slides.cut(what))


def syntax(code: str) -> str:
    lines = "".join(f"    {line}\n" for line in code.splitlines())
    return ast.dump(ast.parse(f"def _():\n{lines}"))


def test_a_missing_typst_is_a_message_that_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(WorkshopError, match="uv run --group slides workshop slides"):
        slides.build()


def test_a_language_that_does_not_exist_is_named():
    with pytest.raises(WorkshopError, match=r"no slides in 'xx'. There are: .*en"):
        slides.build("xx")


def test_all_builds_every_language_and_one_name_that_one(monkeypatch, capsys):
    built = []

    def build(lang, handout, short):
        built.append((lang, handout, short))
        return slides.Built(slides.BUILD / f"{lang}.pdf", 1, None)

    monkeypatch.setattr(slides, "build", build)
    assert cli.main(["slides", "--lang", "all"]) == 0
    assert built == [(lang, handout, False) for lang in LANGUAGES for handout in (False, True)]
    built.clear()
    assert cli.main(["slides", "--lang", "fr", "--handout", "--short"]) == 0
    assert built == [("fr", True, True)]


# ---------------------------------------------------------------------------------- commands


@pytest.mark.parametrize("command", SCRIPTS)
def test_a_command_of_a_part_on_a_slide_can_be_composed(command):
    if "model.c=1" in command:  # the mistake that a slide asks people to make
        with pytest.raises(WorkshopError):
            composed(command)
    else:
        assert composed(command)


@pytest.mark.parametrize("command", OTHERS)
def test_any_other_command_on_a_slide_is_one(command):
    words = shlex.split(command)[1:]
    if words[:2] == ["run", "workshop"]:
        assert cli._parser().parse_args(words[2:]).command
    elif words[:2] == ["run", "mlflow"]:
        assert command in (slides.ROOT / "README.md").read_text(encoding="utf-8")
    elif words[0] == "run" and words[1].startswith("slides/"):
        assert (slides.ROOT / words[1]).is_file()
    elif words[0] == "run":
        assert words[1] in ("python", "train.py")  # in a project of one's own
    elif shutil.which("uv"):
        assert subprocess.run(["uv", *words[:1], "--help"], capture_output=True).returncode == 0


def test_the_smallest_hydra_example_runs():
    script = slides.SLIDES / "examples" / "hydra_smallest" / "train.py"
    command = [
        sys.executable,
        str(script),
        "lr=0.01",
        "hydra.run.dir=.",
        "hydra.output_subdir=null",
    ]
    done = subprocess.run(
        [*command, "hydra/job_logging=none", "hydra/hydra_logging=none"],
        capture_output=True, encoding="utf-8", cwd=script.parent,
    )  # fmt: skip
    assert done.stdout == "lr 0.01, 3 epochs\n", done.stderr


@pytest.mark.slow
def test_the_smallest_mlflow_example_records_what_the_slide_says(mlflow_store, tmp_path):
    import mlflow

    # In a process of its own: it chooses an experiment for the whole process.
    script = slides.SLIDES / "examples" / "mlflow_smallest.py"
    done = run(script, cwd=tmp_path, MPLBACKEND="agg")
    assert done.returncode == 0, done.stderr
    use_store()
    (found,) = mlflow.search_runs(experiment_names=["smallest"], output_format="list")
    assert found.data.params == {"lr": "0.1"}
    history = mlflow.MlflowClient().get_metric_history(found.info.run_id, "loss")
    assert [point.step for point in history] == list(range(1, 21))
    assert [a.path for a in mlflow.MlflowClient().list_artifacts(found.info.run_id)] == ["loss.png"]


# ----------------------------------------------------------------------------------- figures


def test_no_figure_is_stale():
    stale = slides.stale_figures()
    assert stale == [], (
        f"draw them: uv run --group slides workshop slides --figures {' '.join(stale)}"
    )


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_figure_of_a_language_is_drawn_and_shown(lang):
    shown = set()
    for path in texts(lang):
        shown |= set(re.findall(r'\bpicture\("([\w.]+)"', path.read_text(encoding="utf-8")))
    assert {name.split(".")[0] for name in shown} == set(slides.figure_scripts())
    for name in shown:
        file = name if "." in name else f"{name}.{lang}.svg"
        assert (slides.FIGURES / file).is_file(), file


@pytest.mark.parametrize("name", slides.figure_scripts())
def test_the_words_of_a_figure_are_the_same_in_all_languages(name):
    words = slides.figure_words(slides.figure_scripts()[name])
    if not words:
        return  # one picture for all languages
    assert set(words) >= set(LANGUAGES), f"slides/figures/{name}.py lacks words for a language"
    for lang in LANGUAGES:
        assert shape(words[lang]) == shape(words["en"]), f"{name}, {lang}"
        assert numbers(said(words[lang]), lang) == numbers(said(words["en"]), "en"), (name, lang)


def shape(words: object) -> object:
    """Return words with every text replaced by the fields that a script fills in."""
    if isinstance(words, dict):
        return {key: shape(value) for key, value in words.items()}
    if isinstance(words, tuple):
        return [shape(value) for value in words]
    return re.findall(r"\{\w+\}", words)


def said(words: object) -> str:
    """Return all texts in the words of a figure, as the slides write them."""
    if isinstance(words, dict | tuple):
        parts = words.values() if isinstance(words, dict) else words
        return "\n".join(said(part) for part in parts)
    return words.replace("\xa0", "~").replace("\u202f", "~")


def test_a_figure_is_measured_once_and_drawn_for_every_language(tmp_path, monkeypatch):
    monkeypatch.setattr(slides, "FIGURES", tmp_path)
    (tmp_path / "style.py").write_text("", encoding="utf-8")
    (tmp_path / "demo.py").write_text(DEMO, encoding="utf-8")
    assert slides.stale_figures() == ["demo"]
    assert slides.draw() == ["demo"]
    assert (tmp_path / "measured").read_text(encoding="utf-8") == "once "
    assert slides.stale_figures() == []
    (tmp_path / "demo.fr.svg").unlink()
    assert slides.stale_figures() == ["demo"]


DEMO = """
from functools import cache
from pathlib import Path

WORDS = {"en": "one", "fr": "un"}


@cache
def measure():
    with open(Path(__file__).with_name("measured"), "a") as file:
        file.write("once ")


def draw(lang):
    measure()
    Path(__file__).with_suffix(f".{lang}.svg").write_text(WORDS[lang])
"""


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_ratios_on_the_speed_slide_are_those_that_were_measured(lang):
    found = json.loads((slides.FIGURES / "uv_pip.json").read_text(encoding="utf-8"))
    drawn = (slides.FIGURES / f"uv_pip.{lang}.svg").read_text(encoding="utf-8")
    words = slides.figure_words(slides.FIGURES / "uv_pip.py")[lang]["ratio"]
    for kind in ("compiled", "not compiled"):
        ratio = str(found[kind]["ratio"]).replace(".", NUMBERS[lang][1])
        assert words.format(ratio=ratio) in drawn
    (slide,) = [body for *_, body in cut_into_slides(lang) if 'picture("uv_pip"' in body]
    assert re.search(rf"#small\[{found['packages']} ", slide)


# -------------------------------------------------------------------------------- statistics


@pytest.fixture
def made_up():
    found = runpy.run_path(str(slides.FIGURES / "made_up.py"))
    return SimpleNamespace(images=found["IMAGES"], right=found["RIGHT"], alone=found["ALONE"])


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_tables_of_disagreeing_answers_add_up_to_the_scores(lang, made_up):
    thousands = re.escape(NUMBERS[lang][0])
    (slide,) = [body for *_, body in cut_into_slides(lang) if "#source[@mcnemar1947" in body]
    counts = [int(re.sub(thousands, "", n)) for n in re.findall(r"\[\*?([\d,~]+)\*?\]", slide)]
    assert len(counts) == 8
    for (both, first, second, neither), alone in zip(
        (counts[:4], counts[4:]), made_up.alone, strict=True
    ):
        assert (first, second) == alone
        assert both + first == made_up.right["A"] and both + second == made_up.right["D"]
        assert both + first + second + neither == made_up.images


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_p_values_on_the_slide_are_those_of_the_test(lang, made_up):
    (slide,) = [body for *_, body in cut_into_slides(lang) if "#source[@mcnemar1947" in body]
    decimal = NUMBERS[lang][1]
    said = [p.replace(decimal, ".") for p in re.findall(r"\*p = ([\d.,]+)\*", slide)]
    assert said == [f"{mcnemar(*alone):.2g}" for alone in made_up.alone]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_what_the_slides_say_of_the_made_up_differences_is_so(lang, made_up):
    shares = {
        name: Share(right / made_up.images, made_up.images) for name, right in made_up.right.items()
    }
    apart = {
        name: [f"{100 * end:.2f}".replace(".", NUMBERS[lang][1]) for end in ends]
        for name, ends in ((n, difference_interval(s, shares["A"])) for n, s in shares.items())
        if name != "A" and ends[0] > 0
    }
    assert list(apart) == ["E", "F"]
    overlapping = [n for n, s in shares.items() if s.interval[1] > shares["A"].interval[0]]
    assert overlapping == ["A", "B", "C", "D", "E"]
    (slide,) = [body for *_, body in cut_into_slides(lang) if 'picture("differences"' in body]
    for ends in apart.values():
        assert all(end in slide for end in ends)
