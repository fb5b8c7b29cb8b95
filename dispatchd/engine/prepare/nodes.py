"""A graph under construction: nodes, constants, and weights that go straight to their file."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from dispatchd.engine.prepare.tensors import Place, TensorFile

Array = npt.NDArray[np.generic]

CONTRIB = "com.microsoft"
_OPSET = 21
_CONTRIB_OPSET = 1
_IR_VERSION = 10  # what opset 21 came with; every ONNX Runtime this package allows reads it


class Nodes:
    """Nodes in the order they run; each value is known by its name."""

    def __init__(self, data: TensorFile) -> None:
        self._data = data
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: dict[str, onnx.TensorProto] = {}

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        *,
        outputs: Sequence[str] = (),
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """A node; its first output, which is named after the node unless `outputs` says other."""
        name = f"{op}_{len(self._nodes)}"
        names = list(outputs) or [name]
        self._nodes.append(
            helper.make_node(op, list(inputs), names, name=name, domain=domain, **attributes)
        )
        return names[0]

    def constant(self, name: str, value: Array) -> str:
        """A small constant, kept in the graph itself; the same name always means the same one."""
        if name not in self._tensors:
            self._tensors[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def reserve(self, name: str, shape: tuple[int, ...], kind: npt.DTypeLike) -> Place:
        """Room for a tensor of that name in the file beside the graph."""
        tensor, place = self._data.reserve(name, shape, np.dtype(kind))
        self._tensors[name] = tensor
        return place

    def weight(self, name: str, value: Array) -> str:
        """A tensor that is at hand, put into the file beside the graph."""
        self.reserve(name, value.shape, value.dtype).write_rows(0, value)
        return name

    def model(
        self,
        name: str,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
    ) -> onnx.ModelProto:
        """All of it as a model."""
        graph = helper.make_graph(
            self._nodes, name, list(inputs), list(outputs), list(self._tensors.values())
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(CONTRIB, _CONTRIB_OPSET)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="dispatchd"
        )
