"""The leaderboard's page, in a Chromium, against a stand-in for its server."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_leaderboard import (
    PAGE,
    FakeLeaderboard,
    board,
    competition,
    entry,
    fake_leaderboard,
    live_run,
    record,
)
from servers import wait_until

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"width": 375, "height": 800}
LAPTOP = {"width": 1280, "height": 720}
HALL = {"width": 1920, "height": 1080}

TEXT_ON_GROUND = [
    *[(text, "panel") for text in ("ink", "muted", "accent", "best", "good", "bad")],
    *[(text, ground) for text in ("ink", "muted", "best") for ground in ("fresh", "mine")],
    *[(text, "mine") for text in ("good", "bad", "accent")],
    *[(text, "fresh") for text in ("good", "bad", "accent")],
    ("ink", "ground"),
    ("muted", "ground"),
    ("bad", "ground"),
    ("panel", "ink"),
    ("panel", "accent"),
    ("past-ink", "past"),
    *[(text, "night") for text in ("snow", "snow-muted", "glow", "night-warm")],
    *[(text, "night-shape") for text in ("snow", "snow-muted", "glow")],
]


def palette(scheme: str) -> dict[str, str]:
    """The colours that board.css names, as they are in the light or the dark scheme."""
    text = (PAGE / "board.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\n\s*\}", text, re.S)
    found: dict[str, str] = {}
    for block in blocks[:1] if scheme == "light" else blocks[:2]:
        found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    return found


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2 between two colours written #rrggbb."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXT_ON_GROUND)
def test_text_stands_out_from_its_ground(scheme, text, ground):
    colours = palette(scheme)
    ratio = contrast(colours[text], colours[ground])
    assert ratio >= 4.5, f"{text} on {ground} is {ratio:.2f} in the {scheme} scheme, below 4.5"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("line", [f"c{i}" for i in range(10)])
def test_the_lines_of_the_curves_stand_out(scheme, line):
    colours = palette(scheme)
    assert contrast(colours[line], colours["panel"]) >= 3


def test_the_page_needs_nothing_from_outside_and_writes_no_markup():
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        outside = set(re.findall(r"https?://[\w./]+", text)) - {
            "http://www.w3.org/2000/svg"  # the name of a language, not an address
        }
        assert not outside, f"{path.name} names {outside}"
        found = re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
        assert not found, f"{path.name} uses {found}: texts of others must stay text"
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)


# ---- in a browser ----


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="needs uv sync --group maintain")
    program = shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(program).exists():
        pytest.skip("needs a Chromium: apt install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def server() -> Iterator[FakeLeaderboard]:
    with fake_leaderboard() as started:
        yield started


@pytest.fixture
def visit(browser, server) -> Iterator[Callable[..., Any]]:
    """Open the page; at the end of the test nothing may have gone wrong on it unseen."""
    contexts, problems = [], []

    def open_page(
        path: str = "", viewport: dict[str, int] = LAPTOP, forgive: str = "^$", **options: Any
    ) -> Any:
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.add_init_script(
            "window.glides = []; const animate = Element.prototype.animate;"
            "Element.prototype.animate = function (frames, how) {"
            "  window.glides.push({text: this.textContent, from: frames[0].transform});"
            "  return animate.call(this, frames, how); };"
        )

        def note(text: str) -> None:
            if not re.search(forgive, text):
                problems.append(text)

        page.on("console", lambda said: said.type in ("error", "warning") and note(said.text))
        page.on("pageerror", lambda error: note(str(error)))
        page.on("dialog", lambda dialog: (note(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on(
            "request",
            lambda request: (
                request.url.startswith((server.url, "data:")) or note(f"asked for {request.url}")
            ),
        )
        page.goto(server.url + path)
        page.wait_for_selector("#connection[data-state=live]")
        page.wait_for_function("() => document.title !== 'Leaderboard'")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems, problems


def names(page: Any) -> list[str]:
    return page.locator("#rows .name bdi").all_text_contents()


def wait_for_names(page: Any, *wanted: str) -> None:
    page.wait_for_function(
        "wanted => JSON.stringify([...document.querySelectorAll('#rows .name bdi')]"
        ".map(node => node.textContent)) === JSON.stringify(wanted)",
        arg=list(wanted),
    )


def row(page: Any, name: str) -> Any:
    return page.locator("#rows tr").filter(has=page.get_by_text(name, exact=True))


def overflow(page: Any) -> int:
    """Pixels by which the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


