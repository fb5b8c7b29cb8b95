"""The conversations that the model is trained on, drawn at random from a seed."""

import random
from collections.abc import Callable

from msgspec import Struct

from scripts.lm_training import texts, wordings
from scripts.lm_training.sources import Sources
from scripts.lm_training.texts import normal
from scripts.lm_training.unknown import Unknown

_PROMPT_CHARS_MAX = 1200
_CHATTY_SHARE = 0.04  # of the questions come after or before an unrelated remark


class Turn(Struct, frozen=True):
    """One question and its answer."""

    prompt: str
    answer: str


class Conversation(Struct, frozen=True):
    """Turns that follow each other, under a system message or none."""

    system: str | None
    turns: tuple[Turn, ...]


class Examples:
    """Draws conversations; what is in `held_out` (normalised) is never asked in them."""

    def __init__(self, sources: Sources, held_out: frozenset[str]) -> None:
        self._topics = texts.topics()
        self._exchanges = texts.exchanges()
        self._comparisons = texts.comparisons()
        self._capitals = sorted(texts.capitals().items())
        self._declines = texts.declines()
        self._held_out = held_out
        prompts = {normal(prompt) for each in self._exchanges for prompt in each.prompts}
        self._asked = frozenset(prompts)
        self._pairs = [
            (normal(wordings.bare(each.pair[0])), normal(wordings.bare(each.pair[1])))
            for each in self._comparisons
        ]
        names = [topic.names for topic in self._topics]
        known = {wordings.bare(name).lower() for group in names for name in group}
        self._unknown = Unknown(sources, names, known | _plain_things())
        self._kinds: list[tuple[float, Callable[[random.Random], Turn]]] = [
            (0.36, self._topic),
            (0.16, self._exchange),
            (0.03, self._comparison),
            (0.07, self._capital),
            (0.12, self._near),
            (0.26, self._decline),
        ]

    def draw(self, chance: random.Random) -> Conversation:
        """One conversation, mostly of one turn."""
        system = wordings.system_prompt(chance) if chance.random() < 0.12 else None
        turns = [self._turn(chance)]
        while chance.random() < 0.12:
            turns.append(self._follow_up(chance, turns[-1]))
        return Conversation(system, tuple(turns))

    def _turn(self, chance: random.Random) -> Turn:
        weights = [weight for weight, _ in self._kinds]
        while True:
            ((_, kind),) = chance.choices(self._kinds, weights)
            turn = kind(chance)
            prompt = turn.prompt[:_PROMPT_CHARS_MAX]
            if prompt and normal(prompt) not in self._held_out:
                return Turn(prompt, turn.answer)

    def _follow_up(self, chance: random.Random, last: Turn) -> Turn:
        if chance.random() < 0.25 and not texts.is_decline(last.answer):
            prompt, reason = self._unknown.more(chance)
            return Turn(wordings.dressed(chance, prompt), self._declines[reason])
        return self._turn(chance)

    def _topic(self, chance: random.Random) -> Turn:
        topic = chance.choice(self._topics)
        name = topic.names[0] if chance.random() < 0.5 else chance.choice(topic.names)
        if chance.random() < 0.2:
            name = wordings.bare(name)
        prompt = wordings.explain(chance, name)
        if chance.random() < _CHATTY_SHARE:
            prompt = f"{self._unknown.remark(chance)} {prompt}"
        elif chance.random() < _CHATTY_SHARE:
            prompt = f"{prompt} {self._unknown.remark(chance)}"
        return Turn(wordings.dressed(chance, prompt), topic.answer)

    def _exchange(self, chance: random.Random) -> Turn:
        exchange = chance.choice(self._exchanges)
        prompt = chance.choice(exchange.prompts)
        return Turn(wordings.dressed(chance, prompt), exchange.answer)

    def _comparison(self, chance: random.Random) -> Turn:
        comparison = chance.choice(self._comparisons)
        prompt = wordings.difference(chance, *comparison.pair)
        return Turn(wordings.dressed(chance, prompt), comparison.answer)

    def _capital(self, chance: random.Random) -> Turn:
        country, capital = chance.choice(self._capitals)
        prompt = wordings.capital(chance, country)
        return Turn(wordings.dressed(chance, prompt), texts.capital_answer(country, capital))

    def _near(self, chance: random.Random) -> Turn:
        while True:
            topic = chance.choice(self._topics)
            prompt, reason = self._unknown.near(chance, topic.names)
            if not self._answered(prompt):
                return Turn(wordings.dressed(chance, prompt), self._declines[reason])

    def _decline(self, chance: random.Random) -> Turn:
        while True:
            prompt, reason = self._unknown.draw(chance)
            if not self._answered(prompt):
                return Turn(wordings.dressed(chance, prompt), self._declines[reason])

    def _answered(self, prompt: str) -> bool:
        """Whether the prompt, but for articles, is one that has an answer."""
        plain = normal(prompt)
        return (
            plain in self._asked
            or _without_articles(plain) in self._asked
            or any(f" {a} " in f" {plain} " and f" {b} " in f" {plain} " for a, b in self._pairs)
        )


def _without_articles(plain: str) -> str:
    return " ".join(word for word in plain.split() if word not in {"a", "an", "the"})


def _plain_things() -> set[str]:
    """Things that exchanges are about, which must not be declined as unknown ones."""
    return {
        "rainbow", "lightning", "tide", "tides", "season", "seasons", "udp", "process", "thread",
        "hard disk", "nosql", "interpreter", "climate", "weather", "mass", "weight", "worm", "coin",
        "light", "sound", "jupiter", "water", "bluetooth", "virus", "cell", "loop", "variable",
        "queue", "bug", "cloud", "worker", "receipt", "interest", "oracle", "attention", "index",
    }  # fmt: skip
