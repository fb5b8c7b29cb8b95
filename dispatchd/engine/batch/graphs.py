"""Small graphs for memory on a device, where numpy does not reach."""

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.helper import np_dtype_to_tensor_dtype

_OPSET = 21
_IR_VERSION = 10  # what opset 21 came with

_port = helper.make_tensor_value_info


def copies(count: int, dtype: str) -> bytes:
    """Copies each input `from.{i}`, of any shape, into the output `to.{i}`."""
    kind = np_dtype_to_tensor_dtype(np.dtype(dtype))
    sources, targets = ([f"{end}.{i}" for i in range(count)] for end in ("from", "to"))
    return _graph(
        [
            helper.make_node("Identity", [source], [target])
            for source, target in zip(sources, targets, strict=True)
        ],
        [_port(name, kind, None) for name in sources],
        [_port(name, kind, None) for name in targets],
    )


def ranking() -> bytes:
    """The `count` highest of each row of `scores`, float32 [n, vocab], best first.

    Outputs `best` float32 [n, count] and `places` int64 [n, count]; of equals the first is better.
    """
    return _graph(
        [helper.make_node("TopK", ["scores", "count"], ["best", "places"], axis=-1)],
        [
            _port("scores", TensorProto.FLOAT, ["n", "vocab"]),
            _port("count", TensorProto.INT64, [1]),
        ],
        [
            _port("best", TensorProto.FLOAT, ["n", "k"]),
            _port("places", TensorProto.INT64, ["n", "k"]),
        ],
    )


def _graph(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
) -> bytes:
    graph = helper.make_graph(nodes, "small", inputs, outputs)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
    )
    return bytes(model.SerializeToString())
