"""Small models with made-up weights, written as the hub publishes them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

Array = npt.NDArray[np.generic]

VOCAB = 96
_SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def _config(family: str, *, tied: bool, **more: Any) -> dict[str, Any]:
    kind = {
        "model_type": family,
        "architectures": [f"{family.capitalize()}ForCausalLM"],
        "tie_word_embeddings": tied,
    }
    return {**_SHAPE, **kind, **more}


CONFIGS: dict[str, dict[str, Any]] = {
    "llama tied": _config("llama", tied=True, rope_theta=100_000.0),
    "llama untied, every bias": _config("llama", tied=False, attention_bias=True, mlp_bias=True),
    "llama scaled as in Llama 3": _config(
        "llama", tied=True, rope_theta=500_000.0, rope_scaling=_LLAMA3
    ),
    "llama scaled, as transformers 5 writes it": _config(
        "llama", tied=True, rope_parameters={**_LLAMA3, "rope_theta": 500_000.0}
    ),
    "llama scaled linearly": _config(
        "llama", tied=False, rope_scaling={"type": "linear", "factor": 4.0}
    ),
    "mistral": _config("mistral", tied=False, sliding_window=None, rope_theta=1e6),
    "mistral with a window": _config("mistral", tied=False, sliding_window=16),
    "qwen2": _config("qwen2", tied=True, rope_theta=1e6, use_sliding_window=False),
    "qwen2 with windows": _config(
        "qwen2", tied=False, use_sliding_window=True, sliding_window=16, max_window_layers=1
    ),
    "qwen3": _config("qwen3", tied=True, head_dim=32, rope_theta=1e6),
    "qwen3 untied, biased": _config("qwen3", tied=False, head_dim=32, attention_bias=True),
}


def tensors(config: Mapping[str, Any], seed: int = 0) -> dict[str, Array]:
    """Float32 weights that a config asks for; a RandomState's numbers never change."""
    chance = np.random.RandomState(seed)
    return {
        name: _numbers(chance, name, shape).astype(np.float32) for name, shape in _shapes(config)
    }


def _numbers(
    chance: np.random.RandomState, name: str, shape: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    numbers = chance.standard_normal(shape)
    if "norm" in name:
        return 1 + 0.2 * numbers
    return numbers * (0.2 if len(shape) == 1 else shape[1] ** -0.5)


def _shapes(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    family, hidden = config["model_type"], config["hidden_size"]
    size = config.get("head_dim") or hidden // config["num_attention_heads"]
    query, shared = size * config["num_attention_heads"], size * config["num_key_value_heads"]
    inner, biased = config["intermediate_size"], bool(config.get("attention_bias"))
    linear = {
        "self_attn.q_proj": (query, hidden, biased or family == "qwen2"),
        "self_attn.k_proj": (shared, hidden, biased or family == "qwen2"),
        "self_attn.v_proj": (shared, hidden, biased or family == "qwen2"),
        "self_attn.o_proj": (hidden, query, biased),
        "mlp.gate_proj": (inner, hidden, bool(config.get("mlp_bias"))),
        "mlp.up_proj": (inner, hidden, bool(config.get("mlp_bias"))),
        "mlp.down_proj": (hidden, inner, bool(config.get("mlp_bias"))),
    }
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    yield "model.norm.weight", (hidden,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        yield f"{prefix}.input_layernorm.weight", (hidden,)
        yield f"{prefix}.post_attention_layernorm.weight", (hidden,)
        if family == "qwen3":
            yield f"{prefix}.self_attn.q_norm.weight", (size,)
            yield f"{prefix}.self_attn.k_norm.weight", (size,)
        for name, (rows, columns, has_bias) in linear.items():
            yield f"{prefix}.{name}.weight", (rows, columns)
            if has_bias:
                yield f"{prefix}.{name}.bias", (rows,)


def write_model(
    folder: Path, config: Mapping[str, Any], *, dtype: str = "F32", seed: int = 0
) -> Path:
    """A folder in the hub's layout, with a tokenizer of one word."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    Tokenizer(WordLevel({"a": 0}, unk_token="a")).save(str(folder / "tokenizer.json"))
    write_safetensors(folder / "model.safetensors", tensors(config, seed), dtype)
    return folder


def write_safetensors(path: Path, named: Mapping[str, Array], dtype: str = "F32") -> None:
    """The tensors as a safetensors file, stored as F32, F16 or BF16 (cut off, not rounded)."""
    stored = {name: _stored(array, dtype) for name, array in named.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, array in stored.items():
        offsets = [end, end + array.nbytes]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        end += array.nbytes
    text = json.dumps(header).encode()
    content = b"".join(array.tobytes() for array in stored.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)


def _stored(array: Array, dtype: str) -> Array:
    if dtype == "BF16":
        return (array.astype("<f4").view("<u4") >> 16).astype("<u2")
    return array.astype({"F32": "<f4", "F16": "<f2"}[dtype])
