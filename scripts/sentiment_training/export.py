"""The trained network as an ONNX graph in 8-bit integers, and the folder it is served from.

Embeddings and weights are integers, their products are summed as integers, and no operation after
that mixes two rows. So the scores of a text are the same bit for bit however it is padded and
whatever runs beside it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from dispatchd.engine.prepare.quantize import INT8_MAX, rowwise_int8
from scripts.sentiment_training.rows import LABELS
from scripts.sentiment_training.shape import BANKS, Bank, Floats, Weights

_OPSET = 21
_IR_VERSION = 10  # what opset 21 came with
_ZERO = 128  # the code of 0 in the unsigned embeddings


def write(folder: Path, weights: Weights, tokenizer: Tokenizer, temperature: float) -> None:
    """Fills the folder: graph, tokenizer, labels, and the number of parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save_model(graph(weights, temperature), folder / "model.int8.onnx")
    (folder / "tokenizer.json").write_text(_compact(tokenizer), encoding="utf-8")
    (folder / "labels.json").write_text(json.dumps(LABELS), encoding="utf-8")
    arrays = [weights.embedding, *(a for pair in (*weights.banks, weights.output) for a in pair)]
    metrics = {"params": sum(array.size for array in arrays)}
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")


def graph(weights: Weights, temperature: float) -> onnx.ModelProto:
    """`input_ids` int64 [batch, tokens] (0 is padding) to `logits` float32 [batch, labels]."""
    building = _Building()
    sizes = np.abs(weights.embedding).max(axis=0) / np.float32(INT8_MAX)
    codes = np.rint(weights.embedding / sizes) + _ZERO
    table = building.constant("embedding", codes.astype(np.uint8))
    embedded = building.add("Gather", [table, "input_ids"])
    maxima = [
        _bank(building, embedded, bank, kernel * np.tile(sizes, bank.width), bias)
        for bank, (kernel, bias) in zip(BANKS, weights.banks, strict=True)
    ]
    features = building.add("Concat", [_mean(building, embedded, sizes), *maxima], axis=1)
    _output(building, features, *weights.output, temperature)
    return building.model()


def _bank(building: "_Building", embedded: str, bank: Bank, kernel: Floats, bias: Floats) -> str:
    """The strongest place of each channel, float [batch, channels], not below zero."""
    rows, scales = rowwise_int8(kernel)
    weight = building.constant(f"kernel_{bank.width}", np.ascontiguousarray(rows.T))
    sums = building.add(
        "MatMulInteger", [_windows(building, embedded, bank), weight, building.byte(_ZERO)]
    )
    # A scale is above zero, so the largest sum is the largest product as well.
    largest = building.add("ReduceMax", [sums, building.axes(1)], keepdims=0)
    scaled = building.add(
        "Mul",
        [
            building.add("Cast", [largest], to=TensorProto.FLOAT),
            building.constant(f"scale_{bank.width}", scales),
        ],
    )
    shifted = building.add("Add", [scaled, building.constant(f"bias_{bank.width}", bias)])
    return building.add("Relu", [shifted])


def _windows(building: "_Building", embedded: str, bank: Bank) -> str:
    """Every window that touches the text, and one after it: [batch, places, width * EMBEDDING]."""
    pads = building.axes(0, bank.reach, 0, 0, bank.reach + 1, 0)
    padded = building.add("Pad", [embedded, pads, building.byte(_ZERO)])
    if bank.width == 1:
        return padded
    shifts = [
        building.add(
            "Slice",
            [
                padded,
                building.axes(start),
                building.axes(start - bank.reach or np.iinfo(np.int64).max),
                building.axes(1),
            ],
        )
        for start in range(bank.width)
    ]
    return building.add("Concat", shifts, axis=2)


def _mean(building: "_Building", embedded: str, sizes: Floats) -> str:
    """The mean of the text's embeddings, float [batch, EMBEDDING]."""
    signed = building.add(
        "Sub",
        [
            building.add("Cast", [embedded], to=TensorProto.INT32),
            building.constant("zero", np.int32(_ZERO)),
        ],
    )
    total = building.add("ReduceSum", [signed, building.axes(1)], keepdims=0)
    real = building.add("Cast", ["input_ids"], to=TensorProto.BOOL)
    one_each = building.add("Cast", [real], to=TensorProto.INT32)
    count = building.add("ReduceSum", [one_each, building.axes(1)], keepdims=1)
    counted = building.add("Max", [count, building.constant("one", np.int32(1))])
    mean = building.add(
        "Div",
        [building.add("Cast", [name], to=TensorProto.FLOAT) for name in (total, counted)],
    )
    return building.add("Mul", [mean, building.constant("sizes", sizes)])


def _output(
    building: "_Building", features: str, weight: Floats, bias: Floats, temperature: float
) -> None:
    """The logits. Features become 8-bit codes, scaled for each text, so that sums are exact."""
    rows, scales = rowwise_int8(weight / np.float32(temperature))
    largest = building.add(
        "ReduceMax", [building.add("Abs", [features]), building.axes(1)], keepdims=1
    )
    some = building.add("Max", [largest, building.constant("least", np.float32(1e-6))])
    step = building.add("Mul", [some, building.constant("step", np.float32(1 / INT8_MAX))])
    codes = building.add("Round", [building.add("Div", [features, step])])
    shifted = building.add("Add", [codes, building.constant("zero_float", np.float32(_ZERO))])
    sums = building.add(
        "MatMulInteger",
        [
            building.add("Cast", [shifted], to=TensorProto.UINT8),
            building.constant("output", np.ascontiguousarray(rows.T)),
            building.byte(_ZERO),
        ],
    )
    products = building.add("Mul", [building.add("Cast", [sums], to=TensorProto.FLOAT), step])
    scaled = building.add("Mul", [products, building.constant("output_scale", scales)])
    shift = building.constant("output_bias", bias / np.float32(temperature))
    building.add("Add", [scaled, shift], output="logits")


class _Building:
    """Nodes and constants of a graph under construction, each value known by its name."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def add(self, op: str, inputs: list[str], *, output: str = "", **attributes: Any) -> str:
        name = output or f"{op}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: npt.ArrayLike) -> str:
        self._constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def byte(self, value: int) -> str:
        return self.constant(f"byte_{value}", np.uint8(value))

    def axes(self, *values: int) -> str:
        return self.constant("_".join(["axes", *map(str, values)]), np.array(values, np.int64))

    def model(self) -> onnx.ModelProto:
        shown = [
            helper.make_tensor_value_info(name, kind, ["batch", size])
            for name, kind, size in (
                ("input_ids", TensorProto.INT64, "tokens"),
                ("logits", TensorProto.FLOAT, len(LABELS)),
            )
        ]
        made = helper.make_graph(
            self._nodes, "sentiment", shown[:1], shown[1:], list(self._constants.values())
        )
        model = helper.make_model(
            made,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
            producer_name="dispatchd",
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def _compact(tokenizer: Tokenizer) -> str:
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