@pytest.mark.slow
def test_a_live_run_appears_with_its_epoch_and_accuracy(server, visit):
    page = visit()
    assert page.locator("#no-runs").is_visible()
    server.live(live_run(1, 3, 0.8123, name="Ada", run_name="wide cnn"))
    line = page.locator("#run-list li")
    line.wait_for()
    assert line.locator(".name").text_content() == "Ada"
    assert line.locator(".run-name").text_content() == "wide cnn"
    assert line.locator(".epoch").text_content() == "epoch 3 of 20"
    assert line.locator(".accuracy").text_content() == "81.23\u202f%"
    server.live(live_run(1, 4, 0.85, name="Ada"))
    page.get_by_text("epoch 4 of 20").wait_for()
    points = line.locator("polyline").get_attribute("points").split()
    assert len(points) == 2, "the sparkline has a point for each of the two epochs"


@pytest.mark.slow
def test_metrics_that_are_no_numbers_are_shown_as_they_are(server, visit):
    page = visit()
    loss = live_run(3, 1, None, metrics={"loss": 0.123456})
    server.live(live_run(1, 1, "NaN"), live_run(2, None, None, epochs=None), loss)
    page.get_by_text("NaN", exact=True).wait_for()
    page.get_by_text("starting", exact=True).wait_for()
    page.get_by_text("0.1235", exact=True).wait_for()


@pytest.mark.slow
def test_an_ended_run_says_so_and_fades_away(server, visit):
    page = visit()
    server.live(live_run(1, 20, 0.9, name="Ada"))
    page.locator("#run-list li").wait_for()
    ended = live_run(1, 20, 0.9, name="Ada", status="finished")
    server.live(ended | {"updated": ended["updated"] - 17_000})  # of the 20 s that it stays
    page.get_by_text("finished", exact=True).wait_for()
    page.locator("#run-list li").wait_for(state="detached")


@pytest.mark.slow
def test_a_better_score_moves_its_row_up_and_is_announced(server, visit):
    first = [entry(1, 0.90, 1), entry(2, 0.88, 2), entry(3, 0.86, 3)]
    server.board = board(first)
    page = visit()
    wait_for_names(page, "Participant 1", "Participant 2", "Participant 3")
    better = entry(3, 0.91, 1, submission=2003, name="Participant 3")
    server.publish(entries=[entry(1, 0.90, 2), entry(2, 0.88, 3), better])
    wait_for_names(page, "Participant 3", "Participant 1", "Participant 2")
    moved = row(page, "Participant 3")
    assert moved.locator(".fresh").text_content() == "new best"
    assert moved.locator(".risen").text_content() == "▲2"
    glide = next(g for g in page.evaluate("glides") if "Participant 3" in g["text"])
    assert re.match(r"translateY\(\d", glide["from"]), "it comes from below"
    page.wait_for_function(
        "() => document.getElementById('announcer').textContent"
        " === 'Participant 3, rank 1 with 91.0\\u202f%.'"
    )


@pytest.mark.slow
def test_focus_stays_on_a_row_that_moves(server, visit):
    server.board = board([entry(1, 0.90, 1), entry(2, 0.88, 2), entry(3, 0.86, 3)])
    page = visit()
    row(page, "Participant 3").locator("a.name").focus()
    better = entry(3, 0.91, 1, submission=2003)
    server.publish(entries=[entry(1, 0.90, 2), entry(2, 0.88, 3), better])
    wait_for_names(page, "Participant 3", "Participant 1", "Participant 2")
    assert page.evaluate("document.activeElement.textContent") == "Participant 3"


@pytest.mark.slow
def test_many_new_results_are_announced_as_one(server, visit):
    server.board = board([entry(i, 0.80, i) for i in range(1, 9)])
    page = visit()
    better = [entry(i, 0.9 - i / 100, i, submission=2000 + i) for i in range(1, 9)]
    server.publish(entries=better)
    page.wait_for_function("() => document.getElementById('announcer').textContent !== ''")
    said = page.locator("#announcer").text_content()
    assert said == "8 new results. Participant 1, rank 1 with 89.0\u202f% leads."


