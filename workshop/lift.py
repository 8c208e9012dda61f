"""Making a project that stands alone out of a part: `workshop lift part2 ../my-project`.

The scripts and the configuration of the part come along, from the participant's tree or from the
solutions, without their markers and without a word of this course; `lifted/` holds what takes the
place of what they import from here, such as the data.
"""

import itertools
import os
import re
import shutil
import string
import subprocess
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from workshop import regions, rewrite
from workshop.course import Course, Part, is_open
from workshop.errors import WorkshopError

TEMPLATES = Path(__file__).resolve().parent / "lifted"
LIBRARY = Path("packages/samerun")
NOT_LIFTED = ("README.md", "data.py", "*.ipynb", "conf/data/*")  # templates stand for them

# Which distribution brings a module, where the names differ.
DISTRIBUTIONS = {"hydra": "hydra-core", "sklearn": "scikit-learn", "yaml": "pyyaml"}
WITH_HYDRA = ("hydra-joblib-launcher", "hydra-submitit-launcher")


@dataclass(frozen=True)
class Recipe:
    """What is particular about lifting a part.

    templates : folders of `lifted/`, the later ones over the earlier ones
    modules : of the course that come along, by the file that they become
    without : files of the part that stay here
    drop : definitions of a file that stay here
    replace : texts of a file that change; each one stands in the file as it is
    also : distributions that only the configuration names
    """

    templates: tuple[str, ...]
    modules: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    drop: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    replace: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    also: tuple[str, ...] = ()


