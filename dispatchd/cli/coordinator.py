"""The coordinator that a command talks to, and the options of every command that does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from dispatchd.sdk.coordinator import CoordinatorClient
from dispatchd.sdk.http import Http, new_session

DEFAULT_URL = "http://127.0.0.1:4010"
URL_VARIABLES = ("DISPATCHD_COORDINATOR", "COORDINATOR_URL")

Command = Callable[..., Any]
_T = TypeVar("_T")

_COORDINATOR = click.option(
    "--coordinator",
    "url",
    envvar=list(URL_VARIABLES),
    default=DEFAULT_URL,
    metavar="URL",
    show_default=True,
    show_envvar=True,
    help="Address of the coordinator.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
_TIMEOUT = click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="How long to wait for the result.",
)


def with_json(command: Command) -> Command:
    """Gives a command `--json`."""
    return _JSON(command)


def with_coordinator(command: Command) -> Command:
    """Gives a command `--coordinator` (`url`) and `--json` (`as_json`)."""
    return _COORDINATOR(_JSON(command))


def with_timeout(command: Command) -> Command:
    """Gives a command `--timeout`."""
    return _TIMEOUT(command)


def ask(url: str, question: Callable[[CoordinatorClient], Awaitable[_T]]) -> _T:
    """What comes of asking one coordinator something."""

    async def asked() -> _T:
        async with new_session() as session:
            return await question(CoordinatorClient(Http(url, session)))

    return asyncio.run(asked())
