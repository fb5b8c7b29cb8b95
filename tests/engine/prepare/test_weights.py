"""Safetensors in every type and layout, and what is wrong with broken ones."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dispatchd.core.errors import Unusable
from dispatchd.engine.prepare import weights
from dispatchd.engine.prepare.weights import open_weights
from tests.support.weights import write_safetensors

NAMED = {
    "a": np.random.RandomState(0).standard_normal((7, 5)).astype(np.float32),
    "b": np.random.RandomState(1).standard_normal((4, 5)).astype(np.float32),
    "c": np.random.RandomState(2).standard_normal(3).astype(np.float32),
}
FILE = "model.safetensors"


@pytest.mark.parametrize(("dtype", "far"), [("F32", 0), ("F16", 2**-11), ("BF16", 2**-7)])
def test_every_type_is_read_as_float32(dtype: str, far: float, tmp_path: Path) -> None:
    write_safetensors(tmp_path / FILE, NAMED, dtype)
    found = open_weights(tmp_path)
    np.testing.assert_allclose(found.rows("a", 2, 6), NAMED["a"][2:6], rtol=far)
    np.testing.assert_allclose(found.whole("c"), NAMED["c"], rtol=far)
    assert found.whole("c").dtype == np.float32


def test_stacked_matrices_come_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "BLOCK_NUMBERS_MAX", 15)
    write_safetensors(tmp_path / FILE, NAMED)
    stacked = open_weights(tmp_path).stacked(["a", "b"])
    blocks = list(stacked.blocks())
    assert [start for start, _ in blocks] == [0, 3, 6, 7, 10]
    assert (stacked.rows, stacked.columns) == (11, 5)
    np.testing.assert_array_equal(
        np.concatenate([rows for _, rows in blocks]), np.concatenate([NAMED["a"], NAMED["b"]])
    )


def write_index(folder: Path, places: dict[str, str]) -> None:
    (folder / f"{FILE}.index.json").write_text(json.dumps({"weight_map": places}))


def test_shards_are_one(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "1.safetensors", {"a": NAMED["a"], "left out": NAMED["c"]})
    write_safetensors(tmp_path / "2.safetensors", {"b": NAMED["b"]}, "F16")
    write_index(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"})
    found = open_weights(tmp_path)
    assert found.stacked(["a", "b"]).rows == 11
    assert ("a" in found, "left out" in found) == (True, False)
    assert [path.name for path in found.files] == ["1.safetensors", "2.safetensors"]


def cut(path: Path, end: int) -> None:
    path.write_bytes(path.read_bytes()[:end])


def header(path: Path, text: bytes) -> None:
    path.write_bytes(len(text).to_bytes(8, "little") + text)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda f: (f / FILE).unlink(), "holds no model.safetensors"),
    "empty": (lambda f: cut(f / FILE, 0), "is no safetensors file"),
    "cut in the header": (lambda f: cut(f / FILE, 40), "is no safetensors file"),
    "cut in the numbers": (lambda f: cut(f / FILE, -1), "is cut short"),
    "no JSON": (lambda f: header(f / FILE, b"{"), "is no safetensors file"),
    "no object": (lambda f: header(f / FILE, b"[]"), "is no safetensors file"),
    "no shape": (lambda f: header(f / FILE, b'{"a":{"dtype":"F32"}}'), "shape"),
    "wrong place": (
        lambda f: header(f / FILE, b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,0]}}'),
        "a does not fill its place",
    ),
    "shard missing": (lambda f: write_index(f, {"a": "1.safetensors"}), "lacks 1.safetensors"),
    "shard elsewhere": (lambda f: write_index(f, {"a": "../1.safetensors"}), "file elsewhere"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    write_safetensors(tmp_path / FILE, NAMED)
    break_it, sentence = BROKEN[name]
    break_it(tmp_path)
    with pytest.raises(Unusable, match=sentence) as caught:
        open_weights(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_the_config_asks_for_must_be_there(tmp_path: Path) -> None:
    write_safetensors(tmp_path / FILE, NAMED)
    found = open_weights(tmp_path)
    found.check("a", (7, 5))
    with pytest.raises(Unusable, match="lacks the weights d"):
        found.check("d", (1,))
    with pytest.raises(
        Unusable, match=r"a is of shape \[7, 5\], but config.json asks for \[5, 7\]"
    ):
        found.check("a", (5, 7))


def test_numbers_must_be_finite(tmp_path: Path) -> None:
    write_safetensors(tmp_path / FILE, {"a": np.array([[1, np.nan]], np.float32)})
    with pytest.raises(Unusable, match="a holds numbers that are not finite"):
        open_weights(tmp_path).rows("a", 0, 1)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    write_safetensors(tmp_path / FILE, NAMED)
    found = open_weights(tmp_path)
    (tmp_path / FILE).unlink()
    with pytest.raises(Unusable, match=r"model\.safetensors cannot be read \(No such file"):
        found.whole("c")


def test_a_type_that_is_not_known_is_named(tmp_path: Path) -> None:
    text = b'{"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}'
    (tmp_path / FILE).write_bytes(len(text).to_bytes(8, "little") + text + b"\0\0")
    with pytest.raises(Unusable, match="F8_E4M3; those known are F32, F16, BF16"):
        open_weights(tmp_path).check("a", (2,))
