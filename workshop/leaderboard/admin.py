"""What the instructor may do: `workshop admin …`, on the database itself and never over HTTP.

Heavy imports stand in the functions, since the parser is made for every command of `workshop`.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from workshop.errors import WorkshopError

if TYPE_CHECKING:
    from workshop.leaderboard.blobs import Blobs
    from workshop.leaderboard.database import Database
    from workshop.leaderboard.records import Participant, Submission
    from workshop.leaderboard.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
LONGEST_REASON = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the commands of `workshop admin`."""
    where = parser.add_argument_group("where the competition is")
    where.add_argument("--folder", type=Path, help="its data (default: leaderboard)")
    where.add_argument("--database-url", help="default: $WORKSHOP_DATABASE_URL, or in the folder")
    where.add_argument("--artifacts", help="default: $WORKSHOP_ARTIFACTS, or in the folder")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(command: str, function: Callable, help: str, **arguments: dict) -> None:
        added = commands.add_parser(command, help=help)
        for argument, details in arguments.items():
            added.add_argument(argument.replace("__", "--").replace("_", "-"), **details)
        added.set_defaults(admin=function)

    submission = {"metavar": "SUBMISSION", "type": int, "help": "its number, as in the link"}
    who = {"metavar": "NAME", "help": "a participant's name or number"}
    words = {"nargs": "+"}
    folder = {"type": Path, "metavar": "FOLDER"}
    flag = {"action": "store_true"}
    add("status", _status, "state, quota, queue")
    add("open", _open, "take submissions (again)")
    add("freeze", _freeze, "take no more; what waits is still scored")
    add("close", _close, "end it and publish the seed; this cannot be undone")
    add("quota", _quota, "submissions per participant and hour", number={"type": int})
    add("participants", _participants, "who takes part, and their best submission")
    add("token", _token, "a new token for somebody who lost theirs", name=who)
    yes = flag | {"help": "without it nothing is done"}
    add("remove", _remove, "delete somebody and all they sent, for ever", name=who, __yes=yes)
    add("rename", _rename, "another name for a participant", name=who, new=words)
    shown = words | {"help": "everybody sees it"}
    add("disqualify", _disqualify, "take a rank away", submission=submission, reason=shown)
    add("restore", _restore, "take that back", submission=submission)
    add("clear", _clear, "rank a suspect entry after all", submission=submission)
    answer = {"choices": ("yes", "no")}
    help = "say whether a run could be repeated"
    add("reproduced", _reproduced, help, submission=submission, answer=answer)
    which = {"metavar": "SUBMISSION|all"}
    add("rescore", _rescore, "score again, as after a change of the rule", which=which)
    add(
        "export",
        _export,
        "write everything into a new folder",
        target=folder,
        __with_seed=flag | {"help": "though the competition is not closed"},
        __with_tokens=flag | {"help": "so that nobody has to join again after an import"},
        __without_mlflow=flag | {"help": "leave out MLflow's database"},
    )
    add("import", _import, "fill an empty database from an export", source=folder)


def run(options: argparse.Namespace) -> int:
    """Run one command; return its exit status."""
    from sqlalchemy.exc import SQLAlchemyError

    from workshop.leaderboard.database import Database

    settings = _settings(options)
    is_new = options.admin is _import
    if settings.database_url.startswith("sqlite:///"):
        path = Path(settings.database_url.removeprefix("sqlite:///"))
        if is_new:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.exists():
            raise WorkshopError(
                f"There is no leaderboard in {settings.folder}. Start one with: uv run workshop "
                "serve, or name its --folder."
            )
    try:
        db = Database(settings.database_url)
        try:
            return options.admin(db, settings, options) or 0
        finally:
            db.close()
    except SQLAlchemyError as error:
        raise WorkshopError(
            f"The database does not answer: {getattr(error, 'orig', None) or error}. Check "
            "--folder or --database-url."
        ) from None


def find(db: "Database", name: str) -> "Participant":
    """Return a participant by name, by a look-alike of it, or by number.

    Raises
    ------
    WorkshopError
        There is none.
    """
    from workshop.leaderboard.names import skeleton

    people = db.participants()
    for fits in (
        lambda person: person.name == name,
        lambda person: skeleton(person.name) == skeleton(name),
        lambda person: str(person.id) == name,
    ):
        if found := [person for person in people if fits(person)]:
            return found[0]
    raise WorkshopError(
        f"There is no participant {name!r}. See: uv run workshop admin participants"
    )


