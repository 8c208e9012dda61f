"""Keeping secrets out of what a run records: one rule for keys, one for values, one for texts.

A value is masked because of its key (`api_key`), because of its form (a GitHub token, a private
key, a password in an address), or because it is known: it stood under such a key in the
configuration or in the environment, and now stands somewhere else.
"""

import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

MASK = "***"

# ---------------------------------------------------------------------------------- by their keys


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words of a key that make it one of a secret wherever they stand in it.
_SECRET_WORDS = words(
    """
    accesskey accesstoken apikey apikeys auth authorization authtoken bearer contraseña cookie
    cookies credential credentials creds dsn jwt kennwort passcode passe passphrase passwd
    passwort privatekey pwd sas secret secretkey secrets webhook webhooks
    """
)
_BEFORE_KEY = words(
    """
    access account api auth consumer decryption deploy encryption hmac license master private
    session shared signing ssh subscription
    """
)
_BEFORE_TOKENS = words(
    """
    access api auth bearer github gitlab hf refresh session
    """
)
# What a model reads, not what a person logs in with: `pad_token`, `mask_token`.
_BEFORE_TEXT_TOKEN = words(
    """
    audio begin blank bos class cls dist distillation end eos first image label last latent mask
    max memory min next num object oov pad page per placeholder prompt query register sep
    separator sos source special start stop sub target text unk video vision word
    """
)
_AFTER_TOKEN = words("new old prod dev value")
# `auth_type`, `password_file` and `api_key_env` say something about a secret and hold none.
_HARMLESS_LAST = words(
    """
    count dim dir enabled endpoint env expiry file folder hash host len length method mode name
    path port required size sock socket type uri url user username var variable
    """
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEGMENT = re.compile(r"[./@:\[\]\"'+~]+")
_WORD = re.compile(r"[^\W\d_]+")
_HARMLESS_VALUES = frozenset(
    {"", "None", "none", "null", "~", "True", "False", "true", "false", "???"}
)


@functools.lru_cache(4096)
def is_secret(key: str) -> bool:
    """Say whether a key looks like that of a secret: `api_key`, `dbPassword`, `auth.token`."""
    return any(_is_secret_name(segment) for segment in _SEGMENT.split(key))


def _is_secret_name(name: str) -> bool:
    words = [word.lower() for word in _WORD.findall(_CAMEL.sub("_", name))]
    if not words or (len(words) > 1 and words[-1] in _HARMLESS_LAST and "webhook" not in words):
        return False
    pairs = list(zip(["", *words], words, strict=False))
    if any(word in _SECRET_WORDS or "password" in word for word in words):
        return True
    if any(word in ("key", "keys") and before in _BEFORE_KEY for before, word in pairs):
        return True
    if any(w in ("string", "str") and before in ("connection", "conn") for before, w in pairs):
        return True
    while len(words) > 1 and words[-1] in _AFTER_TOKEN:
        words.pop()
    before, last = (["", *words])[-2:]
    if last == "tokens":
        return before in _BEFORE_TOKENS
    return last == "token" and before not in _BEFORE_TEXT_TOKEN


# --------------------------------------------------------------------------------- by their forms

# Kinds of tokens: what each of them begins with, and its form. First what is looked for quickly.
TOKENS: dict[str, tuple[tuple[str, ...], str]] = {
    "a private key": (
        ("-----BEGIN ",),
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?=[\s\\nr]*[\w+/=:,.\- \\]{20})"
        r"[\s\S]{30,}?(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|\Z)",
    ),
    "an AWS key": (("AKIA", "ASIA", "ABIA", "ACCA"), r"\bA(?:KI|SI|BI|CC)A[0-9A-Z]{16}\b"),
    "a GitHub token": (
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})",
    ),
    "a GitLab token": (
        ("glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glsoat-", "glft-", "glimt-", "glagent-"),
        r"\bgl[a-z]{2,6}-(?=[\w-]*\d)[\w-]{20,}",
    ),
    "a Hugging Face token": (("hf_", "api_org_"), r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}\b"),
    # scikit-learn's class names begin so, too: at least a digit and a capital letter.
    "an API key (sk-...)": (("sk-",), r"\bsk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{32,}"),
    "a Slack token": (
        ("xox", "hooks.slack.com/"),
        r"\bxox[abeoprs]-[\w-]{10,}|hooks\.slack\.com/services/[\w/]{20,}",
    ),
    "a Discord webhook": (("/api/webhooks/",), r"discord(?:app)?\.com/api/webhooks/\d+/[\w-]{30,}"),
    "a Google key": (
        ("AIza", "ya29.", "GOCSPX-"),
        r"\bAIza[\w-]{35}|\bya29\.[\w-]{20,}|\bGOCSPX-[\w-]{20,}",
    ),
    "a Stripe key": (("k_live_", "k_test_"), r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{20,}"),
    "a PyPI token": (("pypi-",), r"\bpypi-AgE[\w-]{50,}"),
    "an npm token": (("npm_",), r"\bnpm_[A-Za-z0-9]{36}\b"),
    "a SendGrid key": (("SG.",), r"\bSG\.[\w-]{20,24}\.[\w-]{39,50}"),
    "a Telegram token": ((":AA",), r"\b\d{8,10}:AA[\w-]{32,}"),
    "a Databricks token": (("dapi",), r"\bdapi[a-f0-9]{32}\b"),
    "a Weights & Biases key": (("wandb_v",), r"\bwandb_v\d_[\w-]{40,}"),
    "an API key": (
        ("gsk_", "r8_", "nvapi-", "xai-", "dckr_pat_"),
        r"\b(?:gsk_[A-Za-z0-9]{40,}|r8_[A-Za-z0-9]{35,}|(?:nvapi|xai)-[\w-]{40,}|dckr_pat_[\w-]{20,})",
    ),
    "an Azure key": (
        ("AccountKey=", "AccessKey="),
        r"(?:(?<=AccountKey=)|(?<=AccessKey=))[\w+/=]{40,}",
    ),
    "a signed address": (
        ("sig=", "X-Amz-Signature="),
        r"(?<=[?&]sig=)[\w%+/=-]{30,}|(?<=X-Amz-Signature=)[0-9a-f]{30,}",
    ),
    "a JSON web token": (("eyJ",), r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
    "a bearer token": (
        ("earer ",),
        r"(?:(?<=\bBearer )|(?<=\bbearer ))(?=[\w.~+/-]*\d)[\w.~+/-]{16,}=*",
    ),
}
_FORMS = {kind: (begins, re.compile(form)) for kind, (begins, form) in TOKENS.items()}
_ANY_BEGIN = re.compile("|".join(re.escape(b) for begins, _ in TOKENS.values() for b in begins))


def tokens_in(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield what has the form of a token in a text, with the kind of it."""
    if not _ANY_BEGIN.search(text):  # nearly always
        return
    for kind, (begins, form) in _FORMS.items():
        if any(begin in text for begin in begins):
            for found in form.finditer(text):
                yield kind, found


# To the last @ before the path; a password may hold a slash, a port before a path does not count.
_IN_ADDRESS = re.compile(
    r"(?P<scheme>://)"
    r"(?P<secret>(?!git@)[^/\s\"'@]*@(?:[^/\s\"'@]*@)*|[^\s:/@\"']+:(?!\d+/)[^\s\"']+@)"
)
_BEFORE_VALUE = re.compile(
    r"(?P<key>[A-Za-z_][\w.\-]*)\\?[\"']?\]?\s*(?:=>|:=|==?|:(?!//))\s*"
    r"|(?<![\w-])--?(?P<option>[A-Za-z][\w-]*)\s+(?=[^\s-])"
)
_VALUE = re.compile(
    r"(?P<quote>[bruBRU]?(?P<mark>\\?[\"']))(?P<quoted>(?:\\[\s\S]|[^\\])*?)(?=(?P=mark))"
    r"|[|>][+-]?\d?[ \t]*\n(?:[ \t]+[^\n]*(?:\n|\Z))+"
    r"|\{[^{}]*\}|\[[^\[\]]*\]|(?:Bearer|Basic|Digest|Token)\s+[^\s,}\]\"']+"
    r"|\\?[\"']?[^\s,}\]\"'\\]+"
)


def masked_text(text: str, *, by_key: bool = True, known: Sequence[str] | None = None) -> str:
    """Mask the secrets inside a text: `password=...`, `https://user:password@...`, known ones.

    With `by_key=False` what stands beside a secret-looking word stays, unless it is known or has
    the form of a secret: for files, in which such a word may mean something else. Who masks many
    texts asks once for `known_anywhere()`: it looks at the whole environment.
    """
    for value in known_anywhere() if known is None else known:
        if value in text:
            text = _alone(value).sub(MASK, text)
    for _, found in list(tokens_in(text)):
        text = text.replace(found[0], MASK)
    text = _IN_ADDRESS.sub(rf"\g<scheme>{MASK}@", text)
    return _masked_beside_keys(text) if by_key else text


def _masked_beside_keys(text: str) -> str:
    parts: list[str] = []
    position = 0
    for found in _BEFORE_VALUE.finditer(text):
        if found.start() < position or not is_secret(found["key"] or found["option"]):
            continue
        value = _VALUE.match(text, found.end())
        if value is None or (value["quoted"] or value[0]) in _HARMLESS_VALUES or value[0] == MASK:
            continue
        parts += text[position : found.end()], value["quote"] or "", MASK
        position = value.end()
    return "".join([*parts, text[position:]])


# ------------------------------------------------------------------------------ by being known

_known: set[str] = set()  # of this process, for as long as it lives
SHORTEST_KNOWN = 6


def remember(config: Mapping[str, object]) -> None:
    """Know the secrets of a configuration from now on, wherever they turn up.

    Short or plain values (`test`, `admin`, `1234`) are known, too, but are masked under the keys of
    secrets alone: as parts of other texts they mean something else.
    """
    for key, value in config.items():
        _remember(value, is_secret(str(key)))


def _remember(value: object, secret: bool) -> None:
    match value:
        case Mapping():
            for key, item in value.items():
                _remember(item, secret or is_secret(str(key)))
        case list() | tuple():
            for item in value:
                _remember(item, secret)
        case None | bool():
            pass
        case _ if secret:
            text = as_text(value)
            if text not in _HARMLESS_VALUES and MASK not in text:
                _known.add(text)


def is_known(value: str) -> bool:
    """Say whether this is the value of a secret of the configuration or of the environment."""
    return value in _known or value in _of_environment()


def known_in(text: str) -> Iterator[re.Match[str]]:
    """Yield where a text holds known secrets."""
    for value in known_anywhere():
        if value in text:
            yield from _alone(value).finditer(text)


def forget() -> None:
    """Know no secrets of configurations any more: for tests."""
    _known.clear()


def known_anywhere() -> tuple[str, ...]:
    """Return the known secrets that are masked wherever they stand, the longest first."""
    found = (value for value in _known | _of_environment() if _is_unmistakable(value))
    return tuple(sorted(found, key=len, reverse=True))


def _alone(value: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])")


def _of_environment() -> set[str]:
    return {
        value
        for name, value in os.environ.items()
        if is_secret(name) and _is_unmistakable(value) and not os.path.exists(value)
    }


def _is_unmistakable(value: str) -> bool:
    """Say whether a value is none that other texts contain by chance: no plain word or number."""
    if len(value) < SHORTEST_KNOWN or value.isdecimal():
        return False
    return not value.isalpha() or len(value) >= 16


# ------------------------------------------------------------------------------------- masking


def masked(
    value: object, key: str = "", *, by_key: bool = True, known: Sequence[str] | None = None
) -> object:
    """Return the value, as JSON could hold it, with every secret in it replaced by `***`.

    `by_key` and `known` as in `masked_text`.
    """
    known = known_anywhere() if known is None else known
    if value is None or isinstance(value, bool) or value == "":
        return value
    if by_key and is_secret(key) and as_text(value) not in _HARMLESS_VALUES:
        return MASK
    match value:
        case Mapping():
            return {
                name
                if isinstance(name, int | float)
                else masked_text(as_text(name), by_key=False, known=known): masked(
                    item, as_text(name), by_key=by_key, known=known
                )
                for name, item in value.items()
            }
        case list() | tuple() | AbstractSet():
            if by_key and all(isinstance(item, str) for item in value):
                return list(masked_arguments(value, known))
            return [masked(item, by_key=by_key, known=known) for item in value]
        case int() | float():
            return value
        case _:
            return masked_text(as_text(value), by_key=by_key, known=known)


def is_harmless(text: str) -> bool:
    """Say whether a value is none: nothing, a truth value, or one that is still to be given."""
    return text in _HARMLESS_VALUES


def as_text(value: object) -> str:
    """Return a value as text, bytes decoded."""
    return (
        bytes(value).decode(errors="replace")
        if isinstance(value, bytes | bytearray)
        else str(value)
    )


def masked_arguments(
    arguments: Iterable[str], known: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Mask the secrets of a command line: `tracking.token=x`, `--token=x` and `--token x`."""
    known = known_anywhere() if known is None else known
    result: list[str] = []
    value_is_secret = False
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if value_is_secret:
            result.append(MASK)
        elif equals and _is_option(key) and is_secret(key) and value not in _HARMLESS_VALUES:
            result.append(f"{key}={MASK}")
        else:
            result.append(masked_text(argument, known=known))
        value_is_secret = (
            argument.startswith("-") and not equals and is_secret(argument.lstrip("-"))
        )
    return tuple(result)


def _is_option(key: str) -> bool:
    return not re.search(r"[\s{\[:]", key)
