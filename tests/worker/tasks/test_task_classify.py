import pytest

from dispatchd.engine.catalog import DEFAULT_CLASSIFIER, find
from dispatchd.engine.classifier import Classifier, load_classifier
from dispatchd.worker.tasks.classify import classify


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load_classifier(find(DEFAULT_CLASSIFIER).path)


def test_the_result_has_the_protocols_shape(classifier: Classifier) -> None:
    result = classify("I love this product, it is fantastic!", classifier)
    assert result == {"sentiment": "positive", "confidence": pytest.approx(0.998, abs=0.002)}
    assert result["confidence"] == round(float(str(result["confidence"])), 4)


def test_nothing_is_neutral(classifier: Classifier) -> None:
    assert classify(" ", classifier) == {"sentiment": "neutral", "confidence": 0.3333}
