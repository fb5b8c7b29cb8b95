"""`dispatchd models`: what can be run here, and what can be had."""

from importlib import import_module
from typing import Any

import click

from dispatchd.cli.coordinator import with_json
from dispatchd.cli.options import with_options
from dispatchd.cli.terminal import say, say_facts, say_json, say_table, tell
from dispatchd.config.options import MODELS_OPTIONS
from dispatchd.config.parse import models_dir
from dispatchd.engine.catalog import DEFAULT_LLM, ModelCard, embedded, find
from dispatchd.engine.library import Library
from dispatchd.engine.precision import PRECISIONS
from dispatchd.engine.short_names import SHORT_NAMES

_KILOBYTE = 1_000
_MEGABYTE = 1_000_000
_GIGABYTE = 1_000_000_000

_with_folder = with_options(MODELS_OPTIONS)
_with_precision = click.option(
    "--precision",
    type=click.Choice(PRECISIONS, case_sensitive=False),
    default="auto",
    show_default=True,
    help="How weights are rounded; auto is int8, or fp16 where a GPU works. int4 is smaller, and"
    " faster for single jobs.",
)


@click.group()
def models() -> None:
    """Language models and classifiers of this machine.

    Example: dispatchd models list
    """


@models.command("list")
@click.option("--available", is_flag=True, help="List the short names that can be pulled instead.")
@_with_folder
@with_json
def list_models(data_dir: str, *, available: bool, as_json: bool) -> None:
    """List the models that are there.

    Example: dispatchd models list
    """
    if available:
        _list_available(as_json=as_json)
        return
    library = Library(models_dir(data_dir))
    cards = [*embedded(), *library.cards()]
    unfinished, copies = library.unfinished(), library.copies.all()
    if as_json:
        begun = [{"repo": each.repo, "bytes_on_disk": each.bytes_on_disk} for each in unfinished]
        models = [facts_of(card) for card in cards]
        kept = [facts_of(card) for card in copies]
        say_json({"models": models, "unfinished": begun, "copies": kept})
        return
    for card in cards:
        say(_line(card))
    for each in unfinished:
        tell(
            f"{each.repo} was pulled in part ({size(each.bytes_on_disk)}); go on with:"
            f" dispatchd models pull {each.repo}"
        )
    for card in copies:
        tell(
            f"{card.name} was prepared as {card.precision} when it was used first"
            f" ({size(card.bytes_on_disk)}); remove that with: dispatchd models rm {card.name}"
        )


@models.command()
@click.argument("name", metavar="NAME|DIR")
@_with_folder
@with_json
def show(name: str, data_dir: str, *, as_json: bool) -> None:
    """Show what is known of a model.

    Example: dispatchd models show demo-chat
    """
    facts = facts_of(find(name, models_dir(data_dir)))
    if as_json:
        say_json(facts)
        return
    say_facts(facts | {"bytes_on_disk": size(facts["bytes_on_disk"]), "default": None})


@models.command("rm")
@click.argument("name")
@_with_folder
@with_json
def remove(name: str, data_dir: str, *, as_json: bool) -> None:
    """Remove a pulled model, the files that it was made from, and what was prepared of it.

    Of a folder that was given to --model, only what was prepared from it is removed.

    Example: dispatchd models rm smollm2-135m
    """
    freed = Library(models_dir(data_dir)).remove(name)
    if as_json:
        say_json({"removed": name, "bytes_freed": freed})
    else:
        tell(f"{name} is removed, {size(freed)} are free again")


@models.command()
@click.argument("model", metavar="NAME|OWNER/NAME")
@_with_precision
@click.option("--name", help="What it is called here.  [default: its short name]")
@click.option("--revision", default="main", show_default=True, help="Branch, tag or commit.")
@_with_folder
@with_json
def pull(model: str, data_dir: str, *, as_json: bool, **given: Any) -> None:
    """Bring a language model here from the model hub, and prepare it.

    NAME is a short name (dispatchd models list --available), OWNER/NAME any model of the families
    Llama, Mistral, Qwen2 and Qwen3 that is published as safetensors. What it takes is shown before
    the download; a pull that was broken off goes on where it was. HF_ENDPOINT names another hub,
    HF_TOKEN a token for gated models; HF_HUB_OFFLINE=1 takes what is on this machine.

    Example: dispatchd models pull smollm2-135m
    """
    pulling = import_module("dispatchd.cli.pulling")  # only this needs the hub's client
    card = pulling.pull(Library(models_dir(data_dir)), model, **given)
    _say_ready(card, as_json=as_json)


@models.command()
@click.argument("model", metavar="NAME|DIR")
@_with_precision
@click.option("--name", help="What it is called here, for a folder.  [default: the folder's name]")
@_with_folder
@with_json
def prepare(model: str, data_dir: str, *, as_json: bool, **given: Any) -> None:
    """Prepare a pulled model anew, or published weights that lie in a folder.

    Example: dispatchd models prepare smollm2-135m --precision int4
    """
    pulling = import_module("dispatchd.cli.pulling")
    card = pulling.prepare(Library(models_dir(data_dir)), model, **given)
    _say_ready(card, as_json=as_json)


def facts_of(card: ModelCard) -> dict[str, Any]:
    """The card as JSON shows it; what its files do not say is null."""
    return {
        "name": card.name,
        "kind": card.kind,
        "layout": card.layout,
        "path": str(card.path),
        "bytes_on_disk": card.bytes_on_disk,
        "parameters": card.parameters,
        "context_tokens": card.context_tokens,
        "precision": card.precision,
        "repo": card.repo,
        "revision": card.revision,
        "default": card.name == DEFAULT_LLM,
    }


def size(count: int) -> str:
    """Bytes as people read them."""
    if count < _MEGABYTE / 10:
        return f"{count / _KILOBYTE:.0f} kB"
    if count < _GIGABYTE:
        return f"{count / _MEGABYTE:.1f} MB"
    return f"{count / _GIGABYTE:.2f} GB"


def _say_ready(card: ModelCard, *, as_json: bool) -> None:
    if as_json:
        say_json(facts_of(card))
        return
    say(_line(card))
    tell(f"Run it with: dispatchd run --testnet --model {card.name}")


def _list_available(*, as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "name": each.name,
                "repo": each.repo,
                "parameters": each.parameters,
                "download_bytes": each.download_bytes,
                "memory_bytes": each.memory_bytes,
                "gated": each.gated,
            }
            for each in SHORT_NAMES
        ]
        say_json({"available": rows})
        return
    cells = [
        (
            each.name,
            each.repo + (" (gated)" if each.gated else ""),
            size(each.download_bytes),
            size(each.memory_bytes),
        )
        for each in SHORT_NAMES
    ]
    say_table(("NAME", "REPOSITORY", "DOWNLOAD", "MEMORY (INT8)"), cells)


def _line(card: ModelCard) -> str:
    facts = [card.kind, size(card.bytes_on_disk), _parameters(card.parameters), card.precision]
    if card.context_tokens:
        facts.append(f"context {card.context_tokens} tokens")
    if card.name == DEFAULT_LLM:
        facts.append("default")
    return f"{card.name:16} {', '.join(fact for fact in facts if fact)}"


def _parameters(count: int | None) -> str:
    if not count:
        return ""
    if count < _MEGABYTE / 10:
        return f"{count:,} parameters"
    return f"{count / _MEGABYTE:.1f} M parameters"
