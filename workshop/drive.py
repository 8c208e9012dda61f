"""Run a part's script on small data, in a store of its own, and keep what it recorded.

The checks look at the result: what the run logged, what the script's functions were called with,
the figures it saved. The script runs in this process; its own run store is never touched.
"""

import atexit
import contextlib
import functools
import importlib.util
import inspect
import io
import shutil
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING

from samerun.errors import innermost
from samerun.process.variables import variables_set
from samerun.store import tracking as run_store
from workshop import regions
from workshop.bounded import TooLong
from workshop.errors import WorkshopError

if TYPE_CHECKING:
    from omegaconf import DictConfig


class Crash(WorkshopError):
    """The script did not come to its end.

    `hole` is the id of the region in which it failed, None if it failed elsewhere.
    """

    def __init__(self, message: str, hole: str | None):
        super().__init__(message)
        self.hole = hole


@dataclass(frozen=True)
class Call:
    """One call of a function of the script."""

    arguments: dict
    result: object


@dataclass(frozen=True)
class Figure:
    """A figure as it was saved: the tick labels and arrays of its axes."""

    x_labels: list[str]
    y_labels: list[str]
    arrays: list


@dataclass
class Record:
    """What one run of a script left: MLflow runs, calls by function name, figures by file name.

    `locals` are the variables of `main` at the place where the run was told to stop.
    """

    runs: list = field(default_factory=list)
    locals: dict = field(default_factory=dict)
    calls: dict[str, list[Call]] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)

    @property
    def run(self):
        """The one MLflow run that the script made (mlflow.entities.Run)."""
        assert len(self.runs) == 1, f"the script made {len(self.runs)} runs, expected 1"
        return self.runs[0]

    def artifact(self, name: str) -> str | None:
        """Return the text of an artifact of the run, None if there is no such file."""
        import mlflow

        with contextlib.suppress(mlflow.exceptions.MlflowException, OSError):
            return mlflow.artifacts.load_text(f"{self.run.info.artifact_uri}/{name}")
        return None


