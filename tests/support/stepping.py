"""A prepared graph, stepped by hand: each sequence has a slot of one cache."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort  # type: ignore[import-untyped]

from dispatchd.engine.prepare.manifest import GRAPH_NAME, read_manifest
from dispatchd.engine.session import session_options

Floats = npt.NDArray[np.float32]


class Steps:
    """The graph with a cache [layers * 2, slots, kv_heads, max_len, head_size]."""

    def __init__(self, folder: Path, *, slots: int, max_len: int) -> None:
        model = read_manifest(folder)
        self._session = ort.InferenceSession(
            folder / GRAPH_NAME, session_options(threads=1), providers=["CPUExecutionProvider"]
        )
        shape = (model.layers * 2, slots, model.kv_heads, max_len, model.head_size)
        # What a slot held before must not matter.
        self.cache = np.full(shape, 7, np.float16 if model.precision == "fp16" else np.float32)

    def read(self, slot: int, ids: Sequence[int], chunk: int) -> Floats:
        """Puts a prompt into a slot, a chunk at a time; the logits [vocab] of its last token."""
        for start in range(0, len(ids), chunk):
            part = ids[start : start + chunk]
            logits = self.step(slot, [part], [start + len(part)])
        last: Floats = logits[0]
        return last

    def step(self, slot: int, ids: Sequence[Sequence[int]], lengths: Sequence[int]) -> Floats:
        """Adds tokens to the slots from `slot` on; logits [n, vocab]. Lengths count them in."""
        binding = self._session.io_binding()
        held = []
        for name, array in (
            ("input_ids", np.array(ids, np.int64)),
            ("seqlens_k", np.array(lengths, np.int32) - np.int32(1)),
            ("total_sequence_length", np.array(max(lengths), np.int32)),
        ):
            held.append(ort.OrtValue.ortvalue_from_numpy(array))
            binding.bind_ortvalue_input(name, held[-1])
        binding.bind_output("logits")
        for place, cache in enumerate(self.cache):
            layer, part = divmod(place, 2)
            name = f"{layer}.{('key', 'value')[part]}"
            held.append(ort.OrtValue.ortvalue_from_numpy(cache[slot : slot + len(ids)]))
            binding.bind_ortvalue_input(f"past_key_values.{name}", held[-1])
            binding.bind_ortvalue_output(f"present.{name}", held[-1])
        self._session.run_with_iobinding(binding)
        logits: Floats = binding.get_outputs()[0].numpy()
        return logits


def greedy(steps: Steps, prompt: Sequence[int], count: int, *, chunk: int = 64) -> list[int]:
    """The likeliest tokens after a prompt, in slot 0."""
    made = [int(steps.read(0, prompt, chunk).argmax())]
    while len(made) < count:
        logits = steps.step(0, [made[-1:]], [len(prompt) + len(made)])
        made.append(int(logits[0].argmax()))
    return made
