"""The coordinator that a command talks to, and the options of every command that does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from dispatchd.sdk.apikey import API_KEY_VARIABLE
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
_META = "dispatchd.api_key"


def _keep_key(ctx: click.Context, _: click.Parameter, key: str | None) -> None:
    """Beside the command's own parameters, which end up in messages more easily."""
    ctx.meta[_META] = key


_API_KEY = click.option(
    "--api-key",
    envvar=API_KEY_VARIABLE,
    show_envvar=True,
    metavar="KEY",
    expose_value=False,
    callback=_keep_key,
    help="The user's API key. Others on this machine see command lines: better set the variable.",
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
    """Gives a command `--coordinator` (`url`), `--api-key` and `--json` (`as_json`)."""
    return _COORDINATOR(_API_KEY(_JSON(command)))


def with_timeout(command: Command) -> Command:
    """Gives a command `--timeout`."""
    return _TIMEOUT(command)


def ask(url: str, question: Callable[[CoordinatorClient], Awaitable[_T]]) -> _T:
    """What comes of asking one coordinator something, with the command's API key if it has one."""
    key = click.get_current_context().meta.get(_META)

    async def asked() -> _T:
        async with new_session() as session:
            return await question(CoordinatorClient(Http(url, session, key)))

    return asyncio.run(asked())
