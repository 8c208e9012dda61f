"""run.json of a crate: a run as samerun reads it back, to the last bit of every number."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samerun.errors import RecordError
from samerun.recorded import RecordedRun
from samerun.trace import Trace

NAME = "run.json"
SCHEMA = 1


@dataclass(frozen=True)
class Record:
    """What run.json says beside the run itself.

    codes : every state of the code that the run needs, see `states`
    left_out : what the run had and the crate lacks, and why
    """

    codes: Sequence["Code"]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Code:
    """A state of the code: the name of git's tree of it, and modes as in `sources.Sources`."""

    directory: str
    modes: Mapping[str, str]


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


def write(run: RecordedRun, record: Record) -> bytes:
    """Return the text of run.json."""
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
        "codes": [{"directory": code.directory, "modes": code.modes} for code in record.codes],
        "left_out": record.left_out,
    }
    return json.dumps(said, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def read(content: bytes, trace: Trace, files: Path) -> tuple[RecordedRun, Record]:
    """Return what `write` wrote.

    Raises
    ------
    RecordError
        It is not of this form.
    """
    try:
        said = json.loads(content)
        if said["schema"] != SCHEMA:
            raise RecordError(
                f"This crate has the form {said['schema']!r}, expected {SCHEMA}: another version "
                "of samerun made it. Install that version to read it."
            )
        run = RecordedRun(
            run_id=_text(said["run_id"]),
            name=_text(said["name"]),
            status=_text(said["status"]),
            tags=_texts(said["tags"]),
            params=_texts(said["params"]),
            metrics={
                _text(name): [(_step(step), float(value)) for step, value in points]
                for name, points in said["metrics"].items()
            },
            trace=trace,
            weights=_texts(said["weights"]),
            files=files,
        )
        codes = [Code(_text(c["directory"]), _texts(c["modes"])) for c in said["codes"]]
        return run, Record(codes, _texts(said["left_out"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecordError(
            f"{NAME} of this crate cannot be read ({error}): it was altered."
        ) from None


def table(run: RecordedRun) -> bytes:
    """Return every metric at every step as CSV."""
    lines = ["metric,step,value"]
    for name, points in sorted(run.metrics.items()):
        quoted = f'"{name}"' if any(c in name for c in ',"\n') else name
        lines += [f"{quoted},{step},{value!r}" for step, value in points]
    return ("\n".join(lines) + "\n").encode()


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else repr(value)  # JSON has no name for infinity


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _texts(value: Any) -> dict[str, str]:
    return {_text(key): _text(item) for key, item in value.items()}


def _step(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no step")
    return value
