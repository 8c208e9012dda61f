"""What differs between two traces, and so may be why two runs came out differently.

The likeliest cause first: what was asked for (configuration), what ran (code), what it ran with
(environment), what it learned from (data), and how the machine calculates. What seldom changes a
result stands behind all of these: files that were not imported, packages that do not compute, names
of machines.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

from samerun.code.known import KnownFile
from samerun.compare.results import OF_THE_RECORD
from samerun.config import leaves
from samerun.machine import locked
from samerun.machine.description import VARIABLES
from samerun.trace import Trace

CONFIGURATION, CODE, ENVIRONMENT, DATA = "configuration", "code", "environment", "data"
ARITHMETIC, THREADS, MACHINE, COMMAND = "arithmetic", "threads", "machine", "command"
RANK = {CONFIGURATION: 0, CODE: 1, ENVIRONMENT: 2, DATA: 3, ARITHMETIC: 4, THREADS: 4}
RANK |= {MACHINE: 5, COMMAND: 6}
# By these alone, two runs of one experiment may differ in their last digits.
OF_THE_MACHINE = frozenset({ARITHMETIC, THREADS, MACHINE})

FINGERPRINT = "arithmetic"  # the one cause that says that bits differ, and not why
LOCK = "uv.lock"
NONE = "none"  # where one of the two has nothing of the kind
# Packages in whose results the numbers of an experiment lie.
COMPUTE = re.compile(
    r"accelerate|catboost|cupy|flax|jax|jaxlib|keras|lightgbm|lightning|mkl|numba|numexpr|numpy"
    r"|nvidia-(?:cublas|cudnn).*|optax|optuna|pandas|polars|pyarrow|pytorch-lightning|scikit-learn"
    r"|scipy|statsmodels|tensorflow.*|timm|tokenizers|torch.*|transformers|triton|xgboost"
)
THREAD_VARIABLES = frozenset(name for name in VARIABLES if "THREAD" in name)
# They choose what a process sees, and where it runs; not how it calculates.
HARMLESS_VARIABLES = frozenset(
    {"SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID", "LOKY_MAX_CPU_COUNT", "CUDA_VISIBLE_DEVICES"}
)


@dataclass(frozen=True)
class Cause:
    """One thing that differs between two traces.

    kind : one of `RANK`
    name : what differs: a key of the configuration, a file, a package, a variable ...
    first, second : what it is in either run, in a few words
    unlikely : it seldom changes a result
    detail : more lines, such as those of a diff
    """

    kind: str
    name: str
    first: str
    second: str
    unlikely: bool = False
    detail: tuple[str, ...] = ()


def causes(
    first: Trace,
    second: Trace,
    code: Sequence[Cause],
    locks: tuple[str | None, str | None] = (None, None),
) -> tuple[Cause, ...]:
    """Return what differs between two traces, the likeliest cause first.

    Parameters
    ----------
    code : what differs in the code: see `code_by_digest` and `samerun.compare.code`
    locks : the texts of both locks, where they are known
    """
    found = [
        *_configuration(first, second),
        *_script(first, second),
        *code,
        *_not_stored(first, second, code),
        *_environment(first, second, locks),
        *_data(first, second),
        *_machine(first, second),
        *_variables(first, second),
    ]
    return in_order(found)


def in_order(found: Iterable[Cause]) -> tuple[Cause, ...]:
    """Return causes in their order: the likeliest first."""
    return tuple(sorted(found, key=lambda cause: (cause.unlikely, RANK[cause.kind])))


def _configuration(first: Trace, second: Trace) -> Iterator[Cause]:
    one, other = dict(leaves(first.config)), dict(leaves(second.config))
    for name in _differing(one, other):
        kept_elsewhere = name in OF_THE_RECORD
        yield _cause(CONFIGURATION, name, _pair(one, other, name), unlikely=kept_elsewhere)
    arguments = first.command[1:], second.command[1:]
    if one == other and arguments[0] != arguments[1]:  # what they change, the values say
        shown = (" ".join(words) or NONE for words in arguments)
        yield _cause(COMMAND, "arguments", shown, unlikely=True)


def _script(first: Trace, second: Trace) -> Iterator[Cause]:
    if first.script != second.script:
        yield _cause(CODE, "script", (trace.script or NONE for trace in (first, second)))
    if first.cells != second.cells:
        one, other = ((trace.cells or "").splitlines() for trace in (first, second))
        lines = tuple(difflib.unified_diff(one, other, lineterm="", n=0))[2:]
        yield Cause(CODE, "cells of the notebook", "", "others were executed", detail=lines)


def _not_stored(first: Trace, second: Trace, code: Iterable[Cause]) -> Iterator[Cause]:
    """Yield changed files whose contents the records lack, by their digests."""
    named = {cause.name for cause in code}
    one, other = first.code.reasons, second.code.reasons
    for path in _differing(one, other):
        if path not in named:
            pair = _pair(one, other, path, "as committed, or not there")
            yield _cause(CODE, path, pair, unlikely=path not in {*_used(first), *_used(second)})


def code_by_digest(first: Trace, second: Trace) -> list[Cause]:
    """Return the files that the runs imported, or were configured by, in different states."""
    found = []
    one, other = _used(first), _used(second)
    for path in sorted({*one, *other}):
        a, b = one.get(path), other.get(path)
        if a and b and a.sha256 == b.sha256:
            continue
        # All values of the configuration are in the trace, whatever file they come from.
        unlikely = all(file.kind == "configuration" for file in (a, b) if file)
        digests = (f"sha256 {file.sha256[:12]}" if file else "not used" for file in (a, b))
        found.append(_cause(CODE, path, digests, unlikely=unlikely))
    states = tuple((trace.code.commit, trace.patch) for trace in (first, second))
    if not one and not other and states[0] != states[1]:
        found.append(_cause(CODE, "commit", map(_state, (first, second))))
    return found


def _used(trace: Trace) -> dict[str, KnownFile]:
    """Return the files of code and configuration by the names of causes."""
    kinds = ("configuration", "imported", "imported later")  # the last one counts
    files = sorted((f for f in trace.files if f.kind in kinds), key=lambda f: kinds.index(f.kind))
    return {name_of(file.path): file for file in files}


def name_of(path: str) -> str:
    """Return the path of a file in the project; the name of one elsewhere, since the surroundings
    of a project differ from machine to machine."""
    return path if is_inside(path) else re.split(r"[/\\]", path)[-1]


def is_inside(path: str) -> bool:
    """Say whether a path of a trace is relative to its project."""
    return not (PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute())


def _state(trace: Trace) -> str:
    commit = trace.code.commit[:12] if trace.code.commit else "no commit"
    return f"{commit} + changes" if trace.patch else commit


def _environment(
    first: Trace, second: Trace, texts: tuple[str | None, str | None]
) -> Iterator[Cause]:
    one, other = (_packages(trace) for trace in (first, second))
    if first.environment and second.environment:
        pythons = first.environment.python, second.environment.python
        if pythons[0] != pythons[1]:
            yield _cause(ENVIRONMENT, "python", pythons)
    if one and other:
        differing = _differing(one, other)
        for name in sorted(differing, key=lambda name: (not COMPUTE.fullmatch(name), name)):
            pair = _pair(one, other, name, "not installed")
            # torch 2.15.0+cpu and 2.15.0+cu132 are two builds of one version.
            is_build = pair[0].partition("+")[0] == pair[1].partition("+")[0]
            kind = ARITHMETIC if is_build else ENVIRONMENT
            yield _cause(kind, name, pair, unlikely=not COMPUTE.fullmatch(name))
    if first.environment and second.environment:
        locks = first.environment.lock, second.environment.lock
        if locks[0] != locks[1]:
            shown = (lock[:12] if lock else NONE for lock in locks)
            lines = _locked_differently(*texts) if all(texts) else ()
            yield _cause(ENVIRONMENT, LOCK, shown, unlikely=bool(one and other), detail=lines)


def _locked_differently(one: str | None, other: str | None) -> tuple[str, ...]:
    """Return the packages for which two locks have other versions, or other files."""
    try:
        found = locked.differences(one or "", other or "")
    except ValueError:
        return ()
    return tuple(f"{name}: {was}, {now}" for name, (was, now) in found.items())


def _packages(trace: Trace) -> dict[str, str]:
    pairs = (package.partition("==") for package in trace.packages)
    return {name: version for name, _, version in pairs}


def _data(first: Trace, second: Trace) -> Iterator[Cause]:
    one, other = first.data, second.data
    if one is None and other is None:
        return
    digests = tuple(data.digest if data else NONE for data in (one, other))
    names = tuple(data.name if data else NONE for data in (one, other))
    if digests[0] != digests[1]:
        files = tuple(_data_files(first, second))
        name = names[0] if names[0] == names[1] else "data set"
        shown = (
            f"{n}, {d[:12]}" if n != NONE else NONE for n, d in zip(names, digests, strict=True)
        )
        yield _cause(DATA, name, shown, detail=files)


def _data_files(first: Trace, second: Trace) -> Iterator[str]:
    one, other = (
        {f.path.replace("\\", "/").rpartition("/")[2]: f for f in t.files if f.kind == "data"}
        for t in (first, second)
    )
    for name in sorted({*one, *other}):
        a, b = one.get(name), other.get(name)
        if a and b and a.sha256 != b.sha256:
            yield f"{name}: {a.size} bytes, {b.size} bytes"
        elif not (a and b):
            yield f"{name}: only the {'first' if a else 'second'} has it"


def _machine(first: Trace, second: Trace) -> Iterator[Cause]:
    one, other = first.machine, second.machine
    if one is None or other is None:
        return
    common = {*one.arithmetic} & {*other.arithmetic}
    changed = sorted(name for name in common if one.arithmetic[name] != other.arithmetic[name])
    # The calculations are done on the processor alone.
    calculates_alike = bool(common) and not changed and not (one.gpus or other.gpus)
    found: list[Cause] = []

    for name in _differing(one.variables, other.variables):
        pair = _pair(one.variables, other.variables, name, "not set")
        kind = THREADS if name in THREAD_VARIABLES else ARITHMETIC
        unlikely = name in HARMLESS_VARIABLES or (kind == ARITHMETIC and calculates_alike)
        found.append(_cause(MACHINE if unlikely else kind, name, pair, unlikely=unlikely))
    if (one.gpus, one.cuda) != (other.gpus, other.cuda):
        shown = (", ".join([*m.gpus, f"CUDA {m.cuda}"]) if m.gpus else NONE for m in (one, other))
        found.append(_cause(ARITHMETIC, "gpu", shown))
    elif one.driver != other.driver:
        drivers = one.driver or NONE, other.driver or NONE
        found.append(_cause(MACHINE, "driver", drivers, unlikely=not one.gpus))
    if one.cpu != other.cpu or one.instructions != other.instructions or one.flags != other.flags:
        shown = (", ".join(filter(None, (m.cpu, m.instructions))) for m in (one, other))
        kind = MACHINE if calculates_alike else ARITHMETIC
        found.append(_cause(kind, "processor", shown, unlikely=calculates_alike))
    for name in _differing(one.libraries, other.libraries):
        if name in one.libraries and name in other.libraries:  # others were not loaded
            pair = one.libraries[name], other.libraries[name]
            found.append(_cause(ARITHMETIC, name, pair))
    for name in _differing(_threads(one.threads), _threads(other.threads)):
        pair = _pair(_threads(one.threads), _threads(other.threads), name, "not loaded")
        if "not loaded" not in pair:
            found.append(_cause(THREADS, f"threads of {name}", pair))
    if changed:  # behind what may be its reason
        count = f"{len(changed)} of {len(common)} calculations differ"
        found.append(_cause(ARITHMETIC, FINGERPRINT, ("", count), detail=tuple(changed)))
    if one.platform != other.platform:
        found.append(_cause(MACHINE, "platform", (one.platform, other.platform), unlikely=True))
    cores = tuple(f"{m.cores}, {m.usable_cores} usable" for m in (one, other))
    if cores[0] != cores[1]:
        found.append(_cause(MACHINE, "cores", cores, unlikely=True))
    yield from found


def _variables(first: Trace, second: Trace) -> Iterator[Cause]:
    """Yield variables of MLflow, Hydra and Optuna; where runs are kept is no cause."""
    for name in _differing(first.variables, second.variables):
        if not name.startswith(("MLFLOW_TRACKING_", "_MLFLOW_")):
            pair = _pair(first.variables, second.variables, name, "not set")
            yield _cause(MACHINE, name, pair, unlikely=True)


def _threads(threads: Mapping[str, int]) -> dict[str, int]:
    """Return the threads by the folder of the library: a file's name holds a hash of its build."""
    shortened: dict[str, int] = {}
    for name, count in threads.items():
        folder, slash, file = name.partition("/")
        short = f"{folder}/{file.partition('-')[0].partition('.')[0]}" if slash else name
        shortened[short] = count
    return shortened


def _differing(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Return the names whose values differ, in the order of the first, then of the second."""
    return [
        name
        for name in dict.fromkeys([*one, *other])
        if name not in one or name not in other or not _same(one[name], other[name])
    ]


def _same(one: object, other: object) -> bool:
    # 1, 1.0 and True are equal to Python; to a script they may not be. NaN is equal to itself here.
    return repr(one) == repr(other)


def _pair(
    one: Mapping[str, object], other: Mapping[str, object], name: str, missing: str = "not there"
) -> tuple[str, str]:
    first, second = (str(m[name]) if name in m else missing for m in (one, other))
    if first == second:  # of another type
        first, second = repr(one[name]), repr(other[name])
    return first, second


def _cause(
    kind: str,
    name: str,
    pair: Iterable[str],
    *,
    unlikely: bool = False,
    detail: tuple[str, ...] = (),
) -> Cause:
    first, second = pair
    return Cause(kind, name, first, second, unlikely, detail)
