"""`dispatchd keys`: API keys, with which users show who they are."""

from pathlib import Path

import click

from dispatchd.cli.coordinator import ask, with_coordinator
from dispatchd.cli.terminal import say_facts, say_json, tell
from dispatchd.core.keyfile import KeyFile
from dispatchd.sdk.apikey import API_KEY_VARIABLE


@click.group()
def keys() -> None:
    """API keys, with which users show who they are.

    Example: dispatchd keys create alice
    """


@keys.command()
@click.argument("user_id")
@click.option(
    "--operator-key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The coordinator's key file, NETWORK-coordinator-key.json beside its database: shows that"
    " you run the node, where not everybody may make keys.",
)
@with_coordinator
def create(user_id: str, operator_key: Path | None, url: str, *, as_json: bool) -> None:
    """Make a user's API key, and show it this once.

    From then on nothing is done for that user without it. With the present key, another one takes
    its place.

    Example: dispatchd keys create alice
    """
    operator = None
    if operator_key is not None:
        operator = KeyFile(operator_key, "coordinator", "choose another --operator-key").load()
    answer = ask(url, lambda coordinator: coordinator.create_key(user_id, operator))
    if as_json:
        say_json(answer)
        return
    say_facts(answer)
    tell(f"It is not shown again. Keep it, and set {API_KEY_VARIABLE} where it is needed.")
