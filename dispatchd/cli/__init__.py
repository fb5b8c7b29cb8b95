"""The `dispatchd` command; each noun has a small file of its own, read only when it is used."""

import importlib
import sys
from types import MappingProxyType
from typing import Any, NoReturn

import click

from dispatchd import __version__
from dispatchd.core.errors import Unusable

USAGE_EXIT = 2
INTERRUPTED_EXIT = 130

_COMMANDS = MappingProxyType(
    {
        "run": "dispatchd.cli.run:run",
        "worker": "dispatchd.cli.worker:worker",
        "models": "dispatchd.cli.models:models",
    }
)


class _Commands(click.Group):
    """Loads commands when they are asked for; what goes wrong is one sentence on stderr."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        try:
            code = super().main(*args, **(kwargs | {"standalone_mode": False}))
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(USAGE_EXIT)
        except click.ClickException as error:
            _fail(error.format_message(), error.exit_code)
        except Unusable as error:
            _fail(str(error), USAGE_EXIT)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(INTERRUPTED_EXIT)
        sys.exit(code if isinstance(code, int) else 0)


def _fail(sentence: str, code: int) -> NoReturn:
    click.echo(f"dispatchd: {' '.join(sentence.split())}", err=True)
    sys.exit(code)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dispatchd")
def main() -> None:
    """The node of the Dispatch compute network."""
