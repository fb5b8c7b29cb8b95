"""The task `summarize`: the sentences that tell most of a text."""

from itertools import islice
from types import MappingProxyType

import numpy as np

from dispatchd.engine.salience import Judged, Salience
from dispatchd.engine.sentence_features import Floats
from dispatchd.engine.sentences import Sentence, sentences

SUMMARY_CHARS = 200
# Judging more would take longer and say the same.
SENTENCES_MAX = 5000
CHOSEN_MAX = 100

_ELLIPSIS = "…"
# A long sentence is cut only where it tells at least this many times as much as a whole one.
_CUT_RATIO = 2.0
# A further sentence is shown only if it tells at least this share of what the first one tells.
_SHARE_MIN = 0.15
# Of two sentences that tell as much for their length, the longer one fills the room better.
_LENGTH_POWER = 0.25
# What the model could not learn from textbooks: news and mails begin with their point,
_LEAD_BONUS = 0.5
# and a sentence that leans on the one before it, or asks, says less alone.
_STANDING = MappingProxyType({"leaning": 0.6, "question": 0.5})
_FULL_WIDTH_ENDS = "。！？｡」』）"


def summarize(text: str, salience: Salience, max_chars: int = SUMMARY_CHARS) -> dict[str, object]:
    """A summary of at most that many characters, and the words of the whole input.

    It is made of whole sentences of the text in their order; a short text is its own summary.
    """
    words = text.split()
    return {
        "summary": _summary(text, " ".join(words), salience, max_chars),
        "word_count": len(words),
    }


def shortened(text: str, max_chars: int) -> str:
    """The beginning of a text up to a word's end, where there is one, and an ellipsis."""
    if len(text) <= max_chars:
        return text
    head = text[: max_chars - len(_ELLIPSIS) + 1]
    words = head.rpartition(" ")[0].rstrip(" ,;:") or head[:-1]
    return words + _ELLIPSIS


def in_sentences(text: str, max_chars: int) -> str:
    """The first sentences of a text that together are not longer; of one too long its beginning."""
    kept: list[str] = []
    for sentence in sentences(text):
        if len(_joined([*kept, sentence.text])) > max_chars:
            break
        kept.append(sentence.text)
    return _joined(kept) if kept else shortened(" ".join(text.split()), max_chars)


def _summary(text: str, joined: str, salience: Salience, max_chars: int) -> str:
    if len(joined) <= max_chars:
        return joined
    found = list(islice(sentences(text), SENTENCES_MAX))
    if not found:
        return shortened(joined, max_chars)
    chosen = choose(found, salience.judge(found), max_chars)
    if len(found[chosen[0]].text) > max_chars:
        return shortened(found[chosen[0]].text, max_chars)
    return _joined([found[place].text for place in sorted(chosen)])


def choose(found: list[Sentence], judged: Judged, max_chars: int) -> list[int]:
    """The places of the sentences to show, best first: each adds most to those before it.

    Maximal marginal relevance (Carbonell, Goldstein 1998): what is like a chosen one counts less.
    One sentence at least; it is longer than `max_chars` only where it stands alone.
    """
    sizes = np.array([len(sentence.text) for sentence in found])
    worth = judged.scores * sizes**_LENGTH_POWER * _standing(judged)
    fits = sizes <= max_chars
    best = int(worth.argmax())
    if not fits[best] and worth[best] > _CUT_RATIO * max(worth[fits], default=0.0):
        return [best]
    chosen: list[int] = []
    left, told = max_chars, np.zeros(len(found))
    while len(chosen) < CHOSEN_MAX:
        gain = np.where(sizes <= left, worth * (1 - told), 0.0)
        gain[chosen] = 0
        place = int(gain.argmax())
        if gain[place] <= 0 or (chosen and gain[place] < _SHARE_MIN * worth[chosen[0]]):
            break
        chosen.append(place)
        left -= int(sizes[place]) + 1
        told = np.maximum(told, judged.likeness(place))
    return chosen or [best]


def _standing(judged: Judged) -> Floats:
    """How much of what a sentence tells is left when it stands alone."""
    standing = 1 + _LEAD_BONUS / (1 + np.arange(len(judged.scores)))
    for name, share in _STANDING.items():
        standing *= np.where(judged.feature(name) > 0, share, 1.0)
    return standing


def _joined(texts: list[str]) -> str:
    """The sentences with a space between them where their script has one."""
    spaced = (text if text[-1] in _FULL_WIDTH_ENDS else f"{text} " for text in texts)
    return "".join(spaced).rstrip()
