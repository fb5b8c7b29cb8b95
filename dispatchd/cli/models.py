"""`dispatchd models`: what can be run here."""

import click

from dispatchd.engine.catalog import DEFAULT_LLM, ModelCard, embedded

_MEGABYTE = 1_000_000


@click.group()
def models() -> None:
    """Language models and classifiers of this machine."""


@models.command("list")
def list_models() -> None:
    """List the models that are there.

    Example: dispatchd models list
    """
    for card in embedded():
        click.echo(_line(card))


def _line(card: ModelCard) -> str:
    parameters = f"{card.parameters / _MEGABYTE:.1f} M parameters" if card.parameters else ""
    facts = [card.kind, f"{card.bytes_on_disk / _MEGABYTE:.1f} MB", parameters]
    if card.context_tokens:
        facts.append(f"context {card.context_tokens} tokens")
    if card.name == DEFAULT_LLM:
        facts.append("default")
    return f"{card.name:16} {', '.join(fact for fact in facts if fact)}"
