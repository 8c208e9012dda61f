"""The leaderboard under input that nobody thought of: properties, and its OpenAPI description."""

import html
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

hypothesis = pytest.importorskip("hypothesis", reason="uv run --group maintain pytest")

from hypothesis import HealthCheck, assume, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from leaderboard import Room, begun, bits, joined, running, shared_room  # noqa: E402

from workshop.errors import WorkshopError  # noqa: E402
from workshop.leaderboard import messages, names, ranking, tables  # noqa: E402
from workshop.leaderboard.database import Database  # noqa: E402
from workshop.leaderboard.records import LiveBatch, LivePoint, Rejected  # noqa: E402

__all__ = ["shared_room"]  # a fixture

os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", tempfile.gettempdir())
quick = settings(
    max_examples=100,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database for all examples."""
    folder = tmp_path_factory.mktemp("fuzz")
    found = begun(f"sqlite:///{(folder / 'leaderboard.db').as_posix()}")
    yield found
    found.close()


# Ranks


class Entry:
    def __init__(self, id: int, accuracy: float, seed: int) -> None:
        self.id, self.correct = id, bits(accuracy, seed)
        self.score = int(np.unpackbits(np.frombuffer(self.correct, np.uint8)).sum()) / 400


some_entries = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3)), min_size=1, max_size=25).map(
    lambda all: [Entry(id, accuracy, seed) for id, (accuracy, seed) in enumerate(all)]
)


@quick
@given(some_entries, st.randoms())
def test_ranks_do_not_depend_on_the_order(entries: list[Entry], random):
    mixed = list(entries)
    random.shuffle(mixed)
    expected = dict(zip([entry.id for entry in entries], ranking.ranks(entries), strict=True))
    found = dict(zip([entry.id for entry in mixed], ranking.ranks(mixed), strict=True))
    assert found == expected


@quick
@given(some_entries)
def test_ranks_follow_the_scores_and_count_who_is_above(entries: list[Entry]):
    ranks = ranking.ranks(entries)
    assert min(ranks) == 1
    for entry, rank in zip(entries, ranks, strict=True):
        for other, other_rank in zip(entries, ranks, strict=True):
            assert entry.score <= other.score or rank <= other_rank
        group = [e for e, r in zip(entries, ranks, strict=True) if r == rank]
        assert rank == 1 + sum(r < rank for r in ranks)
        first = min(group, key=lambda one: (-one.score, one.id))
        assert ranking.paired_p(first.correct, entry.correct) >= 0.05


# Live logs


@st.composite
def deliveries(draw) -> tuple[int, list[tuple[int, int]]]:
    """The length of a log, and batches of it as a network may deliver them."""
    length = draw(st.integers(1, 40))
    cut = st.tuples(st.integers(0, length), st.integers(0, length)).map(sorted).map(tuple)
    return length, draw(st.lists(cut, max_size=25))


@quick
@given(deliveries(), st.lists(st.integers(0, 24), max_size=3), st.booleans())
def test_whatever_arrives_the_log_is_what_was_sent(
    kept: Database, sent: tuple, restarts: list[int], together: bool
):
    length, batches = sent
    if kept.participant(1) is None:
        joined(kept, "Ada")
    run = secrets.token_hex(16)
    db, have = kept, 0

    def batch(start: int, end: int) -> LiveBatch:
        points = [LivePoint("loss", i, i, i / 7) for i in range(start, end)]
        return LiveBatch(run, "run", 0, None, {}, start, points)

    if together:
        answers = db.append_live_many([(1, batch(*cut)) for cut in batches])
    for number, (start, end) in enumerate(batches):
        if number in restarts and not together:
            db = Database(kept.url)
        try:
            answer = answers[number] if together else db.append_live(1, batch(start, end))
        except Rejected as error:
            answer = error
        if start > have:
            assert answer.more == {"position": have}
        else:
            have = max(have, end)
            assert answer == have
    assert have <= length
    found = [live for live in kept.rows(tables.live_runs) if live["run_id"] == run]
    points = kept.live_points(found[0]["id"]) if found else []
    assert [(point.step, point.value) for point in points] == [(i, i / 7) for i in range(have)]


# Names

letters = st.text(st.characters(exclude_categories=()), min_size=1, max_size=50)
likely = st.text("Ada Eve.李\u0410\u202e\u0301\u200b-<>&\"'", min_size=1, max_size=12)


@quick
@given(st.one_of(letters, likely))
def test_an_accepted_name_survives_everything_it_goes_through(kept: Database, text: str):
    try:
        name = names.check_name(text)
    except WorkshopError:
        assume(False)
    assert names.check_name(name) == name
    assert json.loads(json.dumps(name)) == name
    assert name.encode().decode() == name
    assert html.unescape(html.escape(name)) == name
    assert names.skeleton(name)
    assert names.skeleton(name) == names.skeleton(names.skeleton(name))
    assert names.is_plain(name)
    with kept._writing() as connection:
        connection.execute(tables.uploads.delete())
        row = {"participant_id": 1, "sha256": name, "size": 1, "created": 1}
        connection.execute(tables.uploads.insert(), [row])
    assert [row["sha256"] for row in kept.rows(tables.uploads)] == [name]


@quick
@given(st.text(max_size=60))
def test_any_text_is_a_name_or_refused_with_a_sentence(text: str):
    try:
        assert 0 < len(names.check_name(text)) <= names.LONGEST
    except WorkshopError as error:
        assert str(error).endswith(".")
        assert names.is_plain(str(error))


# Paths


@quick
@given(st.text("ab./\\: \x00\u202e~$", max_size=20).map(lambda text: text + ".yaml"))
def test_an_accepted_path_stays_in_its_folder(path: str):
    try:
        messages.check_path(path)
    except ValueError:
        assume(False)
    for system in (Path("/folder"), Path("/folder/deep")):
        joined_path = Path(os.path.normpath(system / path))
        assert joined_path.is_relative_to(system)
        assert joined_path != system
    assert "\\" not in path
    assert ":" not in path


# The whole surface, from its own description


@pytest.fixture(scope="module")
def open_room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """A server without limits on how often somebody may ask."""
    with running(tmp_path_factory.mktemp("open") / "leaderboard") as found:
        found.db.update_competition(quota_per_hour=100_000)
        for name in ("live", "submit", "upload", "join", "wrong"):
            limit = getattr(found.state, f"{name}_limit")
            limit.per_second = limit.burst = 1e6
        found.state.db.not_uploaded = lambda *_: set()  # so that submissions get far
        found.state.blobs.exists = lambda _: True
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("with_token", [False, True])
def test_the_server_keeps_to_its_description(open_room: Room, with_token: bool):
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis import checks
    from schemathesis.specs.openapi import checks as openapi

    headers = open_room.auth("Ada") if with_token else {}
    schema = schemathesis.openapi.from_url(f"{open_room.settings.address}/openapi.json")
    schema = schema.exclude(path="/api/events")  # which never ends
    wanted = [
        checks.not_a_server_error,
        openapi.status_code_conformance,
        openapi.content_type_conformance,
        openapi.response_schema_conformance,
    ]
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in schemathesis.GenerationMode:

            @settings(
                max_examples=25,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                derandomize=True,
            )
            @given(operation.as_strategy(generation_mode=mode))
            def check(case) -> None:
                answer = case.call(headers=headers)
                case.validate_response(answer, checks=wanted)

            try:
                check()
            except hypothesis.errors.Unsatisfiable:
                assert mode is not schemathesis.GenerationMode.POSITIVE  # nothing can be wrong
