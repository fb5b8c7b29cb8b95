"""ONNX Runtime, and nothing else of it: graphs, and the memory that they read and write."""

import contextlib
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

# onnxruntime ships no types.
import onnxruntime as ort  # type: ignore[import-untyped]

from dispatchd.core.errors import Unusable
from dispatchd.engine import Device

Array = npt.NDArray[np.generic]

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
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


class Region(msgspec.Struct, frozen=True):
    """Numbers in a device's memory, one after the other, for graphs to use where they are."""

    device: Device
    kind: np.dtype[np.generic]
    shape: tuple[int, ...]
    address: int
    owner: object  # keeps the memory

    def part(self, first: int, count: int) -> "Region":
        """`count` of what the first axis counts, in place."""
        each_bytes = math.prod(self.shape[1:]) * self.kind.itemsize
        return msgspec.structs.replace(
            self, shape=(count, *self.shape[1:]), address=self.address + first * each_bytes
        )


Memory = Array | Region


class Session:
    """An opened graph; `run` may be called from several threads at once."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.device: Device = "cuda" if session.get_providers()[0] == _CUDA else "cpu"
        self.inputs = {port.name: Port(port.type, port.shape) for port in session.get_inputs()}
        self.outputs = {port.name: Port(port.type, port.shape) for port in session.get_outputs()}

    def tensor(self, array: Array) -> Tensor:
        """The array, put where the graph will read it."""
        return Tensor(ort.OrtValue.ortvalue_from_numpy(array, self.device))

    def zeros(self, shape: tuple[int, ...], kind: npt.DTypeLike) -> Region:
        """New memory on the graph's device, which it and other graphs may share."""
        value = self.tensor(np.zeros(shape, kind)).value
        return Region(self.device, np.dtype(kind), shape, value.data_ptr(), value)

    def bind(self) -> "Binding":
        """A binding without any memory yet."""
        return Binding(self._session, self.device)

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
    """Memory that a graph reads and writes where it is; what lies elsewhere is copied over."""

    def __init__(self, session: ort.InferenceSession, device: Device) -> None:
        self._session = session
        self._device = device
        self._binding = session.io_binding()
        self._memory: dict[str, Region] = {}  # which keeps it
        self._copied: set[str] = set()

    def read(self, name: str, memory: Memory) -> None:
        """The input is that memory, as it is when the graph runs; an array must be contiguous."""
        region = self._memory[name] = _region(memory)
        self._binding.bind_input(name, **_place(region))
        if region.device != self._device:
            self._copied.add(name)

    def write(self, name: str, memory: Memory) -> None:
        """The output goes to that memory, which may be an input's as well."""
        region = self._memory[name] = _region(memory)
        self._binding.bind_output(name, **_place(region))

    def run(self) -> None:
        """Runs the graph once, to its end."""
        # ONNX Runtime copies an input to another device when it is bound, and not again.
        for name in self._copied:
            self._binding.bind_input(name, **_place(self._memory[name]))
        if self._device == "cpu":
            self._session.run_with_iobinding(self._binding)
            return
        self._binding.synchronize_inputs()
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()


def built_for_cuda() -> bool:
    """Whether this ONNX Runtime could use a GPU if there was one."""
    return _CUDA in ort.get_available_providers()


def session_options(*, threads: int, small_products: bool = False) -> ort.SessionOptions:
    """How every graph is opened; the numbers that come out depend on it.

    `small_products` says that two products of bytes always fit into 16 bits, signed.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    # Threads spin between the nodes of a step, not between the jobs of a node.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Without VNNI, the quickest kernels cut sums of two products off at 16 bits.
    precise = "0" if small_products else "1"
    options.add_session_config_entry("session.x64quantprecision", precise)
    return options


def open_session(
    path: Path,
    *,
    threads: int,
    device: Device = "cpu",
    trust_shapes: bool = True,
    small_products: bool = False,
) -> Session:
    """The graph, ready to run; Unusable if the file is not one that can be run.

    Values that are declared to be of one shape may share their memory, unless shapes are not
    trusted. `small_products`: see `session_options`.
    """
    options = session_options(threads=threads, small_products=small_products)
    options.enable_mem_reuse = trust_shapes
    try:
        session = _opened(path, options, device)
    except Exception as error:
        raise Unusable(f"{path} cannot be run ({_sentence(error)}): fetch it again.") from error
    return _on(device, session)


def open_graph(graph: bytes, device: Device) -> Session:
    """A small graph of our own, just built; Unusable if the device cannot be used."""
    return _on(device, _opened(graph, session_options(threads=1), device))


def _opened(graph: Path | bytes, options: ort.SessionOptions, device: Device) -> Session:
    ort.set_default_logger_severity(_FATAL)
    providers: list[str | tuple[str, dict[str, str]]] = [_CPU]
    if device == "cuda":
        _preload_cuda()
        # Memory beyond what is asked for is memory that caches do not get.
        providers = [(_CUDA, {"arena_extend_strategy": "kSameAsRequested"}), _CPU]
    # A second try on the CPU would be announced on standard output: whoever opens it tries again.
    return Session(ort.InferenceSession(graph, options, providers=providers, enable_fallback=0))


def _on(device: Device, session: Session) -> Session:
    # ONNX Runtime says nothing where it takes another device than it was asked for.
    if session.device != device:
        raise Unusable(
            f"ONNX Runtime cannot use {device}: its libraries are missing or of another version."
        )
    return session


def _place(region: Region) -> dict[str, object]:
    return {
        "device_type": region.device,
        "device_id": 0,
        "element_type": region.kind.type,
        "shape": region.shape,
        "buffer_ptr": region.address,
    }


def _region(memory: Memory) -> Region:
    if isinstance(memory, Region):
        return memory
    return Region("cpu", memory.dtype, memory.shape, memory.ctypes.data, memory)


def _sentence(error: Exception) -> str:
    """The first line of what ONNX Runtime said, without its code and the path."""
    line = str(error).partition("\n")[0].rpartition(" : ")[2]
    return line.rpartition(" failed:")[2].rstrip(". ")


def _preload_cuda() -> None:
    # It prints what it misses, but a missing library only means that the CPU is used.
    with contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls()
