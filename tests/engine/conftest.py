from pathlib import Path

import pytest

from dispatchd.engine.catalog import DEFAULT_CLASSIFIER, find
from dispatchd.engine.classifier import Classifier, load_classifier
from dispatchd.engine.generate import TextModel, load_text_model
from tests.support.plain_model import write_plain


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model in the hub's layout with a graph."""
    return write_plain(tmp_path_factory.mktemp("chat"))


@pytest.fixture(scope="session")
def sentiment_folder() -> Path:
    return find(DEFAULT_CLASSIFIER).path


@pytest.fixture(scope="session")
def model(chat_folder: Path) -> TextModel:
    return load_text_model(chat_folder, threads=1)


@pytest.fixture(scope="session")
def classifier(sentiment_folder: Path) -> Classifier:
    return load_classifier(sentiment_folder)
