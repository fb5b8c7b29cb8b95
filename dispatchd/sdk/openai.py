"""OpenAI's chat completions, https://platform.openai.com/docs/api-reference/chat."""

import aiohttp

from dispatchd.sdk.hosted_chat import Chat, ChatReply, Endpoint, ProviderFailed, post


async def ask_openai(session: aiohttp.ClientSession, account: Endpoint, chat: Chat) -> ChatReply:
    """One text; raises `ProviderFailed`. There is no `top_k`."""
    system = [{"role": "system", "content": chat.system}] if chat.system else []
    body = {
        "model": account.model,
        "messages": [*system, *chat.messages],
        "max_completion_tokens": chat.max_tokens,
        "temperature": chat.temperature,
        "top_p": chat.top_p,
        "seed": chat.seed,
        "stop": chat.stops,
    }
    headers = {"Authorization": f"Bearer {account.key}"}
    answer = await post(session, f"{account.url.rstrip('/')}/chat/completions", body, headers)
    usage = answer.get("usage") or {}
    try:
        choice = answer["choices"][0]
        text = choice["message"]["content"] or ""
    except (KeyError, IndexError, TypeError):
        raise ProviderFailed("answers without a text") from None
    return ChatReply(
        text,
        str(answer.get("model", account.model)),
        usage.get("prompt_tokens", 0),
        usage.get("completion_tokens", 0),
        str(choice.get("finish_reason") or "stop"),
    )
