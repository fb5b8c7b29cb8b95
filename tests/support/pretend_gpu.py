"""A GPU for tests: the CPU, which treats memory as ONNX Runtime does with a GPU.

Memory of the device is told from this machine's by what it is bound as, and an input that lies
here is copied once, when it is bound.
"""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]
import pytest

from dispatchd.engine import Device, provider, session
from dispatchd.engine.batch import load
from dispatchd.engine.cuda import Gpu
from dispatchd.engine.session import Array, Session, Tensor

GPU = Gpu("Some GPU", 8 * 1024**3)


class PretendedBinding:
    """An IO binding of the CPU's that takes memory of the pretended GPU."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._copies: list[Any] = []

    def bind_input(self, name: str, *, device_type: Device, **place: Any) -> None:
        if device_type == "cpu":
            size = int(np.prod(place["shape"])) * np.dtype(place["element_type"]).itemsize
            self._copies.append(ctypes.create_string_buffer(size))
            ctypes.memmove(self._copies[-1], place["buffer_ptr"], size)
            place["buffer_ptr"] = ctypes.addressof(self._copies[-1])
        self._real.bind_input(name, device_type="cpu", **place)

    def bind_output(self, name: str, device_type: Device = "cpu", **place: Any) -> None:
        self._real.bind_output(name, **(place and {"device_type": "cpu", **place}))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class PretendedRuntime:
    """A session of ONNX Runtime with such bindings."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def io_binding(self) -> PretendedBinding:
        return PretendedBinding(self._real.io_binding())

    def run_with_iobinding(self, binding: PretendedBinding) -> None:
        self._real.run_with_iobinding(binding._real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def pretend_gpu(patch: pytest.MonkeyPatch) -> None:
    """From here on there is a driver, and ONNX Runtime runs on the GPU what it is asked to."""
    opened = session._opened

    def open_there(graph: Path | bytes, options: Any, device: Device) -> Session:
        on_cpu = opened(graph, options, "cpu")
        return on_cpu if device == "cpu" else Session(PretendedRuntime(on_cpu._session))

    def put(_: Session, array: Array) -> Tensor:
        return Tensor(ort.OrtValue.ortvalue_from_numpy(array, "cpu"))

    patch.setattr(session, "_opened", open_there)
    patch.setattr(Session, "tensor", put)
    patch.setattr(provider, "built_for_cuda", lambda: True)
    for module in (provider, load):
        patch.setattr(module, "find_gpu", lambda: GPU)
