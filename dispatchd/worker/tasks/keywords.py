"""The network's first rule for `classify`: a list of words, for the same answer everywhere."""

_POSITIVE = (
    "good",
    "great",
    "excellent",
    "amazing",
    "love",
    "happy",
    "best",
    "wonderful",
    "fantastic",
)
_NEGATIVE = (
    "bad",
    "terrible",
    "awful",
    "hate",
    "worst",
    "horrible",
    "poor",
    "disappointing",
    "sad",
)
_CONFIDENCE_LEAST = 0.3
_CONFIDENCE_PER_WORD = 0.2


def classify_by_keywords(text: str) -> dict[str, object]:
    """Positive words minus negative ones; each counts once, and inside other words as well.

    The confidence is not rounded, as other workers do not round it.
    """
    lowered = text.lower()
    score = sum(word in lowered for word in _POSITIVE) - sum(word in lowered for word in _NEGATIVE)
    sentiment = "positive" if score > 0 else "negative" if score < 0 else "neutral"
    confidence = min(1.0, _CONFIDENCE_PER_WORD * abs(score) + _CONFIDENCE_LEAST)
    return {"sentiment": sentiment, "confidence": confidence}
