"""The trained model as published weights, and prepared as this project runs it."""

import json
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file
from tokenizers import Tokenizer

from dispatchd.engine.prepare.manifest import Precision
from dispatchd.engine.prepare.prepare import prepare
from scripts.lm_training.presets import Preset
from scripts.lm_training.tokenizer import CHAT_TEMPLATE, END, END_OF_TEXT


def publish(folder: Path, model: Any, preset: Preset, words: Tokenizer) -> None:
    """Writes the model into the folder as the hub lays one out, in float32."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.float().cpu().numpy() for name, value in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    words.save(str(folder / "tokenizer.json"))
    _write(folder / "config.json", preset.config())
    _write(folder / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 2})
    _write(
        folder / "tokenizer_config.json",
        {
            "chat_template": CHAT_TEMPLATE,
            "bos_token": END_OF_TEXT,
            "eos_token": END,
            "pad_token": END_OF_TEXT,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )


def prepare_as(source: Path, target: Path, precision: Precision, parameters: int) -> None:
    """Prepares the published folder, and adds how many numbers the model has."""
    prepare(source, target, precision, name=target.name)
    _write(target / "metrics.json", {"params": parameters})


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