@pytest.mark.slow
def test_who_wants_no_motion_sees_none(server, visit):
    server.board = board([entry(1, 0.90, 1), entry(2, 0.88, 2)])
    page = visit(reduced_motion="reduce")
    server.publish(entries=[entry(1, 0.90, 2), entry(2, 0.92, 1, submission=9)])
    wait_for_names(page, "Participant 2", "Participant 1")
    assert page.evaluate("glides") == []


@pytest.mark.slow
def test_after_a_restart_everything_is_right_without_a_reload(server, visit):
    server.board = board([entry(1, 0.90, 1), entry(2, 0.88, 2)], [live_run(1, 1, 0.5, name="Old")])
    page = visit(forgive="ERR_|Failed to load")
    page.evaluate("window.sameDocument = true")
    server.stop()
    page.wait_for_selector("#connection[data-state=reconnecting]")
    assert re.fullmatch(
        r"reconnecting since \d\d:\d\d", page.locator("#connection-text").text_content()
    )
    assert page.title().startswith("(reconnecting)")
    restarted = [entry(2, 0.93, 1, submission=9), entry(1, 0.90, 2), entry(7, 0.70, 3)]
    server.board = board(restarted, [live_run(2, 5, 0.9, name="New")])
    server.start()
    page.wait_for_selector("#connection[data-state=live]")
    wait_for_names(page, "Participant 2", "Participant 1", "Participant 7")
    assert page.locator("#run-list .name").all_text_contents() == ["New"]
    server.live(live_run(2, 6, 0.9, name="New"))
    page.get_by_text("epoch 6 of 20").wait_for()
    assert page.evaluate("window.sameDocument")


@pytest.mark.slow
def test_the_page_tries_again_when_the_browser_has_given_up(server, visit):
    page = visit(forgive="ERR_|Failed to load")
    server.is_broken = True
    server.stop()
    server.start()  # answers 503, after which an EventSource is closed for good
    page.wait_for_selector("#connection[data-state=reconnecting]")
    wait_until(lambda: server.asked.count("events") >= 3, 20, "another attempt")
    server.is_broken = False
    page.wait_for_selector("#connection[data-state=live]")
    server.live(live_run(1, 2, 0.9))
    page.get_by_text("epoch 2 of 20").wait_for()


HOSTILE = [
    "<script>window.pwned = 1</script>",
    '"><img src=x onerror="window.pwned = 1">',
    "\u202eecalevoL adA\u2069\u2069 \u202e(trusted)",
    "A" * 5000,
    "👩🏽‍🔬🏆" * 20,
    "Z̸̡͓̫̈́̎a̵͇̋l̷̰̏g̶͇̀o̷͓̅" * 8,
    "${window.pwned=1}{{constructor}}",
    "javascript:alert(1)",
]


@pytest.mark.slow
@pytest.mark.parametrize("viewport", [PHONE, LAPTOP], ids=["phone", "laptop"])
def test_hostile_texts_are_shown_as_text(server, visit, viewport):
    links = ["javascript:alert(1)", "//evil.example/mlflow/", "/mlflow/../api/board", "/mlflow/#/x"]
    entries = [
        entry(
            i,
            0.9 - i / 100,
            i,
            name=text,
            summary=text,
            commit=text,
            claim={"metric": text, "value": 0.5},
            contradicted=True,
            reproduced=text,
            mlflow=links[i % len(links)],
        )
        for i, text in enumerate(HOSTILE, start=1)
    ]
    unranked = {"disqualified": HOSTILE[1], "mlflow": None}
    entries.append(entry(50, 0.8, None, name=HOSTILE[3], **unranked))
    live = [live_run(i, 1, 0.5, name=t, run_name=t) for i, t in enumerate(HOSTILE, start=1)]
    server.board = board(entries, live)
    server.board["competition"] |= {"name": HOSTILE[1], "rule": HOSTILE[0], "data": HOSTILE[3]}
    server.history = [record(i, i, 0.8, name=t) for i, t in enumerate(HOSTILE, start=1)]
    page = visit(viewport=viewport)
    assert names(page)[: len(HOSTILE)] == HOSTILE
    assert sorted(page.locator("#run-list .name").all_text_contents()) == sorted(HOSTILE)
    assert page.locator("#rule").text_content() == HOSTILE[0]
    assert overflow(page) <= 0
    hrefs = page.locator("#rows .more a[href]").evaluate_all("all => all.map(a => a.href)")
    assert set(hrefs) == {server.url + "mlflow/#/x"}
    for one in entries[:4]:
        page.evaluate("id => { location.hash = `#entry-${id}`; }", one["submission"])
        page.wait_for_function(
            "text => document.getElementById('details-name').textContent === text", arg=one["name"]
        )
        assert overflow(page) <= 0
        page.keyboard.press("Escape")
    page.locator("#play").focus()
    page.keyboard.press("Enter")
    page.locator("#past").wait_for()
    assert overflow(page) <= 0
    assert page.evaluate("window.pwned") is None
    assert page.locator("#rows script, #rows img, #run-list img").count() == 0


