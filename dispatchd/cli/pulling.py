"""Pulls and prepares models for a person who watches: what it takes, then bars on a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from dispatchd.cli.models import size
from dispatchd.cli.terminal import tell
from dispatchd.core.errors import Unusable
from dispatchd.engine.catalog import ModelCard, describe, embedded, plain_name
from dispatchd.engine.download import Damaged
from dispatchd.engine.hub import Hub, HubAway
from dispatchd.engine.library import Library
from dispatchd.engine.precision import Asked, chosen_precision
from dispatchd.engine.prepare.manifest import Precision
from dispatchd.engine.preparing import prepare_again, prepare_folder
from dispatchd.engine.provider import working_device
from dispatchd.engine.pull import Plan, Pull, repo_of
from dispatchd.sdk.errors import NetworkFailed, VerificationFailed

_STEPS = 1000


def pull(
    library: Library,
    model: str,
    *,
    precision: Asked,
    name: str | None,
    revision: str,
) -> ModelCard:
    """Brings a model here and prepares it."""
    with _exit_codes():
        pulling = Pull(library, Hub())
        with library.locked(repo_of(model)):
            plan = pulling.plan(model, revision, name, _suited(precision))
            _tell_plan(plan)
            if plan.ready:
                return describe(library.folder(plan.name))
            with _bar("pulling", plan.download_bytes) as advance:
                pulling.download(plan, advance)
            with _bar_of_shares("preparing") as reach:
                return pulling.prepare(plan, reach)


def prepare(
    library: Library,
    model: str,
    *,
    precision: Asked,
    name: str | None,
) -> ModelCard:
    """Prepares a pulled model anew, or a folder."""
    card = library.find(model)
    if card is not None:
        with library.locked(card.repo or card.name), _bar_of_shares("preparing") as reach:
            return prepare_again(library, card, _suited(precision), reach)
    folder = Path(model).expanduser()
    if not folder.is_dir() and any(card.name == model for card in embedded()):
        raise Unusable(f"{model} is embedded, and prepared already.")
    if not folder.is_dir():
        raise Unusable(
            f"There is no pulled model and no folder {model!r}: dispatchd models list shows those"
            f" that are here, dispatchd models pull {model} may bring it."
        )
    kept_as = name or plain_name(folder.resolve().name)
    library.check_name(kept_as)
    with library.locked(kept_as), _bar_of_shares("preparing") as reach:
        return prepare_folder(library, folder, kept_as, _suited(precision), reach)


def _suited(asked: Asked) -> Precision:
    return chosen_precision(asked, working_device())


def _tell_plan(plan: Plan) -> None:
    listing = plan.listing
    if plan.offline:
        tell(f"{plan.offline} What is on this machine will do.")
    tell(f"{plan.name}: {listing.repo} at {listing.commit[:12]}")
    if plan.ready:
        tell("It is here already, and the hub has nothing newer.")
        return
    here = plan.download_bytes - plan.missing_bytes
    already = f", of which {size(here)} are here" if here > plan.missing_bytes / 100 else ""
    tell(f"  download  {size(plan.download_bytes)}{already}")
    tell(f"  disk      {size(plan.missing_bytes + plan.prepared_bytes)} more, once prepared")
    tell(f"  memory    about {size(plan.memory_bytes)} as {plan.precision}")


@contextmanager
def _bar(label: str, length: int) -> Iterator[Callable[[int], None]]:
    with click.progressbar(
        length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        yield bar.update


@contextmanager
def _bar_of_shares(label: str) -> Iterator[Callable[[float], None]]:
    """The same, for work that says which share of it is done."""
    with _bar(label, _STEPS) as advance:
        reached = 0

        def reach(share: float) -> None:
            nonlocal reached
            step = int(share * _STEPS)
            if step > reached:
                advance(step - reached)
                reached = step

        yield reach


@contextmanager
def _exit_codes() -> Iterator[None]:
    """A hub that is away and a file that is damaged have exit codes of their own."""
    try:
        yield
    except HubAway as error:
        raise NetworkFailed(str(error)) from None
    except Damaged as error:
        raise VerificationFailed(str(error)) from None
