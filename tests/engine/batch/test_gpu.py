"""Everything that a GPU's batcher does but for the GPU, which the CPU stands for."""

from pathlib import Path

import pytest

from dispatchd.core.errors import Unusable
from dispatchd.engine.batch.load import open_batcher
from dispatchd.engine.provider import working_device
from tests.engine.batch.test_batcher import answer, answers, mixed
from tests.support.pretend_gpu import GPU, pretend_gpu
from tests.support.small_model import CONTEXT_TOKENS, prepare_small


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_small(tmp_path_factory.mktemp("fp16"), "fp16")


def test_a_batch_on_a_gpu_gets_the_answers_of_the_cpu(
    half: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = open_batcher(half, threads=1, slots=1)
    expected = [answer(here, request) for request in mixed(12)]
    here.close()
    pretend_gpu(monkeypatch)
    there = open_batcher(half, threads=1, slots=4)
    assert answers(there, mixed(12)) == expected
    there.close()
    kept = there.determinism
    assert (there.device, there.context_tokens) == ("cuda", CONTEXT_TOKENS)
    assert (kept.provider, kept.precision, kept.gpu) == ("cuda", "fp16", GPU.name)


def test_a_precision_that_a_gpu_has_no_products_for_stays_on_the_cpu(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_gpu(monkeypatch)
    assert working_device() == "cuda"
    batcher = open_batcher(small, threads=1, slots=2)
    batcher.close()
    assert (batcher.device, batcher.determinism.gpu) == ("cpu", "")


def test_a_pool_too_large_for_the_gpu_leaves_the_cpu(
    half: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend_gpu(monkeypatch)
    monkeypatch.setattr(
        "dispatchd.engine.batch.load.find_gpu", lambda: type(GPU)(GPU.name, 1_000_000)
    )
    batcher = open_batcher(half, threads=1, slots=4)
    batcher.close()
    assert batcher.device == "cpu"
    assert "cuda is not used: The jobs at once of small leave memory for" in caplog.text
    with pytest.raises(Unusable, match="fewer --slots"):
        open_batcher(half, threads=1, slots=4, pool_bytes_max=1000)
