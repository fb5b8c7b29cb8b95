"""Products of activations and weights, one way for each precision."""

from functools import partial
from typing import Protocol

import numpy as np

from dispatchd.core.errors import Unusable
from dispatchd.engine.prepare.manifest import Int8Bits, Precision
from dispatchd.engine.prepare.nodes import CONTRIB, Nodes
from dispatchd.engine.prepare.quantize import INT7_MAX, INT8_MAX, blockwise, rowwise_int8
from dispatchd.engine.prepare.weights import Matrix

INT4_BLOCK = 32
_UINT8_MIDDLE = 128
_INT8_ACCURACY = 4  # MatMulNBits: activations are rounded to int8, too


class Product(Protocol):
    """Puts `x · matrixᵀ` into a graph."""

    def __call__(self, nodes: Nodes, name: str, x: str, matrix: Matrix) -> str:
        """The product of x, float [n, s, columns], as float [n, s, rows]; `name` names weights."""


def products(precision: Precision, int8_bits: Int8Bits) -> tuple[Product, Product]:
    """How the layers multiply in this precision, and how the head does."""
    match precision:
        case "fp32":
            return _plain(np.float32), _plain(np.float32)
        case "fp16":
            return _plain(np.float16), _plain(np.float16)
        case "int8":
            product = partial(_int8, INT7_MAX if int8_bits == 7 else INT8_MAX)
            return product, product
        case "int4":
            # The head decides between tokens that are near each other: it keeps 8 bits.
            return _blocks_of(4), _blocks_of(8)


def multiply_plain(nodes: Nodes, x: str, weight: str) -> str:
    """The product of x and a weight [rows, columns] that the graph has already."""
    return nodes.add("FusedMatMul", [x, weight], domain=CONTRIB, transB=1)


def _plain(kind: type[np.float32] | type[np.float16]) -> Product:
    """Unrounded weights [rows, columns], as they are published."""

    def product(nodes: Nodes, name: str, x: str, matrix: Matrix) -> str:
        return multiply_plain(nodes, x, plain_matrix(nodes, name, matrix, kind))

    return product


def plain_matrix(
    nodes: Nodes, name: str, matrix: Matrix, kind: type[np.float32] | type[np.float16]
) -> str:
    """The matrix as a weight [rows, columns]; Unusable where float16 cannot hold a number."""
    place = nodes.reserve(name, (matrix.rows, matrix.columns), kind)
    for start, rows in matrix.blocks():
        with np.errstate(over="ignore"):
            numbers = rows.astype(kind, copy=False)
        if not np.isfinite(numbers).all():
            raise Unusable(f"The weights {name} hold numbers too large for fp16: take fp32.")
        place.write_rows(start, numbers)
    return name


def _int8(code_max: int, nodes: Nodes, name: str, x: str, matrix: Matrix) -> str:
    """8-bit weights with a scale a row, and 8-bit activations with a scale of their own a row.

    So a token's result does not depend on what stands beside it in the batch. Sums are whole
    numbers, the same on every CPU. One without VNNI adds two products of an activation, at most
    255, and a weight in 16 bits, signed: that fits where no weight is beyond 63, otherwise ONNX
    Runtime must be told to take slower kernels.
    """
    codes, scales = _int8_weights(nodes, name, matrix, code_max)
    step = nodes.constant("int8_step", np.array(1 / INT8_MAX, np.float32))
    middle = nodes.constant("int8_middle", np.array(_UINT8_MIDDLE, np.uint8))
    largest = nodes.add("ReduceMax", [nodes.add("Abs", [x]), _last_axis(nodes)], keepdims=1)
    # A row of zeros becomes 0 / 0, some code for each, and is zero again once multiplied back.
    shares = nodes.add("Div", [x, largest])
    rounded = nodes.add("QuantizeLinear", [shares, step, middle])
    product = nodes.add(
        "MatMulIntegerToFloat", [rounded, codes, step, scales, middle], domain=CONTRIB
    )
    return nodes.add("Mul", [product, largest])


def _blocks_of(bits: int) -> Product:
    """Weights in blocks of 32 with a scale each; activations are rounded by the kernel."""

    def product(nodes: Nodes, name: str, x: str, matrix: Matrix) -> str:
        count = -(-matrix.columns // INT4_BLOCK)
        codes = nodes.reserve(
            f"{name}.codes", (matrix.rows, count, INT4_BLOCK * bits // 8), np.uint8
        )
        scales = nodes.reserve(f"{name}.scales", (matrix.rows, count), np.float32)
        for start, rows in matrix.blocks():
            stored, steps = blockwise(rows, bits, INT4_BLOCK)
            codes.write_rows(start, stored)
            scales.write_rows(start, steps)
        return nodes.add(
            "MatMulNBits",
            [x, f"{name}.codes", f"{name}.scales"],
            domain=CONTRIB,
            K=matrix.columns,
            N=matrix.rows,
            bits=bits,
            block_size=INT4_BLOCK,
            accuracy_level=_INT8_ACCURACY,
        )

    return product


def _int8_weights(nodes: Nodes, name: str, matrix: Matrix, code_max: int) -> tuple[str, str]:
    """Codes int8 [columns, rows] and scales float32 [rows], by their names."""
    codes = nodes.reserve(f"{name}.codes", (matrix.columns, matrix.rows), np.int8)
    scales = np.empty(matrix.rows, np.float32)
    for start, rows in matrix.blocks():
        rounded, steps = rowwise_int8(rows, code_max)
        codes.write_columns(start, rounded.T)
        scales[start : start + len(steps)] = steps
    return f"{name}.codes", nodes.weight(f"{name}.scales", scales)


def _last_axis(nodes: Nodes) -> str:
    return nodes.constant("last_axis", np.array([-1], np.int64))
