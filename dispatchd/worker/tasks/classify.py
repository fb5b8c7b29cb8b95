"""The task `classify`: how a text feels."""

from collections.abc import Sequence

from dispatchd.engine.classifier import Classifier


def classify(texts: Sequence[str], classifier: Classifier) -> list[dict[str, object]]:
    """The sentiment of each text, and the classifier's confidence in it from 0 to 1."""
    return [
        {"sentiment": sentiment, "confidence": round(confidence, 4)}
        for sentiment, confidence in classifier.classify(texts)
    ]