def disqualify(db: "Database", submission: int, reason: str) -> "Submission":
    """Take away the rank of a submission, with a reason that everybody sees.

    Raises
    ------
    WorkshopError
        There is no such submission, or no proper reason.
    """
    from workshop.leaderboard.names import is_plain

    reason = " ".join(reason.split())
    if not reason or len(reason) > LONGEST_REASON or not is_plain(reason):
        raise WorkshopError(
            f"A reason is needed, of at most {LONGEST_REASON} visible characters: it stands on "
            "the board."
        )
    return db.change_submission(submission, disqualified=reason)


def _settings(options: argparse.Namespace) -> "Settings":
    from workshop.leaderboard.settings import Settings

    return Settings.of(
        options.folder or ROOT / "leaderboard",
        database_url=options.database_url or os.environ.get("WORKSHOP_DATABASE_URL"),
        artifacts=options.artifacts or os.environ.get("WORKSHOP_ARTIFACTS"),
    )


def _blobs(settings: "Settings") -> "Blobs":
    from workshop.leaderboard.blobs import Blobs

    return Blobs(settings.models_uri)


# One function for each command


def _status(db: "Database", settings: "Settings", options: argparse.Namespace) -> None:
    current = db.competition()
    state = db.board()
    ranked = sum(entry.best is not None for entry in state.entries)
    queue = state.queue
    print(f"{current.name}: {current.state}, on {current.data}")
    print(f"  join code       {current.join_code}")
    print(f"  participants    {len(db.participants())}, {ranked} of them ranked")
    print(f"  queue           {queue.waiting} wait, {queue.scoring} are scored now, "
          f"{queue.per_minute} in the last minute")  # fmt: skip
    print(f"  quota           {current.quota_per_hour} per participant and hour")
    print(f"  seed, SHA-256   {current.seed_sha256}")
    if current.state == "closed":
        print(f"  seed            {current.seed}")


def _open(db: "Database", settings: "Settings", options: argparse.Namespace) -> None:
    db.set_state("open")
    print("Open: submissions are taken.")


def _freeze(db: "Database", settings: "Settings", options: argparse.Namespace) -> None:
    db.set_state("frozen")
    print("Frozen: no new submissions; what waits is still scored.")


def _close(db: "Database", settings: "Settings", options: argparse.Namespace) -> None:
    queue = db.board().queue
    current = db.set_state("closed")
    print(f"Closed. The seed is on the board: {current.seed}")
    if queue.waiting or queue.scoring:
        print(f"{queue.waiting + queue.scoring} submissions that came before are still scored.")
    print("Anybody can now compute the scores again, from: uv run workshop admin export FOLDER")


def _quota(db: "Database", settings: "Settings", options: argparse.Namespace) -> None:
    if not 0 <= options.number <= 100_000:
        raise WorkshopError(f"A quota of {options.number} is not possible: 0 to 100000.")
    db.update_competition(quota_per_hour=options.number)
    print(f"Each participant can submit {options.number} times an hour.")


