"""The questions with which the chat model is evaluated; training leaves them out."""

from pathlib import Path

from msgspec import Struct

_FILE = Path(__file__).with_suffix(".txt")


class Question(Struct, frozen=True):
    """A question, and what it asks for: the first name or prompt of a topic, an exchange, a pair.

    `about` is None where there is no answer but to decline.
    """

    prompt: str
    about: str | None


def questions() -> dict[str, list[Question]]:
    """All of them, by kind: topics, exchanges, comparisons, unknown, near."""
    found: dict[str, list[Question]] = {}
    kind = ""
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            kind = line.strip("[]")
            found[kind] = []
        elif line and not line.startswith("#"):
            about, bar, prompt = line.rpartition(" | ")
            found[kind].append(Question(prompt, about if bar else None))
    return found


def asked() -> list[str]:
    """The questions' prompts."""
    return [question.prompt for group in questions().values() for question in group]
