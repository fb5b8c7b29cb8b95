"""What a config says, and the sentences for one that cannot be prepared."""

import json
from pathlib import Path
from typing import Any

import pytest

from dispatchd.core.errors import Unusable
from dispatchd.engine.prepare.architecture import (
    Llama3Scaling,
    Rope,
    read_architecture,
)
from tests.support.weights import CONFIGS

LLAMA = CONFIGS["llama tied"]
QWEN = CONFIGS["qwen2"]
ALL = (None,) * 3


def read(folder: Path, config: dict[str, Any]) -> Any:
    (folder / "config.json").write_text(json.dumps(config))
    return read_architecture(folder)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": (
        {"model_type": "gemma3", "architectures": ["Gemma3ForCausalLM"]},
        r"Gemma3ForCausalLM \(model_type 'gemma3'\).*known are llama, mistral, qwen2, qwen3",
    ),
    "nameless": ({"model_type": None, "architectures": None}, "without a name"),
    "another task": (
        {"architectures": ["LlamaForSequenceClassification"]},
        "LlamaForSequenceClassification, which is no text generator",
    ),
    "quantized": ({"quantization_config": {"quant_method": "gptq"}}, r"already \(gptq\)"),
    "activation": ({"hidden_act": "gelu"}, "the activation 'gelu'"),
    "rope scaling": (
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
        "'yarn'; those known are default, linear, llama3",
    ),
    "rope scaling, incomplete": (
        {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
        r"low_freq_factor is missing",
    ),
    "rope of a part": ({"partial_rotary_factor": 0.5}, r"a part \(0\.5\) of each head"),
    "rope by layer": (
        {"rope_parameters": {"full_attention": {"rope_type": "default"}}},
        "differ between layers",
    ),
    "rope theta": ({"rope_parameters": {"rope_theta": -1}}, "a number above zero"),
    "shared heads": ({"num_key_value_heads": 3}, "4 heads that 3 key/value heads"),
    "odd heads": ({"num_attention_heads": 6, "num_key_value_heads": 2}, "6 heads"),
    "small heads": ({"head_dim": 12}, "heads of 12 numbers"),
    "no layers": ({"num_hidden_layers": 0}, "num_hidden_layers"),
    "no context": ({"max_position_embeddings": None}, "max_position_embeddings"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_prepared_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    changes, sentence = REFUSED[name]
    with pytest.raises(Unusable, match=sentence) as caught:
        read(tmp_path, {**LLAMA, **changes})
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_theta_is_found_in_either_place(tmp_path: Path) -> None:
    old = read(tmp_path, {**LLAMA, "rope_theta": 500_000})
    bare = {key: value for key, value in LLAMA.items() if key != "rope_theta"}
    new = read(tmp_path, {**bare, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}})
    both = read(tmp_path, {**LLAMA, "rope_parameters": {"rope_theta": 5e5}})
    assert old.rope == new.rope == both.rope == Rope(500_000.0)
    assert read(tmp_path, bare).rope == Rope(10_000.0)


def test_llama_3_scaling_is_read_in_both_spellings(tmp_path: Path) -> None:
    spellings = ("llama scaled as in Llama 3", "llama scaled, as transformers 5 writes it")
    ropes = {read(tmp_path, CONFIGS[name]).rope for name in spellings}
    scaling = Llama3Scaling(
        factor=32.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=64,
    )
    assert ropes == {Rope(500_000.0, scaling)}


@pytest.mark.parametrize(
    ("base", "changes", "windows"),
    [
        ("mistral", {"sliding_window": None}, ALL),
        ("mistral", {"sliding_window": 16}, (16,) * 3),
        ("llama tied", {"sliding_window": 16}, ALL),
        ("qwen2", {"sliding_window": 16, "use_sliding_window": False}, ALL),
        (
            "qwen2",
            {"sliding_window": 16, "use_sliding_window": True, "max_window_layers": 2},
            (None, None, 16),
        ),
        ("qwen2", {"sliding_window": 16, "use_sliding_window": True}, ALL),
        (
            "qwen3",
            {
                "sliding_window": 16,
                "use_sliding_window": True,
                "layer_types": ["sliding_attention", "full_attention", "full_attention"],
            },
            (16, None, None),
        ),
    ],
)
def test_windows_are_those_of_each_layer(
    base: str, changes: dict[str, Any], windows: tuple[int | None, ...], tmp_path: Path
) -> None:
    assert read(tmp_path, {**CONFIGS[base], **changes}).windows == windows


def test_what_a_config_leaves_out_is_what_its_family_means(tmp_path: Path) -> None:
    bare = {
        key: value
        for key, value in QWEN.items()
        if key not in {"num_key_value_heads", "tie_word_embeddings", "hidden_act"}
    }
    found = read(tmp_path, bare)
    assert (found.kv_heads, found.head_size, found.tied) == (4, 16, None)
    assert (found.qkv_bias, found.output_bias, found.qk_norm) == (True, False, False)