@pytest.mark.slow
@pytest.mark.parametrize("people", [0, 3, 300])
@pytest.mark.parametrize("viewport", [LAPTOP, HALL], ids=["1280x720", "1920x1080"])
def test_the_projector_needs_no_scrolling(server, visit, people, viewport):
    if people:
        server.board, server.history = competition(people)
        runs = [live_run(i, 3, 0.8, name=f"Participant {i}") for i in range(1, people + 1)]
        server.board["live"] = runs
    page = visit("?projector", viewport)
    if people:
        page.wait_for_selector(".field .line", state="attached")
        page.wait_for_selector("#run-list li")
    sizes = "[document.documentElement.scrollHeight, document.documentElement.scrollWidth]"
    assert page.evaluate(sizes) == [viewport["height"], viewport["width"]]
    inside = page.evaluate(
        "() => [...document.querySelectorAll('.panel, #qr, #command, #scrubber')]"
        ".filter(node => node.checkVisibility()).map(node => node.getBoundingClientRect())"
        ".every(box => box.top >= 0 && box.left >= 0 && box.right <= innerWidth"
        " && box.bottom <= innerHeight && box.height > 0)"
    )
    assert inside, "something stands outside the window"
    rows = page.locator("#rows tr:visible")
    assert rows.count() == min(people, 12)
    if people:
        panel = page.locator("#ranking").bounding_box()
        last = rows.last.bounding_box()
        assert last["y"] + last["height"] <= panel["y"] + panel["height"]
        size = page.locator("#rows .name").first.evaluate(
            "n => parseFloat(getComputedStyle(n).fontSize)"
        )
        assert size >= viewport["height"] / 30, "names are readable from the last row"


@pytest.mark.slow
def test_one_key_switches_the_projector_on_and_off(server, visit):
    page = visit()
    page.keyboard.press("p")
    page.wait_for_selector("html[data-projector]")
    assert page.url.endswith("?projector")
    page.keyboard.press("p")
    page.wait_for_selector("html:not([data-projector])")
    assert page.url == server.url


@pytest.mark.slow
def test_a_phone_shows_cards_and_never_scrolls_sideways(server, visit):
    server.board, server.history = competition(40)
    server.board["live"] = [live_run(1, 3, 0.8)]
    page = visit(viewport=PHONE)
    page.wait_for_selector(".field .line", state="attached")
    assert overflow(page) <= 0
    box = page.locator("#rows tr").first.bounding_box()
    assert box["height"] > 100, "a row has become a card"
    cut = page.evaluate(
        "() => [...document.querySelectorAll('#rows tr :not(bdi), #run-list li :not(bdi)')]"
        ".filter(node => node.checkVisibility() && node.getBoundingClientRect().right > innerWidth)"
        ".map(node => node.className)"
    )
    assert cut == [], "something is cut off at the right"
    for tab, section in (("Curves", "#curves"), ("Training", "#runs"), ("Join", "#join")):
        page.get_by_role("link", name=tab, exact=True).click()
        page.wait_for_function(
            "id => { const box = document.querySelector(id).getBoundingClientRect();"
            " return box.height > 0 && box.top < innerHeight && box.bottom > 0; }",
            arg=section,
        )
        assert overflow(page) <= 0


