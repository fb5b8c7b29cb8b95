"""A mixed batch beside transformers itself, where PyTorch is installed."""

from pathlib import Path

import numpy as np
import pytest

from dispatchd.engine.prepare.prepare import prepare
from tests.engine.prepare.oracle import Oracle, prompt
from tests.support.stepping import Steps
from tests.support.weights import CONFIGS, write_model

for package in ("torch", "transformers"):
    pytest.importorskip(package, reason=f"needs package: {package}")

LENGTHS = (1, 5, 40, 64, 130, 300)
DECODED = 12
FAR = 1e-3


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CONFIGS)
def test_a_mixed_batch_answers_as_transformers_does(name: str, tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", CONFIGS[name], seed=1)
    prepare(source, tmp_path / "target", "fp32", name=name)
    oracle = Oracle(source)
    steps = Steps(tmp_path / "target", slots=len(LENGTHS), max_len=320)
    texts = [prompt(length) for length in LENGTHS]
    made = [np.stack([steps.read(slot, text, 64) for slot, text in enumerate(texts)])]
    for _ in range(DECODED):
        for text, token in zip(texts, made[-1].argmax(axis=1), strict=True):
            text.append(int(token))
        made.append(steps.step(0, [text[-1:] for text in texts], [len(text) for text in texts]))
    for text, logits in zip(texts, np.stack(made, axis=1), strict=True):
        expected = oracle.logits(text)[-DECODED - 1 :]
        np.testing.assert_allclose(logits, expected, rtol=0, atol=FAR)
        # The same likeliest token after each beginning: the same greedy text.
        assert logits.argmax(axis=1).tolist() == expected.argmax(axis=1).tolist()
