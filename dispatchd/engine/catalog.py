"""The models that a node carries or has pulled, and how a name or a path becomes one of them."""

from pathlib import Path
from typing import Literal

import msgspec

from dispatchd.core.errors import Unusable
from dispatchd.engine.parse import parse, parse_optional
from dispatchd.engine.short_names import short_name

DEFAULT_LLM = "demo-chat"
DEFAULT_CLASSIFIER = "sentiment-cnn"
MANIFEST = "manifest.json"

_PACKAGE = Path(__file__).parents[1]
# A wheel carries the models inside the package; an editable install finds them beside it.
_HOMES = (_PACKAGE / "embedded_models", _PACKAGE.parent / "models")

Kind = Literal["llm", "classifier"]
Layout = Literal["decoder-with-past", "token-windows", "prepared", "safetensors"]


class ModelCard(msgspec.Struct, frozen=True):
    """What is known of a model without loading it; None where its files do not say.

    The layout `safetensors` is published weights, which have to be prepared first.
    """

    name: str
    kind: Kind
    layout: Layout
    path: Path
    bytes_on_disk: int
    parameters: int | None
    context_tokens: int | None
    precision: str | None = None
    repo: str | None = None
    revision: str | None = None


class _Metrics(msgspec.Struct, frozen=True):
    params: int | None = None


class _Config(msgspec.Struct, frozen=True):
    max_position_embeddings: int | None = None


class _Source(msgspec.Struct, frozen=True):
    repo: str | None = None
    revision: str | None = None


class _Manifest(msgspec.Struct, frozen=True):
    """The part of a prepared model's manifest that a card shows."""

    source: _Source = _Source()
    precision: str | None = None
    context_tokens: int | None = None


def embedded() -> list[ModelCard]:
    """Every embedded model, by name; empty where the package was built without them."""
    home = next((home for home in _HOMES if home.is_dir()), None)
    if home is None:
        return []
    return [describe(folder) for folder in sorted(home.iterdir()) if _kind(folder) is not None]


def pulled(home: Path) -> list[ModelCard]:
    """Every model that was pulled or prepared into that folder, by name."""
    if not home.is_dir():
        return []
    return [describe(folder) for folder in sorted(home.iterdir()) if _is_prepared(folder)]


def find(name_or_path: str, home: Path | None = None) -> ModelCard:
    """The embedded model of that name, else the one in `home`, else the folder at that path.

    A pulled model is also found by its repository or another short name of that. Unusable if it is
    none of them.
    """
    cards = embedded() + (pulled(home) if home else [])
    for card in cards:
        if card.name == name_or_path:
            return card
    published = short_name(name_or_path)
    repo = published.repo if published else name_or_path
    for card in cards:
        if card.repo == repo:
            return card
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return describe(folder)
    if published:
        raise Unusable(
            f"The model {published.name} is not on this machine:"
            f" run dispatchd models pull {published.name} first."
        )
    known = ", ".join(card.name for card in cards) or "none"
    raise Unusable(
        f"There is no model {name_or_path!r}: give a model folder, or the name of an embedded or"
        f" pulled one ({known})."
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
    manifest = parse(folder / MANIFEST, _Manifest) if _is_prepared(folder) else _Manifest()
    config = parse_optional(folder / "config.json", _Config)
    return ModelCard(
        name=folder.name,
        kind=kind,
        layout=_layout(folder, kind),
        path=folder,
        bytes_on_disk=bytes_in(folder),
        parameters=parse_optional(folder / "metrics.json", _Metrics).params,
        context_tokens=manifest.context_tokens or config.max_position_embeddings,
        precision=manifest.precision,
        repo=manifest.source.repo,
        revision=manifest.source.revision,
    )


def bytes_in(folder: Path) -> int:
    """What the folder's files take; a file that is linked lies elsewhere."""
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return sum(file.stat().st_size for file in files)


def _is_prepared(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def _layout(folder: Path, kind: Kind) -> Layout:
    if kind == "classifier":
        return "token-windows"
    if _is_prepared(folder):
        return "prepared"
    graphs = any(folder.glob("*.onnx")) or any(folder.glob("onnx/*.onnx"))
    weights = any(folder.glob("*.safetensors"))
    return "safetensors" if weights and not graphs else "decoder-with-past"


def _kind(folder: Path) -> Kind | None:
    if (folder / "labels.json").is_file():
        return "classifier"
    if (folder / "config.json").is_file():
        return "llm"
    return None
