"""run.json of a crate: a run as samerun reads it back, to the last bit of every number."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from samerun.errors import RecordError
from samerun.received.shape import shaped
from samerun.recorded import RecordedRun
from samerun.trace import Trace

NAME = "run.json"
SCHEMA = 1
RUN_ID = re.compile("[0-9a-f]{32}")  # folders are named by it


@dataclass(frozen=True)
class Code:
    """A state of the code: the name of git's tree of it, and modes as in `sources.Sources`."""

    directory: str
    modes: Mapping[str, str]


@dataclass(frozen=True)
class _Written:
    """What `write` writes, beside what says how to read it."""

    run_id: str
    name: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, list[tuple[int, float | Literal["nan", "inf", "-inf"]]]]
    weights: dict[str, str]
    codes: list[Code]


def states(trace: Trace, added: Sequence[Trace]) -> list[Trace]:
    """Return one trace for every state of the code: that of the run, and what came later.

    An evaluation is often done after some more editing.
    """
    found: dict[tuple[str | None, bytes], Trace] = {}
    for one in (trace, *added):
        found.setdefault(_code_of(one), one)
    return list(found.values())


def state_of(trace: Trace, states: Sequence[Trace]) -> int:
    """Return which of the states of the code a trace has."""
    return [_code_of(state) for state in states].index(_code_of(trace))


def _code_of(trace: Trace) -> tuple[str | None, bytes]:
    return trace.code.commit, trace.patch


def places(number: int) -> tuple[str, str]:
    """Return where a crate has a state of the code, and its commit; the first one is that of the
    run."""
    return ("code", "commit") if number == 0 else (f"code-{number + 1}", f"commit-{number + 1}")


def write(run: RecordedRun, codes: Sequence[Code], left_out: Mapping[str, str]) -> bytes:
    """Return the text of run.json.

    codes : every state of the code that the run needs, see `states`
    left_out : what the run had and the crate lacks, and why
    """
    said = {
        "schema": SCHEMA,
        "run_id": run.run_id,
        "name": run.name,
        "status": run.status,
        "tags": run.tags,
        "params": run.params,
        "metrics": {
            name: [[step, _number(value)] for step, value in points]
            for name, points in run.metrics.items()
        },
        "weights": run.weights,
        "codes": [{"directory": code.directory, "modes": code.modes} for code in codes],
        "left_out": left_out,
    }
    return json.dumps(said, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def read(content: bytes, trace: Trace, files: Path) -> tuple[RecordedRun, list[Code]]:
    """Return the run and the states of its code that `write` wrote.

    Raises
    ------
    RecordError
        It is not of this form.
    """
    try:
        schema = json.loads(content)["schema"]
        if schema != SCHEMA:
            raise RecordError(
                f"This crate has the form {schema!r}, expected {SCHEMA}: another version "
                "of samerun made it. Install that version to read it."
            )
        said = shaped(_Written, content)
        if not RUN_ID.fullmatch(said.run_id):
            raise ValueError(f"{said.run_id!r} is no id of a run")
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise RecordError(
            f"{NAME} of this crate cannot be read: {error}. It was altered."
        ) from None
    metrics = {
        name: [(step, float(value)) for step, value in points]
        for name, points in said.metrics.items()
    }
    run = RecordedRun(
        run_id=said.run_id,
        name=said.name,
        status=said.status,
        tags=said.tags,
        params=said.params,
        metrics=metrics,
        trace=trace,
        weights=said.weights,
        files=files,
    )
    return run, said.codes


def table(run: RecordedRun) -> bytes:
    """Return every metric at every step as CSV."""
    lines = ["metric,step,value"]
    for name, points in sorted(run.metrics.items()):  # MLflow takes no comma in a name
        lines += [f"{name},{step},{value!r}" for step, value in points]
    return ("\n".join(lines) + "\n").encode()


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else repr(value)  # JSON has no name for infinity
