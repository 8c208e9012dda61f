"""JSON from a stranger: every value of it has the type that the code which reads it expects."""

from typing import TypeVar

T = TypeVar("T")


def shaped(kind: type[T], content: bytes) -> T:
    """Return JSON as a dataclass, with every value as its annotation has it.

    Raises
    ------
    ValueError
        With the first place that is otherwise.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(": ".join(filter(None, (place, first["msg"])))) from None
