"""The tables that rotary position embedding is looked up in."""

import math

import numpy as np
import numpy.typing as npt

from dispatchd.engine.prepare.architecture import LinearScaling, Llama3Scaling, Rope

Floats = npt.NDArray[np.float32]


def frequencies(rope: Rope, head_size: int) -> Floats:
    """Radians a position, float32 [head_size / 2], as the weights were trained with."""
    exponents = np.arange(0, head_size, 2, dtype=np.float64) / head_size
    plain = 1.0 / rope.theta**exponents
    match rope.scaling:
        case None:
            scaled = plain
        case LinearScaling(factor=factor):
            scaled = plain / factor
        case Llama3Scaling() as scaling:
            scaled = _stretched(plain, scaling)
    return scaled.astype(np.float32)


def tables(rope: Rope, head_size: int, positions: range) -> tuple[Floats, Floats]:
    """Cosines and sines, float32 [positions, head_size / 2] each."""
    # The angle is rounded to float32 as it is in training: at position 100 000 that shows.
    angles = np.arange(positions.start, positions.stop, dtype=np.float32)[:, None] * frequencies(
        rope, head_size
    )
    exact = angles.astype(np.float64)
    return np.cos(exact).astype(np.float32), np.sin(exact).astype(np.float32)


def _stretched(plain: npt.NDArray[np.float64], scaling: Llama3Scaling) -> npt.NDArray[np.float64]:
    """Long waves get `factor` times longer, short ones stay, those between go over smoothly."""
    turns = scaling.original_max_position_embeddings * plain / (2 * math.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return kept * plain + (1 - kept) * plain / scaling.factor
