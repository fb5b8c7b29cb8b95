"""A prepared model's graph in the layouts that others publish: caches grow, a mask is fed."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dispatchd.engine.ports import Ports
from dispatchd.engine.prepare.manifest import DATA_NAME, GRAPH_NAME
from tests.support.small_model import CONTEXT_TOKENS, HEAD_SIZE, KV_HEADS

WORDS = ("tokenizer.json", "tokenizer_config.json")
USUAL = Ports()
_ATTENTION_INPUTS = 9  # that come before position_ids


def export_hub(prepared: Path, folder: Path, *, positions: bool = True) -> Path:
    """A folder as exporters of ONNX graphs lay it out for the hub."""
    _write(prepared, folder / "onnx" / "model.onnx", USUAL, HEAD_SIZE, positions=positions)
    for name in ("config.json", *WORDS):
        shutil.copy(prepared / name, folder / name)
    return folder


def export_genai(
    prepared: Path, folder: Path, ports: Ports = USUAL, *, positions: bool = False, **model: Any
) -> Path:
    """A folder as onnxruntime-genai's model builder lays it out; `model` changes its config."""
    _write(prepared, folder / "model.onnx", ports, "size", positions=positions)
    for name in WORDS:
        shutil.copy(prepared / name, folder / name)
    write_genai_config(folder, ports, positions=positions, **model)
    return folder


def write_genai_config(
    folder: Path, ports: Ports = USUAL, *, positions: bool = False, **model: Any
) -> None:
    """The builder's config file for such a graph."""
    inputs = {
        "input_ids": ports.input_ids,
        "attention_mask": ports.attention_mask,
        "past_key_names": ports.past[0],
        "past_value_names": ports.past[1],
    }
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": "model.onnx",
        "head_size": HEAD_SIZE,
        "hidden_size": 64,
        "inputs": inputs | ({"position_ids": ports.position_ids} if positions else {}),
        "outputs": {
            "logits": ports.logits,
            "present_key_names": ports.present[0],
            "present_value_names": ports.present[1],
        },
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": KV_HEADS,
    }
    about = {
        "bos_token_id": 1,
        "context_length": CONTEXT_TOKENS,
        "decoder": decoder | model.pop("decoder", {}),
        "eos_token_id": [2],
        "pad_token_id": 0,
        "type": "llama",
        "vocab_size": 4096,
    }
    search = {"do_sample": False, "past_present_share_buffer": True, "repetition_penalty": 1.0}
    config = {"model": about | model, "search": search | model.pop("search", {})}
    (folder / "genai_config.json").write_text(json.dumps(config, indent=4))


