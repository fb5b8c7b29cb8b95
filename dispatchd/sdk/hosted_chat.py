"""What is asked of a hosted provider and what it answers, whoever it is."""

import json
from typing import Any, Protocol

import aiohttp
from msgspec import Struct

_SENTENCE_CHARS_MAX = 300


class ProviderFailed(Exception):
    """A provider did not do it; the message is one sentence."""


class Endpoint(Protocol):
    """Where and as whom to ask."""

    @property
    def key(self) -> str:
        """The caller's own key."""
        ...

    @property
    def url(self) -> str:
        """The address that paths are added to."""
        ...

    @property
    def model(self) -> str:
        """The model that answers."""
        ...


class Chat(Struct, frozen=True, kw_only=True):
    """A text to be generated. Without a temperature decoding is greedy, as on the network."""

    messages: list[dict[str, Any]]
    system: str | None = None
    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None

    @property
    def stops(self) -> list[str] | None:
        """The stop strings as a list."""
        return [self.stop] if isinstance(self.stop, str) else self.stop


class ChatReply(Struct, frozen=True):
    """The generated text, and what it took."""

    text: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str


async def post(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any], headers: dict[str, str]
) -> dict[str, Any]:
    """The JSON object that a provider answers with; raises `ProviderFailed`."""
    given = {name: value for name, value in body.items() if value is not None}
    async with session.post(url, json=given, headers=headers, allow_redirects=False) as response:
        text = await response.text(errors="replace")
        status = response.status
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise ProviderFailed(f"answers {status} without JSON")
    if status != 200:
        error = answer.get("error")
        said = error.get("message", "") if isinstance(error, dict) else error
        raise ProviderFailed(f"answers {status}: {str(said)[:_SENTENCE_CHARS_MAX]}")
    return answer
