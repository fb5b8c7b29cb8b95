import json
from typing import Any

import pytest

from dispatchd.core.errors import ExecutionFailed
from dispatchd.engine.request import Message, TextRequest
from dispatchd.worker.llm_payload import read_request

HI = (Message("user", "Hi"),)


def read(payload: dict[str, Any]) -> TextRequest:
    return read_request(json.dumps(payload), model="demo", spare_seed=99)


def test_a_bare_prompt_is_one_greedy_turn() -> None:
    assert read({"prompt": "Hi"}) == TextRequest(HI, max_tokens=256, seed=99)


def test_every_field_is_heard() -> None:
    payload = {
        "job_type": "LLM_INFER",
        "prompt": "Hi",
        "model": "demo",
        "max_tokens": 12.0,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 40.0,
        "seed": -5,
        "stop": ["\n", "", "END"],
        "ignore_eos": True,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "stop_token_ids": [7, 8],
        "unheard": {"of": []},
    }
    assert read(payload) == TextRequest(
        HI, 12, 0.7, 0.9, 40, -5, ("\n", "END"), True, 0.05, 1.1, frozenset({7, 8})
    )


def test_null_is_as_good_as_absent() -> None:
    absent = dict.fromkeys((*TextRequest.__struct_fields__, "system", "model"))
    assert read(absent | {"prompt": "Hi"}) == read({"prompt": "Hi"})


def test_system_goes_first_and_the_prompt_last() -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [{"type": "text", "text": part} for part in "bc"]},
        {"role": "developer", "content": "d", "name": "unheard"},
    ]
    asked = read({"prompt": "Hi", "messages": messages, "system": "s"})
    assert [(turn.role, turn.content) for turn in asked.messages] == [
        ("system", "s"),
        ("user", "a"),
        ("assistant", "bc"),
        ("system", "d"),
        ("user", "Hi"),
    ]
    alone = read({"prompt": "", "messages": messages, "system": ""})
    assert alone.messages == asked.messages[1:-1]


def test_a_huge_top_k_is_no_limit() -> None:
    assert read({"prompt": "Hi", "top_k": 10**400}).top_k == 10**400


@pytest.mark.parametrize("seed", [0, 2**63, 2**64 - 1, -(2**63), 7.0])
def test_seeds_of_64_bits_are_kept(seed: float) -> None:
    assert read({"prompt": "Hi", "seed": seed}).seed == seed


def test_one_stop_string_needs_no_list() -> None:
    assert read({"prompt": "Hi", "stop": "END"}).stop == ("END",)
    assert read({"prompt": "Hi", "stop": ""}).stop == ()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"prompt": None}, "prompt or messages must be given, and not be empty"),
        ({"prompt": "", "messages": [], "system": "s"}, "prompt or messages must be given"),
        ({"prompt": 5}, "prompt: expected a string or null, got"),
        ({"messages": [{"role": "<|im_start|>", "content": ""}]}, "messages[0].role: invalid"),
        ({"messages": [{"role": "user"}]}, "messages[0].content is missing"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content[0].type: invalid enum value 'image_url'",
        ),
        ({"max_tokens": 0}, "max_tokens: expected a number >= 1.0"),
        ({"temperature": 2.1}, "temperature: expected a number <= 2.0"),
        ({"temperature": -0.1}, "temperature: expected a number >= 0.0"),
        ({"top_p": 0}, "top_p: expected a number > 0.0"),
        ({"top_p": 1.1}, "top_p: expected a number <= 1.0"),
        ({"top_k": -1}, "top_k must be a whole number, 0 or more"),
        ({"top_k": 1.5}, "top_k must be a whole number, 0 or more"),
        ({"top_k": -1.0}, "top_k must be a whole number, 0 or more"),
        ({"seed": 2**64}, "seed must be a whole number of 64 bits"),
        ({"seed": 10**400}, "seed must be a whole number of 64 bits"),
        ({"seed": 0.5}, "seed must be a whole number of 64 bits"),
        ({"stop": ["x"] * 17}, "stop: expected an array of length <= 16"),
        ({"ignore_eos": 1}, "ignore_eos: expected true or false or null, got"),
    ],
)
def test_nonsense_is_refused_for_good(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ExecutionFailed) as caught:
        read({"prompt": "Hi"} | wrong)
    assert caught.value.reason.startswith(f"invalid_payload: {sentence}")
    assert caught.value.final


@pytest.mark.parametrize("payload", ["", "[]", "{", "[" * 100_000, '{"max_tokens": 1e999}'])
def test_what_is_no_object_is_refused_for_good(payload: str) -> None:
    with pytest.raises(ExecutionFailed, match="invalid_payload: ") as caught:
        read_request(payload, model="demo", spare_seed=0)
    assert caught.value.final


@pytest.mark.parametrize("name", ["other", "", "Demo"])
def test_another_model_is_not_found(name: str) -> None:
    with pytest.raises(ExecutionFailed, match=r"^model_not_found$") as caught:
        read({"prompt": "Hi", "model": name})
    assert caught.value.final
