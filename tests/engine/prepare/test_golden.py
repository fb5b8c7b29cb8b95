"""Logits and tokens of every family are those that transformers gave."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dispatchd.engine.prepare.manifest import Precision
from dispatchd.engine.prepare.prepare import prepare
from dispatchd.engine.prepare.quantize import blockwise
from tests.engine.prepare.oracle import prompt
from tests.support.stepping import Steps, greedy
from tests.support.vectors import name_of, vectors
from tests.support.weights import CONFIGS, VOCAB, Array, tensors, write_model, write_safetensors

VECTORS = vectors("decoders")
# How far the logits, whose largest are about 3, may be off on these small models.
FAR: dict[Precision, float] = {"fp32": 1e-4, "fp16": 0.03, "int8": 0.25, "int4": 0.25}
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


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("vector", VECTORS[2::3], ids=name_of)
def test_rounded_weights_stay_near(
    vector: dict[str, Any], precision: Precision, folder: Path
) -> None:
    steps = steps_of(folder, vector, precision)
    logits = steps.read(0, vector["prompt"], 64)
    far = np.abs(logits - vector["logits"]).max()
    assert far < FAR[precision]


@pytest.mark.parametrize("name", ["llama untied, every bias", "mistral", "qwen3 untied, biased"])
def test_int4_answers_as_its_rounded_weights_do(name: str, folder: Path) -> None:
    config = CONFIGS[name]
    source = write_model(folder / f"{name} exact", config)
    prepare(source, folder / f"{name} int4", "int4", name=name)
    write_safetensors(
        source / "model.safetensors",
        {key: rounded(key, value) for key, value in tensors(config).items()},
    )
    prepare(source, folder / f"{name} rounded", "fp32", name=name)
    int4, fp32 = (
        Steps(folder / f"{name} {kind}", slots=1, max_len=MAX_LEN) for kind in ("int4", "rounded")
    )
    ids = prompt(70)
    assert np.abs(int4.read(0, ids, 64) - fp32.read(0, ids, 64)).max() < FAR["int4"]


def rounded(name: str, weights: Array) -> Array:
    """What is left of a tensor after it was rounded as int4 rounds it."""
    if weights.ndim == 1 or "embed" in name:
        return weights
    bits = 8 if "lm_head" in name else 4
    codes, scales = blockwise(np.asarray(weights, np.float32), bits, 32)
    if bits == 4:
        codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(*scales.shape, 32)
    whole = (codes.astype(np.float32) - (1 << (bits - 1))) * scales[..., None]
    return whole.reshape(weights.shape)


def test_every_family_has_its_vectors() -> None:
    assert [vector["config"] for vector in VECTORS[::3]] == list(CONFIGS.values())
    assert all(len(vector["logits"]) == VOCAB for vector in VECTORS)
