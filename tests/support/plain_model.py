"""A small language model whose graph is the hub's: a step is given the cache, and returns it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from dispatchd.engine.catalog import DEFAULT_LLM, find

GRAPH = "model_quantized.onnx"
NAME = "plain"
CONTEXT_TOKENS = 1024
REPETITION_PENALTY = 1.15
IM_END = 2
_HIDDEN, _HEADS, _SIZE, _LAYERS = 32, 2, 16, 2
# From some position on an end is ever more likely, so that every text has one.
_END_FROM, _END_SLOPE = 70, 0.4
_FAR = -1e9


def write_plain(folder: Path, seed: int = 0) -> Path:
    """The folder `plain` in `folder`: the embedded model's words, and weights that mean nothing."""
    target = folder / NAME
    target.mkdir(parents=True)
    words = find(DEFAULT_LLM).path
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(words / name, target / name)
    vocab = json.loads((words / "config.json").read_text())["vocab_size"]
    config = {
        "model_type": "plain",
        "max_position_embeddings": CONTEXT_TOKENS,
        "eos_token_id": IM_END,
    }
    (target / "config.json").write_text(json.dumps(config))
    generation = {"repetition_penalty": REPETITION_PENALTY}
    (target / "generation_config.json").write_text(json.dumps(generation))
    graph = _Graph(np.random.default_rng(seed), vocab).model()
    (target / GRAPH).write_bytes(graph.SerializeToString())
    return target


class _Graph:
    def __init__(self, chance: np.random.Generator, vocab: int) -> None:
        self._chance = chance
        self._vocab = vocab
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def model(self) -> onnx.ModelProto:
        """Decoder layers without a feed-forward part; the positions are learned embeddings."""
        self._keep("table", self._drawn(self._vocab, _HIDDEN))
        self._keep("places", self._drawn(CONTEXT_TOKENS, _HIDDEN) * np.float32(0.3))
        rows = self._add("Gather", ["table", "input_ids"])
        x = self._add("Add", [rows, self._add("Gather", ["places", "position_ids"])])
        mask = self._mask()
        for layer in range(_LAYERS):
            x = self._add("Add", [x, self._attend(layer, x, mask)])
        self._keep("head", self._drawn(_HIDDEN, self._vocab))
        logits = self._add("MatMul", [x, "head"])
        self._nodes.append(helper.make_node("Add", [logits, self._ends()], ["logits"]))
        graph = helper.make_graph(self._nodes, "plain", *_ports(self._vocab), self._weights)
        return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])

    def _attend(self, layer: int, x: str, mask: str) -> str:
        query = self._heads(f"q{layer}", x)
        key = self._grown(layer, "key", self._heads(f"k{layer}", x))
        value = self._grown(layer, "value", self._heads(f"v{layer}", x))
        turned = self._add("Transpose", [key], perm=[0, 1, 3, 2])
        scores = self._add("Add", [self._add("MatMul", [query, turned]), mask])
        seen = self._add("MatMul", [self._add("Softmax", [scores], axis=-1), value])
        apart = self._add("Transpose", [seen], perm=[0, 2, 1, 3])
        return self._add("Reshape", [apart, self._constant([0, 0, _HIDDEN])])

    def _heads(self, name: str, x: str) -> str:
        """[batch, heads, tokens, size]."""
        self._keep(name, self._drawn(_HIDDEN, _HIDDEN))
        apart = self._add(
            "Reshape", [self._add("MatMul", [x, name]), self._constant([0, 0, _HEADS, _SIZE])]
        )
        return self._add("Transpose", [apart], perm=[0, 2, 1, 3])

    def _grown(self, layer: int, part: str, new: str) -> str:
        present = f"present.{layer}.{part}"
        past = f"past_key_values.{layer}.{part}"
        self._nodes.append(helper.make_node("Concat", [past, new], [present], axis=2))
        return present

    def _mask(self) -> str:
        """[batch, 1, tokens, past and tokens]: far below zero for what comes later."""
        total = self._add("Gather", [self._add("Shape", ["attention_mask"]), self._constant(1)])
        every = self._add("Range", [self._constant(0), total, self._constant(1)])
        own = self._add("Unsqueeze", ["position_ids", self._constant([1, 3])])
        later = self._add("Greater", [every, own])
        return self._add("Where", [later, self._number(_FAR), self._number(0)])

    def _ends(self) -> str:
        """[batch, tokens, vocab]: zeros, but for the end of a turn."""
        place = self._add("Cast", ["position_ids"], to=TensorProto.FLOAT)
        over = self._add("Relu", [self._add("Sub", [place, self._number(_END_FROM)])])
        slopes = np.zeros(self._vocab, np.float32)
        slopes[IM_END] = _END_SLOPE
        self._keep("slopes", slopes)
        return self._add("Mul", [self._add("Unsqueeze", [over, self._constant([2])]), "slopes"])

    def _drawn(self, *shape: int) -> npt.NDArray[np.float32]:
        return self._chance.normal(0, _HIDDEN**-0.5 * 1.5, shape).astype(np.float32)

    def _constant(self, value: int | list[int]) -> str:
        return self._keep(f"constant{len(self._weights)}", np.array(value, np.int64))

    def _number(self, value: float) -> str:
        return self._keep(f"number{len(self._weights)}", np.array(value, np.float32))

    def _keep(self, name: str, array: npt.NDArray[np.generic]) -> str:
        self._weights.append(numpy_helper.from_array(array, name))
        return name

    def _add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        output = f"{kind}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output


def _ports(vocab: int) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    port = helper.make_tensor_value_info
    fed = [
        port("input_ids", TensorProto.INT64, ["batch", "tokens"]),
        port("attention_mask", TensorProto.INT64, ["batch", "all"]),
        port("position_ids", TensorProto.INT64, ["batch", "tokens"]),
    ]
    made = [port("logits", TensorProto.FLOAT, ["batch", "tokens", vocab])]
    for layer in range(_LAYERS):
        for part in ("key", "value"):
            past, present = f"past_key_values.{layer}.{part}", f"present.{layer}.{part}"
            fed.append(port(past, TensorProto.FLOAT, ["batch", _HEADS, "past", _SIZE]))
            made.append(port(present, TensorProto.FLOAT, ["batch", _HEADS, "all", _SIZE]))
    return fed, made
