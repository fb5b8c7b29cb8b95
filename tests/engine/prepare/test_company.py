"""A sequence's logits do not depend on its neighbours, nor on how its prompt was cut."""

from pathlib import Path

import numpy as np
import pytest

from dispatchd.engine.prepare.manifest import Precision
from dispatchd.engine.prepare.prepare import prepare
from tests.engine.prepare.oracle import prompt
from tests.support.stepping import Steps
from tests.support.weights import CONFIGS, write_model

LENGTHS = (3, 1, 90, 17, 40, 2, 64, 29)
DECODED = 4
FAMILIES = ("llama tied", "mistral with a window", "qwen2", "qwen3")


@pytest.fixture(params=FAMILIES, scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("company")
    write_model(path, CONFIGS[request.param])
    return path


def decode(steps: Steps, slot: int, firsts: list[int], lengths: list[int]) -> list[bytes]:
    """The logits of some steps of the slots from `slot` on, a row's steps joined."""
    made, tokens = [], np.array(firsts)
    for step in range(DECODED):
        logits = steps.step(slot, tokens[:, None].tolist(), [n + step + 1 for n in lengths])
        made.append(logits)
        tokens = logits.argmax(axis=1)
    return [row.tobytes() for row in np.stack(made, axis=1)]


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_alone_and_together_are_the_same_bits(precision: Precision, folder: Path) -> None:
    prepare(folder, folder / precision, precision, name="some")
    steps = Steps(folder / precision, slots=len(LENGTHS), max_len=100)
    firsts = []
    for slot, length in enumerate(LENGTHS):
        firsts.append(int(steps.read(slot, prompt(length), 64).argmax()))
    before = steps.cache.copy()
    together = decode(steps, 0, firsts, list(LENGTHS))
    steps.cache[...] = before
    halves = [
        *decode(steps, 0, firsts[:3], list(LENGTHS[:3])),
        *decode(steps, 3, firsts[3:], list(LENGTHS[3:])),
    ]
    steps.cache[...] = before
    alone = [
        decode(steps, slot, [first], [length])[0]
        for slot, (first, length) in enumerate(zip(firsts, LENGTHS, strict=True))
    ]
    assert together == alone
    assert together == halves


def test_chunks_do_not_change_int8(folder: Path) -> None:
    prepare(folder, folder / "int8 chunks", "int8", name="some")
    steps = Steps(folder / "int8 chunks", slots=1, max_len=100)
    # A chunk of a single token goes through another kernel, so prompts are cut without one.
    answers = {chunk: steps.read(0, prompt(90), chunk).tobytes() for chunk in (90, 64, 17, 4, 2)}
    assert len(set(answers.values())) == 1