@pytest.mark.slow
@pytest.mark.parametrize("viewport", [PHONE, LAPTOP], ids=["phone", "laptop"])
def test_a_screen_reader_meets_a_table_at_every_width(server, visit, viewport):
    server.board = board([entry(1, 0.9, 1), entry(2, 0.8, 2)])
    page = visit(viewport=viewport)
    table = page.get_by_role("table", name="Ranking")
    assert table.get_by_role("row").count() == 3
    assert table.get_by_role("columnheader", name="Rank").count() == 1
    assert table.get_by_role("rowheader").count() == 2
    assert table.get_by_role("cell", name=re.compile("^90.00")).count() == 1
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.slow
def test_the_keyboard_reaches_chart_scrubber_table_and_dialog(server, visit):
    server.board = board([entry(1, 0.9, 1), entry(2, 0.8, 2)])
    server.history = [record(1, 1, 0.7), record(1, 5, 0.9), record(2, 9, 0.8)]
    page = visit()
    page.wait_for_selector(".field .line", state="attached")
    reached, wanted = [], {"A skip", "SELECT follow", "A name", "DIV chart", "INPUT scrubber"}
    for _ in range(40):
        page.keyboard.press("Tab")
        node = page.evaluate(
            "() => { const node = document.activeElement;"
            " return node.tagName + ' ' + (node.id || node.className); }"
        )
        reached.append(node)
        if node == "A name" and reached.count(node) == 1:
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid", "focus is visible"
            page.keyboard.press("Enter")
            page.wait_for_selector("dialog[open]")
            page.keyboard.press("Escape")
            page.wait_for_selector("dialog", state="hidden")
            assert page.evaluate("document.activeElement.className") == "name"
        if node == "DIV chart":
            page.keyboard.press("ArrowDown")
            assert page.locator("#readout").text_content().startswith("Participant 1 90.00")
            page.keyboard.press("ArrowDown")
            assert page.locator("#readout").text_content().startswith("Participant 2 80.00")
    assert wanted <= set(reached)


@pytest.mark.slow
@pytest.mark.parametrize("early", [True, False], ids=["closed-first", "asked-first"])
def test_an_entry_asked_for_while_another_closes_is_shown(server, visit, early):
    first, second = entry(1, 0.9, 1), entry(2, 0.8, 2)
    server.board = board([first, second])
    page = visit()
    page.evaluate("id => { location.hash = `#entry-${id}`; }", first["submission"])
    page.wait_for_selector("dialog[open]")
    page.evaluate(  # A browser sends "close" some time after closing, before or after "hashchange".
        """async ([id, early]) => {
            const dialog = document.querySelector("dialog");
            dialog.close();
            location.hash = `#entry-${id}`;
            if (early) dialog.dispatchEvent(new Event("close"));
            await new Promise((resolve) => setTimeout(resolve, 200));
        }""",
        [second["submission"], early],
    )
    assert page.locator("dialog[open] #details-name").text_content() == second["name"]
    assert page.evaluate("location.hash") == f"#entry-{second['submission']}"
    page.keyboard.press("Escape")
    page.wait_for_function("() => location.hash === ''")


@pytest.mark.slow
def test_replay_shows_an_earlier_order_and_one_key_returns(server, visit):
    server.board = board([entry(1, 0.9, 1), entry(2, 0.8, 2)])
    server.history = [
        record(1, 1, 0.6, submission=1),
        record(2, 2, 0.8, submission=1002),
        record(1, 3, 0.9, submission=1001),
    ]
    page = visit()
    page.wait_for_selector("#scrubber[max='3']")
    page.locator("#scrubber").focus()
    page.keyboard.press("ArrowLeft")
    wait_for_names(page, "Participant 2", "Participant 1")
    assert page.locator("#past").is_visible()
    assert "2 of 3 improvements" in page.locator("#past-text").text_content()
    assert page.title().startswith("(past)")
    assert row(page, "Participant 1").locator(".value").text_content() == "60.00\u202f%"
    server.publish(entries=[entry(1, 0.9, 1), entry(2, 0.8, 2), entry(3, 0.5, 3)])
    page.wait_for_selector("#scrubber[max='4']")
    assert names(page) == ["Participant 2", "Participant 1"], "news do not disturb the past"
    page.keyboard.press("Escape")
    wait_for_names(page, "Participant 1", "Participant 2", "Participant 3")
    assert page.locator("#past").is_hidden()


