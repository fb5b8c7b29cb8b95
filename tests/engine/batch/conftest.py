from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dispatchd.engine.batch.batcher import Batcher
from dispatchd.engine.batch.load import open_batcher
from tests.support.small_model import prepare_small

Opened = Callable[..., Batcher]


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared int8 model that is quick to run."""
    return prepare_small(tmp_path_factory.mktemp("int8"))


@pytest.fixture(params=[False, True], ids=["host", "device"])
def on_device(request: pytest.FixtureRequest) -> bool:
    """Whether caches and scores are kept as on a GPU, though the device is the CPU here."""
    return bool(request.param)


@pytest.fixture
def opened(small: Path, on_device: bool) -> Iterator[Opened]:
    """Opens batchers over the small model, and closes them after the test."""
    batchers: list[Batcher] = []

    def open_one(folder: Path = small, *, slots: int = 4, threads: int = 1) -> Batcher:
        batchers.append(open_batcher(folder, threads=threads, slots=slots, on_device=on_device))
        return batchers[-1]

    yield open_one
    for batcher in batchers:
        batcher.close()
