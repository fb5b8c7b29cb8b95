"""NVIDIA's driver, asked whether there is a GPU; nothing else of CUDA, and no package for it."""

import ctypes
import sys

from msgspec import Struct

_OK = 0
_NAME_BYTES = 256


class Gpu(Struct, frozen=True):
    """The first GPU that this process may use."""

    name: str
    memory_bytes: int


def find_gpu() -> Gpu | None:
    """The GPU; None where there is no driver, or no GPU that it would give to this process."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    device, memory = ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    found = (
        driver.cuInit(0) == _OK
        and driver.cuDeviceGet(ctypes.byref(device), 0) == _OK
        and driver.cuDeviceGetName(name, _NAME_BYTES, device) == _OK
        and driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device) == _OK
    )
    return Gpu(name.value.decode(errors="replace"), memory.value) if found else None
