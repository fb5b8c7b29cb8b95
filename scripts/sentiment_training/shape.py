"""The network's shape, which training and export share."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Bank(NamedTuple):
    """Convolutions of `width` tokens; of each channel the strongest place counts."""

    width: int
    channels: int

    @property
    def reach(self) -> int:
        """Tokens before the last one."""
        return self.width - 1


EMBEDDING = 96
BANKS = (Bank(1, 128), Bank(2, 128), Bank(3, 128), Bank(5, 128))
FEATURES = sum(bank.channels for bank in BANKS) + EMBEDDING


class Weights(NamedTuple):
    """A network's arrays: banks are [channels, width * EMBEDDING] and [channels]."""

    embedding: Floats
    banks: list[tuple[Floats, Floats]]
    output: tuple[Floats, Floats]
