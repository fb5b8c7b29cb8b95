"""A folder that is prepared: whole or not at all, the same each time, and checked."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from dispatchd.core.errors import Unusable
from dispatchd.engine.prepare import weights
from dispatchd.engine.prepare.manifest import Precision, read_manifest, verify
from dispatchd.engine.prepare.prepare import prepare
from tests.engine.prepare.oracle import prompt
from tests.support.stepping import Steps
from tests.support.weights import CONFIGS, tensors, write_model, write_safetensors

CONFIG = CONFIGS["llama untied, every bias"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int4")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = write_model(tmp_path / "source", CONFIG)
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    (folder / "README.md").write_text("not copied")
    return folder


def left_beside(target: Path) -> list[str]:
    """What is in the target's folder besides it and its lock."""
    own = {target.name, f".{target.name}.lock"}
    return sorted({path.name for path in target.parent.iterdir()} - own)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_manifest_says_what_the_folder_holds(
    precision: Precision, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "models" / "small"
    manifest = prepare(
        source, target, precision, name="small", source_repo="some/small", revision="abc"
    )
    assert read_manifest(target) == manifest
    verify(target, manifest)
    files = {path.name for path in target.iterdir()}
    assert files == {
        *("graph.onnx", "graph.onnx.data", "manifest.json"),
        *("config.json", "tokenizer.json", "chat_template.jinja"),
    }
    assert manifest.result == {name: digest(target / name) for name in files - {"manifest.json"}}
    assert manifest.source.files == {
        name: digest(source / name)
        for name in ("config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors")
    }
    assert (manifest.source.repo, manifest.source.revision) == ("some/small", "abc")
    shape = (manifest.layers, manifest.kv_heads, manifest.head_size, manifest.vocab_size)
    assert (shape, manifest.context_tokens) == ((3, 2, 16, 96), 512)
    assert left_beside(target) == []


def test_the_same_source_gives_the_same_bytes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for precision in PRECISIONS:
        once = prepare(source, tmp_path / f"{precision} once", precision, name="a")
        monkeypatch.setattr(weights, "BLOCK_NUMBERS_MAX", 1000)
        twice = prepare(source, tmp_path / f"{precision} twice", precision, name="b")
        monkeypatch.undo()
        assert (once.result, once.model_hash) == (twice.result, twice.model_hash)


def test_progress_rises_to_one(source: Path, tmp_path: Path) -> None:
    heard: list[float] = []
    prepare(source, tmp_path / "target", "int8", name="a", progress=heard.append)
    assert heard == sorted(heard)
    assert (heard[-1], len(heard) > 5) == (1.0, True)


def test_an_older_folder_is_replaced(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "target", "fp32", name="a")
    (tmp_path / "target" / "stray").touch()
    prepare(source, tmp_path / "target", "int8", name="a")
    assert read_manifest(tmp_path / "target").precision == "int8"
    assert not (tmp_path / "target" / "stray").exists()


def test_a_folder_that_is_something_else_stays(source: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(Unusable, match="is no prepared model"):
        prepare(source, tmp_path / "target", "int8", name="a")


def test_a_failure_leaves_the_older_folder_and_nothing_else(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "models" / "target"
    before = prepare(source, target, "fp32", name="a")
    broken = tensors(CONFIG)
    broken["model.layers.2.mlp.down_proj.weight"][3, 4] = np.inf
    write_safetensors(source / "model.safetensors", broken)
    with pytest.raises(Unusable, match=r"layers\.2\.mlp\.down_proj\.weight.*not finite"):
        prepare(source, target, "int8", name="a")
    verify(target, before)
    assert left_beside(target) == []


def test_what_a_killed_process_left_is_tidied_up(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "models" / "target"
    prepare(source, target, "fp32", name="a")
    target.rename(target.with_name(".target.old"))
    (target.with_name(".target.new") / "graph").mkdir(parents=True)
    source.joinpath("tokenizer.json").rename(tmp_path / "aside")
    with pytest.raises(Unusable, match="tokenizer"):
        prepare(source, target, "int8", name="a")
    (tmp_path / "aside").rename(source / "tokenizer.json")
    prepare(source, target, "int8", name="a")
    assert read_manifest(target).precision == "int8"
    assert left_beside(target) == []


def test_an_interrupted_exchange_keeps_the_older_folder(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "models" / "target"
    before = prepare(source, target, "fp32", name="a")
    rename = Path.rename

    def interrupted(self: Path, to: Path) -> Path:
        if self.name == ".target.new":
            raise KeyboardInterrupt
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, target, "int8", name="a")
    verify(target, before)
    assert left_beside(target) == []


def test_two_at_once_do_not_disturb_each_other(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    refused: list[float] = []

    def second(share: float) -> None:
        if 0.5 < share < 0.6 and not refused:
            with pytest.raises(Unusable, match="is being prepared by another process"):
                prepare(source, target, "fp32", name="b")
            refused.append(share)

    manifest = prepare(source, target, "int8", name="a", progress=second)
    assert refused
    verify(target, manifest)


def test_a_disk_without_room_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(Unusable, match=r"would need .* GB, but its disk has 0\.0 GB free"):
        prepare(source, tmp_path / "target", "int8", name="a")


def test_numbers_too_large_for_fp16_are_refused(source: Path, tmp_path: Path) -> None:
    large = tensors(CONFIG)
    large["model.layers.0.mlp.up_proj.weight"][0, 0] = 70_000
    write_safetensors(source / "model.safetensors", large)
    with pytest.raises(Unusable, match="too large for fp16: take fp32"):
        prepare(source, tmp_path / "target", "fp16", name="a")


BREAKAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    "small vocabulary": (
        lambda f: rewrite(f / "config.json", vocab_size=0),
        "vocab_size",
    ),
    "another model's weights": (
        lambda f: rewrite(f / "config.json", intermediate_size=97),
        "belong to different models",
    ),
    "more layers": (
        lambda f: rewrite(f / "config.json", num_hidden_layers=4),
        r"lacks the weights model\.layers\.3",
    ),
    "head missing": (lambda f: without(f, "lm_head.weight"), "lacks the weights lm_head.weight"),
    "bias missing": (
        lambda f: without(f, "model.layers.1.self_attn.k_proj.bias"),
        r"lacks the weights model\.layers\.1\.self_attn\.k_proj\.bias",
    ),
}


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def without(folder: Path, name: str) -> None:
    kept = {key: value for key, value in tensors(CONFIG).items() if key != name}
    write_safetensors(folder / "model.safetensors", kept)


@pytest.mark.parametrize("name", BREAKAGES)
def test_an_incomplete_source_is_refused_before_anything_is_written(
    name: str, source: Path, tmp_path: Path
) -> None:
    break_it, sentence = BREAKAGES[name]
    break_it(source)
    with pytest.raises(Unusable, match=sentence):
        prepare(source, tmp_path / "models" / "target", "int8", name="a")
    assert not (tmp_path / "models").exists()


def test_a_changed_file_is_noticed(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    manifest = prepare(source, target, "int8", name="a")
    data = bytearray((target / "graph.onnx.data").read_bytes())
    data[-1] ^= 1
    (target / "graph.onnx.data").write_bytes(data)
    with pytest.raises(Unusable, match=r"graph\.onnx\.data has changed"):
        verify(target, manifest)
    (target / "graph.onnx.data").unlink()
    with pytest.raises(Unusable, match=r"lacks graph\.onnx\.data"):
        verify(target, manifest)


def test_a_manifest_of_another_format_is_not_read(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    manifest = prepare(source, target, "int8", name="a")
    loose = msgspec.to_builtins(manifest) | {"format": 2}
    (target / "manifest.json").write_text(json.dumps(loose))
    with pytest.raises(Unusable, match="format 2, not 1: prepare the model again"):
        read_manifest(target)


def test_tied_embeddings_win_over_a_head_that_is_there(tmp_path: Path) -> None:
    tied = write_model(tmp_path / "tied", {**CONFIG, "tie_word_embeddings": True})
    named = tensors(CONFIG)
    write_safetensors(tied / "model.safetensors", named)
    prepare(tied, tmp_path / "one", "fp32", name="a")
    named["lm_head.weight"] = named["model.embed_tokens.weight"]
    untied = write_model(tmp_path / "untied", CONFIG)
    write_safetensors(untied / "model.safetensors", named)
    prepare(untied, tmp_path / "two", "fp32", name="a")
    ids = prompt(7)
    one, two = (Steps(tmp_path / name, slots=1, max_len=8) for name in ("one", "two"))
    np.testing.assert_array_equal(one.read(0, ids, 8), two.read(0, ids, 8))