def _participants(db: "Database", settings: "Settings", options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from workshop.leaderboard import board

    people = db.participants()
    entries = {entry["participant"]: entry for entry in board.drawn(db, "")["entries"]}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("", "name", "joined", "sent", "best", "score", "rank", "note"):
        table.add_column(column, header_style="bold")
    for person in people:
        entry = entries.get(person.id)
        row = ["", "", "", ""]
        if entry:
            note = entry["disqualified"] or entry["suspect"] or entry["note"] or ""
            rank = "" if entry["rank"] is None else str(entry["rank"])
            row = [str(entry["submission"]), f"{entry['score']:.4f}", rank, note]
        joined = time.strftime("%Y-%m-%d %H:%M", time.localtime(person.joined / 1000))
        cells = [str(person.id), person.name, joined, str(person.submissions), *row]
        table.add_row(*map(Text, cells))
    Console(highlight=False).print(table)
    print(f"{len(people)} participants")


def _token(db: "Database", settings: "Settings", options: argparse.Namespace) -> None:
    person = find(db, options.name)
    print(f"The new token of {person.name}; the old one is void:\n{db.issue_token(person.id)}")


def _rename(db: "Database", settings: "Settings", options: argparse.Namespace) -> None:
    person = find(db, options.name)
    print(f"{person.name} is now {db.rename(person.id, ' '.join(options.new)).name}.")


def _remove(db: "Database", settings: "Settings", options: argparse.Namespace) -> None:
    person = find(db, options.name)
    what = f"{person.name} (number {person.id}) with {person.submissions} submissions"
    if not options.yes:
        raise WorkshopError(
            f"This would delete {what}, from the board and from MLflow, for ever. If you mean it: "
            f"uv run workshop admin remove {person.id} --yes"
        )
    db.create()  # a table that a competition of an earlier version lacks
    db.remove(person.id)
    print(f"Deleted {what}. The mirror deletes the runs in MLflow within seconds, if it runs.")


def _disqualify(db: "Database", settings: "Settings", options: argparse.Namespace) -> None:
    done = disqualify(db, options.submission, " ".join(options.reason))
    print(f"Submission {done.id} has no rank any more: {done.disqualified}")
    _say_best(db, done)


def _restore(db: "Database", settings: "Settings", options: argparse.Namespace) -> None:
    done = db.change_submission(options.submission, disqualified=None)
    print(f"Submission {done.id} is not disqualified.")
    _say_best(db, done)


def _clear(db: "Database", settings: "Settings", options: argparse.Namespace) -> None:
    before = db.submission(options.submission)
    done = db.change_submission(options.submission, suspect=None)
    print(f"Submission {done.id} is not suspect{'' if before.suspect else ', and was not'}.")
    _say_best(db, done)


def _reproduced(db: "Database", settings: "Settings", options: argparse.Namespace) -> None:
    found = "reproduced" if options.answer == "yes" else "differs"
    done = db.change_submission(options.submission, reproduced=found)
    print(f"Submission {done.id}: {found}.")


def _rescore(db: "Database", settings: "Settings", options: argparse.Namespace) -> None:
    if options.which != "all" and not options.which.isdigit():
        raise WorkshopError(f"{options.which!r} is no submission. Expected a number, or all.")
    count = db.rescore(None if options.which == "all" else int(options.which))
    if not count and options.which != "all":
        raise WorkshopError(f"There is no submission {options.which}.")
    print(f"{count} wait to be scored again; until then they have neither score nor rank.")


def _export(db: "Database", settings: "Settings", options: argparse.Namespace) -> None:
    from workshop.leaderboard import export

    done = export.export(
        db,
        _blobs(settings),
        options.target,
        options.with_seed,
        options.with_tokens,
        not options.without_mlflow,
    )
    print(f"{done.submissions} submissions are in {done.folder}")
    for sha256 in done.missing:
        print(f"missing in {settings.models_uri}: {sha256}", file=sys.stderr)
    if done.has_seed:
        print(f"Compute the scores again: uv run workshop recompute {done.folder}")
    else:
        print("Without the seed, which is secret until the competition is closed: --with-seed")
    if options.with_tokens:
        print("Keep tokens.json to yourself.")


def _import(db: "Database", settings: "Settings", options: argparse.Namespace) -> None:
    from workshop.leaderboard import export

    count = export.restore(db, _blobs(settings), options.source)
    print(f"{count} submissions are in {settings.folder}. Go on with: uv run workshop serve")
    if not (options.source / "tokens.json").exists():
        print("Nobody's token counts here. A new one for each: uv run workshop admin token NAME")


def _say_best(db: "Database", done: "Submission") -> None:
    person = db.participant(done.participant_id)
    best = person.best_submission_id
    print(f"The entry of {person.name} is now {f'submission {best}' if best else 'without rank'}.")


def recompute(folder: Path) -> int:
    """Print each score of an export beside what is found now; 1 if any differs."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from workshop.leaderboard.recompute import recompute

    with Console(stderr=True).status("Scoring every model again …", spinner="line"):
        lines = list(recompute(folder))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("submission", "participant", "stored", "recomputed", "rank", "equal"):
        table.add_column(column, header_style="bold")
    for line in lines:
        found = "" if line.found is None else f"{line.found:.4f}"
        rank = "" if line.rank is None else str(line.rank)
        cells = [str(line.submission), line.participant, f"{line.stored:.4f}", found, rank]
        table.add_row(*map(Text, [*cells, line.difference or "yes"]))
    Console(highlight=False).print(table)
    wrong = sum(line.difference is not None for line in lines)
    print(f"{len(lines) - wrong} of {len(lines)} scores and ranks are as stored.")
    return 1 if wrong else 0
