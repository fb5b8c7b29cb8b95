"""The file beside a graph that holds its weights, written piece by piece."""

import math
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import onnx
from onnx.helper import np_dtype_to_tensor_dtype

# ONNX Runtime maps tensors into memory; Windows maps only from multiples of this.
_ALIGNMENT_BYTES = 1 << 16

Array = npt.NDArray[np.generic]


class Place:
    """Room for one tensor; every number of it must be written once."""

    def __init__(
        self, file: BinaryIO, offset: int, shape: tuple[int, ...], kind: np.dtype[np.generic]
    ) -> None:
        self._file = file
        self._offset = offset
        self._shape = shape
        self._kind = kind

    def write_rows(self, start: int, rows: Array) -> None:
        """Rows [n, …], the first of them at row `start`."""
        row_bytes = math.prod(self._shape[1:]) * self._kind.itemsize
        self._file.seek(self._offset + start * row_bytes)
        self._file.write(self._bytes(rows))

    def write_columns(self, start: int, columns: Array) -> None:
        """Columns [rows, n] of a matrix, the first of them at column `start`."""
        width = self._shape[1]
        if columns.shape[1] == width:
            return self.write_rows(0, columns)
        for row, part in enumerate(columns):
            self._file.seek(self._offset + (row * width + start) * self._kind.itemsize)
            self._file.write(self._bytes(part))
        return None

    def _bytes(self, part: Array) -> memoryview:
        # Little-endian is the file's order, whatever this machine's is.
        ordered = part.astype(self._kind.newbyteorder("<"), copy=False)
        return np.ascontiguousarray(ordered).reshape(-1).view(np.uint8).data


class TensorFile:
    """Gives out places in the file, one after the other."""

    def __init__(self, file: BinaryIO, location: str) -> None:
        self._file = file
        self._location = location
        self._end = 0

    def reserve(
        self, name: str, shape: tuple[int, ...], kind: np.dtype[np.generic]
    ) -> tuple[onnx.TensorProto, Place]:
        """The tensor as the graph declares it, and where its numbers go."""
        offset = -(-self._end // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        length = math.prod(shape) * kind.itemsize
        self._end = offset + length
        tensor = onnx.TensorProto(
            name=name,
            data_type=np_dtype_to_tensor_dtype(kind),
            dims=shape,
            data_location=onnx.TensorProto.EXTERNAL,
        )
        for key, value in (("location", self._location), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        return tensor, Place(self._file, offset, shape, kind)
