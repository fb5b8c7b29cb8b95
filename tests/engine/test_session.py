"""What a graph reads is what is there when it runs, on devices that copy inputs as well."""

import numpy as np
import pytest

from dispatchd.engine import Device
from dispatchd.engine.batch.graphs import copies
from dispatchd.engine.session import open_graph
from tests.support.pretend_gpu import pretend_gpu


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_array_is_read_as_it_is_when_the_graph_runs(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_gpu(monkeypatch)
    session = open_graph(copies(1, "float32"), device)
    source, target = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    binding = session.bind()
    binding.read("from.0", source)
    binding.write("to.0", target)
    for number in (1, 2):
        source[...] = number
        binding.run()
        assert target.tolist() == source.tolist()
