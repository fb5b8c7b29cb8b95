"""Weights rounded to a few bits: codes and scales, and how far off they are is decided here."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
SignedBytes = npt.NDArray[np.int8]

INT8_MAX = 127
INT7_MAX = 63


def rowwise_int8(rows: Floats, largest: int = INT8_MAX) -> tuple[SignedBytes, Floats]:
    """Codes int8 [n, k] and scales float32 [n]: a weight is its code times its row's scale.

    No code is beyond `largest`.
    """
    scales = np.abs(rows).max(axis=1) / np.float32(largest)
    # A row of zeros has codes of zero under any scale.
    safe = np.where(scales > 0, scales, np.float32(1))
    return np.rint(rows / safe[:, None]).astype(np.int8), safe


def blockwise(rows: Floats, bits: int, block: int) -> tuple[Bytes, Floats]:
    """Codes uint8 [n, blocks, block * bits / 8], scales float32 [n, blocks], for MatMulNBits.

    A weight is (code - 2^(bits-1)) times its block's scale; two 4-bit codes share a byte, the
    lower one first. A last block that k does not fill is filled with zeros.
    """
    middle = 1 << (bits - 1)
    blocks = _blocks(rows, block)
    scales = _scales(blocks, middle)
    codes = _codes(blocks, scales, middle)
    scales = _refitted(blocks, codes, scales)
    stored: Bytes = (codes + middle).astype(np.uint8)
    return (_paired(stored) if bits == 4 else stored), scales


def _paired(codes: Bytes) -> Bytes:
    """Two 4-bit codes a byte."""
    pairs: Bytes = codes[..., 0::2] | np.left_shift(codes[..., 1::2], 4)
    return pairs


def _blocks(rows: Floats, block: int) -> Floats:
    n, k = rows.shape
    if missing := -k % block:
        rows = np.pad(rows, ((0, 0), (0, missing)))
    return rows.reshape(n, -1, block)


def _scales(blocks: Floats, middle: int) -> Floats:
    # The farthest weight of a block gets the code -middle, of which there is no positive twin.
    farthest = np.abs(blocks).argmax(axis=-1, keepdims=True)
    scales: Floats = np.take_along_axis(blocks, farthest, axis=-1)[..., 0] / np.float32(-middle)
    return np.where(scales == 0, np.float32(1), scales)


def _codes(blocks: Floats, scales: Floats, middle: int) -> Floats:
    codes: Floats = np.rint(blocks / scales[..., None])
    return np.clip(codes, -middle, middle - 1, out=codes)


def _refitted(blocks: Floats, codes: Floats, scales: Floats) -> Floats:
    """The scales that come nearest to the weights, in the least squares, with these codes."""
    shared = np.einsum("nbk,nbk->nb", blocks, codes)
    length = np.einsum("nbk,nbk->nb", codes, codes)
    return np.where(length > 0, shared / np.maximum(length, 1), scales).astype(np.float32)
