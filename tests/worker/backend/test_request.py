"""What a job says, in the words of the server it goes to."""

from typing import Any

import pytest

from dispatchd.engine.request import Message, TextRequest
from dispatchd.worker.backend.models import ListedModel
from dispatchd.worker.backend.request import chat_body

HI = (Message("system", "Be kind"), Message("user", "Hi"))
PLAIN = {
    "model": "m",
    "messages": [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hi"}],
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 9,
    "temperature": 0.0,
}


def body(*, owned_by: str | None = None, **how: Any) -> dict[str, Any]:
    return chat_body(TextRequest(HI, **({"max_tokens": 9} | how)), ListedModel("m", owned_by))


def test_what_a_job_leaves_open_is_left_to_the_server() -> None:
    assert body(seed=5) == PLAIN


def test_everything_that_a_job_says_is_passed_on() -> None:
    how: dict[str, Any] = {
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "ignore_eos": True,
    }
    asked = body(**how, seed=7, stop=("\n", "END"), stop_ids=frozenset({8, 3}))
    more = {"seed": 7, "stop": ["\n", "END"], "stop_token_ids": [3, 8]}
    assert asked == PLAIN | how | more


def test_llama_cpp_has_its_own_name_for_the_penalty() -> None:
    assert body(owned_by="llamacpp", repetition_penalty=1.1) == PLAIN | {"repeat_penalty": 1.1}
    assert body(owned_by="vllm", repetition_penalty=1.1) == PLAIN | {"repetition_penalty": 1.1}


@pytest.mark.parametrize("seed", [0, 2**31 - 1, 2**31, 2**53, 2**64 - 1, -1, -(2**63)])
def test_seeds_fit_into_what_every_server_holds(seed: int) -> None:
    sent = body(temperature=1.0, seed=seed)["seed"]
    assert 0 <= sent < 2**31
    assert (sent - seed) % 2**31 == 0


def test_huge_numbers_are_as_good_as_no_limit() -> None:
    asked = body(max_tokens=10**400, top_k=10**400)
    assert asked["max_tokens"] == asked["top_k"] == 2**31 - 1