RECIPES = {
    "part1": Recipe(
        templates=("common", "part1"),
        modules={"sealed.py": "sealed.py"},
        also=("skops",),
    ),
    "part2": Recipe(
        templates=("common", "torch", "part2"),
        modules={"sealed.py": "sealed.py"},
    ),
    "part3": Recipe(
        templates=("common", "torch", "part3"),
        modules={name: name for name in ("sealed.py", "study.py", "study_state.py")},
        without=("submit.py", "conf/submit.yaml", "conf/tracking/*"),
        drop={"trained.py": ("FromPixels", "models_of", "PART")},
        replace={
            "train.py": (
                ("    tracking = instantiate(cfg.tracking)\n", ""),
                (" as (run_id, folder), tracking:", " as (run_id, folder):"),
            ),
            "conf/config.yaml": (
                ("  - tracking: local # shared: for all to see, once you have joined\n", ""),
            ),
            "study.py": (
                ("from workshop.course import ROOT\n", "from pathlib import Path\n"),
                ("FINISHED = (", "ROOT = Path(__file__).resolve().parent\nFINISHED = ("),
            ),
            "study_state.py": (("(workshop, samerun)", "(samerun,)"),),
        },
        also=("cmaes", "pandas", "psycopg"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Lifted:
    """What was made: where, of whose code, and what a person should know, a line each."""

    folder: Path
    own: bool
    notes: tuple[str, ...]


def lift(course: Course, part: Part, target: Path, origin: str = "auto") -> Lifted:
    """Write a project of its own into `target`, lock its packages and commit it.

    Parameters
    ----------
    part : whose scripts and configuration it gets
    target : a folder that does not exist or is empty, outside of this checkout
    origin : "own" takes the participant's tree, "solutions" the solutions, "auto" the former if
        none of its holes is open

    Raises
    ------
    WorkshopError
        The target cannot be used, the own tree has open holes or lacks what a project needs.
    """
    folder = _usable(target, course.root)
    recipe = RECIPES[part.folder.partition("_")[0]]
    tree, notes = _tree(course, part, recipe, origin)
    dependencies = _dependencies(course.root)
    name = project_name(folder.name, [*dependencies, "samerun"])

    files = _files(part, tree, recipe, name)
    files |= _templates(recipe, files, name, dependencies, course.root)
    try:
        for relative, content in files.items():
            path = folder / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        _copy_library(course.root, folder)
    except OSError as error:
        raise WorkshopError(
            f"{folder} cannot be written: {error}. Choose another folder."
        ) from error
    notes += _lock(course.root, folder)
    notes += _commit(folder)
    return Lifted(folder, tree == course.root, tuple(notes))


def _usable(target: Path, checkout: Path) -> Path:
    folder = target.expanduser().absolute()
    folder = folder.parent.resolve() / folder.name if folder.name != ".." else folder.resolve()
    if folder == checkout or checkout in folder.parents:
        raise WorkshopError(
            f"{folder} lies inside of this checkout. A project of its own needs a folder outside, "
            f"such as ../{folder.name if folder != checkout else 'my-project'}"
        )
    if folder.is_symlink() or folder.is_file():
        raise WorkshopError(f"{folder} exists and is no folder. Choose another name.")
    if folder.is_dir() and any(folder.iterdir()):
        raise WorkshopError(
            f"{folder} exists and is not empty. Choose another name, or remove what is in it: "
            "nothing of yours is written over."
        )
    return folder


def project_name(folder: str, taken: list[str]) -> str:
    """Return a name that a package may have, made of that of a folder: `Mön projekt` mon-projekt.

    A name of `taken`, or one of Python's, would be mistaken for the package that bears it.
    """
    ascii = unicodedata.normalize("NFKD", folder).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "-", ascii.lower()).strip("-")
    if not name:
        return "my-project"
    return f"{name}-project" if name in taken else name


def _tree(course: Course, part: Part, recipe: Recipe, origin: str) -> tuple[Path, list[str]]:
    """Return the tree to take the part from, and what to say of that."""
    if origin == "solutions":
        return course.solutions, []
    found = part.regions(course.root)
    open_holes = [
        hole.id
        for hole in part.holes
        if _comes_along(Path(hole.file), recipe)
        and hole.file not in recipe.drop
        and (hole.id not in found or is_open(hole, found[hole.id][1].body))
    ]
    if not open_holes:
        return course.root, []
    listed = ", ".join(open_holes)
    if origin == "own":
        raise WorkshopError(
            f"In {part.folder} these TODOs are open: {listed}. Fill them in, or take our "
            "solutions: --from solutions"
        )
    return course.solutions, [
        f"It is made of our solutions, since in your {part.folder} these TODOs are open: {listed}."
    ]


def _comes_along(file: Path, recipe: Recipe) -> bool:
    return not any(file.match(pattern) for pattern in (*NOT_LIFTED, *recipe.without))


def _files(part: Part, tree: Path, recipe: Recipe, name: str) -> dict[str, bytes]:
    """Return the files of the part, and the modules that they need, as the project gets them."""
    texts = {
        file.as_posix(): (tree / part.folder / file).read_text(encoding="utf-8")
        for file in part.files(tree)
        if _comes_along(file, recipe)
    }
    for module, becomes in recipe.modules.items():
        texts[becomes] = (Path(__file__).parent / module).read_text(encoding="utf-8")
    takes = rewrite.parameters(texts["models.py"]) if "models.py" in texts else {}
    files = {}
    for file, text in texts.items():
        text = rewrite.without_course(regions.without_markers(text), name)
        for old, new in recipe.replace.get(file, ()):
            if old not in text:
                raise WorkshopError(
                    f"{part.folder}/{file} cannot be lifted as it is: expected these lines in it, "
                    f"as they were at first:\n{old}\nPut them back, or take our solutions: --from "
                    "solutions"
                )
            text = text.replace(old, new)
        if file.startswith("conf/model/"):
            text = _with_facts(text, takes)
        if file.endswith(".py"):
            text = rewrite.tidied(rewrite.without(text, recipe.drop.get(file, ())))
        files[file] = text.encode("utf-8")
    return files


def _with_facts(text: str, takes: Mapping[str, list[str]]) -> str:
    """Let a model's configuration take from the data what its class has to know of them."""
    target = re.search(r"^_target_: models\.(\w+)", text, re.M)
    for what in ("pixels", "side", "classes"):
        if target and what in takes.get(target[1], ()) and f"\n{what}:" not in text:
            text += f"{what}: ${{of_data:{what},${{data.name}}}} # taken from the data\n"
    return text


def _templates(
    recipe: Recipe,
    files: Mapping[str, bytes],
    name: str,
    specifications: Mapping[str, str],
    checkout: Path,
) -> dict[str, bytes]:
    made = {}
    for template in recipe.templates:
        for path in sorted((TEMPLATES / template).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                relative = path.relative_to(TEMPLATES / template).as_posix()
                made[relative] = path.read_bytes()
    # Under their own names, git and ruff would take these two for settings of this checkout.
    made[".gitignore"] = made.pop("gitignore")
    made["pyproject.toml"] = made.pop("pyproject")
    for file, names in recipe.drop.items():
        if file in made:
            text = rewrite.without(made[file].decode("utf-8"), names)
            made[file] = rewrite.tidied(text).encode("utf-8")
    modules = set().union(
        *(
            rewrite.imported(content.decode("utf-8"))
            for file, content in [*files.items(), *made.items()]
            if file.endswith(".py") and not file.startswith("tests/")
        )
    )
    needs = {DISTRIBUTIONS.get(module, module) for module in modules}
    needs |= {*recipe.also, *WITH_HYDRA, "samerun"}
    lines = [f'    "{specifications[need]}",' for need in sorted(needs) if need in specifications]
    python = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    values = {
        "name": name,
        "python": python["requires-python"],
        "dependencies": "\n".join(lines),
    }
    for file in ("pyproject.toml", "README.md"):
        text = string.Template(made[file].decode("utf-8"))
        made[file] = text.substitute(values).encode("utf-8")
    made[".python-version"] = (checkout / ".python-version").read_bytes()
    return made


def _dependencies(checkout: Path) -> dict[str, str]:
    """Return what the course requires of each distribution, by its name."""
    read = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))
    required = [*itertools.chain(*read["dependency-groups"].values())]
    required += read["project"]["dependencies"]  # last: what stands in both is taken from here
    return {re.match(r"[\w.-]+", line)[0]: line for line in required}


def _copy_library(checkout: Path, folder: Path) -> None:
    """Copy samerun without its tests, and the licence under which its code and ours may be used."""
    left = shutil.ignore_patterns("tests", "__pycache__", ".*", "*.egg-info", "dist", "build")
    shutil.copytree(checkout / LIBRARY, folder / LIBRARY, ignore=left)
    shutil.copy(checkout / "LICENSE", folder / LIBRARY / "LICENSE")


def _lock(checkout: Path, folder: Path) -> list[str]:
    """Lock the project's packages, at the versions that the course has."""
    (folder / "uv.lock").write_bytes((checkout / "uv.lock").read_bytes())
    environment = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
    command = ["uv", "lock", "--quiet", "--project", str(folder)]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, encoding="utf-8"
        )
        reason = (done.stderr.strip().splitlines() or ["?"])[-1] if done.returncode else ""
    except FileNotFoundError:
        reason = "uv is not on the PATH"
    if not reason:
        return []
    (folder / "uv.lock").unlink()
    return [
        f"Its packages are not locked yet ({reason}). The first `uv run` does it; then commit "
        "uv.lock: git add uv.lock && git commit -m Lock"
    ]


def _commit(folder: Path) -> list[str]:
    """Make the folder a git repository with all of it in a first commit."""
    from samerun.code.checkout import GitError, git

    try:
        git(folder, "init", "--quiet", "--initial-branch=main")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--no-verify", "--message", "Begin")
    except GitError as error:
        reason = str(error).splitlines()[0]
        if "identity" in str(error) or "who you are" in str(error):
            reason = (
                "git does not know your name: git config --global user.name NAME, and the same "
                "for user.email"
            )
        return [
            f"Nothing is committed yet: {reason}. Its runs are recorded all the same. "
            "Later, there: git init && git add . && git commit -m Begin"
        ]
    return []
