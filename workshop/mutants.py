"""Small changes of an answer, one at a time: what a check that deserves its name must notice.

A mutant replaces one piece of one region: an operator, an argument, a constant, a name, a line.
"""

import ast
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from workshop.regions import Region


@dataclass(frozen=True)
class Mutant:
    """A region with one change in it: `before` became `after`, in this line of the region."""

    hole: str
    line: int
    before: str
    after: str
    text: str  # of the whole file

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is, wherever the lines around it move."""
        return self.hole, self.before, self.after


@dataclass(frozen=True)
class _Change:
    """Replace the bytes from `start` to `end`."""

    start: int
    end: int
    by: str


SWAPS = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "/", ast.Mod: "*",
    ast.Pow: "*", ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=",
    ast.NotEq: "==", ast.And: "or", ast.Or: "and", ast.In: "not in", ast.NotIn: "in",
    ast.Is: "is not", ast.IsNot: "is",
}  # fmt: skip
SIGNS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Pow: "**", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==",
    ast.NotEq: "!=", ast.And: "and", ast.Or: "or", ast.In: "in", ast.NotIn: "not in",
    ast.Is: "is", ast.IsNot: "is not",
}  # fmt: skip
# What is easily taken for another.
CONFUSED = {
    "train": "val", "val": "train", "test": "val", "training": "validation",
    "dataset": "data", "relu": "tanh", "eval": "train", "inference_mode": "enable_grad",
    "softmax": "log_softmax", "ReLU": "Tanh", "MaxPool2d": "AvgPool2d", "argmax": "argmin",
    "all": "any", "any": "all", "mean": "sum", "sum": "mean", "height": "width",
    "width": "height", "rows": "columns", "columns": "rows", "down": "right", "right": "down",
    "cos": "sin", "maximize": "minimize", "inputs": "outputs", "outputs": "inputs",
    "max_iter": "tol", "labels": "predicted", "predicted": "labels", "log_metrics": "log_params",
    "log_params": "set_tags", "bool": "str",
}  # fmt: skip


def mutants(text: str, region: Region, suffix: str) -> list[Mutant]:
    """Return every mutant of a region of this file, each one once.

    text : of the whole file, a Python or YAML file by its suffix
    """
    source = text.encode()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    changes = _of_python if suffix == ".py" else _of_yaml
    found: dict[str, Mutant] = {}
    for change in changes(source, starts, region):
        new = source[: change.start] + change.by.encode() + source[change.end :]
        if new == source or (mutant := new.decode()) in found:
            continue
        if suffix == ".py" and not _parses(mutant):
            continue
        row = max(i for i, start in enumerate(starts) if start <= change.start)
        before, after = _shown(text, mutant)
        found[mutant] = Mutant(region.id, row + 1 - region.line, before, after, mutant)
    return list(found.values())


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def _shown(old: str, new: str) -> tuple[str, str]:
    """Return the lines that differ, without their indentation."""
    before, after = old.splitlines(), new.splitlines()
    while before and after and before[0] == after[0]:
        del before[0], after[0]
    while before and after and before[-1] == after[-1]:
        del before[-1], after[-1]
    return tuple("\n".join(line.strip() for line in lines) for lines in (before, after))


def _of_python(source: bytes, starts: list[int], region: Region) -> Iterator[_Change]:
    first, last = region.line + 1, region.end - 1

    def span(node: ast.AST) -> tuple[int, int]:
        return (
            starts[node.lineno - 1] + node.col_offset,
            starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def code(node: ast.AST) -> str:
        start, end = span(node)
        return source[start:end].decode()

    tree = ast.parse(source)
    left_alone = set(itertools.chain(*map(_left_alone, ast.walk(tree))))
    inside = [
        node
        for node in ast.walk(tree)
        if hasattr(node, "lineno")
        and first <= node.lineno <= node.end_lineno <= last
        and node not in left_alone
    ]
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield from _of_decorators(node, span, code, first, last)
        for body in (getattr(node, "body", []), getattr(node, "orelse", [])):
            if isinstance(body, list):
                yield from _of_order([one for one in body if one in inside], source, span, code)
    for node in inside:
        for by in (*_instead(node, code), *_neighbours(node, inside, code)):
            yield _Change(*span(node), by)
        yield from _of_parts(node, source, span, code)


def _of_decorators(node, span, code, first: int, last: int) -> Iterator[_Change]:
    decorators = [d for d in node.decorator_list if first <= d.lineno <= last]
    for one in decorators:
        start, end = span(one)
        yield _Change(start - 1, end, "")
    for one, two in itertools.pairwise(decorators):
        yield _Change(span(one)[0], span(two)[1], f"{code(two)}\n@{code(one)}")


def _left_alone(node: ast.AST) -> Iterator[ast.AST]:
    """Return annotations, which nothing reads when the code runs, and the text of f-strings."""
    for name in ("annotation", "returns"):
        if annotation := getattr(node, name, None):
            yield from ast.walk(annotation)
    if isinstance(node, ast.JoinedStr):
        yield from (part for part in ast.walk(node) if isinstance(part, ast.Constant))


def _of_order(body: list[ast.stmt], source: bytes, span, code) -> Iterator[_Change]:
    """Exchange statements that follow each other, and do each one twice."""
    for one, two in itertools.pairwise(body):
        if isinstance(one, ast.FunctionDef) and isinstance(two, ast.FunctionDef):
            continue  # their order says nothing
        start, end = span(one)[0], span(two)[1]
        between = source[span(one)[1] : span(two)[0]].decode()
        yield _Change(start, end, f"{code(two)}{between}{code(one)}")
    for one in body:
        if isinstance(one, (ast.Expr, ast.AugAssign)):
            start, end = span(one)
            yield _Change(start, end, f"{code(one)}\n{' ' * one.col_offset}{code(one)}")


def _neighbours(node: ast.AST, inside: list[ast.AST], code) -> Iterator[str]:
    """Return what is used near a name or an attribute and may be taken for it."""
    if not isinstance(getattr(node, "ctx", None), ast.Load):
        return
    alike = {code(other) for other in inside if _are_alike(node, other)} - {code(node)}
    yield from sorted(alike)


def _are_alike(one: ast.AST, other: ast.AST) -> bool:
    match one, other:
        case ast.Name(), ast.Name():
            return True
        case ast.Attribute(value=ast.Name(id=this)), ast.Attribute(value=ast.Name(id=that)):
            return this == that
    return False


def _instead(node: ast.AST, code) -> Iterator[str]:
    """Return what may stand in place of a whole node."""
    match node:
        case ast.Expr() | ast.Assign() | ast.AugAssign() | ast.AnnAssign():
            yield "pass"
        case ast.Raise():
            yield "pass"
        case ast.Return():
            yield "return None"
        case ast.Constant(value=bool(value)):
            yield str(not value)
        case ast.Constant(value=int(value) | float(value)):
            others = (value + 1, value - 1, value * 2, -value)
            yield from (f"({other})" for other in others if other != value)
        case ast.Constant(value=str(value)):
            yield repr(CONFUSED.get(value, f"{value}_"))
            yield repr("")
        case ast.Name(id=name) if name in CONFUSED:
            yield CONFUSED[name]
        case ast.Attribute(value=value, attr=attr):
            if attr in CONFUSED:
                yield f"{code(value)}.{CONFUSED[attr]}"
        case ast.IfExp(body=body, orelse=orelse):
            yield from (code(body), code(orelse))
        case ast.UnaryOp(operand=operand):
            yield f"({code(operand)})"
        case ast.BinOp(left=left, right=right):
            yield from (f"({code(left)})", f"({code(right)})")
        case ast.BoolOp(values=values):
            yield from (f"({code(value)})" for value in values)
        case ast.Subscript(value=value, slice=index):
            yield code(value)
            if isinstance(index, ast.Slice):
                yield f"{code(value)}[1:]"
        case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
            opened, closed = code(node)[0], code(node)[-1]
            if opened in "[({":  # a tuple may stand without brackets
                for i in range(len(elements)):
                    rest = [code(other) for other in elements[:i] + elements[i + 1 :]]
                    comma = "," if opened == "(" and len(rest) == 1 else ""
                    yield f"{opened}{', '.join(rest)}{comma}{closed}"
        case ast.Call(func=ast.Attribute(value=value), args=[], keywords=[]):
            yield code(value)
        case _:
            return


def _of_parts(node: ast.AST, source: bytes, span, code) -> Iterator[_Change]:
    """Return changes of a part of a node: an operator, a condition, an argument."""
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            yield from _operator(op, span(left)[1], span(right)[0], source)
        case ast.BoolOp(op=op, values=values):
            for one, two in itertools.pairwise(values):
                yield from _operator(op, span(one)[1], span(two)[0], source)
        case ast.Compare(left=left, ops=ops, comparators=others):
            for op, one, two in zip(ops, [left, *others], others, strict=False):
                yield from _operator(op, span(one)[1], span(two)[0], source)
        case ast.AugAssign(op=op, target=target, value=value):
            start, end = span(target)[1], span(value)[0]
            yield _Change(start, end, " = ")
        case ast.If(test=test) | ast.While(test=test):
            yield from (_Change(*span(test), word) for word in ("True", "False"))
        case ast.With(items=items):
            yield _Change(span(node)[0], span(items[-1].context_expr)[1], "if True")
        case ast.For(iter=iterable):
            yield _Change(*span(iterable), f"list({code(iterable)})[1:]")
            yield _Change(*span(iterable), f"list({code(iterable)})[:-1]")
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            for test in itertools.chain(*(part.ifs for part in node.generators)):
                yield _Change(*span(test), "True")
        case ast.Call(args=args, keywords=keywords):
            yield from _of_arguments(node, [*args, *keywords], source, span, code)
        case ast.Dict(keys=keys, values=values):
            pairs = [
                f"{code(k)}: {code(v)}" if k else f"**{code(v)}"
                for k, v in zip(keys, values, strict=True)
            ]
            for i in range(len(pairs)):
                yield _Change(*span(node), "{" + ", ".join(pairs[:i] + pairs[i + 1 :]) + "}")


def _operator(op: ast.AST, start: int, end: int, source: bytes) -> Iterator[_Change]:
    between = source[start:end].decode()
    if type(op) in SWAPS:
        sign = SIGNS[type(op)]
        at = between.find(sign)
        if at >= 0:
            yield _Change(start + at, start + at + len(sign), SWAPS[type(op)])


def _of_arguments(node: ast.Call, arguments: list, source: bytes, span, code) -> Iterator[_Change]:
    """Leave out each argument in turn; exchange neighbours that are given by position."""
    spans = [span(argument) for argument in arguments]
    for i, (start, end) in enumerate(spans):
        if i:
            yield _Change(spans[i - 1][1], end, "")
        else:
            yield _Change(start, spans[1][0] if len(spans) > 1 else end, "")
    for argument in arguments:
        value = argument.value if isinstance(argument, ast.keyword) else argument
        if not isinstance(value, ast.Starred):
            yield _Change(*span(value), "None")
    for one, two in itertools.pairwise(node.args):
        start, end = span(one)[0], span(two)[1]
        between = source[span(one)[1] : span(two)[0]].decode()
        yield _Change(start, end, f"{code(two)}{between}{code(one)}")
    if len(node.args) == 1 and not node.keywords:  # f(x) becomes x
        yield _Change(*span(node), f"({code(node.args[0])})")


def _of_yaml(source: bytes, starts: list[int], region: Region) -> Iterator[_Change]:
    for row in range(region.line, region.end - 1):
        start, end = starts[row], starts[row + 1]
        line = source[start:end].decode().rstrip("\n")
        entry = re.match(r"^(\s*)([\w.]+): *([^#]*?) *(#.*)?$", line)
        if not entry:
            continue
        yield _Change(start, end, "")  # the line is lost
        indent, key, value = entry.group(1, 2, 3)
        for by in _other_values(value):
            yield _Change(start, end, f"{indent}{key}: {by}\n")
        yield _Change(start, end, f"{indent}{key}_: {value}\n")


def _other_values(value: str) -> Iterator[str]:
    yield from ("null", "???", f'"{value}"')
    if re.fullmatch(r"-?\d+(\.\d+)?", value):
        yield from (str(float(value) * 2), str(float(value) + 1), f"-{value}")
    elif items := re.fullmatch(r"\[(.*)\]", value):
        parts = [part.strip() for part in items[1].split(",")]
        for i in range(len(parts)):
            yield f"[{', '.join(parts[:i] + parts[i + 1 :])}]"
        yield f"[{', '.join(reversed(parts))}]"
    elif "," in value:
        parts = value.split(",")
        for i in range(len(parts)):
            yield ",".join(parts[:i] + parts[i + 1 :])
        yield f"[{value}]"
    else:
        yield f"{value}_"
        yield value.rpartition(".")[2]
        yield value.rpartition(".")[0] or "nothing"
