"""The models that a node carries, and how a name or a path becomes one of them."""

from pathlib import Path
from typing import Literal

import msgspec

from dispatchd.core.errors import Unusable
from dispatchd.engine.parse import parse_optional

DEFAULT_LLM = "demo-chat-3m"
DEFAULT_CLASSIFIER = "sentiment-cnn"

_PACKAGE = Path(__file__).parents[1]
# A wheel carries the models inside the package; an editable install finds them beside it.
_HOMES = (_PACKAGE / "embedded_models", _PACKAGE.parent / "models")


class ModelCard(msgspec.Struct, frozen=True):
    """What is known of a model without loading it; None where its files do not say."""

    name: str
    kind: Literal["llm", "classifier"]
    layout: Literal["decoder-with-past", "token-windows"]
    path: Path
    bytes_on_disk: int
    parameters: int | None
    context_tokens: int | None


class _Metrics(msgspec.Struct, frozen=True):
    params: int | None = None


class _Config(msgspec.Struct, frozen=True):
    max_position_embeddings: int | None = None


def embedded() -> list[ModelCard]:
    """Every embedded model, by name; empty where the package was built without them."""
    home = next((home for home in _HOMES if home.is_dir()), None)
    if home is None:
        return []
    return [describe(folder) for folder in sorted(home.iterdir()) if _kind(folder) is not None]


def find(name_or_path: str) -> ModelCard:
    """The embedded model of that name, else the folder at that path; Unusable if neither is."""
    cards = embedded()
    for card in cards:
        if card.name == name_or_path:
            return card
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return describe(folder)
    known = ", ".join(card.name for card in cards) or "none"
    raise Unusable(
        f"There is no model {name_or_path!r}: give a model folder or an embedded name ({known})."
    )


def describe(folder: Path) -> ModelCard:
    """The card of a model folder; Unusable if its files do not say what it is."""
    folder = folder.resolve()
    kind = _kind(folder)
    if kind is None:
        raise Unusable(
            f"{folder} is no model folder: it needs config.json (a language model)"
            " or labels.json (a classifier)."
        )
    return ModelCard(
        name=folder.name,
        kind=kind,
        layout="decoder-with-past" if kind == "llm" else "token-windows",
        path=folder,
        bytes_on_disk=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        parameters=parse_optional(folder / "metrics.json", _Metrics).params,
        context_tokens=parse_optional(folder / "config.json", _Config).max_position_embeddings,
    )


def _kind(folder: Path) -> Literal["llm", "classifier"] | None:
    if (folder / "labels.json").is_file():
        return "classifier"
    if (folder / "config.json").is_file():
        return "llm"
    return None
