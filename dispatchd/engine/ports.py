"""What a published decoder graph is fed with and gives, and what its folder says about it."""

from pathlib import Path

import msgspec


class Ports(msgspec.Struct, frozen=True):
    """Names of a graph's inputs and outputs; `%d` stands for a layer. By default the hub's.

    `kv_heads` and `head_size` are those of its caches, for a graph that does not declare them.
    """

    input_ids: str = "input_ids"
    attention_mask: str = "attention_mask"
    position_ids: str = "position_ids"
    past: tuple[str, str] = ("past_key_values.%d.key", "past_key_values.%d.value")
    present: tuple[str, str] = ("present.%d.key", "present.%d.value")
    logits: str = "logits"
    kv_heads: int | None = None
    head_size: int | None = None


class GraphFacts(msgspec.Struct, frozen=True):
    """A folder's graph, and what the folder's config files say of it; `stop_ids` end a text."""

    onnx: Path
    context_tokens: int
    stop_ids: list[int]
    repetition_penalty: float
    ports: Ports = Ports()
