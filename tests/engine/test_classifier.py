import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatchd.core.errors import Unusable
from dispatchd.engine.classifier import TEXT_CHARS_MAX, Classifier, load_classifier
from tests.support.plain_model import GRAPH

SENTENCES = [
    "I love this product, it is fantastic!",
    "The train leaves from platform four.",
    "not good",
    "What a waste of money, it broke after two days and nobody answers my letters. " * 9,
]


def verdict(classifier: Classifier, text: str) -> tuple[str, float]:
    (only,) = classifier.classify([text])
    return only


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I love this product, it is fantastic!", "positive"),
        ("Thank you so much, you made my day!", "positive"),
        ("This is terrible and I hate it.", "negative"),
        ("What a waste of money, it broke after two days.", "negative"),
        ("The train leaves from platform four.", "neutral"),
        ("Water boils at 100 degrees Celsius at sea level.", "neutral"),
        ("This is good.", "positive"),
        ("This is not good.", "negative"),
        ("Not bad at all.", "positive"),
        ("GREAT", "positive"),
    ],
)
def test_plain_sentences_are_read_right(classifier: Classifier, text: str, label: str) -> None:
    assert verdict(classifier, text)[0] == label


@pytest.mark.parametrize("text", ["", " ", "\n\t \u3000"])
def test_nothing_to_read_is_a_neutral_guess(classifier: Classifier, text: str) -> None:
    label, confidence = verdict(classifier, text)
    assert label == "neutral"
    assert confidence == pytest.approx(1 / 3)


@pytest.mark.parametrize("text", ["a", "!", "\x00", "\ud800", "😀", "中"])
def test_one_character_is_enough(classifier: Classifier, text: str) -> None:
    label, confidence = verdict(classifier, text)
    assert label in classifier.labels
    assert 1 / 3 <= confidence < 1


def test_the_space_around_a_text_changes_nothing(classifier: Classifier) -> None:
    assert verdict(classifier, "  so good\n") == verdict(classifier, "so good")


def test_a_long_text_is_read_in_all_its_windows(classifier: Classifier) -> None:
    dull = "The train leaves from platform four. " * 18
    assert verdict(classifier, dull)[0] == "neutral"
    assert (
        verdict(classifier, dull + "It was awful, horrible, the worst day. " * 40)[0] == "negative"
    )


def test_a_window_weighs_as_much_as_it_holds(classifier: Classifier) -> None:
    dull = "platform " * 128
    assert len(classifier._tokenizer.encode(dull.strip()).ids) == 128
    alone, followed = verdict(classifier, dull), verdict(classifier, dull + "awful")
    assert followed[0] == alone[0] == "neutral"
    assert followed[1] == pytest.approx(alone[1], abs=0.05)


@settings(deadline=None)
@given(st.lists(st.text(max_size=40) | st.sampled_from(SENTENCES), max_size=24))
def test_no_answer_depends_on_its_company(classifier: Classifier, texts: list[str]) -> None:
    assert classifier.classify(texts) == [verdict(classifier, text) for text in texts]


def test_a_long_text_answers_alike_beside_short_ones(classifier: Classifier) -> None:
    long = "It was awful, and the train left from platform four. " * 40
    texts = [long, "good", long[:900], "", long]
    assert classifier.classify(texts) == [verdict(classifier, text) for text in texts]


def test_padding_cannot_be_written(classifier: Classifier) -> None:
    assert 0 not in classifier._tokenizer.encode("<pad> \x00 <PAD>").ids


def test_of_a_very_long_text_both_ends_are_read(classifier: Classifier) -> None:
    half = "I hate it, it is awful. " * TEXT_CHARS_MAX
    assert len(half) > 1 << 20
    assert verdict(classifier, half)[0] == "negative"


@pytest.fixture
def copy(sentiment_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sentiment_folder, tmp_path / "copy"))


def test_broken_folders_are_unusable(copy: Path, chat_folder: Path) -> None:
    (copy / "labels.json").write_text(json.dumps(["yes", "no"]))
    with pytest.raises(Unusable, match="one label for each output"):
        load_classifier(copy)
    (copy / "labels.json").write_text("[1]")
    with pytest.raises(Unusable, match=r"labels\.json is broken"):
        load_classifier(copy)
    (copy / "labels.json").write_text(json.dumps(["a", "b", "c"]))
    shutil.copy(chat_folder / GRAPH, copy / "model.onnx")
    with pytest.raises(Unusable, match="must map input_ids"):
        load_classifier(copy)
    (copy / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(Unusable, match="cannot be run"):
        load_classifier(copy)
    (copy / "tokenizer.json").unlink()
    with pytest.raises(Unusable, match=r"tokenizer\.json is missing"):
        load_classifier(copy)
