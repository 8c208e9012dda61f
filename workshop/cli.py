"""The command `workshop`: what a participant types beside the parts' own scripts.

Every import that takes time stands in the command that needs it, so that --help is instant.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from samerun.cli import add_open_options, add_store_option, add_trace_options
from samerun.compare import cli as compare
from samerun.errors import RecordError
from samerun.export import cli as export
from samerun.reproduce import cli as reproduce
from workshop import neutral_lock
from workshop.errors import WorkshopError
from workshop.leaderboard import admin

if TYPE_CHECKING:
    from workshop.course import Course, Hole

BEST_BY = ("best_val_accuracy", "val_accuracy")  # what the parts choose their best run by
KEPT = "outputs/replaced"  # where files go before a command writes over them


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 all well, 1 not yet, 2 wrong input."""
    options = _parser().parse_args(arguments)
    neutral_lock.settle()
    try:
        return options.command(options)
    except RecordError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="workshop", description="Check exercises, get hints, read the trace of a run."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add = commands.add_parser("check", help="which TODOs are done, open or wrong")
    add.add_argument("what", nargs="?", metavar="PART|TODO", help="part1, 1.3 ... (default: all)")
    add.add_argument("--tree", type=Path, help="check another tree, such as solutions")
    add.set_defaults(command=_check)

    add = commands.add_parser("watch", help="check every save at once; keys for hint, diff, ...")
    add.add_argument("--part", help="1, 2 or 3 (default: the one where you were last)")
    add.add_argument(
        "--plain", action="store_true",
        help="lines, never redrawn, and commands that end with Enter: for a screen reader",
    )  # fmt: skip
    add.set_defaults(command=_watch)

    add = commands.add_parser("hint", help="a hint for one TODO")
    add.add_argument(
        "todo", nargs="?", default="latest", metavar="TODO",
        help="its number, such as 1.3 (default: latest, the open one where you were last)",
    )  # fmt: skip
    add.add_argument("step", nargs="?", type=int, default=1, help="1 is a nudge, 3 nearly all")
    add.set_defaults(command=_hint)

    add = commands.add_parser(
        "diff", help="your answer to a TODO beside ours, or why two runs differ"
    )
    add.add_argument("first", metavar="TODO|RUN_A", help="1.3; or a run: its id, latest or best")
    add.add_argument(
        "second", nargs="?", metavar="RUN_B|.", help="another run, or . for the present tree"
    )
    add_store_option(add)
    compare.add_options(add, BEST_BY)
    add.set_defaults(command=_diff)

    add = commands.add_parser("reset", help="begin a TODO again; what you wrote is kept")
    add.add_argument("todo", metavar="TODO", help="its number, such as 1.3")
    add.set_defaults(command=_reset)

    add = commands.add_parser("catch-up", help="our answers where yours are open or wrong")
    add.add_argument("what", metavar="PART|TODO", help="a whole part, or all before a TODO of it")
    add.set_defaults(command=_catch_up)

    add = commands.add_parser("trace", help="what a run recorded so that it can be repeated")
    add_trace_options(add, BEST_BY)

    add = commands.add_parser("open", help="a run on MLflow's page: latest, best, or an id")
    add_open_options(add, BEST_BY)

    add = commands.add_parser("reproduce", help="repeat a run, and compare it with itself")
    add_store_option(add)
    reproduce.add_options(add)

    add = commands.add_parser("export", help="write a run as an archive that others can run again")
    add_store_option(add)
    export.add_options(add)

    add = commands.add_parser("lift", help="make a part a project of your own")
    add.add_argument("part", metavar="PART", help="part1, part2 or part3")
    add.add_argument("folder", type=Path, help="a new folder, outside of this one")
    add.add_argument(
        "--from",
        dest="origin",
        choices=("own", "solutions"),
        default="auto",
        help="whose code (default: yours, if all its TODOs are done)",
    )
    add.set_defaults(command=_lift)

    add = commands.add_parser("data", help="fetch Fashion-MNIST before it is needed, and verify it")
    add.set_defaults(command=_data)

    add = commands.add_parser("setup", help="before the day: data, run store, and a look at it all")
    add.set_defaults(command=_setup)

    add = commands.add_parser("doctor", help="is this machine ready for the workshop?")
    add.add_argument("--json", action="store_true", help="for a program to read")
    add.set_defaults(command=_doctor)

    add = commands.add_parser("join", help="join the leaderboard, once")
    add.add_argument("code", metavar="CODE@HOST:PORT", help="as the leaderboard's page shows it")
    who = add.add_mutually_exclusive_group(required=True)
    who.add_argument("--name", nargs="+", help="what the board shows of you")
    who.add_argument("--token", action="store_true", help="you were given a token: it is asked for")
    add.set_defaults(command=_join)

    add = commands.add_parser("sync", help="send the leaderboard what it missed of your runs")
    add.set_defaults(command=_sync)

    add = commands.add_parser("serve", help="for instructors: run the leaderboard")
    add.add_argument("--host", default="0.0.0.0", help="listen there only (default: everywhere)")
    add.add_argument("--port", type=int, default=8765)
    add.add_argument("--folder", type=Path, help="where its data lies (default: leaderboard)")
    add.add_argument("--name", help="of the competition")
    add.add_argument("--data", choices=("fashion_mnist", "digits"))
    add.add_argument("--workers", type=int, default=1, metavar="N", help="web processes")
    add.add_argument("--scorers", type=int, default=1, metavar="N", help="models scored at once")
    add.add_argument("--database-url", metavar="postgresql+psycopg://…")
    add.add_argument("--artifacts", metavar="FOLDER|s3://…", help="where models and files lie")
    add.add_argument("--address", metavar="URL", help="the public one, of a proxy before it")
    add.add_argument("--hide-code", action="store_true", help="no join code on the page")
    add.set_defaults(command=_serve)

    add = commands.add_parser("admin", help="for instructors: lead the competition")
    admin.add_arguments(add)
    add.set_defaults(command=admin.run)

    add = commands.add_parser("recompute", help="compute every score of an export again")
    add.add_argument("folder", type=Path, help="which `workshop admin export` wrote")
    add.set_defaults(command=lambda options: admin.recompute(options.folder))

    add = commands.add_parser("derive", help="for maintainers: write the parts from the solutions")
    add.add_argument("--check", action="store_true", help="write nothing; fail if they differ")
    add.set_defaults(command=_derive)

    add = commands.add_parser("mutate", help="for maintainers: do the checks notice small changes?")
    add.add_argument("what", nargs="?", metavar="PART|TODO", help="part1, 1.3 ... (default: all)")
    add.set_defaults(command=_mutate)

    add = commands.add_parser("slides", help="for instructors: build the slides")
    add.add_argument("--lang", default="en", help="the language (default: en; all: every language)")
    add.add_argument("--handout", action="store_true", help="the handout alone")
    add.add_argument("--short", action="store_true", help="the deck for a course of three hours")
    add.add_argument(
        "--figures", nargs="*", metavar="NAME", help="first draw these figures anew, or all stale"
    )
    add.set_defaults(command=_slides)
    return parser


