"""What graphs see in memory that was given to them."""

import ctypes

import numpy as np
import numpy.typing as npt

from dispatchd.engine.session import Memory, Region


def view(memory: Memory) -> npt.NDArray[np.generic]:
    """The memory as an array, in place; a region must be the CPU's."""
    if not isinstance(memory, Region):
        return memory
    assert memory.device == "cpu"
    size = int(np.prod(memory.shape)) * memory.kind.itemsize
    raw = memoryview((ctypes.c_char * size).from_address(memory.address)).cast("B")
    array: npt.NDArray[np.generic] = np.frombuffer(raw, dtype=memory.kind)
    return array.reshape(memory.shape)
