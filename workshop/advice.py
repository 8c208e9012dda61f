"""Commands of the course's parts, written for the place where they are read."""

from pathlib import Path

from samerun.command.quoting import command_line
from samerun.command.repeat import directory, relative, script_path
from workshop.course import ROOT

SOLUTIONS = ROOT / "solutions"


def part_command(part: str, script: str, *arguments: str) -> str:
    """Return the line that runs a script of a part, right in the folder in which it is read.

    From a script of the solutions it is theirs: whoever leads the workshop has no TODO to meet.

    part : the part's folder, such as part3_competition
    """
    running, here = script_path(), Path(directory()).resolve()
    tree = SOLUTIONS if running and SOLUTIONS in running.parents else ROOT
    path = tree / part / script
    if here == ROOT or ROOT in here.parents:
        return command_line(["uv", "run", relative(path, here), *arguments])
    return command_line(["uv", "run", "--project", ROOT.as_posix(), path.as_posix(), *arguments])
