"""What is looked at before blaming the network: checks that know nothing of each other."""

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

State = Literal["ok", "warning", "failure"]


class Finding(Struct, frozen=True):
    """What one check has found, in a sentence; where something is wrong, what to do about it."""

    state: State
    sentence: str
    remedy: str = ""


class Check(Struct, frozen=True):
    """One thing to look at, which may take so long and may block."""

    name: str
    seconds: float
    look: Callable[[], Finding]


def ok(sentence: str) -> Finding:
    """All is well."""
    return Finding("ok", sentence)


def warning(sentence: str, remedy: str = "") -> Finding:
    """It works, but not as it could, or not for long."""
    return Finding("warning", sentence, remedy)


def failure(sentence: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding("failure", sentence, remedy)
