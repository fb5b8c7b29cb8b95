"""The sizes of model that can be trained."""

from typing import Any

from msgspec import Struct


class Preset(Struct, frozen=True, kw_only=True):
    """A model's shape, and how it is trained; `tokens_a_step` counts what a step reads.

    The first `language_steps` read definitions as plain text, the others conversations. Over the
    share `decay_share` of the steps, at the end, they get smaller.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    context_tokens: int
    tokens_a_step: int
    steps: int
    language_steps: int
    matrix_rate: float
    table_rate: float
    decay_share: float = 0.45
    bf16: bool = False

    @property
    def head_size(self) -> int:
        """Numbers in a head."""
        return self.hidden_size // self.heads

    def config(self) -> dict[str, Any]:
        """The `config.json` of a model of this shape, as transformers writes it."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_size,
            "hidden_act": "silu",
            "max_position_embeddings": self.context_tokens,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": True,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "pad_token_id": 0,
        }


PRESETS = {
    "tiny": Preset(
        vocab_size=1024,
        hidden_size=64,
        intermediate_size=176,
        layers=2,
        heads=2,
        kv_heads=1,
        context_tokens=512,
        tokens_a_step=2048,
        steps=60,
        language_steps=10,
        matrix_rate=0.02,
        table_rate=0.004,
    ),
    "small": Preset(
        vocab_size=4096,
        hidden_size=256,
        intermediate_size=640,
        layers=3,
        heads=8,
        kv_heads=2,
        context_tokens=1024,
        tokens_a_step=3072,
        steps=850,
        language_steps=60,
        matrix_rate=0.02,
        table_rate=0.003,
    ),
    # For a GPU; it has not been run.
    "large": Preset(
        vocab_size=8192,
        hidden_size=384,
        intermediate_size=1024,
        layers=6,
        heads=6,
        kv_heads=3,
        context_tokens=1024,
        tokens_a_step=65536,
        steps=3000,
        language_steps=200,
        matrix_rate=0.02,
        table_rate=0.002,
        bf16=True,
    ),
}
