"""Where graphs run, on machines with and without a GPU; there is none here, so a driver is made."""

import ctypes
from pathlib import Path
from typing import Any

import pytest

from dispatchd.core.errors import Unusable
from dispatchd.engine import Device, cuda, provider
from dispatchd.engine.batch.load import open_batcher
from dispatchd.engine.cuda import find_gpu
from dispatchd.engine.provider import devices, on_best_device, working_device
from tests.support.pretend_gpu import GPU
from tests.support.small_model import prepare_small


class Driver:
    """What this package calls of NVIDIA's driver; a call may fail with a code other than 0."""

    def __init__(self, **codes: int) -> None:
        self._codes = codes

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            match name, arguments:
                case "cuDeviceGetName", (buffer, size, _):
                    buffer.value = GPU.name.encode()[: size - 1]
                case "cuDeviceTotalMem_v2", (memory, _):
                    memory._obj.value = GPU.memory_bytes
            return self._codes.get(name, 0)

        return call


def with_driver(patch: pytest.MonkeyPatch, driver: Driver | None) -> None:
    def load(name: str) -> Driver:
        if driver is None:
            raise OSError(f"{name}: cannot open shared object file")
        return driver

    patch.setattr(ctypes, "CDLL", load)


def test_a_gpu_is_found_by_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    with_driver(monkeypatch, Driver())
    assert find_gpu() == GPU


@pytest.mark.parametrize("driver", [None, Driver(cuInit=100), Driver(cuDeviceGet=101)])
def test_no_driver_or_no_gpu_is_no_gpu(
    driver: Driver | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with_driver(monkeypatch, driver)
    assert find_gpu() is None
    assert (devices(), working_device()) == (["cpu"], "cpu")
    assert capfd.readouterr() == ("", "")


def with_gpu(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(provider, "built_for_cuda", lambda: True)
    patch.setattr(provider, "find_gpu", lambda: GPU)


def test_a_gpu_is_tried_before_it_is_believed(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with_gpu(monkeypatch)
    assert devices() == ["cuda", "cpu"]
    if cuda.find_gpu() is None:
        assert working_device() == "cpu"
        assert "the GPU is not used: ONNX Runtime cannot use cuda" in caplog.text
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(cuda.find_gpu() is not None, reason="needs no GPU")
def test_what_a_gpu_does_not_run_is_run_by_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with_gpu(monkeypatch)
    batcher = open_batcher(prepare_small(tmp_path, "fp16"), threads=1, slots=2)
    batcher.close()
    assert (batcher.device, batcher.determinism.gpu) == ("cpu", "")
    assert "cuda is not used: " in caplog.text


def test_the_next_device_is_tried_and_the_last_error_told(caplog: pytest.LogCaptureFixture) -> None:
    def begin(device: Device) -> Device:
        if device == "cuda":
            raise Unusable("no room.")
        return device

    assert on_best_device(begin, ["cuda", "cpu"]) == "cpu"
    assert "cuda is not used: no room." in caplog.text
    with pytest.raises(Unusable, match="no room"):
        on_best_device(begin, ["cuda"])
