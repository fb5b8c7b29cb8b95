"""Anthropic's messages, https://docs.anthropic.com/en/api/messages."""

from types import MappingProxyType
from typing import Any

import aiohttp

from dispatchd.sdk.hosted_chat import Chat, ChatReply, Endpoint, ProviderFailed, post

_VERSION = "2023-06-01"
_MAX_TOKENS = 1024  # must be given there
_HOTTEST = 1.0
_REASONS = MappingProxyType({"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length"})


async def ask_anthropic(session: aiohttp.ClientSession, account: Endpoint, chat: Chat) -> ChatReply:
    """One text; raises `ProviderFailed`. There is no `seed`.

    Its models refuse a `top_p` beside a temperature, which is always sent, so `top_p` is not.
    """
    told = [message["content"] for message in chat.messages if message.get("role") == "system"]
    system = [chat.system] if chat.system else []
    body = {
        "model": account.model,
        "messages": [message for message in chat.messages if message.get("role") != "system"],
        "system": "\n\n".join(map(str, [*system, *told])) or None,
        "max_tokens": chat.max_tokens or _MAX_TOKENS,
        "temperature": min(chat.temperature, _HOTTEST),
        "top_k": chat.top_k,
        "stop_sequences": chat.stops,
    }
    headers = {"x-api-key": account.key, "anthropic-version": _VERSION}
    answer = await post(session, f"{account.url.rstrip('/')}/messages", body, headers)
    usage = answer.get("usage") or {}
    return ChatReply(
        _text_of(answer),
        str(answer.get("model", account.model)),
        usage.get("input_tokens", 0),
        usage.get("output_tokens", 0),
        _REASONS.get(str(answer.get("stop_reason")), str(answer.get("stop_reason"))),
    )


def _text_of(answer: dict[str, Any]) -> str:
    try:
        return "".join(part["text"] for part in answer["content"] if part["type"] == "text")
    except (KeyError, TypeError):
        raise ProviderFailed("answers without a text") from None
