from pathlib import Path

import pytest

from dispatchd.core.errors import Unusable
from dispatchd.engine.catalog import DEFAULT_CLASSIFIER, DEFAULT_LLM, embedded, find


def test_both_default_models_are_embedded() -> None:
    cards = {card.name: card for card in embedded()}
    llm, classifier = cards[DEFAULT_LLM], cards[DEFAULT_CLASSIFIER]
    assert (llm.kind, llm.parameters, llm.context_tokens) == ("llm", 3_016_448, 1024)
    assert (classifier.kind, classifier.parameters) == ("classifier", 923_939)
    assert classifier.context_tokens is None


def test_the_size_is_that_of_the_files() -> None:
    card = find(DEFAULT_LLM)
    assert card.bytes_on_disk == sum(file.stat().st_size for file in card.path.iterdir())
    assert card.bytes_on_disk > 4_000_000


def test_a_path_is_a_model_too(tmp_path: Path) -> None:
    copy = tmp_path / "mine"
    copy.symlink_to(find(DEFAULT_LLM).path)
    assert find(str(copy)) == find(DEFAULT_LLM)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(Unusable, match=rf"'gpt-7'.*{DEFAULT_LLM}, {DEFAULT_CLASSIFIER}"):
        find("gpt-7")


def test_a_folder_without_a_model_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"config\.json"):
        find(str(tmp_path))
