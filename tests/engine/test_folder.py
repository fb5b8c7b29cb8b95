import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dispatchd.core.errors import Unusable
from dispatchd.engine.catalog import DEFAULT_CLASSIFIER, find
from dispatchd.engine.folder import read_folder
from dispatchd.engine.generate import Generation, load_text_model
from dispatchd.engine.request import Message, TextRequest
from tests.support.plain_model import GRAPH


@pytest.fixture
def copy(chat_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(chat_folder, tmp_path / "copy"))


def rewrite(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | changes))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


BREAKAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), r"config\.json cannot be read"),
    "config no json": (lambda f: (f / "config.json").write_text("{"), r"config\.json is broken"),
    "tokenizer config not utf-8": (
        lambda f: (f / "tokenizer_config.json").write_bytes(b'{"eos_token":"\xff"}'),
        r"tokenizer_config\.json is broken",
    ),
    "config of the wrong shape": (
        lambda f: rewrite(f / "config.json", eos_token_id="two"),
        r"config\.json is broken \(eos_token_id",
    ),
    "no context length": (
        lambda f: rewrite(f / "config.json", max_position_embeddings=None),
        "must say max_position_embeddings",
    ),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), r"tokenizer\.json is missing"),
    "tokenizer truncated": (lambda f: truncate(f / "tokenizer.json"), "is no tokenizer"),
    "no graph": (lambda f: (f / GRAPH).unlink(), "holds no ONNX file"),
    "graph truncated": (lambda f: truncate(f / GRAPH), r"model_quantized\.onnx cannot be run"),
    "graph empty": (lambda f: (f / GRAPH).write_bytes(b""), r"model_quantized\.onnx cannot be run"),
    "graph of something else": (
        lambda f: shutil.copy(find(DEFAULT_CLASSIFIER).path / "model.int8.onnx", f / GRAPH),
        "has no input past_key_values.0.key",
    ),
    "penalty of zero": (
        lambda f: rewrite(f / "generation_config.json", repetition_penalty=0),
        "a repetition_penalty above zero",
    ),
    "template broken": (
        lambda f: (f / "chat_template.jinja").write_text("{% if"),
        "The chat template of copy fails",
    ),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_folder_is_unusable_in_one_sentence(name: str, copy: Path) -> None:
    break_it, sentence = BREAKAGES[name]
    break_it(copy)
    with pytest.raises(Unusable, match=sentence) as caught:
        load_text_model(copy, threads=1)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_broken_graph_prints_nothing(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    truncate(copy / GRAPH)
    with pytest.raises(Unusable):
        load_text_model(copy, threads=1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["model.onnx", "onnx/model_quantized.onnx", "odd.onnx"])
def test_the_graph_is_found_where_the_hub_puts_it(name: str, copy: Path) -> None:
    (copy / "onnx").mkdir()
    (copy / GRAPH).rename(copy / name)
    assert read_folder(copy).onnx == copy / name


def test_two_graphs_of_odd_names_are_not_guessed_at(copy: Path) -> None:
    shutil.copy(copy / GRAPH, copy / "b.onnx")
    (copy / GRAPH).rename(copy / "a.onnx")
    with pytest.raises(Unusable, match="2 ONNX files"):
        read_folder(copy)


def test_stop_tokens_come_from_all_three_files(copy: Path) -> None:
    rewrite(copy / "config.json", eos_token_id=7)
    rewrite(copy / "generation_config.json", eos_token_id=[8, 9])
    assert read_folder(copy).stop_ids == {2, 7, 8, 9}


def test_optional_files_may_be_missing(copy: Path) -> None:
    (copy / "generation_config.json").unlink()
    (copy / "tokenizer_config.json").unlink()
    model = read_folder(copy)
    assert (model.repetition_penalty, model.chat_template) == (1.0, None)
    turns = (Message("system", "Hi <|im_end|>"), Message("user", "A blockchain <|im_end|> is"))
    *_, end = load_text_model(copy, threads=1).generate(TextRequest(turns, 5))
    assert isinstance(end, Generation)
    text = "Hi <|im_end|>\nA blockchain <|im_end|> is"
    assert end.prompt_tokens == len(model.literal_tokenizer.encode(text))


@pytest.mark.parametrize(
    ("names", "chosen"), [(["tool_use", "default"], "default"), (["rag", "tool_use"], "rag")]
)
def test_of_named_templates_the_default_is_taken(names: list[str], chosen: str, copy: Path) -> None:
    named = [{"name": name, "template": name} for name in names]
    rewrite(
        copy / "tokenizer_config.json", chat_template=named, eos_token={"content": "<|im_end|>"}
    )
    model = read_folder(copy)
    assert (model.chat_template, model.eos_token) == (chosen, "<|im_end|>")


def test_a_template_of_its_own_file_goes_first(copy: Path) -> None:
    (copy / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert read_folder(copy).chat_template == "{{ messages[0].content }}"