class Driver:
    """Runs the scripts of one part's folder; equal runs are done once.

    Parameters
    ----------
    folder : the folder of the part, in any tree.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._records: dict[tuple, Record | Crash] = {}

    def compose(self, *overrides: str, config: str = "config", with_hydra: bool = False):
        """Compose the part's configuration, as `uv run SCRIPT OVERRIDES` would.

        Raises
        ------
        Crash
            The configuration cannot be composed.
        """
        from hydra import compose, initialize_config_dir
        from hydra.core.global_hydra import GlobalHydra

        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str((self.folder / "conf").resolve()), version_base="1.3"):
                asked = [*overrides, *self._as_it_computes()]
                return compose(config, asked, return_hydra_config=with_hydra)
        except Exception as error:
            raise Crash(
                f"the configuration cannot be read: {error}", self._broken_yaml()
            ) from error

    def run(
        self,
        script: str,
        *overrides: str,
        config: str = "config",
        until: str | None = None,
        past: Collection[str] = (),
        replaced: Mapping[str, Callable] | None = None,
    ) -> Record:
        """Run `main` of a script with these overrides in a fresh store.

        Parameters
        ----------
        config : the configuration to compose
        until : a name in the script; the run stops where `main` first calls it
        past : ids of holes in which the run may end; what came before them is kept
        replaced : stand-ins for functions of the script, by name: what is not being checked

        Raises
        ------
        Crash
            The script failed; the message holds its error and the line.
        """
        cfg = self.compose(*overrides, config=config)
        asked = " ".join([script, *([] if config == "config" else [f"--config-name {config}"])])
        asked = " ".join([asked, *overrides])
        if replaced:  # stand-ins may differ under one name
            return self._run(script, cfg, until, past, replaced, asked)
        key = (script, config, overrides, until, tuple(past))
        if key not in self._records:
            try:
                self._records[key] = self._run(script, cfg, until, past, {}, asked)
            except Crash as crash:
                self._records[key] = crash
        done = self._records[key]
        if isinstance(done, Crash):
            raise done
        return done

    def command(self, script: str, *arguments: str, own_store: bool = True) -> str:
        """Call `main` of a script as its command line would, and return what it printed.

        It records to a store of its own, or else to the one that the environment names.

        Raises
        ------
        Crash
            The script failed, or it ended with a message, which is the message of the crash.
        """
        from hydra.core.hydra_config import HydraConfig

        from workshop import made_up

        module = self.load(script)
        said, complained = io.StringIO(), io.StringIO()
        typed = [str(self.folder / script), *arguments, *self._as_it_computes()]
        arguments_before, sys.argv = sys.argv, typed
        # Hydra looks for conf/ beside the file of `main`, if that is the module that was started.
        started = {"HYDRA_MAIN_MODULE": "__main__", "HYDRA_FULL_ERROR": "0"}
        try:
            with (
                _scratch_store() if own_store else contextlib.nullcontext(),
                self._neighbours(),
                made_up.available(),
                variables_set(started),
                contextlib.redirect_stdout(said),
                contextlib.redirect_stderr(complained),
            ):
                module.main()
        except (Exception, TooLong) as error:
            raise self.blame(error) from error
        except SystemExit as ended:
            _raise_interrupt(ended)
            message = ended.code if isinstance(ended.code, str) else complained.getvalue()
            raise Crash(message.strip(), None) from ended
        finally:
            sys.argv = arguments_before
            HydraConfig.instance().cfg = None  # or a later run's trace would show these overrides
        return said.getvalue()

    def _as_it_computes(self) -> list[str]:
        """Return what takes `portable: true` of a part's conf/ back.

        That starts a process again, with other kernels, and this one has computed already.
        """
        from omegaconf import OmegaConf

        try:
            asked = OmegaConf.load(self.folder / "conf/config.yaml").get("portable")
        except Exception:  # whatever is wrong with it will be said where it is composed
            return []
        return ["++portable=false"] if asked is True else []

    @contextlib.contextmanager
    def recording(self) -> Iterator[str]:
        """Start an MLflow run in a fresh store, for a function that records; yield its id."""
        import mlflow

        with _scratch_store():
            try:
                with mlflow.start_run(experiment_id=run_store.experiment_id("check")) as run:
                    yield run.info.run_id
            except Exception as error:
                if isinstance(error, Crash):
                    raise
                raise self.blame(error) from error

    def load(self, script: str) -> ModuleType:
        """Import a file of the part as a module of its own, its neighbours importable beside it.

        Raises
        ------
        Crash
            The file cannot be imported.
        """
        path = self.folder / script
        with self._neighbours():
            spec = importlib.util.spec_from_file_location(f"driven_{path.stem}", path)
            module = importlib.util.module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except (Exception, SystemExit) as error:
                raise self.blame(error) from error
        return module

    def _run(
        self,
        script: str,
        cfg: "DictConfig",
        until: str | None,
        past: Collection[str],
        replaced: Mapping[str, Callable],
        asked: str,
    ) -> Record:
        import matplotlib.pyplot as plt
        import mlflow
        from threadpoolctl import threadpool_limits

        from workshop import made_up

        record = Record()
        with (
            _scratch_store(),
            self._neighbours(),
            made_up.available(),
            _figures_seen(record.figures),
            threadpool_limits(1),  # on arrays this small, threads cost more than they give
        ):
            module = self.load(script)
            _spy_on_functions(module, record.calls)
            for name, stand_in in replaced.items():
                setattr(module, name, stand_in)
            if until:
                setattr(module, until, _stop)
            try:
                module.main(cfg)
            except _Stop as stop:
                record.locals = _locals_of_main(stop)
            except (Exception, SystemExit, TooLong) as error:
                _raise_interrupt(error)
                crash = self.blame(error)
                if crash.hole is None or crash.hole not in past:
                    raise Crash(f"{crash}\n  the check had run: {asked}", crash.hole) from error
            finally:
                while mlflow.active_run():
                    mlflow.end_run("FAILED")
                plt.close("all")
            record.runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
        return record

    def blame(self, raised: BaseException) -> Crash:
        """Say where in the part an error arose, and in which region."""
        error = innermost(raised)
        # An error inside a library, such as `instantiate`, is the fault of the line that called it.
        inside = self._frames(error) or self._frames(raised)
        kind = type(error).__name__
        match error:
            case SystemExit():
                what = "the code ends the program with exit(); expected that it goes on"
            case TooLong():
                what = "the code does not end: it was stopped after its time was up"
            case _:
                what = f"{kind}: {error}"
        if isinstance(error, SyntaxError) and error.filename:
            file, line = Path(error.filename), error.lineno or 0
        elif inside:
            file, line = Path(inside[-1].filename), inside[-1].lineno
        else:
            return Crash(what, None)
        hole = next((r.id for r in regions.read(file) if r.line <= line <= r.end), None)
        return Crash(f"{what} ({file.name}, line {line})", hole)

    def syntax_error(self) -> Crash | None:
        """Return the first syntax error in a Python file of the part, if there is one.

        The parser may notice it only below the region in which it is: an open bracket, say. The
        region above is to blame then.
        """
        for path in sorted(self.folder.glob("*.py")):
            try:
                compile(path.read_bytes(), str(path), "exec")
            except SyntaxError as error:
                crash, line = self.blame(error), error.lineno or 0
                if crash.hole is None:
                    above = [region for region in regions.read(path) if region.end <= line]
                    crash = Crash(str(crash), above[-1].id if above else None)
                return crash
        return None

    def _frames(self, error: BaseException) -> list[traceback.FrameSummary]:
        frames = traceback.extract_tb(error.__traceback__)
        return [frame for frame in frames if Path(frame.filename).is_relative_to(self.folder)]

    def place(self, frame: FrameType | None) -> str:
        """Say where in the part a frame is, or one that called it: ` in train.py, line 9`."""
        while frame is not None:
            file = Path(frame.f_code.co_filename)
            if file.is_relative_to(self.folder):
                return f" in {file.name}, line {frame.f_lineno}"
            frame = frame.f_back
        return ""

    def _broken_yaml(self) -> str | None:
        """Return the hole in the one YAML file that does not parse, if there is such a file."""
        import yaml

        for path in sorted(self.folder.glob("conf/**/*.yaml")):
            try:
                yaml.safe_load(path.read_text(encoding="utf-8"))
            except yaml.YAMLError:
                return next((region.id for region in regions.read(path)), None)
        return None

    @contextlib.contextmanager
    def _neighbours(self) -> Iterator[None]:
        """Make the files beside the script importable, as for a script; then forget them."""
        files = list(self.folder.glob("*.py"))
        for path in files:
            # Python knows a file by its second and its length: two saves may look like one.
            with contextlib.suppress(OSError):
                Path(importlib.util.cache_from_source(path)).unlink(missing_ok=True)
        names = {path.stem for path in files}
        hidden = {name: sys.modules.pop(name) for name in names & set(sys.modules)}
        sys.path.insert(0, str(self.folder))
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path.remove(str(self.folder))
            for name in names:
                sys.modules.pop(name, None)
            sys.modules.update(hidden)


class _Stop(BaseException):
    """Raised in place of a call at which a run shall stop."""


def _raise_interrupt(error: BaseException) -> None:
    """Raise the Ctrl+C of which a part's `main` has made the exit status of shells."""
    if isinstance(error, SystemExit) and error.code == 130:
        raise KeyboardInterrupt from None