@pytest.mark.slow
def test_the_replay_button_plays_to_the_present(server, visit):
    server.board = board([entry(1, 0.9, 1), entry(2, 0.8, 2)])
    server.history = [record(2, 2, 0.8), record(1, 3, 0.9)]
    page = visit()
    page.wait_for_selector("#scrubber[max='2']")
    page.get_by_role("button", name="Replay").click()
    wait_for_names(page, "Participant 2")
    page.get_by_role("button", name="Pause").wait_for()
    wait_for_names(page, "Participant 1", "Participant 2")
    page.get_by_role("button", name="Replay").wait_for()
    assert page.locator("#past").is_hidden()


@pytest.mark.slow
def test_what_was_disqualified_is_not_in_the_past_either(server, visit):
    server.board = board([entry(1, 0.9, None, disqualified="not a model"), entry(2, 0.8, 1)])
    server.history = [record(1, 1, 0.9), record(2, 2, 0.7, submission=5), record(2, 3, 0.8)]
    page = visit()
    page.wait_for_selector("#scrubber[max='2']")
    page.locator("#scrubber").focus()
    page.keyboard.press("ArrowLeft")
    wait_for_names(page, "Participant 2")


@pytest.mark.slow
def test_a_contradicted_claim_is_marked(server, visit):
    claim = {"metric": "test_accuracy", "value": 0.99}
    server.board = board([entry(1, 0.9, 1, claim=claim, contradicted=True), entry(2, 0.8, 2)])
    page = visit("#entry-1001")
    marked, unmarked = row(page, "Participant 1"), row(page, "Participant 2")
    assert marked.locator(".verdict").text_content() == "✗ contradicted"
    assert unmarked.locator(".verdict").text_content() == ""
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    assert "99.00\u202f% ✗ contradicted: the server measured 91.00" in dialog.text_content()


@pytest.mark.slow
def test_disqualified_and_suspect_entries_have_no_rank_and_say_why(server, visit):
    server.board = board(
        [
            entry(1, 0.95, None, disqualified="trained on the test images"),
            entry(2, 0.93, None, suspect="knows the test set"),
            entry(3, 0.80, 1),
        ]
    )
    page = visit()
    wait_for_names(page, "Participant 3", "Participant 1", "Participant 2")
    disqualified, suspect = row(page, "Participant 1"), row(page, "Participant 2")
    assert disqualified.locator(".place").text_content() == "–"
    assert page.get_by_role("cell", name="not ranked").count() == 2
    reason = "Disqualified: trained on the test images"
    assert disqualified.locator(".summary").text_content() == reason
    assert suspect.locator(".summary").text_content() == "Held back: knows the test set"


@pytest.mark.slow
def test_what_is_remarked_on_an_entry_can_be_read(server, visit):
    note = "Submission 7 (0.9512) has no rank: knows the test set"
    server.board = board([entry(1, 0.9, 1, note=note), entry(2, 0.8, 2)])
    page = visit("#entry-1001")
    assert page.locator(".remark").all_text_contents() == ["✗ remark", ""]
    page.get_by_role("dialog").get_by_text(note).wait_for()


@pytest.mark.slow
def test_ranks_that_several_share_say_so(server, visit):
    server.board = board([entry(1, 0.9, 1), entry(2, 0.881, 2), entry(3, 0.88, 2)])
    page = visit()
    assert page.locator("#rows .place").all_text_contents() == ["1", "2=", "2="]
    assert page.locator("#ties").is_visible()


