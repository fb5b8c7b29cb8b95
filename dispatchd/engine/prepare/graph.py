"""One graph for every family: a decoder whose cache is written in place.

Inputs: `input_ids` int64 [n, s]; `seqlens_k` int32 [n], each row's length after this step less
one; `total_sequence_length` int32 [], the longest row's length; `past_key_values.{i}.key` and
`.value` [n, kv_heads, max_len, head_size]. Outputs: `logits` float32 [n, vocab] of each row's
last position; `present.{i}.key` and `.value`, for which the same buffers must be bound.

With more than one token a step (s > 1), a row that has a past must be alone (n = 1). The numbers
do not depend on how a prompt is cut, as long as no piece of it is a single token: for s = 1,
attention adds up in another order.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper

from dispatchd.engine.prepare.architecture import Architecture
from dispatchd.engine.prepare.manifest import Int8Bits, Precision
from dispatchd.engine.prepare.nodes import CONTRIB, Nodes
from dispatchd.engine.prepare.product import (
    multiply_plain,
    plain_matrix,
    products,
)
from dispatchd.engine.prepare.rotary import tables
from dispatchd.engine.prepare.weights import Weights

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
FINAL_NORM = "model.norm.weight"

_POSITIONS_A_BLOCK = 1 << 14
_LAST = -1  # of a row's tokens in this step
_NO_WINDOW = -1
_ELEMENT = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16}


class DecoderGraph:
    """Builds the graph of one model; `build` may be called once."""

    def __init__(
        self,
        architecture: Architecture,
        weights: Weights,
        precision: Precision,
        nodes: Nodes,
        *,
        int8_bits: Int8Bits,
    ) -> None:
        self._model = architecture
        self._weights = weights
        self._nodes = nodes
        self._precision = precision
        self._kind: type[np.float32 | np.float16] = (
            np.float16 if precision == "fp16" else np.float32
        )
        self._product, self._head_product = products(precision, int8_bits)

    def build(self) -> onnx.ModelProto:
        """The model; its weights are in the file beside it by then."""
        model = self._model
        self._rotary()
        stream, branch = self._embed(), ""
        for layer in range(model.layers):
            prefix = f"model.layers.{layer}"
            stream, normal = self._norm(f"{prefix}.input_layernorm.weight", stream, branch)
            branch = self._attend(layer, normal)
            stream, normal = self._norm(f"{prefix}.post_attention_layernorm.weight", stream, branch)
            branch = self._feed_forward(f"{prefix}.mlp", normal)
        _, normal = self._norm(FINAL_NORM, stream, branch)
        self._logits(normal)
        return self._nodes.model(model.family, *ports(model, self._kind))

    def _embed(self) -> str:
        """Embeddings [n, s, hidden_size]; int8 and int4 keep them as float16, read row by row."""
        stored = np.float32 if self._precision == "fp32" else np.float16
        table = plain_matrix(self._nodes, EMBEDDING, self._weights.stacked([EMBEDDING]), stored)
        rows = self._nodes.add("Gather", [table, "input_ids"], axis=0)
        return rows if stored is self._kind else self._cast(rows, self._kind)

    def _norm(self, name: str, stream: str, branch: str) -> tuple[str, str]:
        """The residual stream with the branch added, and the same with each row's size evened."""
        gamma = self._vector(name)
        epsilon = self._model.norm_epsilon
        if not branch:
            normal = self._nodes.add(
                "SimplifiedLayerNormalization",
                [stream, gamma],
                axis=-1,
                epsilon=epsilon,
                stash_type=TensorProto.FLOAT,
            )
            return stream, normal
        outputs = [f"{name}.normal", "", "", f"{name}.stream"]
        normal = self._nodes.add(
            "SkipSimplifiedLayerNormalization",
            [stream, branch, gamma],
            outputs=outputs,
            domain=CONTRIB,
            epsilon=epsilon,
        )
        return outputs[-1], normal

    def _attend(self, layer: int, x: str) -> str:
        model, prefix = self._model, f"model.layers.{layer}.self_attn"
        joined = self._linear(
            f"{prefix}.qkv", x, [f"{prefix}.{part}_proj" for part in "qkv"], biased=model.qkv_bias
        )
        # Without key and value, GroupQueryAttention takes all three from its first input.
        query, key, value = self._split(prefix, joined) if model.qk_norm else (joined, "", "")
        window = model.windows[layer]
        attended = self._nodes.add(
            "GroupQueryAttention",
            [
                *(query, key, value),
                *(f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"),
                *("seqlens_k", "total_sequence_length", "cosines", "sines"),
            ],
            outputs=[f"{prefix}.out", f"present.{layer}.key", f"present.{layer}.value"],
            domain=CONTRIB,
            num_heads=model.heads,
            kv_num_heads=model.kv_heads,
            do_rotary=1,
            local_window_size=_NO_WINDOW if window is None else window,
        )
        return self._linear(f"{prefix}.o", attended, [f"{prefix}.o_proj"], biased=model.output_bias)

    def _split(self, prefix: str, joined: str) -> tuple[str, str, str]:
        """Query, key and value, each head of the first two normed on its own."""
        model = self._model
        sizes = [heads * model.head_size for heads in (model.heads, model.kv_heads, model.kv_heads)]
        parts = [f"{prefix}.query", f"{prefix}.key", f"{prefix}.value"]
        lengths = self._nodes.constant("qkv_sizes", np.array(sizes, np.int64))
        self._nodes.add("Split", [joined, lengths], outputs=parts, axis=-1)
        query = self._norm_heads(f"{prefix}.q_norm.weight", parts[0], model.heads)
        key = self._norm_heads(f"{prefix}.k_norm.weight", parts[1], model.kv_heads)
        return query, key, parts[2]

    def _norm_heads(self, name: str, x: str, heads: int) -> str:
        size = self._model.head_size
        # A zero in a shape keeps what is there.
        apart = self._nodes.constant(f"heads_{heads}", np.array([0, 0, heads, size], np.int64))
        joined = self._nodes.constant(f"joined_{heads}", np.array([0, 0, heads * size], np.int64))
        _, normal = self._norm(name, self._nodes.add("Reshape", [x, apart]), "")
        return self._nodes.add("Reshape", [normal, joined])

    def _feed_forward(self, prefix: str, x: str) -> str:
        model = self._model
        joined = self._linear(
            f"{prefix}.gate_up",
            x,
            [f"{prefix}.gate_proj", f"{prefix}.up_proj"],
            biased=model.mlp_bias,
        )
        parts = [f"{prefix}.gate", f"{prefix}.up"]
        self._nodes.add("Split", [joined], outputs=parts, axis=-1, num_outputs=2)
        opened = self._nodes.add("QuickGelu", [parts[0]], domain=CONTRIB, alpha=1.0)
        gated = self._nodes.add("Mul", [opened, parts[1]])
        return self._linear(f"{prefix}.down", gated, [f"{prefix}.down_proj"], biased=model.mlp_bias)

    def _logits(self, normal: str) -> None:
        """Logits float32 [n, vocab] of the last position of each row."""
        last = self._nodes.constant("last", np.array(_LAST, np.int64))
        rows = self._nodes.add("Gather", [normal, last], axis=1)
        if self._precision in {"fp32", "fp16"} and self.head == EMBEDDING:
            # Tied, and stored alike: one table serves both ends.
            logits = multiply_plain(self._nodes, rows, EMBEDDING)
        else:
            head = self._weights.stacked([self.head])
            logits = self._head_product(self._nodes, "head", rows, head)
        if self._kind is np.float16:
            logits = self._cast(logits, np.float32)
        self._nodes.add("Identity", [logits], outputs=["logits"])

    @property
    def head(self) -> str:
        """The weights that make logits."""
        tied = self._model.tied
        return EMBEDDING if tied or (tied is None and HEAD not in self._weights) else HEAD

    def _linear(self, name: str, x: str, layers: list[str], *, biased: bool) -> str:
        """The outputs of some linear layers of the same input, side by side."""
        matrix = self._weights.stacked([f"{layer}.weight" for layer in layers])
        product = self._product(self._nodes, name, x, matrix)
        if not biased:
            return product
        bias = np.concatenate([self._weights.whole(f"{layer}.bias") for layer in layers])
        return self._nodes.add(
            "Add", [product, self._nodes.weight(f"{name}.bias", bias.astype(self._kind))]
        )

    def _vector(self, name: str) -> str:
        return self._nodes.weight(name, self._weights.whole(name).astype(self._kind))

    def _cast(self, x: str, kind: type[np.float32] | type[np.float16]) -> str:
        return self._nodes.add("Cast", [x], to=_ELEMENT[kind])

    def _rotary(self) -> None:
        """The tables `cosines` and `sines` [context_tokens, head_size / 2]."""
        model = self._model
        shape = (model.context_tokens, model.head_size // 2)
        places = [self._nodes.reserve(name, shape, self._kind) for name in ("cosines", "sines")]
        for start in range(0, model.context_tokens, _POSITIONS_A_BLOCK):
            positions = range(start, min(start + _POSITIONS_A_BLOCK, model.context_tokens))
            for place, table in zip(
                places, tables(model.rope, model.head_size, positions), strict=True
            ):
                place.write_rows(start, table.astype(self._kind))


def ports(
    model: Architecture, kind: type[np.float32] | type[np.float16]
) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    """The graph's declared inputs and outputs."""
    port = helper.make_tensor_value_info
    cache: list[str | int | None] = ["n", model.kv_heads, "max_len", model.head_size]
    pairs = [f"{layer}.{part}" for layer in range(model.layers) for part in ("key", "value")]
    inputs = [
        port("input_ids", TensorProto.INT64, ["n", "s"]),
        port("seqlens_k", TensorProto.INT32, ["n"]),
        port("total_sequence_length", TensorProto.INT32, []),
        *(port(f"past_key_values.{pair}", _ELEMENT[kind], cache) for pair in pairs),
    ]
    outputs = [
        port("logits", TensorProto.FLOAT, ["n", model.vocab_size]),
        *(port(f"present.{pair}", _ELEMENT[kind], cache) for pair in pairs),
    ]
    return inputs, outputs


def check_weights(model: Architecture, weights: Weights) -> None:
    """Unusable unless every tensor that the graph will read is there and fits."""
    hidden, inner = model.hidden_size, model.intermediate_size
    query, shared = model.heads * model.head_size, model.kv_heads * model.head_size
    weights.check(EMBEDDING, (model.vocab_size, hidden))
    weights.check(FINAL_NORM, (hidden,))
    if model.tied is False or (model.tied is None and HEAD in weights):
        weights.check(HEAD, (model.vocab_size, hidden))
    linear = {
        "self_attn.q_proj": (query, hidden, model.qkv_bias),
        "self_attn.k_proj": (shared, hidden, model.qkv_bias),
        "self_attn.v_proj": (shared, hidden, model.qkv_bias),
        "self_attn.o_proj": (hidden, query, model.output_bias),
        "mlp.gate_proj": (inner, hidden, model.mlp_bias),
        "mlp.up_proj": (inner, hidden, model.mlp_bias),
        "mlp.down_proj": (hidden, inner, model.mlp_bias),
    }
    vectors = {"input_layernorm": hidden, "post_attention_layernorm": hidden}
    if model.qk_norm:
        vectors |= {"self_attn.q_norm": model.head_size, "self_attn.k_norm": model.head_size}
    for layer in range(model.layers):
        for name, size in vectors.items():
            weights.check(f"model.layers.{layer}.{name}.weight", (size,))
        for name, (rows, columns, biased) in linear.items():
            weights.check(f"model.layers.{layer}.{name}.weight", (rows, columns))
            if biased:
                weights.check(f"model.layers.{layer}.{name}.bias", (rows,))
