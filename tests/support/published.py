"""A tiny language model as it is published: random weights, and the embedded model's tokenizer."""

import json
import math
from pathlib import Path

import numpy as np

_WORDS = Path(__file__).parents[2] / "models" / "demo-chat"
_HIDDEN, _INTERMEDIATE, _LAYERS, _HEADS, _KV_HEADS, _HEAD_SIZE, _VOCAB = 64, 96, 2, 2, 1, 32, 4096


def published(seed: int = 0, **config: object) -> dict[str, bytes]:
    """Its files by name, about 700 kB."""
    files = {
        name: (_WORDS / name).read_bytes()
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
    }
    files["config.json"] = json.dumps(_config() | config).encode()
    files["model.safetensors"] = safetensors(_weights(seed))
    return files


def _config() -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": _VOCAB,
        "hidden_size": _HIDDEN,
        "intermediate_size": _INTERMEDIATE,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _KV_HEADS,
        "head_dim": _HEAD_SIZE,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "eos_token_id": 2,
    }


def _weights(seed: int) -> dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float16]]"]:
    random = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (_VOCAB, _HIDDEN),
        "model.norm.weight": (_HIDDEN,),
    }
    for layer in range(_LAYERS):
        prefix = f"model.layers.{layer}"
        shapes |= {
            f"{prefix}.input_layernorm.weight": (_HIDDEN,),
            f"{prefix}.post_attention_layernorm.weight": (_HIDDEN,),
            f"{prefix}.self_attn.q_proj.weight": (_HEADS * _HEAD_SIZE, _HIDDEN),
            f"{prefix}.self_attn.k_proj.weight": (_KV_HEADS * _HEAD_SIZE, _HIDDEN),
            f"{prefix}.self_attn.v_proj.weight": (_KV_HEADS * _HEAD_SIZE, _HIDDEN),
            f"{prefix}.self_attn.o_proj.weight": (_HIDDEN, _HEADS * _HEAD_SIZE),
            f"{prefix}.mlp.gate_proj.weight": (_INTERMEDIATE, _HIDDEN),
            f"{prefix}.mlp.up_proj.weight": (_INTERMEDIATE, _HIDDEN),
            f"{prefix}.mlp.down_proj.weight": (_HIDDEN, _INTERMEDIATE),
        }
    return {
        name: random.normal(0, 1 / math.sqrt(_HIDDEN), shape).astype(np.float16)
        for name, shape in shapes.items()
    }


def safetensors(
    tensors: dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float16]]"],
) -> bytes:
    """A safetensors file: the header's length, the header, the numbers."""
    header, place = {}, 0
    for name, tensor in tensors.items():
        end = place + tensor.nbytes
        header[name] = {"dtype": "F16", "shape": tensor.shape, "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    return b"".join(
        [len(text).to_bytes(8, "little"), text, *(each.tobytes() for each in tensors.values())]
    )
