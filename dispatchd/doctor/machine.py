"""What this machine is: Python, processor, GPU."""

import platform
import struct
import sys

from dispatchd.doctor import Finding, failure, ok, warning
from dispatchd.engine.cuda import find_gpu
from dispatchd.engine.machine import (
    adds_bytes_whole,
    compute_threads,
    cpu_features,
    has_quick_kernels,
    memory_bytes,
)
from dispatchd.engine.provider import why_not
from dispatchd.engine.session import RUNTIME, built_for_cuda

_PYTHON_MIN = (3, 11)
_BYTES_64 = 8
_GIB = 1024**3


def python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Finding:
    """Whether this Python can run a node."""
    name = f"Python {'.'.join(map(str, version))} with {RUNTIME} on {platform.platform()}"
    wanted = ".".join(map(str, _PYTHON_MIN))
    if version < _PYTHON_MIN:
        return failure(f"{name} is too old", f"Install dispatchd with Python {wanted} or newer")
    if struct.calcsize("P") < _BYTES_64:
        return failure(f"{name} is of 32 bits", "Install dispatchd with a Python of 64 bits")
    return ok(name)


def processor() -> Finding:
    """Whether models run quickly on this processor."""
    about = (
        f"{compute_threads()} threads for models, {memory_bytes() / _GIB:.1f} GiB of memory,"
        f" {cpu_features()}"
    )
    if not has_quick_kernels():
        return warning(f"{about}: without AVX2 models run slowly", "Use a newer processor")
    if not adds_bytes_whole():
        return ok(f"{about}; without VNNI int8 weights are kept to 7 bits")
    return ok(about)


def gpu() -> Finding:
    """Whether there is a GPU, and why it is or is not used."""
    found = find_gpu()
    if found is None:
        return ok("NVIDIA's driver is not there, or has no GPU for this process: the CPU is used")
    name = f"{found.name} ({found.memory_bytes / _GIB:.0f} GiB)"
    if not built_for_cuda():
        return warning(
            f"{name} is there, but {RUNTIME} is built without CUDA, so the CPU is used",
            "Install dispatchd where onnxruntime-gpu can be had (x86-64 Linux or Windows)",
        )
    if (reason := why_not("cuda")) is not None:
        return warning(
            f"{name} is there and is not used: {reason}",
            "Install the CUDA and cuDNN libraries of that ONNX Runtime; the README's GPU part says"
            " which",
        )
    return ok(f"{name} is used for models that are prepared as fp16")
