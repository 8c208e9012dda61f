"""Every score of a published export, computed again by anybody."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workshop.errors import WorkshopError
from workshop.leaderboard import export, ranking, tables
from workshop.leaderboard.blobs import Blobs
from workshop.leaderboard.records import Score


@dataclass(frozen=True)
class Line:
    """One submission: what the export says and what was found. Ranks are None where none is due."""

    submission: int
    participant: str
    stored: float
    found: float | None
    stored_rank: int | None
    rank: int | None
    difference: str | None  # what differs, in words; None if nothing does


@dataclass(frozen=True)
class Found:
    """An entry as far as it decides a rank."""

    id: int
    score: float
    correct: bytes


def recompute(folder: Path) -> Iterator[Line]:
    """Score all models of an export anew, the board's order first; yield a line for each.

    Raises
    ------
    WorkshopError
        It is no export, holds no seed, or the seed is not the one that was announced.
    """
    facts = export.read_competition(folder)
    seed = _seed(folder, facts)
    names = {row["id"]: row["name"] for row in export.read_rows(folder, tables.participants)}
    rows = [row for row in export.read_rows(folder, tables.submissions) if row["state"] == "scored"]
    found = {row["id"]: _score(folder, facts["data"], seed, row) for row in rows}
    before, after = _announced(folder), _ranks(rows, found)
    for row in sorted(rows, key=lambda row: (-row["score"], row["id"])):
        score, id = found[row["id"]], row["id"]
        yield Line(
            submission=id,
            participant=names[row["participant_id"]],
            stored=row["score"],
            found=score.score if isinstance(score, Score) else None,
            stored_rank=before.get(id),
            rank=after.get(id),
            difference=_difference(row, score, before.get(id), after.get(id)),
        )


def _seed(folder: Path, facts: dict) -> bytes:
    from workshop.leaderboard.scorer import load_test_sets

    if "seed" not in facts:
        raise WorkshopError(
            f"{folder} holds no seed: it was exported before the competition was closed."
        )
    seed = bytes.fromhex(facts["seed"])
    if hashlib.sha256(seed).hexdigest() != facts["seed_sha256"]:
        raise WorkshopError(
            f"The seed in {folder} is not the one that was announced: its SHA-256 is "
            f"{hashlib.sha256(seed).hexdigest()}, expected {facts['seed_sha256']}."
        )
    digest = load_test_sets(facts["data"], seed).images_sha256
    if facts["images_sha256"] not in (None, digest):
        raise WorkshopError(
            f"The seed makes other hidden images than announced: their SHA-256 is {digest}, "
            f"expected {facts['images_sha256']}. The code or a library may be another version."
        )
    return seed


def _score(folder: Path, data: str, seed: bytes, row: dict) -> Score | str:
    from workshop.leaderboard.sandbox import Refused, ScorerFault
    from workshop.leaderboard.scorer import score_model

    try:
        model = Blobs(str(folder / "blobs")).get(row["model_sha256"])
        if hashlib.sha256(model).hexdigest() != row["model_sha256"]:
            return "the model's file was changed"
        return score_model(model, data, seed)
    except (WorkshopError, Refused, ScorerFault) as error:
        return str(error)


def _announced(folder: Path) -> dict[int, int]:
    """Return the ranks that the board showed, by submission."""
    shown = json.loads((folder / "board.json").read_text(encoding="utf-8"))
    return {entry["submission"]: entry["rank"] for entry in shown["entries"] if entry["rank"]}


def _ranks(rows: list[dict], found: dict[int, Score | str]) -> dict[int, int]:
    """Return the ranks that follow from the scores found, by submission."""
    best: dict[int, Found] = {}
    for row in rows:  # in the order in which they came: of equal ones the first counts
        score = found[row["id"]]
        if isinstance(score, str) or row["disqualified"] or row["suspect"]:
            continue
        known = best.get(row["participant_id"])
        if known is None or score.score > known.score:
            best[row["participant_id"]] = Found(row["id"], score.score, score.correct)
    entries = list(best.values())
    return dict(zip((entry.id for entry in entries), ranking.ranks(entries), strict=True))


def _difference(row: dict, score: Score | str, before: int | None, after: int | None) -> str | None:
    if isinstance(score, str):
        return f"cannot be scored: {score}"
    wrong = [
        f"{name} {row[name]} is {getattr(score, name)}"
        for name in ("score", "test", "control", "parameters")
        if row[name] != getattr(score, name)
    ]
    if row["correct"] != score.correct and not wrong:
        wrong.append("other images are right")
    if before != after:
        wrong.append(f"rank {before} is {after}")
    return "; ".join(wrong) or None
