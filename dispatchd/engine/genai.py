"""Folders made for onnxruntime-genai: `genai_config.json` names the graph, its ports and limits.

The graph runs as any published decoder does, with caches that grow: `past_present_share_buffer`
and the options of providers only say how to run it faster, and `search` how to draw tokens, which
is a request's business here, but for the repetition penalty.
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from dispatchd.core.errors import Unusable
from dispatchd.engine.parse import parse
from dispatchd.engine.ports import GraphFacts, Ports

GENAI_CONFIG = "genai_config.json"
PROVIDERS = ("cpu", "cuda")

_Size = Annotated[int, msgspec.Meta(gt=0)]

_NOT_RUN = {
    "encoder": "an encoder beside the decoder",
    "vision": "a graph for pictures",
    "speech": "a graph for speech",
    "embedding": "a graph of its own for embeddings",
}


class _SessionOptions(msgspec.Struct, frozen=True):
    provider_options: list[dict[str, Any]] = []
    custom_ops_library: str | None = None


class _Decoder(msgspec.Struct, frozen=True):
    filename: str | None = None
    head_size: _Size | None = None
    num_key_value_heads: _Size | None = None
    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}
    session_options: _SessionOptions = _SessionOptions()
    pipeline: Any = None
    sliding_window: Any = None


class _Model(msgspec.Struct, frozen=True):
    context_length: _Size
    decoder: _Decoder
    eos_token_id: int | list[int] | None = None
    encoder: Any = None
    vision: Any = None
    speech: Any = None
    embedding: Any = None


class _Search(msgspec.Struct, frozen=True):
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0)] = 1.0


class _Config(msgspec.Struct, frozen=True):
    model: _Model
    search: _Search = _Search()


class _Parts(msgspec.Struct, frozen=True):
    """The config read loosely: a model of several graphs lacks much of what `_Config` asks for."""

    model: dict[str, Any]


def is_genai(folder: Path) -> bool:
    """Whether the folder was made for onnxruntime-genai."""
    return (folder / GENAI_CONFIG).is_file()


def genai_context_tokens(folder: Path) -> int:
    """The context that the folder's config gives its model; Unusable if it does not."""
    path = folder / GENAI_CONFIG
    _check_parts(path, parse(path, _Parts).model)
    return parse(path, _Config).model.context_length


def read_genai(folder: Path) -> GraphFacts:
    """The folder's graph; Unusable, by name, for what cannot be run here."""
    path = folder / GENAI_CONFIG
    _check_parts(path, parse(path, _Parts).model)
    config = parse(path, _Config)
    decoder, eos = config.model.decoder, config.model.eos_token_id
    _check_options(path, decoder.session_options)
    return GraphFacts(
        onnx=_graph(folder, decoder.filename),
        context_tokens=config.model.context_length,
        stop_ids=eos if isinstance(eos, list) else [] if eos is None else [eos],
        repetition_penalty=config.search.repetition_penalty,
        ports=_ports(path, decoder),
    )


def _check_parts(path: Path, model: dict[str, Any]) -> None:
    for part, what in _NOT_RUN.items():
        if model.get(part):
            raise _refused(path, f"{what} ({part})")
    decoder = model.get("decoder")
    if isinstance(decoder, dict):
        if decoder.get("pipeline"):
            raise _refused(path, "a decoder in several graphs (pipeline)")
        if decoder.get("sliding_window"):
            raise _refused(path, "a cache that is moved along by hand (sliding_window)")


def _check_options(path: Path, options: _SessionOptions) -> None:
    for provider in (name for each in options.provider_options for name in each):
        if provider.lower() not in PROVIDERS:
            raise _refused(path, f"the provider {provider}; those known are {', '.join(PROVIDERS)}")
    if options.custom_ops_library:
        raise _refused(path, f"a library of operators ({options.custom_ops_library})")


def _graph(folder: Path, name: str | None) -> Path:
    path = folder / GENAI_CONFIG
    if not name:
        raise Unusable(f"{path} must say the decoder's filename.")
    graph = folder / name
    if not graph.resolve().is_relative_to(folder.resolve()):
        raise Unusable(f"{path} names a graph elsewhere ({name!r}).")
    if not graph.is_file():
        raise Unusable(f"{folder} lacks {name}, which its {GENAI_CONFIG} names: fetch it again.")
    return graph


def _ports(path: Path, decoder: _Decoder) -> Ports:
    """The names that the config gives, and the usual ones for those that it leaves out."""
    if "past_names" in decoder.inputs:
        raise _refused(path, "keys and values in one cache (past_names)")
    usual, inputs, outputs = Ports(), decoder.inputs, decoder.outputs
    return Ports(
        input_ids=inputs.get("input_ids", usual.input_ids),
        attention_mask=inputs.get("attention_mask", usual.attention_mask),
        position_ids=inputs.get("position_ids", usual.position_ids),
        past=(
            inputs.get("past_key_names", usual.past[0]),
            inputs.get("past_value_names", usual.past[1]),
        ),
        present=(
            outputs.get("present_key_names", usual.present[0]),
            outputs.get("present_value_names", usual.present[1]),
        ),
        logits=outputs.get("logits", usual.logits),
        kv_heads=decoder.num_key_value_heads,
        head_size=decoder.head_size,
    )


def _refused(path: Path, what: str) -> Unusable:
    return Unusable(f"{path} asks for {what}, which cannot be run here.")
