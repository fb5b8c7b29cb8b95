"""SmolLM2-135M's architecture with random weights, for machines without the real ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from dispatchd.engine.catalog import DEFAULT_LLM, find

_HIDDEN, _INNER, _LAYERS, _VOCAB = 576, 1536, 30, 49_152
_QUERY, _SHARED = 576, 192


def write_random_model(folder: Path) -> Path:
    """The folder in the hub's layout, with the demo model's tokenizer."""
    demo = find(DEFAULT_LLM).path
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(demo / name, folder / name)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": _HIDDEN,
        "intermediate_size": _INNER,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 100_000.0,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
        "vocab_size": _VOCAB,
        "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))
    words = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    save_file(_weights(words), folder / "model.safetensors")
    return folder


def _weights(tokenizer_words: int) -> dict[str, npt.NDArray[np.float32]]:
    chance = np.random.default_rng(0)

    def drawn(*shape: int) -> npt.NDArray[np.float32]:
        return chance.standard_normal(shape, dtype=np.float32) * np.float32(0.04)

    ones = np.ones(_HIDDEN, dtype=np.float32)
    words = drawn(_VOCAB, _HIDDEN)
    words[tokenizer_words:] = 0  # tokens that the tokenizer has no text for are never the likeliest
    weights = {"model.embed_tokens.weight": words, "model.norm.weight": ones}
    for layer in range(_LAYERS):
        prefix = f"model.layers.{layer}"
        weights |= {
            f"{prefix}.input_layernorm.weight": ones,
            f"{prefix}.post_attention_layernorm.weight": ones,
            f"{prefix}.self_attn.q_proj.weight": drawn(_QUERY, _HIDDEN),
            f"{prefix}.self_attn.k_proj.weight": drawn(_SHARED, _HIDDEN),
            f"{prefix}.self_attn.v_proj.weight": drawn(_SHARED, _HIDDEN),
            f"{prefix}.self_attn.o_proj.weight": drawn(_HIDDEN, _QUERY),
            f"{prefix}.mlp.gate_proj.weight": drawn(_INNER, _HIDDEN),
            f"{prefix}.mlp.up_proj.weight": drawn(_INNER, _HIDDEN),
            f"{prefix}.mlp.down_proj.weight": drawn(_HIDDEN, _INNER),
        }
    return weights
