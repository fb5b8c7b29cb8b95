"""Codes and scales: how near they come, and the layout that kernels read."""

import numpy as np

from dispatchd.engine.prepare.quantize import Floats, blockwise, rowwise_int8

ROWS = np.random.RandomState(0).standard_normal((6, 80)).astype(np.float32)
ROWS[2] = 0
ROWS[3, :32] = 0


def restored(bits: int, block: int) -> Floats:
    codes, scales = blockwise(ROWS, bits, block)
    if bits == 4:
        codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:2], block)
    middle = 1 << (bits - 1)
    numbers = (codes.astype(np.float32) - middle) * scales[..., None]
    whole: Floats = numbers.reshape(len(ROWS), -1)
    return whole


def test_a_row_is_its_codes_times_its_scale() -> None:
    codes, scales = rowwise_int8(ROWS)
    assert (codes.dtype.name, scales.dtype.name) == ("int8", "float32")
    assert np.abs(codes[[0, 1, 4, 5]]).max(axis=1).tolist() == [127] * 4
    assert (np.abs(codes * scales[:, None] - ROWS) <= scales[:, None] * 0.5001).all()
    assert not codes[2].any()


def test_blocks_come_near_and_zeros_stay_zero() -> None:
    for bits, far in ((4, 0.1), (8, 0.006)):
        found = restored(bits, 32)
        assert found.shape == (6, 96)
        assert not found[2].any()
        assert not found[3, :32].any()
        assert not found[:, 80:].any()
        error = np.linalg.norm(found[:, :80] - ROWS) / np.linalg.norm(ROWS)
        assert error < far