def _stop(*args, **kwargs):
    raise _Stop


def _locals_of_main(stop: _Stop) -> dict:
    """Return the variables of the `main` that a stop went through."""
    frames = (frame for frame, _ in traceback.walk_tb(stop.__traceback__))
    return next(dict(f.f_locals) for f in frames if f.f_code.co_name == "main")


@contextlib.contextmanager
def _scratch_store() -> Iterator[None]:
    """Let everything inside record to an empty store of its own, in a folder that goes at exit."""
    store = Path(tempfile.mkdtemp(dir=scratch_folder())) / "mlflow.db"
    shutil.copy(empty_store(), store)
    uri = f"sqlite:///{store.as_posix()}"
    # Without HYDRA_FULL_ERROR a part's main would turn the errors that we look for into messages.
    with variables_set({"MLFLOW_TRACKING_URI": uri, "HYDRA_FULL_ERROR": "1"}):
        run_store.use_store()
        yield


@functools.cache
def scratch_folder() -> Path:
    """Return the folder in which the stores of all runs stand, until this process ends."""
    folder = tempfile.TemporaryDirectory(prefix="workshop-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return Path(folder.name)


@functools.cache
def empty_store() -> Path:
    """Return a run store without runs: its tables take three seconds to make, a copy none."""
    store = scratch_folder() / "empty.db"
    _write_without_waiting(scratch_folder())
    with contextlib.redirect_stderr(io.StringIO()):
        run_store.create_store(store)
    return store


def sweep() -> None:
    """Remove what runs of this process, or of its forks, left beside the empty store."""
    for path in scratch_folder().iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _write_without_waiting(folder: Path) -> None:
    """Let the databases in a folder that goes at exit not wait for the disk at each commit."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "connect")
    def connected(connection: object, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            (_, _, file), *_ = connection.execute("PRAGMA database_list")
            if Path(file).resolve().is_relative_to(folder.resolve()):
                connection.execute("PRAGMA synchronous = OFF")


def _spy_on_functions(module: ModuleType, calls: dict[str, list[Call]]) -> None:
    """Keep arguments and result of every call of the module's own functions, `main` left out."""
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ == module.__name__ and name != "main":
            setattr(module, name, _spy(function, calls.setdefault(name, [])))


def _spy(function, calls: list[Call]):
    @functools.wraps(function)
    def spied(*args, **kwargs):
        arguments = inspect.signature(function).bind(*args, **kwargs).arguments
        result = function(*args, **kwargs)
        calls.append(Call(arguments, result))
        return result

    return spied


@contextlib.contextmanager
def _figures_seen(figures: dict[str, Figure]) -> Iterator[None]:
    """Keep what every figure shows at the moment it is saved, whichever way it is saved."""
    from matplotlib.figure import Figure as Canvas

    save = Canvas.savefig

    def savefig(self, fname, *args, **kwargs):
        axes = self.axes
        figures[Path(str(fname)).name] = Figure(
            x_labels=[t.get_text() for axis in axes for t in axis.get_xticklabels()],
            y_labels=[t.get_text() for axis in axes for t in axis.get_yticklabels()],
            arrays=[
                drawn.get_array()
                for axis in axes
                for drawn in (*axis.images, *axis.collections)
                if drawn.get_array() is not None
            ],
        )
        return save(self, fname, *args, **kwargs)

    Canvas.savefig = savefig
    try:
        yield
    finally:
        Canvas.savefig = save
