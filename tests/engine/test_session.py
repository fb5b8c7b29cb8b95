"""What a graph reads is what is there when it runs, on devices that copy inputs as well."""

import ctypes
from typing import Any

import numpy as np
import pytest

from dispatchd.engine.batch.graphs import copies
from dispatchd.engine.session import Device, Session, open_graph


class CopiesWhenBound:
    """An IO binding that does as ONNX Runtime's do on a GPU: inputs of the CPU are copied once."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._copies: list[Any] = []

    def bind_input(self, name: str, *, shape: tuple[int, ...], **place: Any) -> None:
        size = int(np.prod(shape)) * np.dtype(place["element_type"]).itemsize
        self._copies.append(ctypes.create_string_buffer(size))
        ctypes.memmove(self._copies[-1], place.pop("buffer_ptr"), size)
        address = ctypes.addressof(self._copies[-1])
        self._real.bind_input(name, shape=shape, buffer_ptr=address, **place)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class CopyingRuntime:
    """A session of ONNX Runtime whose bindings copy, and that runs with what they wrap."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def io_binding(self) -> CopiesWhenBound:
        return CopiesWhenBound(self._real.io_binding())

    def run_with_iobinding(self, binding: CopiesWhenBound) -> None:
        self._real.run_with_iobinding(binding._real)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_array_is_read_as_it_is_when_the_graph_runs(device: Device) -> None:
    session: Session = open_graph(copies(1, "float32"), "cpu")
    if device == "cuda":
        session.device = device
        session._session = CopyingRuntime(session._session)
    source, target = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    binding = session.bind()
    binding.read("from.0", source)
    binding.write("to.0", target)
    for number in (1, 2):
        source[...] = number
        binding.run()
        assert target.tolist() == source.tolist()