def _check(options: argparse.Namespace) -> int:
    from workshop import checks, course, report

    read = course.load()
    tree = options.tree.resolve() if options.tree else None
    wanted = read.select(options.what)
    found = report.progress(checks.results(read, wanted, tree))
    report.table(found, read, tree)
    if len(found) < len(wanted):
        return 130  # the status that shells give to Ctrl+C
    return 0 if all(result.state == "done" for result in found) else 1


def _watch(options: argparse.Namespace) -> int:
    from workshop import course
    from workshop.watch import command

    return command.watch(course.load(), options.part, plain=options.plain)


def _hint(options: argparse.Namespace) -> int:
    from workshop import course, report

    read = course.load()
    latest = options.todo == "latest"
    report.hint(course.latest_open(read) if latest else _todo(read, options.todo), options.step)
    return 0


def _todo(read: "Course", id: str) -> "Hole":
    if id not in read.holes:
        raise WorkshopError(f"There is no TODO {id!r}. There are: {', '.join(read.holes)}")
    return read.holes[id]


def _diff(options: argparse.Namespace) -> int:
    if options.second is not None:
        return compare.diff(options)
    from workshop import answers, course, report

    read = course.load()
    if options.first not in read.holes and "." not in options.first:
        raise WorkshopError(
            f"{options.first} is no TODO. A run is compared with another run, or with the present "
            f"tree: workshop diff {options.first} RUN_B, workshop diff {options.first} ."
        )
    report.difference(answers.difference(read, _todo(read, options.first)))
    return 0


def _reset(options: argparse.Namespace) -> int:
    from workshop import answers, course, report

    read = course.load()
    hole = _todo(read, options.todo)
    done = answers.reset(read, hole, read.root / KEPT)
    if not done.holes:
        print(f"TODO {hole.id} is as it was at the beginning: nothing to reset.")
        return 0
    print(f"TODO {hole.id} is open again.")
    report.replaced(done, read)
    return 0


def _catch_up(options: argparse.Namespace) -> int:
    from workshop import answers, checks, course, report

    read = course.load()
    holes = read.select(options.what)
    if options.what in read.holes:  # all before it, which is then the next one
        part = read.part_of(holes[0]).holes
        holes = list(part[: part.index(holes[0])])
    done = answers.catch_up(
        read, holes, read.root / KEPT, lambda some: report.progress(checks.results(read, some))
    )
    given = ", ".join(hole.id for hole in done.holes)
    if given:
        print(f"Our answers stand in TODO {given}.")
    elif not done.not_done and not done.interrupted:
        print("You need not: all of it is done.")
    report.replaced(done, read)
    if done.interrupted:
        raise KeyboardInterrupt
    if done.not_done:
        left = ", ".join(hole.id for hole in done.not_done)
        print(
            f"Still not done, since something else than these TODOs is wrong: {left}. "
            f"What it is says: uv run workshop check {done.not_done[0].id}"
        )
        return 1
    return 0


