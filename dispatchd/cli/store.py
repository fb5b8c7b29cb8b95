"""`dispatchd store`: moving a job store to a shared database, and looking whether one is whole."""

import asyncio
import sys
from importlib import import_module
from pathlib import Path

import click

from dispatchd.cli.coordinator import with_json
from dispatchd.cli.terminal import complain, say_facts, say_json, tell
from dispatchd.core.errors import Unusable
from dispatchd.store.inspection import inspect

_FILE = "sqlite:"


@click.group()
def store() -> None:
    """Move a job store to a shared database, and look whether one is whole.

    Example: dispatchd store check --store postgresql://db/dispatchd
    """


@store.command()
@click.option("--from", "source", required=True, metavar="sqlite:FILE", help="What is moved.")
@click.option("--to", "target", required=True, metavar="postgresql://…", help="An empty database.")
@with_json
def migrate(source: str, target: str, *, as_json: bool) -> None:
    """Move everything from a database file to an empty PostgreSQL database, and compare it.

    Nothing may use either meanwhile. The file stays as it is. A coordinator that is then started
    with the same --data-dir goes on with its chain of receipts.

    Example: dispatchd store migrate --from sqlite:monad.sqlite3 --to postgresql://db/dispatchd
    """
    file = _file(source)
    if file is None:
        raise Unusable("--from must be sqlite:FILE.")
    moving = import_module("dispatchd.store.postgres.moving")  # with the client that it needs
    counts: dict[str, int] = asyncio.run(moving.move(file, target))
    if as_json:
        say_json(counts)
    else:
        say_facts(counts)
        tell("Every row has been compared. Start coordinators with --store from now on.")


@store.command()
@click.option(
    "--store",
    "address",
    required=True,
    envvar="DISPATCHD_STORE",
    metavar="ADDRESS",
    help="sqlite:FILE or postgresql://…; coordinators may be running on the latter.",
)
@with_json
def check(address: str, *, as_json: bool) -> None:
    """Look whether jobs, payments and receipts fit together; ends with 1 where they do not.

    Example: dispatchd store check --store sqlite:monad.sqlite3
    """
    findings = asyncio.run(inspect(address, _file(address)))
    facts: dict[str, object] = {f"jobs {state}": n for state, n in findings.jobs.items()}
    facts |= {"receipts chained": findings.chained, "faults": list(findings.faults)}
    if as_json:
        say_json(facts)
    else:
        say_facts(facts)
    if findings.faults:
        complain("The store is not whole.")
        sys.exit(1)


def _file(address: str) -> Path | None:
    """The path in `sqlite:FILE`, where a file must be; None for another address."""
    if not address.startswith(_FILE):
        return None
    path = Path(address.removeprefix(_FILE)).expanduser()
    if not path.is_file():
        raise Unusable(f"There is no file {path}.")
    return path
