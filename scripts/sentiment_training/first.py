"""The project's first sentiment model as a network to go on from.

It lies in `models/sentiment-cnn` beside the data: the same convolutions, trained on the same texts.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from tokenizers import Tokenizer

from scripts.sentiment_training.rows import LABELS
from scripts.sentiment_training.shape import BANKS, EMBEDDING, Floats, Weights
from scripts.sentiment_training.words import PAD, unmarked

GRAPH = "model.int8.onnx"


def tokenizer(folder: Path) -> Tokenizer:
    """Its tokenizer, with padding as a token that no text can be made to hold."""
    return unmarked(Tokenizer.from_file(str(folder / "tokenizer.json")))


def weights(folder: Path) -> Weights:
    """Its arrays; it knew no mean of the embeddings, so that has no say at first."""
    model = onnx.load(folder / GRAPH)
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    embedding = _unpacked(arrays, "m.e.weight_quantized", "m.e.weight")
    embedding[PAD] = 0
    banks = [
        (_by_place(arrays[f"m.c.{number}.weight"]), arrays[f"m.c.{number}.bias"])
        for number in range(len(BANKS))
    ]
    output = _unpacked(arrays, "m.o.weight_Transposed_quantized", "m.o.weight_Transposed").T
    silent = np.zeros((len(LABELS), EMBEDDING), dtype=np.float32)
    return Weights(embedding, banks, (np.hstack([silent, output]), arrays["m.o.bias"]))


def _unpacked(arrays: dict[str, npt.NDArray[np.generic]], codes: str, name: str) -> Floats:
    stored, zero, step = (
        np.asarray(arrays[part], dtype=np.float32)
        for part in (codes, f"{name}_zero_point", f"{name}_scale")
    )
    return (stored - zero) * step


def _by_place(kernel: Floats) -> Floats:
    """[channels, EMBEDDING, width] as [channels, width * EMBEDDING]."""
    return np.ascontiguousarray(kernel.transpose(0, 2, 1)).reshape(len(kernel), -1)