def _lift(options: argparse.Namespace) -> int:
    from samerun.command.quoting import command_line
    from workshop import course, lift

    read = course.load()
    made = lift.lift(read, read.part(options.part), options.folder, options.origin)
    print(f"{made.folder} is a project of its own.", *made.notes, sep="\n")
    print(
        "Its first run:",
        f"  {command_line(['cd', str(made.folder)])}",
        "  uv run train.py",
        sep="\n",
    )
    return 0


def _data(options: argparse.Namespace) -> int:
    from workshop import data

    print(f"Fashion-MNIST is complete and verified: {data.fetch_fashion_mnist()}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict

    from workshop import doctor, report

    if options.json:
        found = list(doctor.findings())
        print(json.dumps([asdict(finding) for finding in found], indent=2))
        return 1 if any(finding.state == "FAIL" for finding in found) else 0
    return 1 if report.findings(doctor.findings()) else 0


def _setup(options: argparse.Namespace) -> int:
    from workshop import doctor, report, setup

    for step in setup.STEPS:
        print(f"{step.title} ...", flush=True)
        try:
            print(f"  {step.take()}")
        except RecordError as error:  # what is missing, the doctor says in its verdict
            print(f"  not done: {error}", file=sys.stderr)
    found = list(doctor.findings())
    report.findings(finding for finding in found if finding.state != "OK")
    print(setup.verdict(found))
    return 1 if any(finding.state == "FAIL" for finding in found) else 0


def _join(options: argparse.Namespace) -> int:
    import getpass

    from workshop.advice import part_command
    from workshop.participant import live, membership

    if options.token:
        joined = membership.adopt(options.code, getpass.getpass("Token: ").strip())
    else:
        joined = membership.join(options.code, " ".join(options.name))
    now, before = joined.membership, joined.before
    print(f"You are {'' if joined.new else 'already '}in: {now.name!r} at {now.address}")
    if joined.moved_from:
        live.redirect(joined.moved_from, now.address)
        print(f"It is the competition that was at {joined.moved_from}.")
    if before:
        print(f"You have left {before.address}; to return: workshop join with its code.")
    part = "part3_competition"
    print(f"  train, for all to see:  {part_command(part, 'train.py', 'tracking=shared')}")
    print(f"  send in a model:        {part_command(part, 'submit.py', 'run_id=best')}")
    return 0


def _sync(options: argparse.Namespace) -> int:
    from workshop.participant import live, membership, submission

    done = live.sync(membership.current())
    print(f"{len(done.sent)} runs sent" if done.sent else "Nothing was missing.")
    for run_id in done.training:
        print(f"{run_id[:8]} is still training, and sends for itself.")
    for run_id, reason in done.failed.items():
        print(f"{run_id[:8]} not sent: {reason}", file=sys.stderr)
    if packages := submission.kept():
        print(f"{len(packages)} submissions wait. To send them: {submission.send_later()}")
    return 1 if done.failed else 0


def _serve(options: argparse.Namespace) -> int:
    from workshop.leaderboard import serve

    asked = {name: value for name, value in vars(options).items() if name != "command"}
    return serve.serve(serve.Options(**asked))


def _derive(options: argparse.Namespace) -> int:
    from workshop import course

    read = course.load()
    if options.check:
        drift = [line for part in read.parts for line in course.drift(read, part, inside=True)]
        print("\n".join([*drift, "Mend it: uv run workshop derive"] if drift else ["in step"]))
        return 1 if drift else 0
    for part in read.parts:
        for line in course.write(read, part, read.root / KEPT):
            print(line)
    return 0


def _mutate(options: argparse.Namespace) -> int:
    from workshop import course, mutation

    read, gaps, stale = course.load(), 0, 0
    listed = mutation.harmless()
    for hole in read.select(options.what):
        judged = list(mutation.judge(read, hole))
        accepted = [one.mutant for one in judged if not one.noticed]
        unlisted = [mutant for mutant in accepted if mutant.key not in listed]
        left = {key for key in listed if key[0] == hole.id} - {one.key for one in accepted}
        print(
            f"{hole.id}: of {len(judged)} changes {len(judged) - len(accepted)} are noticed, "
            f"{len(accepted) - len(unlisted)} are listed as harmless, {len(unlisted)} are gaps",
            flush=True,
        )
        for mutant in unlisted:
            print(f"  line {mutant.line}:  {mutant.before}\n     ->  {mutant.after or '(nothing)'}")
        for _, before, after in left:
            print(f"  listed, but noticed or not made:  {before}\n     ->  {after}")
        gaps, stale = gaps + len(unlisted), stale + len(left)
    print(f"{gaps} gaps, {stale} entries of {mutation.HARMLESS.name} to be taken out")
    return 1 if gaps or stale else 0


def _slides(options: argparse.Namespace) -> int:
    from workshop import slides

    if options.figures is not None:
        for name in slides.draw(options.figures):
            print(f"drew slides/figures/{name}")
    slides.make(options.lang, options.handout, options.short)
    return 0


if __name__ == "__main__":
    sys.exit(main())
