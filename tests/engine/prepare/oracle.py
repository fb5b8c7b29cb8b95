"""What transformers answers for a folder; run as a program, it writes the golden vectors."""

import importlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support.weights import CONFIGS, VOCAB, write_model

VECTORS = Path(__file__).parents[2] / "vectors" / "decoders.json"
PROMPT_TOKENS = (1, 7, 70)
GREEDY_TOKENS = 8


class Oracle:
    """The folder's model in transformers, float32."""

    def __init__(self, folder: Path) -> None:
        # PyTorch and transformers are large, and only wanted where somebody installed them.
        torch, transformers = map(importlib.import_module, ("torch", "transformers"))
        self._torch = torch
        self._model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()

    def logits(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Logits float32 [len(ids), vocab]."""
        with self._torch.no_grad():
            logits: npt.NDArray[np.float32] = (
                self._model(self._torch.tensor([ids])).logits[0].numpy()
            )
        return logits

    def greedy(self, prompt: Sequence[int], count: int) -> list[int]:
        """The likeliest tokens, each found from the whole text before it."""
        ids = list(prompt)
        for _ in range(count):
            ids.append(int(self.logits(ids)[-1].argmax()))
        return ids[len(prompt) :]


def prompt(tokens: int, seed: int = 0) -> list[int]:
    """Some tokens; a RandomState's numbers never change."""
    return [int(token) for token in np.random.RandomState(seed + tokens).randint(0, VOCAB, tokens)]


def _vectors(folder: Path) -> list[dict[str, Any]]:
    vectors = []
    for name, config in CONFIGS.items():
        oracle = Oracle(write_model(folder / name, config))
        for tokens in PROMPT_TOKENS:
            ids = prompt(tokens)
            vectors.append(
                {
                    "name": f"{name}, {tokens} tokens",
                    "config": config,
                    "prompt": ids,
                    "logits": [round(float(number), 5) for number in oracle.logits(ids)[-1]],
                    "greedy": oracle.greedy(ids, GREEDY_TOKENS),
                }
            )
    return vectors


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        lines = ",\n".join(json.dumps(vector) for vector in _vectors(Path(folder)))
    VECTORS.write_text('{"vectors": [\n' + lines + "\n]}\n")
