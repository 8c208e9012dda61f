"""Names of participants: untrusted text that stands on everybody's screen."""

import unicodedata

from workshop.errors import WorkshopError

LONGEST = 40
MOST_MARKS = 3  # above and below one letter
# Letters and marks that show nothing, though their category does not say so.
BLANKS = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
BLANKS |= {*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
TOGETHER = (
    {"LATIN", "HAN", "HIRAGANA", "KATAKANA"},
    {"LATIN", "HAN", "HANGUL"},
    {"LATIN", "HAN", "BOPOMOFO"},
)
# What looks alike within Latin letters and digits, beside what the tables of homoglyphs know.
TWINS = str.maketrans({"0": "o", "1": "l", "i": "l", "|": "l", "\u0131": "l", "\u0237": "j"})


def check_name(text: str) -> str:
    """Return the name in its normal form: NFKC, blanks made single.

    Raises
    ------
    WorkshopError
        Empty, too long, or with characters that are invisible, steer the direction of text, or
        come from several scripts; the message says which.
    """
    from confusable_homoglyphs import categories

    # What NFKC would remove or turn into blanks must be seen before it, and again after it.
    _refuse_invisible(text)
    name = " ".join(unicodedata.normalize("NFKC", text).split())
    _refuse_invisible(name)
    if not any(unicodedata.category(sign)[0] in "LN" for sign in name):
        raise WorkshopError("A name needs at least one letter or digit. Choose another.")
    if len(name) > LONGEST:
        raise WorkshopError(
            f"The name has {len(name)} characters; at most {LONGEST} fit. Choose a shorter one."
        )
    marks = "".join("m" if unicodedata.category(sign)[0] == "M" else " " for sign in name)
    if "m" * (MOST_MARKS + 1) in marks:
        raise WorkshopError("The name heaps marks on one letter. Write it with fewer.")
    scripts = {categories.alias(sign) for sign in name} - {"COMMON", "INHERITED"}
    if len(scripts) > 1 and not any(scripts <= allowed for allowed in TOGETHER):
        raise WorkshopError(
            f"The name mixes {' and '.join(sorted(s.title() for s in scripts))} letters, which "
            "can be used to imitate somebody. Write it in one script."
        )
    return name


def skeleton(name: str) -> str:
    """Return what names that look alike have in common: the key by which names are unique.

    Case, accents, blanks and punctuation do not count, and a letter of another script is the Latin
    one that it looks like.
    """
    text = unicodedata.normalize("NFKD", "".join(map(_plain, unicodedata.normalize("NFKC", name))))
    text = "".join(sign for sign in text if not unicodedata.combining(sign))
    text = "".join(map(_plain, text.casefold())).casefold().translate(TWINS)
    kept = "".join(sign for sign in text if unicodedata.category(sign)[0] not in "PZ")
    return (kept or text).replace("rn", "m").replace("vv", "w")


def is_plain(text: str) -> bool:
    """Say whether nothing in a text is invisible or changes the direction of text."""
    try:
        _refuse_invisible(text)
    except WorkshopError:
        return False
    return True


def _plain(sign: str) -> str:
    """Return the ASCII look-alike of a character, itself if there is none."""
    from confusable_homoglyphs import confusables

    if not sign.isascii():
        for found in confusables.confusables_data.get(sign, []):
            if found["c"].isascii():
                return found["c"]
    return sign


def _refuse_invisible(text: str) -> None:
    for sign in text:
        if unicodedata.category(sign) in INVISIBLE or ord(sign) in BLANKS:
            what = unicodedata.name(sign, f"U+{ord(sign):04X}").lower()
            raise WorkshopError(
                f"The name holds a character that cannot be seen or changes how text runs "
                f"({what}). Type it anew, with letters, digits and blanks."
            )
