"""One case after the other, each contestant in turn, so that a slow minute slows them all."""

import statistics
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct


class Case(Struct, frozen=True):
    """So many jobs at once, each with a prompt and a number of new tokens that it must make."""

    jobs: int
    prompt_tokens: int
    new_tokens: int

    @property
    def name(self) -> str:
        """What its rate counts: new tokens a second, or prompt tokens where there are no others."""
        if self.new_tokens == 1:
            return f"prompt tokens/s, {self.prompt_tokens} long"
        return f"new tokens/s, {self.jobs} at once"


class Prompt(Struct, frozen=True):
    """A text as a user would send it, and the token ids that the model reads for it."""

    text: str
    ids: tuple[int, ...]


class Contestant(Protocol):
    """An engine that can be given work; between two calls it does nothing."""

    @property
    def name(self) -> str:
        """As the tables call it."""
        ...

    def seconds(self, prompts: Sequence[Prompt], new_tokens: int) -> float:
        """How long all of these take side by side, each with exactly that many new tokens."""
        ...


class Drawing(Protocol):
    """Where prompts come from."""

    def draw(self, tokens: int) -> Prompt:
        """A prompt of about that many tokens that begins like no other."""
        ...


def contest(
    contestants: Sequence[Contestant], case: Case, drawing: Drawing, rounds: int
) -> dict[str, list[float]]:
    """Each contestant's rate in each round, in tokens a second; all get the same prompts."""
    rates: dict[str, list[float]] = {each.name: [] for each in contestants}
    for _ in range(rounds):
        prompts = [drawing.draw(case.prompt_tokens) for _ in range(case.jobs)]
        prefill = case.new_tokens == 1
        tokens = sum(len(prompt.ids) if prefill else case.new_tokens for prompt in prompts)
        for each in contestants:
            rates[each.name].append(tokens / each.seconds(prompts, case.new_tokens))
    return rates


def ratios(rates: dict[str, list[float]], ours: str) -> dict[str, float]:
    """Our rate over each other one: the middle of the rounds' ratios."""
    return {
        name: statistics.median(a / b for a, b in zip(rates[ours], theirs, strict=True))
        for name, theirs in rates.items()
        if name != ours
    }
