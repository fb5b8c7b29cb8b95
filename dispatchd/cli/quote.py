"""`dispatchd quote`: what a job costs."""

import click
from msgspec.structs import asdict

from dispatchd.cli.coordinator import ask, with_coordinator
from dispatchd.cli.terminal import say_facts, say_json
from dispatchd.core.job import JobType

POLICIES = ("AUTO", "FAST", "CHEAP")
_KINDS = {"llm": JobType.LLM_INFER, "task": JobType.TASK}


@click.command()
@click.argument("kind", type=click.Choice(list(_KINDS)))
@click.option(
    "--policy",
    type=click.Choice(POLICIES, case_sensitive=False),
    default="AUTO",
    show_default=True,
    help="Which tier to quote.",
)
@with_coordinator
def quote(kind: str, policy: str, url: str, *, as_json: bool) -> None:
    """Ask what a job costs.

    Example: dispatchd quote llm --policy CHEAP
    """
    found = ask(url, lambda coordinator: coordinator.quote(_KINDS[kind].value, policy))
    if as_json:
        say_json(asdict(found))
    else:
        say_facts(asdict(found))
