"""A language model's folder, the hub's layout or onnxruntime-genai's, read into one value."""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dispatchd.core.errors import Unusable
from dispatchd.engine.genai import is_genai, read_genai
from dispatchd.engine.parse import check_tokenizer, parse, parse_optional, read_tokenizer
from dispatchd.engine.ports import GraphFacts, Ports

if TYPE_CHECKING:  # a folder is checked without its library
    from tokenizers import Tokenizer

_ONNX_NAMES = (
    "model.onnx",
    "model_quantized.onnx",
    "onnx/model.onnx",
    "onnx/model_quantized.onnx",
)


class ModelFolder(msgspec.Struct, frozen=True):
    """Everything that generating text needs from a folder, and where the weights are."""

    name: str
    onnx: Path
    context_tokens: int
    stop_ids: frozenset[int]
    repetition_penalty: float
    chat_template: str | None
    bos_token: str
    eos_token: str
    tokenizer: "Tokenizer"
    # One that reads special tokens as plain text: a flag of the tokenizer, and threads share it.
    literal_tokenizer: "Tokenizer"
    ports: Ports


class _Config(msgspec.Struct, frozen=True):
    max_position_embeddings: int | None = None
    n_positions: int | None = None
    n_ctx: int | None = None
    eos_token_id: int | list[int] | None = None


class _GenerationConfig(msgspec.Struct, frozen=True):
    eos_token_id: int | list[int] | None = None
    repetition_penalty: float | None = None


class _AddedToken(msgspec.Struct, frozen=True):
    content: str


class _NamedTemplate(msgspec.Struct, frozen=True):
    name: str
    template: str


class _TokenizerConfig(msgspec.Struct, frozen=True):
    chat_template: str | list[_NamedTemplate] | None = None
    bos_token: str | _AddedToken | None = None
    eos_token: str | _AddedToken | None = None


def read_folder(folder: Path) -> ModelFolder:
    """The folder as one value; Unusable if a file is missing or says nonsense."""
    graph = _graph_facts(folder)
    words = parse_optional(folder / "tokenizer_config.json", _TokenizerConfig)
    eos_token = _content(words.eos_token)
    tokenizer = read_tokenizer(folder / "tokenizer.json")
    literal_tokenizer = read_tokenizer(folder / "tokenizer.json")
    literal_tokenizer.encode_special_tokens = True
    return ModelFolder(
        name=folder.resolve().name,
        onnx=graph.onnx,
        context_tokens=graph.context_tokens,
        stop_ids=frozenset([*graph.stop_ids, *_ids(tokenizer.token_to_id(eos_token))]),
        repetition_penalty=graph.repetition_penalty,
        chat_template=_template(folder, words),
        bos_token=_content(words.bos_token),
        eos_token=eos_token,
        tokenizer=tokenizer,
        literal_tokenizer=literal_tokenizer,
        ports=graph.ports,
    )


def check_folder(folder: Path) -> None:
    """Unusable if something that `read_folder` needs is clearly not there; reads little."""
    _graph_facts(folder)
    check_tokenizer(folder / "tokenizer.json")


def find_onnx(folder: Path) -> Path:
    """The folder's graph: one of the hub's names, else the only ONNX file there is."""
    for name in _ONNX_NAMES:
        if (folder / name).is_file():
            return folder / name
    found = sorted([*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")])
    if not found:
        raise Unusable(f"{folder} holds no ONNX file: put the model's graph there as model.onnx.")
    if len(found) > 1:
        raise Unusable(f"{folder} holds {len(found)} ONNX files: name the one to run model.onnx.")
    return found[0]


def _graph_facts(folder: Path) -> GraphFacts:
    return read_genai(folder) if is_genai(folder) else _read_hub(folder)


def _read_hub(folder: Path) -> GraphFacts:
    config = parse(folder / "config.json", _Config)
    generation = parse_optional(folder / "generation_config.json", _GenerationConfig)
    return GraphFacts(
        onnx=find_onnx(folder),
        context_tokens=_context_tokens(folder, config),
        stop_ids=[*_ids(generation.eos_token_id), *_ids(config.eos_token_id)],
        repetition_penalty=_penalty(folder, generation),
    )


def _context_tokens(folder: Path, config: _Config) -> int:
    tokens = config.max_position_embeddings or config.n_positions or config.n_ctx or 0
    if tokens < 1:
        raise Unusable(f"{folder / 'config.json'} must say max_position_embeddings.")
    return tokens


def _penalty(folder: Path, generation: _GenerationConfig) -> float:
    penalty = generation.repetition_penalty
    if penalty is None:
        return 1.0
    if penalty <= 0:
        raise Unusable(
            f"{folder / 'generation_config.json'} must give a repetition_penalty above zero."
        )
    return penalty


def _ids(value: int | list[int] | None) -> list[int]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _content(token: str | _AddedToken | None) -> str:
    if token is None:
        return ""
    return token if isinstance(token, str) else token.content


def _template(folder: Path, words: _TokenizerConfig) -> str | None:
    separate = folder / "chat_template.jinja"
    if separate.is_file():
        try:
            return separate.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Unusable(f"{separate} cannot be read ({error}): fetch it again.") from error
    if not isinstance(words.chat_template, list):
        return words.chat_template
    named = {entry.name: entry.template for entry in words.chat_template}
    return named.get("default") or next(iter(named.values()), None)
