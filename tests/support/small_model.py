"""A small model with random weights, published as the hub does and prepared by this package."""

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from dispatchd.engine.catalog import DEFAULT_LLM, find
from dispatchd.engine.prepare.manifest import Int8Bits, Precision
from dispatchd.engine.prepare.prepare import prepare

HIDDEN, INNER, HEADS, KV_HEADS, HEAD_SIZE = 64, 128, 4, 2, 16
CONTEXT_TOKENS = 512


def write_source(folder: Path, *, layers: int = 2, seed: int = 0) -> Path:
    """A folder in the hub's layout: the demo model's words, and weights that mean nothing."""
    demo = find(DEFAULT_LLM).path
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(demo / name, folder / name)
    vocab = json.loads((demo / "config.json").read_text())["vocab_size"]
    (folder / "config.json").write_text(json.dumps(_config(layers, vocab)))
    save_file(_weights(layers, vocab, np.random.default_rng(seed)), folder / "model.safetensors")
    return folder


def prepare_small(
    folder: Path,
    precision: Precision = "int8",
    *,
    layers: int = 2,
    int8_bits: Int8Bits | None = None,
) -> Path:
    """The prepared folder of such a model, made inside `folder`."""
    source = write_source(folder / "source", layers=layers)
    prepare(source, folder / "small", precision, name="small", int8_bits=int8_bits)
    return folder / "small"


def _config(layers: int, vocab: int) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_SIZE,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": CONTEXT_TOKENS,
        "tie_word_embeddings": True,
        "vocab_size": vocab,
        "eos_token_id": 2,
        "bos_token_id": 1,
    }


def _weights(
    layers: int, vocab: int, chance: np.random.Generator
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    def drawn(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        # Wide enough that attention prefers some tokens, and the answer depends on the prompt.
        return chance.normal(0, 2 / shape[-1] ** 0.5, shape).astype(np.float32)

    query, shared = HEADS * HEAD_SIZE, KV_HEADS * HEAD_SIZE
    weights = {
        "model.embed_tokens.weight": drawn(vocab, HIDDEN),
        "model.norm.weight": np.ones(HIDDEN, dtype=np.float32),
    }
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        weights |= {
            f"{prefix}.input_layernorm.weight": np.ones(HIDDEN, dtype=np.float32),
            f"{prefix}.post_attention_layernorm.weight": np.ones(HIDDEN, dtype=np.float32),
            f"{prefix}.self_attn.q_proj.weight": drawn(query, HIDDEN),
            f"{prefix}.self_attn.k_proj.weight": drawn(shared, HIDDEN),
            f"{prefix}.self_attn.v_proj.weight": drawn(shared, HIDDEN),
            f"{prefix}.self_attn.o_proj.weight": drawn(HIDDEN, query),
            f"{prefix}.mlp.gate_proj.weight": drawn(INNER, HIDDEN),
            f"{prefix}.mlp.up_proj.weight": drawn(INNER, HIDDEN),
            f"{prefix}.mlp.down_proj.weight": drawn(HIDDEN, INNER),
        }
    return weights
