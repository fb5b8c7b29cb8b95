"""How much disk and memory a decoder will take, told from its shape alone."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from dispatchd.engine.prepare.architecture import Architecture


class _Rounded(msgspec.Struct, frozen=True):
    """Bytes for each number. A head of None shares the embedding's, where the two are tied."""

    layers: float
    embedding: float
    head: float | None
    cache: int


_ROUNDED: Mapping[str, _Rounded] = MappingProxyType(
    {
        "fp32": _Rounded(layers=4, embedding=4, head=None, cache=4),
        "fp16": _Rounded(layers=2, embedding=2, head=None, cache=2),
        "int8": _Rounded(layers=1, embedding=2, head=1, cache=4),
        "int4": _Rounded(layers=0.625, embedding=2, head=1.125, cache=4),
    }
)

_PROCESS_BYTES = 150_000_000
_CONTEXT_TOKENS = 2048


def parameters(shape: Architecture) -> int:
    """How many weights the decoder has; a tied head counts once."""
    embedding = shape.vocab_size * shape.hidden_size
    return _layers(shape) + embedding * (1 if shape.tied is not False else 2)


def prepared_bytes(shape: Architecture, precision: str) -> int:
    """About what the prepared model takes on the disk."""
    rounded = _ROUNDED[precision]
    head = rounded.head
    if head is None:
        head = 0 if shape.tied is not False else rounded.embedding
    words = shape.vocab_size * shape.hidden_size
    return int(_layers(shape) * rounded.layers + words * (rounded.embedding + head))


def memory_bytes(shape: Architecture, precision: str) -> int:
    """About what the model takes while it runs one job of at most 2048 tokens."""
    tokens = min(shape.context_tokens, _CONTEXT_TOKENS)
    cache = 2 * shape.layers * shape.kv_heads * shape.head_size * tokens
    return prepared_bytes(shape, precision) + cache * _ROUNDED[precision].cache + _PROCESS_BYTES


def _layers(shape: Architecture) -> int:
    attention = shape.hidden_size * shape.head_size * (2 * shape.heads + 2 * shape.kv_heads)
    mlp = 3 * shape.hidden_size * shape.intermediate_size
    return shape.layers * (attention + mlp)
