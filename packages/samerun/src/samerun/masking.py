"""Keeping secrets out of what a run records."""

import re
from collections.abc import Iterable

MASK = "***"
# Whole words of a key, so that `tokenizer` and `max_tokens` stay readable.
_SECRET_WORD = (
    r"(?:token|password|passwd|passphrase|pwd|secrets?|credentials?"
    r"|api[_-]?key|access[_-]?key|private[_-]?key)"
)
SECRET_KEY = re.compile(rf"(?:^|[_.\-+~]){_SECRET_WORD}(?:$|[_.\-])", re.I)
SECRET_INSIDE = re.compile(rf"((?:\b|_){_SECRET_WORD}[\"']?\s*[:=]\s*)[^,}}\]\s]+", re.I)
PASSWORD_IN_ADDRESS = re.compile(r"(://)[^/@\s]+@")
SECRET_FILE = re.compile(
    r"^\.env|^\.(?:netrc|pypirc|npmrc)$|^id_(?:rsa|ed25519|ecdsa)|\.(?:pem|key|pfx|p12)$"
    rf"|(?:^|[_.\-]){_SECRET_WORD}(?:$|[_.\-])",
    re.I,
)


def masked(value: object, key: str = "") -> object:
    """Return the value with everything under a secret-looking key replaced by `***`."""
    if value is not None and is_secret(key):
        return MASK
    match value:
        case dict():
            return {str(name): masked(item, str(name)) for name, item in value.items()}
        case list() | tuple():
            return [masked(item) for item in value]
        case str():
            return masked_text(value)
        case int() | float() | None:
            return value
        case _:
            return str(value)


def is_secret(key: str) -> bool:
    """Say whether a key looks like that of a secret: `api_key`, `dbPassword`, `auth.token`."""
    return bool(SECRET_KEY.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key)))


def masked_text(text: str) -> str:
    """Mask `password=...` and `https://user:password@...` inside a text."""
    return PASSWORD_IN_ADDRESS.sub(rf"\1{MASK}@", SECRET_INSIDE.sub(rf"\1{MASK}", text))


def masked_arguments(arguments: Iterable[str]) -> tuple[str, ...]:
    """Mask the secrets of a command line: `tracking.token=x`, `--token=x` and `--token x`."""
    result: list[str] = []
    value_is_secret = False
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        if value_is_secret:
            result.append(MASK)
        elif equals and is_secret(key):
            result.append(f"{key}={MASK}")
        else:
            result.append(masked_text(argument))
        value_is_secret = argument.startswith("-") and not equals and is_secret(argument)
    return tuple(result)
