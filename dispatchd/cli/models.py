"""`dispatchd models`: what can be run here."""

import click

from dispatchd.cli.coordinator import with_json
from dispatchd.cli.terminal import say_json
from dispatchd.engine.catalog import DEFAULT_LLM, ModelCard, embedded

_MEGABYTE = 1_000_000


@click.group()
def models() -> None:
    """Language models and classifiers of this machine.

    Example: dispatchd models list
    """


@models.command("list")
@with_json
def list_models(*, as_json: bool) -> None:
    """List the models that are there.

    Example: dispatchd models list
    """
    if as_json:
        say_json({"models": [_facts(card) for card in embedded()]})
        return
    for card in embedded():
        click.echo(_line(card))


def _facts(card: ModelCard) -> dict[str, object]:
    return {
        "name": card.name,
        "kind": card.kind,
        "path": str(card.path),
        "bytes_on_disk": card.bytes_on_disk,
        "parameters": card.parameters,
        "context_tokens": card.context_tokens,
        "default": card.name == DEFAULT_LLM,
    }


def _line(card: ModelCard) -> str:
    parameters = f"{card.parameters / _MEGABYTE:.1f} M parameters" if card.parameters else ""
    facts = [card.kind, f"{card.bytes_on_disk / _MEGABYTE:.1f} MB", parameters]
    if card.context_tokens:
        facts.append(f"context {card.context_tokens} tokens")
    if card.name == DEFAULT_LLM:
        facts.append("default")
    return f"{card.name:16} {', '.join(fact for fact in facts if fact)}"
