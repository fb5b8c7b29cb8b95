"""The exported graph computes what the network is said to compute, up to its 8-bit rounding."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatchd.engine.session import Session, open_session
from scripts.sentiment_training.export import graph
from scripts.sentiment_training.shape import BANKS, EMBEDDING, FEATURES, Weights

WORDS = 50
TEMPERATURE = 0.8
IDS = st.lists(st.lists(st.integers(1, WORDS - 1), min_size=1, max_size=12), min_size=1, max_size=6)

Floats = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def weights() -> Weights:
    chance = np.random.default_rng(0)

    def some(*shape: int) -> npt.NDArray[np.float32]:
        return chance.normal(0, 0.2, shape).astype(np.float32)

    embedding = some(WORDS, EMBEDDING)
    embedding[0] = 0
    banks = [(some(bank.channels, bank.width * EMBEDDING), some(bank.channels)) for bank in BANKS]
    return Weights(embedding, banks, (some(3, FEATURES), some(3)))


@pytest.fixture(scope="module")
def session(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Session:
    path: Path = tmp_path_factory.mktemp("graph") / "model.onnx"
    onnx.save_model(graph(weights, TEMPERATURE), path)
    return open_session(path, threads=1)


def run(session: Session, rows: list[list[int]], length: int = 0) -> Floats:
    ids = np.zeros((len(rows), max(length, *map(len, rows))), dtype=np.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
    logits, _ = session.run({"input_ids": session.tensor(ids)}, fetch="logits")
    return np.asarray(logits, dtype=np.float64)


def expected(weights: Weights, row: list[int]) -> Floats:
    """In floating point, window by window, as Kim's network is drawn."""
    embedded = weights.embedding[row]
    features = [embedded.mean(axis=0)]
    for bank, (kernel, bias) in zip(BANKS, weights.banks, strict=True):
        padded = np.pad(embedded, ((bank.reach, bank.reach + 1), (0, 0)))
        windows = [
            padded[start : start + bank.width].ravel() for start in range(len(row) + bank.width)
        ]
        features.append(np.maximum((np.array(windows) @ kernel.T).max(axis=0) + bias, 0))
    weight, bias = weights.output
    return np.asarray((np.concatenate(features) @ weight.T + bias) / TEMPERATURE, np.float64)


@settings(deadline=None)
@given(IDS)
def test_the_graph_is_the_network(
    weights: Weights, session: Session, rows: list[list[int]]
) -> None:
    plain = np.array([expected(weights, row) for row in rows])
    assert run(session, rows) == pytest.approx(plain, abs=0.2)


@settings(deadline=None)
@given(IDS, st.integers(1, 40))
def test_rows_know_neither_padding_nor_each_other(
    session: Session, rows: list[list[int]], length: int
) -> None:
    alone = np.concatenate([run(session, [row]) for row in rows])
    assert np.array_equal(run(session, rows, length), alone)