@pytest.mark.slow
def test_a_row_tells_score_test_cost_and_provenance(server, visit):
    server.board = board([entry(1, 0.9, 1, dirty=True, reproduced="reproduced")])
    page = visit(viewport=HALL)
    text = row(page, "Participant 1").inner_text()
    for fact in (
        *("90.00\u202f%", "89.5–90.5", "91.00\u202f%", "91.10\u202f%", "52.6\u202fk"),
        *("38\u202fms", "84\u202fs", "3 sent", "model=cnn", "a1b2c3d", "changed", "✓ reproduced"),
    ):
        assert fact in text
    strip = row(page, "Participant 1").locator(".range").bounding_box()
    assert strip["width"] > 5, "the interval is drawn"


@pytest.mark.slow
def test_the_state_the_rule_and_the_seed_are_shown(server, visit):
    page = visit()
    assert page.locator("#state").text_content() == "open"
    assert "hidden images" in page.locator("#rule").text_content()
    assert page.locator("#seed").text_content() == server.board["competition"]["seed_sha256"]
    command = "uv run workshop join K7QM-2XPD@192.168.1.5:8765 --name NAME"
    assert page.locator("#command").text_content().strip() == command
    page.locator("#qr").wait_for()
    server.publish_competition(state="frozen")
    page.get_by_text("frozen: no more submissions").wait_for()
    server.publish_competition(state="closed", seed="c0ffee" * 10, join=None)
    page.get_by_text("c0ffee" * 10).wait_for()
    assert page.locator("#command").is_hidden()
    assert page.title().startswith("(closed)")


@pytest.mark.slow
def test_the_queue_is_shown(server, visit):
    page = visit()
    waiting = {"waiting": 4, "scoring": 1, "per_minute": 12.0, "oldest_seconds": 35}
    server.publish(queue=waiting)
    page.get_by_text("4 waiting · 1 being scored · oldest 35\u202fs · 12 per minute").wait_for()


@pytest.mark.slow
def test_a_submission_that_is_not_on_the_board_is_looked_up(server, visit):
    server.submissions[77] = {
        **{"id": 77, "participant": 1, "name": "Ada", "state": "refused", "ahead": 0},
        **{"reason": "the output has 9 columns, not 10", "score": None, "low": None, "high": None},
        **{"test": None, "claim": None, "contradicted": False, "rank": None, "of": 0},
        **{"suspect": None, "link": "/#entry-77"},
    }
    page = visit("#entry-77", forgive="404")
    page.get_by_text("the output has 9 columns, not 10").wait_for()
    page.evaluate("location.hash = '#entry-78'")
    page.get_by_text("there is none with this number on the board").wait_for()


@pytest.mark.slow
def test_the_curves_have_names_reference_lines_and_two_measures(server, visit):
    server.board = board([entry(i, 0.9 - i / 100, i) for i in range(1, 15)])
    server.history = [record(i, 4 * i, 0.9 - i / 100) for i in range(1, 15)]
    page = visit(viewport=HALL)
    page.wait_for_selector(".names text:has-text('Participant 1')")
    assert page.locator(".names text").count() == 10, "the best ten are named"
    assert page.locator(".others").count() == 1, "all others are one grey path"
    marks = page.locator(".marks text").all_text_contents()
    assert "known CNN 87.4\u202f%" in marks
    assert not any("human" in mark for mark in marks), "nobody has measured it on hidden images"
    page.locator("#which input[value=test]").check(force=True)
    page.wait_for_selector(".marks text:has-text('human 83.5')")
    page.locator("#which input[value=score]").check(force=True)
    box = page.locator(".names circle").first.bounding_box()
    chart = page.locator("#chart").bounding_box()
    page.mouse.move(chart["x"] + 0.6 * chart["width"], box["y"])
    page.wait_for_function("() => document.getElementById('readout').textContent !== ''")
    page.get_by_text("Curves as a table", exact=True).click()
    rows = (
        page.get_by_role("region", name="Curves as a table").get_by_role("table").get_by_role("row")
    )
    rows.nth(1).wait_for()  # they come after the click
    assert rows.count() == 15


