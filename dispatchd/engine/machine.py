"""What this machine is: the processor features that kernels choose by, its cores and memory."""

import os
import platform
import sys
from pathlib import Path

import numpy as np

_CPUINFO = Path("/proc/cpuinfo")
_SMT = Path("/sys/devices/system/cpu/smt/active")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_CHOSEN_BY = frozenset(
    {"sse4_1", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"}
    | {"avx_vnni", "avx_vnni_int8", "amx_int8", "amx_bf16"}
    | {"asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"}
)
_X86 = frozenset({"x86_64", "amd64", "i386", "i686"})
_VNNI = frozenset({"avx512_vnni", "avx_vnni"})
_MEMORY_UNKNOWN_BYTES = 8 * 1024**3


def cpu_features() -> str:
    """Machine and features in one line; alike processors that compute alike have the same line."""
    return " ".join([platform.machine(), *sorted(_features())])


def adds_bytes_whole() -> bool:
    """Whether sums of products of bytes are whole in the quickest kernels.

    Those of x86 without VNNI add pairs of products in 16 bits, and cut off what does not fit.
    """
    return platform.machine().lower() not in _X86 or bool(_features() & _VNNI)


def has_quick_kernels() -> bool:
    """Whether the processor has what the quicker kernels need: AVX2, where it is of x86."""
    return platform.machine().lower() not in _X86 or "avx2" in _features()


def compute_threads() -> int:
    """Threads for one step: the cores that this process may use, a core's second thread apart."""
    available = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    doubled = _SMT.is_file() and _SMT.read_text().strip() == "1"
    return max(1, available // 2 if doubled and available > 2 else available)


def memory_bytes() -> int:
    """The memory that this process may use."""
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names:
        return _MEMORY_UNKNOWN_BYTES
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _CGROUP_LIMIT.read_text().strip() if _CGROUP_LIMIT.is_file() else "max"
    return min(physical, int(limit)) if limit.isdigit() else physical


def _features() -> frozenset[str]:
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text(errors="replace").splitlines():
            name, _, words = line.partition(":")
            if name.strip() in {"flags", "Features"}:
                return _CHOSEN_BY & frozenset(words.split())
    found = np.show_config(mode="dicts")["SIMD Extensions"]
    return frozenset(word.lower() for word in [*found["baseline"], *found.get("found", [])])
