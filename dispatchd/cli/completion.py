"""`dispatchd completion`: what makes a shell complete commands."""

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands.

    Example: dispatchd completion bash >> ~/.bashrc
    """
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - for the types: click knows these three
    complete = kind(ctx.find_root().command, {}, "dispatchd", "_DISPATCHD_COMPLETE")
    click.echo(complete.source())
