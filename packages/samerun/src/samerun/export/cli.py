"""The command `samerun export`; a project may offer it among commands of its own."""

import argparse
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `export` takes to a command of any name."""
    parser.add_argument("run_id", metavar="RUN_ID", help="the run's id, or the beginning of it")
    parser.add_argument("target", metavar="CRATE.zip", type=Path, help="the archive to write")
    parser.add_argument("--author", metavar="NAME", help="who ran it (default: git's user.name)")
    parser.add_argument(
        "--with-data", action="store_true", help="take data of the project along that git ignores"
    )
    parser.add_argument(
        "--largest",
        metavar="MB",
        type=int,
        default=100,
        help="leave out files above (default: %(default)s)",
    )
    parser.set_defaults(command=export)


def export(options: argparse.Namespace) -> int:
    """Write a run as a crate, and print what is in it."""
    from samerun.display.screen import printable
    from samerun.export import write
    from samerun.export.sources import swhid
    from samerun.root import root_of
    from samerun.store.tracking import name_store

    if options.store:
        name_store(options.store)
    made = write.export(
        options.run_id,
        options.target,
        root_of(Path.cwd()),
        author=options.author,
        with_data=options.with_data,
        largest=options.largest,
    )
    print(f"Written: {made.path}, {made.files} files, {made.path.stat().st_size / 2**20:.1f} MB")
    for name in (swhid("dir", made.sources.directory), swhid("rev", made.sources.revision)):
        if name:
            print(f"  {name}")
    for path, why in sorted(made.left_out.items()):
        print(f"  not in it: {printable(path)} ({printable(why)})")
    for note in made.notes:
        print(f"  {printable(note)}")
    print(f"Anybody can run it again: uv run samerun reproduce {made.path.name}")
    return 0