@pytest.mark.slow
def test_a_new_best_enters_the_curves_and_the_history_is_fetched_again(server, visit):
    server.board = board([entry(1, 0.8, 1)])
    server.history = [record(1, 1, 0.8)]
    page = visit()
    page.wait_for_selector(".names text:has-text('Participant 1')")
    asked = server.asked.count("history")
    server.publish(entries=[entry(1, 0.8, 2), entry(2, 0.9, 1)])
    page.wait_for_selector(".names text:has-text('Participant 2')")
    server.history.append(record(2, 5, 0.85, submission=3))
    server.history.append(record(2, 9, 0.9))
    page.wait_for_selector("#scrubber[max='3']")
    assert server.asked.count("history") == asked + 1


@pytest.mark.slow
def test_an_update_touches_only_what_changed(server, visit):
    entries = [entry(i, 0.9 - i / 1000, i) for i in range(1, 51)]
    runs = [live_run(i, 1, 0.5) for i in range(1, 51)]
    server.board = board(entries, runs)
    page = visit()
    page.wait_for_selector("#run-list li:nth-child(50)", state="attached")
    page.evaluate(
        "() => { window.touched = new Set(); window.count = 0;"
        " new MutationObserver(all => { for (const one of all) {"
        "   const node = one.target.nodeType === 1 ? one.target : one.target.parentElement;"
        "   const line = node?.closest('#rows tr, #run-list li');"
        "   if (line) window.touched.add(line.querySelector('.name').textContent); } })"
        " .observe(document.querySelector('main'),"
        "   {subtree: true, childList: true, characterData: true, attributes: true}); }"
    )
    server.live(live_run(7, 2, 0.6))
    page.get_by_text("epoch 2 of 20").wait_for()
    assert page.evaluate("[...touched]") == ["Participant 7"]
    page.evaluate("touched.clear()")
    entries[29] = entries[29] | {"score": 0.8705, "submission": 5000}
    server.publish(entries=entries)
    page.get_by_text("87.05\u202f%").wait_for()
    assert page.evaluate("[...touched]") == ["Participant 30"]


@pytest.mark.slow
def test_a_highlighted_participant_stays_so_after_a_reload(server, visit):
    server.board = board([entry(1, 0.9, 1), entry(2, 0.8, 2)])
    page = visit()
    page.get_by_label("Highlight").select_option("Participant 2")
    page.wait_for_selector("#rows tr.mine")
    page.reload()
    page.wait_for_selector("#rows tr.mine")
    assert page.locator("#rows tr.mine .name").all_text_contents() == ["Participant 2"]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("past", [False, True], ids=["live", "past"])
def test_every_text_on_the_page_stands_out(server, visit, scheme, past):
    server.board, server.history = competition(30)
    server.board["live"] = [
        live_run(1, 3, 0.8),
        live_run(2, 3, 0.8, status="failed"),
        live_run(3, 3, 0.8, status="finished"),
    ]
    page = visit(color_scheme=scheme, viewport=HALL)
    page.wait_for_selector(".names text")
    if past:
        page.keyboard.press("r")
        page.locator("#past").wait_for()
        page.keyboard.press("r")
    faint = page.evaluate(
        """() => {
          const parse = (text) => text.match(/[\\d.]+/g).map(Number);
          const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
          const found = new Set();
          const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          while (walk.nextNode()) {
            const node = walk.currentNode.parentElement;
            if (!walk.currentNode.data.trim() || !node.checkVisibility()) continue;
            if (node.closest("template, script, .hidden, .skip, option")) continue;
            let ground = node;
            const shows = (one) => parse(getComputedStyle(one).backgroundColor)[3] !== 0;
            while (ground && !shows(ground)) ground = ground.parentElement;
            const style = getComputedStyle(node);
            const text = parse(node.closest("svg") ? style.fill : style.color);
            const under = getComputedStyle(ground ?? document.documentElement);
            const back = parse(under.backgroundColor);
            let solid = 1;
            for (let one = node; one; one = one.parentElement) {
              solid *= getComputedStyle(one).opacity;
            }
            const mixed = text.slice(0, 3).map((c, i) => c * solid + back[i] * (1 - solid));
            const [a, b] = [light(mixed), light(back)].sort((x, y) => y - x);
            const ratio = (a + 0.05) / (b + 0.05);
            if (ratio < 4.5) found.add(`${node.className || node.tagName} ${ratio.toFixed(2)}`);
          }
          return [...found];
        }"""
    )
    assert faint == []
