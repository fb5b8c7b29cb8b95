"""ONNX Runtime, and nothing else of it: a graph opened on the best device that really works."""

import contextlib
import ctypes
import io
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

# onnxruntime ships no types.
import onnxruntime as ort  # type: ignore[import-untyped]

from dispatchd.core.errors import Unusable

Array = npt.NDArray[np.generic]

_CPU = ("CPUExecutionProvider",)
_CUDA = ("CUDAExecutionProvider", *_CPU)
RUNTIME = f"onnxruntime {ort.__version__}"
_FATAL = 4  # what fails is raised as well, so ONNX Runtime need not print it


class Port(msgspec.Struct, frozen=True):
    """One declared input or output: its ONNX type, and its shape with names for free sizes."""

    type: str
    shape: list[int | str | None]


class Tensor:
    """An array that may live on the session's device."""

    def __init__(self, value: ort.OrtValue) -> None:
        self.value = value

    def array(self) -> Array:
        """A copy of the values, on this machine's side."""
        array: Array = self.value.numpy()
        return array


class Session:
    """An opened graph; `run` may be called from several threads at once."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.device = "cuda" if session.get_providers()[0] == _CUDA[0] else "cpu"
        self.inputs = {port.name: Port(port.type, port.shape) for port in session.get_inputs()}
        self.outputs = {port.name: Port(port.type, port.shape) for port in session.get_outputs()}

    def tensor(self, array: Array) -> Tensor:
        """The array, put where the graph will read it."""
        return Tensor(ort.OrtValue.ortvalue_from_numpy(array, self.device))

    def bind(self) -> "Binding":
        """A binding without any array yet."""
        return Binding(self._session)

    def run(
        self, feed: Mapping[str, Tensor], fetch: str, keep: Iterable[str] = ()
    ) -> tuple[Array, dict[str, Tensor]]:
        """The `fetch` output as an array; the `keep` outputs stay on the device, uncopied."""
        binding = self._session.io_binding()
        for name, tensor in feed.items():
            binding.bind_ortvalue_input(name, tensor.value)
        binding.bind_output(fetch)
        kept = list(keep)
        for name in kept:
            binding.bind_output(name, self.device)
        self._session.run_with_iobinding(binding)
        fetched, *values = binding.get_outputs()
        return fetched.numpy(), dict(zip(kept, map(Tensor, values), strict=True))


class Binding:
    """Arrays of this machine's memory that a graph reads and writes where they are."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._arrays: dict[str, Array] = {}

    def read(self, name: str, array: Array) -> None:
        """The input is that contiguous array, as it is when the graph runs."""
        self._binding.bind_input(name, **self._place(name, array))

    def write(self, name: str, array: Array) -> None:
        """The output goes to that contiguous array, which may be an input's as well."""
        self._binding.bind_output(name, **self._place(name, array))

    def run(self) -> None:
        """Runs the graph once."""
        self._session.run_with_iobinding(self._binding)

    def _place(self, name: str, array: Array) -> dict[str, object]:
        self._arrays[name] = array  # which keeps its memory
        return {
            "device_type": "cpu",
            "device_id": 0,
            "element_type": array.dtype.type,
            "shape": array.shape,
            "buffer_ptr": array.ctypes.data,
        }


def provider_choices() -> list[tuple[str, ...]]:
    """The provider lists worth trying here, best first; the last one is the plain CPU."""
    if _CUDA[0] in ort.get_available_providers() and _has_cuda_driver():
        return [_CUDA, _CPU]
    return [_CPU]


def session_options(*, threads: int) -> ort.SessionOptions:
    """How every graph is opened; the numbers that come out depend on it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    # Threads spin between the nodes of a step, not between the jobs of a node.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Without VNNI, sums of 8-bit products would be cut off at 16 bits.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def open_session(path: Path, *, threads: int, providers: tuple[str, ...] = _CPU) -> Session:
    """The graph, ready to run; Unusable if the file is not one that can be run."""
    ort.set_default_logger_severity(_FATAL)
    if providers == _CUDA:
        _preload_cuda()
    try:
        return Session(
            ort.InferenceSession(path, session_options(threads=threads), providers=list(providers))
        )
    except Exception as error:
        raise Unusable(f"{path} cannot be run ({_sentence(error)}): fetch it again.") from error


def _sentence(error: Exception) -> str:
    """The first line of what ONNX Runtime said, without its code and the path."""
    line = str(error).partition("\n")[0].rpartition(" : ")[2]
    return line.rpartition(" failed:")[2].rstrip(". ")


def _has_cuda_driver() -> bool:
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _preload_cuda() -> None:
    # It prints what it misses, but a missing library only means that the CPU is used.
    with contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls()
