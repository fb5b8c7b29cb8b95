"""The task `classify`: how a text feels."""

from dispatchd.engine.classifier import Classifier


def classify(text: str, classifier: Classifier) -> dict[str, object]:
    """The sentiment of the text, and the classifier's confidence in it from 0 to 1."""
    sentiment, confidence = classifier.classify(text)
    return {"sentiment": sentiment, "confidence": round(confidence, 4)}
