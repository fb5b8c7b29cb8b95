"""What the doctor says of a machine, and of a check that hangs or breaks."""

import platform
import socket
import threading
from pathlib import Path

import pytest

from dispatchd.doctor import Check, Finding, machine, ok
from dispatchd.doctor.examine import examine
from dispatchd.doctor.files import data_folder, room
from dispatchd.doctor.listener import listener_on
from dispatchd.doctor.ports import port
from dispatchd.engine import machine as processor
from dispatchd.engine.cuda import Gpu
from tests.support.pretend_gpu import GPU, pretend_gpu

NOWHERE = Path("/proc/dispatchd")  # where not even root can make a folder


def test_a_check_that_hangs_is_a_failure() -> None:
    let_go = threading.Event()

    def hang() -> Finding:
        let_go.wait()
        return ok("at last")

    finding = examine(Check("hanging", 0.01, hang))
    let_go.set()
    assert (finding.state, "0.01 s" in finding.sentence) == ("failure", True)
    assert finding.remedy


def test_what_this_user_may_not_look_at_is_named() -> None:
    def forbidden() -> Finding:
        raise PermissionError(13, "Permission denied", "/root/x")

    finding = examine(Check("forbidden", 10, forbidden))
    assert (finding.state, "/root/x" in finding.sentence) == ("failure", True)
    assert "user" in finding.remedy


def test_a_check_that_breaks_is_a_failure_without_the_words_of_its_error() -> None:
    def broken() -> Finding:
        raise KeyError("a secret")

    finding = examine(Check("broken", 10, broken))
    assert finding.state == "failure"
    assert "KeyError" in finding.sentence
    assert "secret" not in finding.sentence + finding.remedy


def test_a_check_that_runs_out_of_time_by_itself_is_no_hang() -> None:
    def impatient() -> Finding:
        raise TimeoutError

    assert "TimeoutError" in examine(Check("impatient", 10, impatient)).sentence


def test_an_old_python() -> None:
    assert machine.python().state == "ok"
    finding = machine.python((3, 10, 4))
    assert (finding.state, "3.10.4" in finding.sentence) == ("failure", True)
    assert "3.11" in finding.remedy


def test_a_processor_without_avx2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    (tmp_path / "old").write_text("flags : fpu sse4_1 avx\n")
    (tmp_path / "new").write_text("flags : sse4_1 avx avx2 fma avx_vnni\n")
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "old")
    assert "AVX2" in machine.processor().sentence
    assert machine.processor().state == "warning"
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "new")
    assert machine.processor().state == "ok"
    assert "7 bits" not in machine.processor().sentence


def test_a_gpu_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpu(monkeypatch)
    monkeypatch.setattr(machine, "find_gpu", lambda: GPU)
    monkeypatch.setattr(machine, "built_for_cuda", lambda: True)
    finding = machine.gpu()
    assert (finding.state, GPU.name in finding.sentence) == ("ok", True)


def test_a_gpu_that_cannot_be_used_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "find_gpu", lambda: Gpu("Some GPU", 1 << 34))
    monkeypatch.setattr(machine, "built_for_cuda", lambda: True)
    finding = machine.gpu()  # ONNX Runtime really tries, and finds no CUDA here
    assert finding.state == "warning"
    assert "Some GPU (16 GiB) is there and is not used: ONNX Runtime" in finding.sentence
    monkeypatch.setattr(machine, "built_for_cuda", lambda: False)
    finding = machine.gpu()
    assert (finding.state, "without CUDA" in finding.sentence) == ("warning", True)
    assert "onnxruntime-gpu" in finding.remedy


def test_a_data_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", NOWHERE):
        finding = data_folder(folder)
        assert finding.state == "failure", folder
        assert "--data-dir" in finding.remedy


def test_a_data_folder_that_others_can_write_to(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o777)
    finding = data_folder(tmp_path / "data")
    assert (finding.state, "chmod 700" in finding.remedy) == ("warning", True)
    (tmp_path / "data").chmod(0o700)
    assert data_folder(tmp_path / "data").state == "ok"
    assert data_folder(tmp_path / "data" / "not" / "yet").state == "ok"


def test_a_disk_without_room() -> None:
    finding = room(NOWHERE)
    assert (finding.state, "0.0 GiB" in finding.sentence) == ("failure", True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_has_a_port(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as taken:
        number = taken.getsockname()[1]
        finding = port(host, number)
        assert finding.state == "failure"
        assert listener_on(number) is not None
        assert str(listener_on(number)) in finding.sentence
    assert port(host, number).state == "ok"
    assert listener_on(number) is None


def test_a_host_that_is_not_ours() -> None:
    finding = port("192.0.2.1", 4010)
    assert (finding.state, "192.0.2.1" in finding.sentence) == ("failure", True)
