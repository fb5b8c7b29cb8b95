"""The `dispatchd` command; each noun has a small file of its own."""

import click

from dispatchd import __version__
from dispatchd.cli.models import models
from dispatchd.cli.run import run
from dispatchd.cli.worker import worker
from dispatchd.core.errors import Unusable

USAGE_EXIT = 2


class _Commands(click.Group):
    """Turns what cannot be used into one sentence and exit code 2."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except Unusable as error:
            click.echo(f"dispatchd: {error}", err=True)
            ctx.exit(USAGE_EXIT)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dispatchd")
def main() -> None:
    """The node of the Dispatch compute network."""


main.add_command(run)
main.add_command(worker)
main.add_command(models)
