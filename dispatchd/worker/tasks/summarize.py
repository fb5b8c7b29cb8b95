"""The task `summarize`: the sentences that say most of what a text is about."""

import math
import re
from collections import Counter
from itertools import chain, islice

import msgspec

from dispatchd.worker.tasks.sentences import sentences

SUMMARY_CHARS_MAX = 200
# Ranking more would take longer and say the same.
SENTENCES_MAX = 4000

_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_WORD = re.compile(rf"{_IDEOGRAPH.pattern}|(?:(?!{_IDEOGRAPH.pattern})[^\W\d_]){{2,}}")
_WORD_CHARS = 4
_SHORT_WORD_SHARE = 0.3
_ELLIPSIS = "…"
# A long sentence is cut only where it tells at least this many times as much as a whole one.
_CUT_RATIO = 2.0
# A further sentence is shown only if it tells at least this share of what the first one tells.
_GAIN_SHARE_MIN = 0.3
# Lets a sentence of few words not win by those alone.
_WORDS_ADDED = 3
_LEAD_BONUS = 0.5
# A sentence that leans on the one before it, or asks, says less when it stands alone.
_LEANING_SHARE = 0.6
_LEANING = re.compile(
    r"(?:however|therefore|thus|hence|also|and|but|or|so|yet|still|then|instead|moreover|furthermore"
    r"|nevertheless|similarly|otherwise|this|these|that|those|they|it|he|she|him|her|his|their|its"
    r"|such|in (?:addition|contrast|response|turn)|for (?:example|instance)|as a result"
    r"|on the other hand)\b|.*[?؟？]$",
    re.IGNORECASE,
)
_FULL_WIDTH_ENDS = "。！？｡」』）"


class _Sentence(msgspec.Struct, frozen=True):
    """A sentence, where it stands, what it is about, and how well it stands alone."""

    place: int
    text: str
    words: tuple[str, ...]
    share: float


def summarize(text: str) -> dict[str, object]:
    """A summary of at most SUMMARY_CHARS_MAX characters, and the words of the whole input.

    It is made of whole sentences of the text in their order; a short text is its own summary.
    """
    words = text.split()
    return {"summary": _summary(text, " ".join(words)), "word_count": len(words)}


def _summary(text: str, joined: str) -> str:
    if len(joined) <= SUMMARY_CHARS_MAX:
        return joined
    found = [
        _read(place, sentence)
        for place, sentence in enumerate(islice(sentences(text), SENTENCES_MAX))
    ]
    if not found:
        return _cut(joined)
    chosen = _choose(found)
    if len(chosen[0].text) > SUMMARY_CHARS_MAX:
        return _cut(chosen[0].text)
    return _joined([sentence.text for sentence in sorted(chosen, key=lambda s: s.place)])


def _read(place: int, sentence: str) -> _Sentence:
    share = 1 + _LEAD_BONUS / (1 + place)
    if place and _LEANING.match(sentence):
        share *= _LEANING_SHARE
    return _Sentence(place, sentence, tuple(_WORD.findall(sentence.casefold())), share)


def _joined(texts: list[str]) -> str:
    """The sentences with a space between them where their script has one."""
    spaced = (text if text[-1] in _FULL_WIDTH_ENDS else f"{text} " for text in texts)
    return "".join(spaced).rstrip()


def _choose(found: list[_Sentence]) -> list[_Sentence]:
    """The sentences to show, best first: each time the one that tells most that is new."""
    weights = _weights(found)
    chosen = [_first(found, weights)]
    enough = _GAIN_SHARE_MIN * _gain(chosen[0], weights, set())
    told = set(chosen[0].words)
    room = SUMMARY_CHARS_MAX - len(chosen[0].text) - 1
    while fitting := [sentence for sentence in found if len(sentence.text) <= room]:
        best = max(fitting, key=lambda sentence: _gain(sentence, weights, told))
        if _gain(best, weights, told) <= enough:
            break
        chosen.append(best)
        told.update(best.words)
        room -= len(best.text) + 1
    return chosen


def _first(found: list[_Sentence], weights: dict[str, float]) -> _Sentence:
    def gain(sentence: _Sentence) -> float:
        fits = len(sentence.text) <= SUMMARY_CHARS_MAX
        return _gain(sentence, weights, set()) * (_CUT_RATIO if fits else 1.0)

    return max(found, key=gain)


def _weights(found: list[_Sentence]) -> dict[str, float]:
    """How much each word is the text's own: often in it, but not in every sentence."""
    often = Counter(chain.from_iterable(sentence.words for sentence in found))
    spread = Counter(chain.from_iterable(frozenset(sentence.words) for sentence in found))
    return {
        word: count * math.log(1 + len(found) / spread[word]) * _importance(word)
        for word, count in often.items()
    }


def _importance(word: str) -> float:
    # Of the scripts that write words with letters, the shortest words are the grammar's.
    short = len(word) < _WORD_CHARS and not _IDEOGRAPH.match(word)
    return _SHORT_WORD_SHARE if short else 1.0


def _gain(sentence: _Sentence, weights: dict[str, float], told: set[str]) -> float:
    new = sum(weights[word] for word in frozenset(sentence.words) - told)
    return new / (len(sentence.words) + _WORDS_ADDED) * sentence.share


def _cut(text: str) -> str:
    """The beginning of the text up to a word's end, where there is one, and an ellipsis."""
    head = text[: SUMMARY_CHARS_MAX - len(_ELLIPSIS) + 1]
    words = head.rpartition(" ")[0].rstrip(" ,;:") or head[:-1]
    return words + _ELLIPSIS
