"""Logits and tokens of every family are those that transformers gave."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dispatchd.engine.prepare.manifest import Precision
from dispatchd.engine.prepare.prepare import prepare
from tests.support.stepping import Steps, greedy
from tests.support.vectors import name_of, vectors
from tests.support.weights import CONFIGS, VOCAB, write_model

VECTORS = vectors("decoders")
# How far the logits, whose largest are about 3, may be off on these small models.
FAR: dict[Precision, float] = {"fp32": 1e-4, "fp16": 0.03, "int8": 0.25, "int4": 1.6}
MAX_LEN = 80


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("golden")


def steps_of(folder: Path, vector: dict[str, Any], precision: Precision) -> Steps:
    name = vector["name"].rpartition(", ")[0]
    target = folder / f"{name} {precision}"
    if not target.exists():
        prepare(write_model(folder / name, vector["config"]), target, precision, name=name)
    return Steps(target, slots=1, max_len=MAX_LEN)


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_fp32_answers_as_transformers_does(vector: dict[str, Any], folder: Path) -> None:
    steps = steps_of(folder, vector, "fp32")
    prompt, expected = vector["prompt"], vector["logits"]
    for chunk in (len(prompt), 16):
        np.testing.assert_allclose(steps.read(0, prompt, chunk), expected, rtol=0, atol=FAR["fp32"])
    assert greedy(steps, prompt, len(vector["greedy"])) == vector["greedy"]


@pytest.mark.parametrize("precision", ["fp16", "int8", "int4"])
@pytest.mark.parametrize("vector", VECTORS[2::3], ids=name_of)
def test_rounded_weights_stay_near(
    vector: dict[str, Any], precision: Precision, folder: Path
) -> None:
    steps = steps_of(folder, vector, precision)
    logits = steps.read(0, vector["prompt"], 64)
    far = np.abs(logits - vector["logits"]).max()
    assert far < FAR[precision]


def test_every_family_has_its_vectors() -> None:
    assert [vector["config"] for vector in VECTORS[::3]] == list(CONFIGS.values())
    assert all(len(vector["logits"]) == VOCAB for vector in VECTORS)
