"""Prompts that the model has to decline, drawn at random, each with the reason."""

import random
from collections.abc import Callable

from scripts.lm_training.sources import Sources
from scripts.lm_training.texts import sections
from scripts.lm_training.wordings import bare, explain

Prompt = tuple[str, str]  # the prompt, and the reason for which it is declined

_LINES = sections("unknown.txt")
_FILLERS = sections("fillers.txt")
_TWICE = ("person", "place", "tool")  # in one prompt
_CONSONANTS = "BCDFGHKLMNPRSTVWXZ"


class Unknown:
    """Draws what is to be declined; `names` are those of the known topics, the canonical first."""

    def __init__(self, sources: Sources, names: list[tuple[str, ...]], known: set[str]) -> None:
        self._sources = sources
        self._names = names
        self._known = known
        self._terms = [term for term in sources.terms if _clear(term, known)]
        self._parts = _parts(names)
        self._kinds: list[tuple[float, Callable[[random.Random], Prompt]]] = [
            (0.30, self._definition),
            (0.08, lambda chance: self._of(chance, "thing", "general")),
            (0.14, lambda chance: self._of(chance, "facts", "general")),
            (0.05, self._textbook),
            (0.07, lambda chance: self._of(chance, "live")),
            (0.07, lambda chance: self._of(chance, "writing")),
            (0.05, lambda chance: self._of(chance, "code")),
            (0.06, self._maths),
            (0.03, lambda chance: self._of(chance, "translate")),
            (0.02, lambda chance: (chance.choice(_LINES["foreign"]), "foreign")),
            (0.03, lambda chance: self._of(chance, "advice")),
            (0.02, lambda chance: self._of(chance, "personal")),
            (0.03, lambda chance: self._of(chance, "longer")),
            (0.03, self._remark),
            (0.02, lambda chance: self._of(chance, "opinion")),
        ]

    def draw(self, chance: random.Random) -> Prompt:
        """A prompt that has little to do with any topic."""
        weights = [weight for weight, _ in self._kinds]
        ((_, kind),) = chance.choices(self._kinds, weights)
        return kind(chance)

    def near(self, chance: random.Random, names: tuple[str, ...]) -> Prompt:
        """A prompt about a known topic that its short explanation does not answer."""
        name = chance.choice(names)
        other = chance.choice(chance.choice(self._names))
        if chance.random() < 0.12:
            return self._fill(chance, chance.choice(_LINES["near writing"]), x=name), "writing"
        text = self._fill(chance, chance.choice(_LINES["near"]), x=name, b=bare(name), y=other)
        return text, "near"

    def remark(self, chance: random.Random) -> str:
        """Something that somebody said or wrote."""
        return chance.choice(self._sources.remarks)

    def more(self, chance: random.Random) -> Prompt:
        """What only makes sense after an answer."""
        return chance.choice(_LINES["more"]), "more"

    def _definition(self, chance: random.Random) -> Prompt:
        return explain(chance, self._term(chance)), "general"

    def _textbook(self, chance: random.Random) -> Prompt:
        return chance.choice(self._sources.questions), "general"

    def _remark(self, chance: random.Random) -> Prompt:
        return self.remark(chance), "talk"

    def _maths(self, chance: random.Random) -> Prompt:
        return self._of(chance, "maths")

    def _of(self, chance: random.Random, heading: str, reason: str | None = None) -> Prompt:
        """A prompt of those under the heading, which is also the reason if none is given."""
        term = self._term(chance)
        prompt = self._fill(chance, chance.choice(_LINES[heading]), x=term, b=bare(term))
        return prompt, reason or heading

    def _term(self, chance: random.Random) -> str:
        """A thing that is none of the topics, now and then put together from parts of two."""
        how = chance.random()
        if how < 0.12:
            term = f"{chance.choice(self._parts[0])} {chance.choice(self._parts[1])}"
            if _clear(term, self._known):
                return term
        if how < 0.2:
            return chance.choice(_FILLERS["tool"])
        term = chance.choice(self._terms)
        if chance.random() < 0.3 and term[0].islower() and not term.startswith(("a ", "an ")):
            return ("an " if term[0] in "aeiou" else "a ") + term
        return term

    def _fill(self, chance: random.Random, frame: str, **given: str) -> str:
        drawn = {field: chance.choice(options) for field, options in _FILLERS.items()}
        drawn |= {f"{field}2": chance.choice(_FILLERS[field]) for field in _TWICE}
        drawn |= {
            "u": self._term(chance),
            "u2": self._term(chance),
            "n": str(_number(chance)),
            "m": str(_number(chance)),
            "d": str(chance.randint(11, 99)),
            "d2": str(chance.randint(3, 12)),
            "e": str(chance.randint(3, 10)),
            "e2": str(chance.randint(0, 10)),
            "year": str(chance.randint(1200, 2030)),
            "code": str(chance.choice((201, 204, 301, 302, 401, 403, 405, 418, 429, 502, 503))),
            "letters": "".join(chance.choices(_CONSONANTS, k=chance.randint(3, 4))),
            "remark": chance.choice(self._sources.remarks),
            "prose": chance.choice(self._sources.prose),
        }
        return frame.format(**(drawn | {"y": drawn["u"], "b": bare(drawn["u"])} | given))


def _number(chance: random.Random) -> int:
    """More than the numbers known by heart, small or large."""
    sizes = ((11, 40), (41, 999), (1000, 99999))
    drawn = [chance.randint(least, most) for least, most in sizes]
    return chance.choice(drawn)


def _clear(term: str, known: set[str]) -> bool:
    """Whether a term is none of the known ones."""
    plain = bare(term).lower()
    return plain not in known and plain.removesuffix("s") not in known and len(term) < 40


def _parts(names: list[tuple[str, ...]]) -> tuple[list[str], list[str]]:
    """The first and the last words of the names that have two or more."""
    several = [bare(name).split() for group in names for name in group if " " in bare(name)]
    return [words[0] for words in several], [words[-1] for words in several]
