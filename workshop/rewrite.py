"""Rewriting the code of a part as that of a project which knows nothing of this course."""

import ast
import re
import sys

# Where names that the parts import from this course come from in a project of its own.
SOURCES = {
    "workshop.data": "data_source",
    "workshop.errors": "samerun",
    "workshop.sealed": "sealed",
    "workshop.study_state": "study_state",
    "workshop.study": "study",
}
TEXTS = (
    (re.compile(r"uv run part\d_\w+/"), "uv run "),
    (re.compile(r"\bworkshop (?=(trace|diff)\b)"), "samerun "),
    (re.compile(r"\bWorkshopError\b"), "RecordError"),
    (re.compile(r"\bthe root folder of the workshop"), "the root folder of the project"),
    (re.compile(r"^  - data: fashion_mnist$", re.M), "  - data: digits"),
    (re.compile(r"rain a model for the competition"), "rain a model"),
    (re.compile(r" tracking=shared\b"), ""),
    (re.compile(r"\bof both data sets"), "unless an argument says otherwise"),
)
TITLE = re.compile(r'\A"""Part \d: (\w)')
EXPERIMENT = re.compile(r"^(experiment: )part\d-([\w-]+)", re.M)
WIDTH = 100


def without_course(text: str, name: str) -> str:
    """Return a text with the course's modules, commands and names replaced by the project's.

    name : the project's, under which its runs are grouped; those of a search get `-tuning`
    """
    for module, source in SOURCES.items():
        text = re.sub(rf"\b{re.escape(module)}\b", source, text)
    for pattern, new in TEXTS:
        text = pattern.sub(new, text)
    text = TITLE.sub(lambda found: f'"""{found[1].upper()}', text)
    return EXPERIMENT.sub(
        lambda found: f"{found[1]}{name}{'-tuning' if found[2] == 'tuning' else ''}", text
    )


def without(text: str, names: tuple[str, ...]) -> str:
    """Return Python code without these functions, classes and constants of its top level."""
    lines = text.splitlines(keepends=True)
    for node in reversed(ast.parse(text).body):
        defined = [getattr(node, "name", None)]
        if isinstance(node, ast.Assign):
            defined = [target.id for target in node.targets if isinstance(target, ast.Name)]
        if not set(defined) & set(names):
            continue
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))]) - 1
        end = node.end_lineno
        while end < len(lines) and not lines[end].strip():
            end += 1  # with the blank lines after it
        del lines[first:end]
    return "".join(lines).rstrip() + "\n"


def parameters(text: str) -> dict[str, list[str]]:
    """Return the names of the arguments that each class of a module takes."""
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                    arguments = (*method.args.args, *method.args.kwonlyargs)
                    found[node.name] = [argument.arg for argument in arguments]
    return found


def imported(text: str) -> set[str]:
    """Return the top-level modules that a module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def tidied(text: str) -> str:
    """Return Python code whose imports at the top are those it uses, merged and in their order."""
    tree = ast.parse(text)
    body = tree.body
    start = 1 if body and isinstance(body[0], ast.Expr) else 0  # after the docstring
    end = start
    while end < len(body) and isinstance(body[end], (ast.Import, ast.ImportFrom)):
        end += 1
    if end == start:
        return text
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= set(re.findall(r"\"[^\"\n]*?\b(\w+)\b[^\"\n]*?\"", text))  # of annotations in quotes
    plain: set[str] = set()
    sources: dict[str, set[str]] = {}
    for node in body[start:end]:
        for alias in node.names:
            bound = (alias.asname or alias.name).partition(".")[0]
            if bound not in used:
                continue
            used.remove(bound)  # samerun has some names in two places
            written = f"{alias.name} as {alias.asname}" if alias.asname else alias.name
            if isinstance(node, ast.Import):
                plain.add(written)
            else:
                sources.setdefault(str(node.module), set()).add(written)
    groups: dict[int, list[tuple[tuple, str]]] = {0: [], 1: [], 2: []}
    for module in plain:
        groups[_group(module)].append(((0, module.lower()), f"import {module}\n"))
    for module, names in sources.items():
        groups[_group(module)].append(((1, module.lower()), _from(module, names)))
    blocks = ["".join(line for _, line in sorted(group)) for group in groups.values() if group]
    lines = text.splitlines(keepends=True)
    first, last = body[start].lineno - 1, body[end - 1].end_lineno
    return "".join([*lines[:first], "\n".join(blocks), *lines[last:]])


def _group(module: str) -> int:
    top = module.split()[0].partition(".")[0]
    return 0 if top in sys.stdlib_module_names else 2 if top == "samerun" else 1


def _from(module: str, names: set[str]) -> str:
    def key(name: str) -> tuple:  # constants, classes, then the rest, as isort has it
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    ordered = sorted(names, key=key)
    line = f"from {module} import {', '.join(ordered)}\n"
    if len(line) <= WIDTH + 1:
        return line
    listed = "".join(f"    {name},\n" for name in ordered)
    return f"from {module} import (\n{listed})\n"
