"""Writing a command so that it can be pasted into bash, zsh, fish and PowerShell alike."""

import re
import shlex
from collections.abc import Iterable

# What no shell reads in its own way. PowerShell splits words at commas, and options at dots; to it
# an @ at the beginning of a word means something.
PLAIN = re.compile(r"(?!-.*[.:])(?!@)[\w./:+=@-]+", re.ASCII)
QUOTES_OF_POWERSHELL = "‘’‚‛“”„"
SPECIAL = {*'"$`\\!\n', *QUOTES_OF_POWERSHELL}  # between double quotes


def quoted(word: str) -> str:
    """Return a word of a command, in quotes where it needs them.

    Double quotes where nothing inside means anything to a shell, else single ones. A word that
    holds all kinds of quotes cannot be written for every shell: then as bash and zsh want it.
    """
    if PLAIN.fullmatch(word) and not word.startswith("="):
        return word
    if not SPECIAL & set(word):
        return f'"{word}"'
    if fits_every_shell(word):
        return f"'{word}'"
    return shlex.quote(word)


def fits_every_shell(word: str) -> bool:
    """Say whether one way of quoting a word serves all four shells."""
    if not SPECIAL & set(word):
        return True
    # In single quotes, fish alone gives a backslash a meaning, before another one or a quote.
    quotes = {"'", *QUOTES_OF_POWERSHELL} & set(word)
    return not (quotes or "\\\\" in word or word.endswith("\\"))


def command_line(words: Iterable[str]) -> str:
    """Return the words of a command as one line."""
    return " ".join(map(quoted, words))
