"""Products in int8: whole sums, in the quickest kernels as well."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dispatchd.engine.machine import adds_bytes_whole
from dispatchd.engine.prepare.manifest import Int8Bits, read_manifest
from dispatchd.engine.prepare.nodes import Nodes
from dispatchd.engine.prepare.product import products
from dispatchd.engine.prepare.tensors import TensorFile
from dispatchd.engine.prepare.weights import open_weights
from dispatchd.engine.session import open_session
from tests.support.small_model import prepare_small
from tests.support.weights import write_safetensors

ROWS, COLUMNS = 32, 64
NAME = "some.weight"


def product_of(folder: Path, weight: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> Path:
    """A graph of the one product `x · weightᵀ`, in int8 of 7 bits."""
    write_safetensors(folder / "model.safetensors", {NAME: weight})
    with (folder / "graph.data").open("wb") as data:
        nodes = Nodes(TensorFile(data, "graph.data"))
        matrix = open_weights(folder).stacked([NAME])
        result = products("int8", 7)[0](nodes, NAME, "x", matrix)
        shapes = (("x", [1, 1, COLUMNS]), (result, [1, 1, ROWS]))
        ports = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in shapes
        ]
        model = nodes.model("one", ports[:1], ports[1:])
    onnx.save(model, folder / "graph.onnx")
    return folder / "graph.onnx"


def test_the_largest_products_are_added_without_a_loss(tmp_path: Path) -> None:
    """All weights and activations at their ends: what pairs of them come to just fits."""
    chance = np.random.default_rng(0)
    weight = np.where(chance.random((ROWS, COLUMNS)) < 0.5, -1, 1).astype(np.float32)
    weight[0] = 1
    session = open_session(product_of(tmp_path, weight), threads=1, small_products=True)
    x = np.ones((1, 1, COLUMNS), np.float32)
    (result,) = session.outputs
    got, _ = session.run({"x": session.tensor(x)}, fetch=result)
    assert got[0, 0] == pytest.approx(weight.sum(axis=1), abs=1e-4)


@pytest.mark.parametrize("bits", [7, 8])
def test_the_manifest_says_how_many_bits_are_used(tmp_path: Path, bits: Int8Bits) -> None:
    folder = prepare_small(tmp_path, int8_bits=bits)
    assert read_manifest(folder).int8_bits == bits


def test_by_default_the_machine_decides(tmp_path: Path) -> None:
    assert read_manifest(prepare_small(tmp_path)).int8_bits == (8 if adds_bytes_whole() else 7)