def misdeclare(folder: Path) -> None:
    """Makes a hub export say of two values that they are of one shape, which they are not."""
    wrong = [
        helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["batch", "s"])
        for name in ("long", "short")
    ]
    nodes = [
        *_of_unknown_shape("input_ids", "short"),
        helper.make_node("ReduceSum", ["short"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Add", ["attention_mask", "whole"], ["later"]),
        *_of_unknown_shape("later", "long"),
    ]
    _make_depend(folder, nodes, "long", wrong)


def forbid_pieces(folder: Path) -> None:
    """Makes a hub export that fails where several tokens follow others."""
    nodes = [helper.make_node("Add", ["input_ids", "attention_mask"], ["both"])]
    _make_depend(folder, nodes, "both")


def _make_depend(
    folder: Path,
    nodes: list[onnx.NodeProto],
    value: str,
    declared: Iterable[onnx.ValueInfoProto] = (),
) -> None:
    """Adds nodes to a hub export, and nothing of their value to its logits."""
    path = folder / "onnx" / "model.onnx"
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    graph.node[-1].output[0] = "plain"
    graph.node.extend(
        [
            *nodes,
            helper.make_node("ReduceSum", [value], ["total_of_it"], keepdims=0),
            helper.make_node("Sub", ["total_of_it", "total_of_it"], ["none"]),
            helper.make_node(
                "Cast", ["none"], ["zero"], to=graph.output[0].type.tensor_type.elem_type
            ),
            helper.make_node("Add", ["plain", "zero"], ["logits"]),
        ]
    )
    graph.value_info.extend(declared)
    path.write_bytes(model.SerializeToString())


def _of_unknown_shape(name: str, output: str) -> list[onnx.NodeProto]:
    shape, reshaped = f"{output}.shape", f"{output}.reshaped"
    return [
        helper.make_node("Shape", [name], [f"{shape}.exact"]),
        helper.make_node("Abs", [f"{shape}.exact"], [shape]),
        helper.make_node("Reshape", [name, shape], [reshaped]),
        helper.make_node("Cast", [reshaped], [output], to=TensorProto.DOUBLE),
    ]


def _write(
    prepared: Path, path: Path, ports: Ports, head_size: int | str, *, positions: bool
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    model = onnx.load(prepared / GRAPH_NAME, load_external_data=False)
    graph = model.graph
    layers = sum(node.op_type == "GroupQueryAttention" for node in graph.node)
    names = _names(layers, ports)
    _whole_logits(graph)
    _rename(graph, names)
    _feed_mask(graph, ports, positions=positions)
    _declare(graph, ports, head_size)
    path.write_bytes(model.SerializeToString())
    shutil.copy(prepared / DATA_NAME, path.parent / DATA_NAME)


def _names(layers: int, ports: Ports) -> dict[str, str]:
    """What the prepared graph's ports are called in the exported one."""
    names = {"input_ids": ports.input_ids, "logits": ports.logits}
    for layer in range(layers):
        for part, past, present in zip(("key", "value"), ports.past, ports.present, strict=True):
            names[f"past_key_values.{layer}.{part}"] = past.replace("%d", str(layer))
            names[f"present.{layer}.{part}"] = present.replace("%d", str(layer))
    return names


def _whole_logits(graph: onnx.GraphProto) -> None:
    """Logits of every position, [n, s, vocab], and in float16 where the caches are."""
    last = next(node for node in graph.node if node.op_type == "Gather" and node.input[1] == "last")
    end = graph.node[-1]
    made_by = {node.output[0]: node for node in graph.node}
    dropped = [last]
    if (cast := made_by[end.input[0]]).op_type == "Cast":
        dropped.append(cast)
    for node in dropped:
        graph.node.remove(node)
        _replace(graph.node, node.output[0], node.input[0])


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for before, after in names.items():
        _replace(graph.node, before, after)
    for port in (*graph.input, *graph.output):
        port.name = names.get(port.name, port.name)


def _replace(nodes: Iterable[onnx.NodeProto], before: str, after: str) -> None:
    for node in nodes:
        for side in (node.input, node.output):
            for place, name in enumerate(side):
                if name == before:
                    side[place] = after


def _feed_mask(graph: onnx.GraphProto, ports: Ports, *, positions: bool) -> None:
    """Lengths are counted from the mask, as exporters do; rotary takes positions if fed."""
    one = numpy_helper.from_array(np.array([1], np.int64), "one")
    axis = numpy_helper.from_array(np.array(1, np.int64), "axis")
    graph.initializer.extend([one, axis])
    mask = ports.attention_mask
    counted = [
        helper.make_node("ReduceSum", [mask, "one"], ["ones"], keepdims=0),
        helper.make_node("Sub", ["ones", "one"], ["ones_before"]),
        helper.make_node("Cast", ["ones_before"], ["seqlens_k"], to=TensorProto.INT32),
        helper.make_node("Shape", [mask], ["mask_shape"]),
        helper.make_node("Gather", ["mask_shape", "axis"], ["mask_length"]),
        helper.make_node("Cast", ["mask_length"], ["total_sequence_length"], to=TensorProto.INT32),
    ]
    for node in reversed(counted):
        graph.node.insert(0, node)
    if positions:
        for node in graph.node:
            if node.op_type == "GroupQueryAttention":
                assert len(node.input) == _ATTENTION_INPUTS
                node.input.append(ports.position_ids)


def _declare(graph: onnx.GraphProto, ports: Ports, head_size: int | str) -> None:
    """The ports; the builder of genai's folders leaves the size of heads free."""
    port = helper.make_tensor_value_info
    others = {"seqlens_k", "total_sequence_length", ports.input_ids}
    pasts = [each.name for each in graph.input if each.name not in others]
    presents = [each.name for each in graph.output if each.name != ports.logits]
    kind = graph.output[-1].type.tensor_type.elem_type
    fed = {ports.input_ids: "s", ports.attention_mask: "total"}
    if any(ports.position_ids in node.input for node in graph.node):
        fed[ports.position_ids] = "s"
    inputs = [
        *(port(name, TensorProto.INT64, ["batch", length]) for name, length in fed.items()),
        *(port(name, kind, ["batch", KV_HEADS, "past", head_size]) for name in pasts),
    ]
    outputs = [
        port(ports.logits, kind, ["batch", "s", "vocab"]),
        *(port(name, kind, ["batch", KV_HEADS, "total", head_size]) for name in presents),
    ]
    for side, declared in ((graph.input, inputs), (graph.output, outputs)):
        del side[:]
        side.extend(declared)
