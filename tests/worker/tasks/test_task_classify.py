import pytest

from dispatchd.engine.catalog import DEFAULT_CLASSIFIER, find
from dispatchd.engine.classifier import Classifier, load_classifier
from dispatchd.worker.tasks.classify import classify


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load_classifier(find(DEFAULT_CLASSIFIER).path)


def test_the_results_have_the_protocols_shape(classifier: Classifier) -> None:
    loved, empty = classify(["I love this product, it is fantastic!", " "], classifier)
    assert loved == {"sentiment": "positive", "confidence": loved["confidence"]}
    assert isinstance(loved["confidence"], float)
    assert loved["confidence"] == round(loved["confidence"], 4) > 0.9
    assert empty == {"sentiment": "neutral", "confidence": 0.3333}
