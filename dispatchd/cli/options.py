"""Makes click options from the tables in `config`."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from dispatchd.config.options import Option

Command = Callable[..., Any]
_RANGES = {
    "--port": click.IntRange(0, 65535),
    "--slots": click.IntRange(1, 256),
    "--grace": click.FloatRange(0),
}


def with_options(options: Sequence[Option]) -> Callable[[Command], Command]:
    """A decorator that gives a command these options, each with its environment variables."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = _decorator(option)(command)
        return command

    return decorate


def _decorator(option: Option) -> Callable[[Command], Command]:
    return click.option(
        option.flag,
        envvar=list(option.variables),
        default=None if option.repeatable else option.default,
        type=_type(option),
        is_flag=option.default is False,
        multiple=option.repeatable,
        show_default=option.shown_default or option.default not in (None, False),
        show_envvar=True,
        help=option.help,
    )


def _type(option: Option) -> Any:
    if option.choices:
        return click.Choice(option.choices, case_sensitive=False)
    return _RANGES.get(option.flag, bool if option.default is False else str)
