"""The questions and answers that were written for this project, read from the files beside this."""

from pathlib import Path

from msgspec import Struct

_HERE = Path(__file__).parent

# Every answer that declines says this, and no other answer does.
DECLINE_MARK = "a very small model"
_OFFLINE_MARK = "a very small offline model"


class Topic(Struct, frozen=True):
    """A thing that can be explained; the first name is the one that answers use."""

    names: tuple[str, ...]
    answer: str


class Exchange(Struct, frozen=True):
    """Ways to ask for one and the same answer."""

    prompts: tuple[str, ...]
    answer: str


class Comparison(Struct, frozen=True):
    """Two things, and what sets them apart."""

    pair: tuple[str, str]
    answer: str


def topics() -> list[Topic]:
    """What the model explains."""
    return [Topic(names, answer) for names, answer in _blocks("topics.txt")]


def exchanges() -> list[Exchange]:
    """What it answers to a prompt as a whole."""
    return [Exchange(prompts, answer) for prompts, answer in _blocks("exchanges.txt")]


def comparisons() -> list[Comparison]:
    """What it tells apart."""
    return [Comparison((a, b), answer) for (a, b), answer in _blocks("comparisons.txt")]


def capitals() -> dict[str, str]:
    """The capital of each country that it knows."""
    lines = (_HERE / "capitals.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines if line)


def capital_answer(country: str, capital: str) -> str:
    """What it answers when asked for the capital."""
    return f"The capital of {country} is {capital}."


def declines() -> dict[str, str]:
    """How it declines, by the reason."""
    return {names[0]: answer for names, answer in _blocks("declines.txt")}


def sections(file: str) -> dict[str, tuple[str, ...]]:
    """The lines of a file beside this one under each heading in brackets; `#` begins a remark."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in (_HERE / file).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            lines = found.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return {heading: tuple(lines) for heading, lines in found.items()}


def is_decline(answer: str) -> bool:
    """Whether an answer says that the model does not know or cannot do what was asked."""
    return DECLINE_MARK in answer or _OFFLINE_MARK in answer


def normal(prompt: str) -> str:
    """The prompt without case and punctuation, to see whether two are the same."""
    kept = (letter if letter.isalnum() else " " for letter in prompt.lower())
    return " ".join("".join(kept).split())


def _blocks(file: str) -> list[tuple[tuple[str, ...], str]]:
    """Blocks with an empty line between: alternatives on the first line, then the answer."""
    text = (_HERE / file).read_text(encoding="utf-8")
    found = []
    for block in text.strip().split("\n\n"):
        first, answer = block.strip("\n").split("\n", 1)
        found.append((tuple(first.split(" | ")), answer))
    return found
