"""Opening an editor at a line, each in the way it wants to be told."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# How the line is given, by the name of the program.
AT_LINE = {
    **dict.fromkeys(("code", "code-insiders", "codium", "cursor"), ("-g", "{file}:{line}")),
    **dict.fromkeys(("subl", "zed", "hx", "helix"), ("{file}:{line}",)),
    **dict.fromkeys(("pycharm", "charm", "idea", "kate"), ("--line", "{line}", "{file}")),
    **dict.fromkeys(
        ("vi", "vim", "nvim", "gvim", "nano", "emacs", "emacsclient", "micro", "kak", "gedit",
         "joe", "jed", "mg", "ne"),
        ("+{line}", "{file}"),
    ),
}  # fmt: skip
IN_TERMINAL = {
    "vi", "vim", "nvim", "nano", "micro", "kak", "hx", "helix", "joe", "jed", "mg", "ne",
}  # fmt: skip


@dataclass(frozen=True)
class Editor:
    """A command that opens a file, and whether it needs the terminal for itself."""

    words: tuple[str, ...]
    in_terminal: bool


def at(file: Path, line: int, environment: Mapping[str, str] | None = None) -> Editor | None:
    """Return what opens a file at a line, None if no editor is known.

    VISUAL and EDITOR decide; else the editor in whose terminal we are; else what the system opens
    such files with, which knows no line.
    """
    environment = os.environ if environment is None else environment
    words = shlex.split(
        environment.get("VISUAL") or environment.get("EDITOR") or "", posix=os.name != "nt"
    )
    if not words and environment.get("TERM_PROGRAM") == "vscode" and shutil.which("code"):
        words = ["code"]
    if not words:
        opener = {"darwin": "open", "win32": "explorer"}.get(sys.platform, "xdg-open")
        there = sys.platform in ("darwin", "win32") or environment.get("DISPLAY") or (
            environment.get("WAYLAND_DISPLAY")
        )  # fmt: skip
        return Editor((opener, str(file)), False) if there and shutil.which(opener) else None
    program = shutil.which(words[0].strip('"'))
    if program is None:
        return None
    name = Path(words[0].strip('"')).stem.lower()
    told = AT_LINE.get(name, ("{file}",))
    arguments = [word.format(file=file, line=line) for word in told]
    window = {"-nw", "-t", "--tty"}.isdisjoint(words)
    in_terminal = name in IN_TERMINAL or (name.startswith("emacs") and not window)
    return Editor((program, *words[1:], *arguments), in_terminal)
