"""onnxruntime-genai as a contestant: all sequences of a batch side by side in its generator.

Its folder is made by its own builder from the published weights, which
`--keep` leaves in `DIR/source`:
`python -m onnxruntime_genai.models.builder -i DIR/source -o GENAI -p int4 -e cpu`.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scripts.engine_bench.contest import Prompt


class GenAi:
    """Its generator over one folder; prompts of a batch are cut to the shortest, as it wants."""

    def __init__(self, folder: Path, threads: int) -> None:
        import onnxruntime_genai as og  # type: ignore[import-not-found] # noqa: PLC0415 # optional

        self.name = f"onnxruntime-genai, {folder.name}"
        config = og.Config(str(folder))
        session = {"session_options": {"intra_op_num_threads": threads}}
        config.overlay(json.dumps({"model": {"decoder": session}}))
        self._og = og
        self._model: Any = og.Model(config)

    def seconds(self, prompts: Sequence[Prompt], new_tokens: int) -> float:
        """See `Contestant`."""
        shortest = min(len(prompt.ids) for prompt in prompts)
        rows = np.array([prompt.ids[:shortest] for prompt in prompts], dtype=np.int32)
        params = self._og.GeneratorParams(self._model)
        total = shortest + new_tokens
        params.set_search_options(
            batch_size=len(rows), max_length=total, min_length=total, do_sample=False
        )
        started = time.perf_counter()
        generator = self._og.Generator(self._model, params)
        generator.append_tokens(rows)
        for _ in range(new_tokens):
            generator.generate_next_token()
        return time.perf_counter() - started
