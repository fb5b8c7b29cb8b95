"""Scores that stay where they were made: what comes back is what was asked for, and no more."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatchd.engine.batch.device import DeviceReadout
from dispatchd.engine.batch.graphs import copies
from dispatchd.engine.sampling import Ranked, highest
from dispatchd.engine.session import open_graph
from tests.engine.batch.conftest import Opened
from tests.engine.batch.test_batcher import LIMIT_SECONDS, Heard, answers, question, words
from tests.support.memory import view
from tests.support.small_model import CONTEXT_TOKENS, prepare_small
from tests.support.stepping import Steps

ROWS, VOCAB = 5, 300
FAR = 0.05  # of logits whose largest are about 10
SESSION = open_graph(copies(1, "float32"), "cpu")


@settings(deadline=None)
@given(
    st.lists(st.integers(0, VOCAB + 10), min_size=1, max_size=ROWS),
    st.integers(0, 2**32 - 1),
    st.integers(0, 3),
)
def test_each_row_comes_as_deep_as_it_is_wanted(depths: list[int], seed: int, digits: int) -> None:
    readout = DeviceReadout(SESSION, slots=ROWS, vocab_size=VOCAB)
    scores = np.random.default_rng(seed).normal(size=(len(depths), VOCAB)).round(digits)
    view(readout.place(len(depths)))[...] = scores
    for row, depth, expected in zip(
        readout.read(depths), depths, scores.astype(np.float32), strict=True
    ):
        if 0 < depth < VOCAB:
            assert isinstance(row, Ranked)
            assert row.places.tolist() == highest(expected, depth).tolist()
            assert row.scores.tolist() == expected[row.places].tolist()
        else:
            assert not isinstance(row, Ranked)
            assert row.tolist() == expected.tolist()


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows that were fetched in full."""
    rows: list[int] = []
    whole = DeviceReadout._whole

    def counted(readout: DeviceReadout, row: int) -> Any:
        rows.append(row)
        return whole(readout, row)

    monkeypatch.setattr(DeviceReadout, "_whole", counted)
    return rows


@pytest.mark.parametrize("on_device", [True], indirect=True)
@pytest.mark.parametrize(
    ("how", "whole"),
    [
        ({}, False),
        ({"temperature": 1.0, "top_k": 50, "top_p": 0.9, "min_p": 0.01}, False),
        ({"temperature": 1.0, "top_p": 0.9}, True),
        ({"temperature": 1.0, "top_k": 2000}, True),
        ({"repetition_penalty": 1.2}, True),
    ],
)
def test_a_row_is_fetched_only_for_those_that_need_all_of_it(
    how: dict[str, Any], whole: bool, opened: Opened, fetched: list[int]
) -> None:
    batcher = opened(slots=3)
    fetched.clear()
    requests = [question(words(9, seed=n), 12, ignore_eos=True, seed=n, **how) for n in range(3)]
    answers(batcher, requests)
    assert len(fetched) == (3 * 12 if whole else 0)


def test_fp16_says_what_fp32_finds_as_good(opened: Opened, tmp_path: Path) -> None:
    batcher = opened(prepare_small(tmp_path / "fp16", "fp16"))
    exact = Steps(prepare_small(tmp_path / "fp32", "fp32"), slots=1, max_len=CONTEXT_TOKENS)
    assert (batcher.determinism.precision, batcher.determinism.provider) == ("fp16", "cpu")
    for number in range(4):
        heard = Heard()
        ticket = batcher.submit(question(words(20, seed=number), 30, ignore_eos=True), heard)
        assert heard.ended.wait(LIMIT_SECONDS)
        prompt, made = ticket._sequence.prompt.tolist(), ticket._sequence._seen.tolist()[-30:]
        logits = exact.read(0, prompt, 64)
        for place, token in enumerate(made):
            assert logits.max() - logits[token] < FAR
            logits = exact.step(0, [[token]], [len(prompt) + place + 1])[0]
