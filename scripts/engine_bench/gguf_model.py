"""Published Llama weights as a GGUF file with an invented vocabulary: prompts are sent as ids."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

Weights = npt.NDArray[np.float32]

_BYTES = 256
_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(source: Path, target: Path) -> None:
    """`target` from the hub's layout in `source`, a Llama with tied embeddings, in fp32."""
    import gguf  # type: ignore[import-not-found] # noqa: PLC0415 # only for comparing

    config: dict[str, Any] = json.loads((source / "config.json").read_text())
    heads, shared = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(shared)
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    _add_vocabulary(writer, config["vocab_size"], gguf.TokenType)
    for name, weights in load_file(source / "model.safetensors").items():
        place, turned = _placed(name)
        count = {"q": heads, "k": shared}.get(turned)
        writer.add_tensor(place, weights if count is None else _paired(weights, count))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _placed(name: str) -> tuple[str, str]:
    """GGUF's name of a tensor, and `q` or `k` where its rows are in another order there."""
    if name == "model.embed_tokens.weight":
        return "token_embd.weight", ""
    if name == "model.norm.weight":
        return "output_norm.weight", ""
    layer, _, part = name.removeprefix("model.layers.").removesuffix(".weight").partition(".")
    return f"blk.{layer}.{_NAMES[part]}.weight", part.removeprefix("self_attn.")[:1]


def _paired(weights: Weights, heads: int) -> Weights:
    """llama.cpp turns neighbouring numbers of a head together, the hub's layout its two halves."""
    rows, columns = weights.shape
    halves = weights.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))


def _add_vocabulary(writer: Any, size: int, kinds: Any) -> None:
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{number:02X}>" for number in range(_BYTES)]
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL] + [kinds.BYTE] * _BYTES
    words = size - len(tokens)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens + [f"▁w{number}" for number in range(words)])
    writer.add_token_scores([0.0] * size)
    writer.add_token_types([*types, *[kinds.NORMAL] * words])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
