"""A job as the body of a chat completion, in the words of the server that it goes to.

A job without messages is one turn of the user's, as with our own engine. What the job leaves open
is left to the server, but for the temperature: without one, jobs are greedy.
"""

from typing import Any

from dispatchd.engine.request import TextRequest
from dispatchd.worker.backend.models import ListedModel

SEED_BITS = 31
_INT_MAX = 2**31 - 1
_LLAMA_CPP = "llamacpp"


def chat_body(request: TextRequest, model: ListedModel) -> dict[str, Any]:
    """The body for `POST /chat/completions`; extras are there only where the job asks for them.

    llama.cpp keeps seeds, counts and limits in 32 bits with a sign, so the seed is taken modulo
    2**31, which makes the text of a seed the same at each try.
    """
    body: dict[str, Any] = {
        "model": model.id,
        "messages": [{"role": turn.role, "content": turn.content} for turn in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": min(request.max_tokens, _INT_MAX),
        "temperature": request.temperature,
    }
    if request.temperature > 0:
        body["seed"] = request.seed % (1 << SEED_BITS)
    return body | {name: value for name, value in _extras(request, model).items() if value}


def _extras(request: TextRequest, model: ListedModel) -> dict[str, Any]:
    """What is false means nothing."""
    penalty = "repeat_penalty" if model.owned_by == _LLAMA_CPP else "repetition_penalty"
    return {
        "top_p": request.top_p if request.top_p < 1 else None,
        "top_k": min(request.top_k, _INT_MAX),
        "min_p": request.min_p,
        penalty: request.repetition_penalty,
        "stop": list(request.stop),
        "stop_token_ids": sorted(request.stop_ids),
        "ignore_eos": request.ignore_eos,
    }
