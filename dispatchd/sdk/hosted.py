"""Hosted providers, used with the caller's own keys where the network fails."""

import os
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Self

import aiohttp
from msgspec import Struct

from dispatchd.core.job import JobType
from dispatchd.sdk.anthropic import ask_anthropic
from dispatchd.sdk.errors import HostedFailed, InvalidRequest
from dispatchd.sdk.hosted_chat import Chat, ChatReply, ProviderFailed
from dispatchd.sdk.http import new_session
from dispatchd.sdk.openai import ask_openai
from dispatchd.sdk.order import Order
from dispatchd.sdk.task_prompts import output_of, prompt_of

_SENT_FIELDS = frozenset(Chat.__struct_fields__)


class Account(Struct, frozen=True):
    """A key, the address it is for and the model that answers."""

    key: str
    url: str
    model: str

    def __repr__(self) -> str:
        """Without the key, since reprs end up in logs."""
        return f"Account(url={self.url!r}, model={self.model!r})"


OPENAI = Account("", "https://api.openai.com/v1", "gpt-4o-mini")
ANTHROPIC = Account("", "https://api.anthropic.com/v1", "claude-haiku-4-5")
_Ask = Callable[[aiohttp.ClientSession, Account, Chat], Awaitable[ChatReply]]
_PROVIDERS: Mapping[str, _Ask] = MappingProxyType(
    {"openai": ask_openai, "anthropic": ask_anthropic}
)


class HostedAccounts(Struct, frozen=True):
    """The accounts that may be used; without any, nothing ever leaves the network."""

    openai: Account | None = None
    anthropic: Account | None = None
    preferred: str = "openai"

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] = os.environ) -> Self:
        """OPENAI_API_KEY, ANTHROPIC_API_KEY and PREFERRED_HOSTED_PROVIDER."""
        return cls.of(
            openai_key=variables.get("OPENAI_API_KEY", ""),
            anthropic_key=variables.get("ANTHROPIC_API_KEY", ""),
            preferred=variables.get("PREFERRED_HOSTED_PROVIDER", "").strip().lower() or "openai",
        )

    @classmethod
    def of(
        cls, *, openai_key: str = "", anthropic_key: str = "", preferred: str = "openai"
    ) -> Self:
        """Accounts at the providers' own addresses; an empty key is none."""
        return cls(
            Account(openai_key, OPENAI.url, OPENAI.model) if openai_key else None,
            Account(anthropic_key, ANTHROPIC.url, ANTHROPIC.model) if anthropic_key else None,
            preferred,
        )

    def __post_init__(self) -> None:
        """Names are checked here, not when the network has failed."""
        if self.preferred not in _PROVIDERS:
            raise InvalidRequest(f"No such provider: {self.preferred!r}. Use openai or anthropic")

    @property
    def in_order(self) -> list[tuple[str, Account]]:
        """Those that have a key, the preferred one first."""
        known = {"openai": self.openai, "anthropic": self.anthropic}
        names = sorted(known, key=lambda name: name != self.preferred)
        return [(name, account) for name in names if (account := known[name]) is not None]


async def run_hosted(accounts: HostedAccounts, order: Order) -> tuple[str, Any]:
    """The provider that did an order, and the output in the network's shape.

    Raises `HostedFailed` where none of them did.
    """
    chat = _chat_of(order)
    problems = []
    async with new_session() as session:
        for name, account in accounts.in_order:
            try:
                reply = await _PROVIDERS[name](session, account, chat)
                return name, _output(order, reply)
            except ProviderFailed as failure:
                problems.append(f"{name}: {failure}")
            except (aiohttp.ClientError, OSError) as error:
                problems.append(f"{name}: {error or type(error).__name__}")
    raise HostedFailed("; ".join(problems))


def _chat_of(order: Order) -> Chat:
    payload = order.payload
    if order.job_type is JobType.TASK:
        return Chat(messages=[_user(prompt_of(payload["task_type"], payload["input"]))])
    # `model` names one of the network's, which a provider does not have.
    fields = {name: value for name, value in payload.items() if name in _SENT_FIELDS}
    messages = list(payload.get("messages") or [])
    if payload.get("prompt") and not messages:
        messages = [_user(payload["prompt"])]
    return Chat(**(fields | {"messages": messages}))


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _output(order: Order, reply: ChatReply) -> Any:
    if order.job_type is JobType.TASK:
        return output_of(order.payload["task_type"], order.payload["input"], reply.text)
    return {
        "text": reply.text,
        "model": reply.model,
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "finish_reason": reply.finish_reason,
    }
