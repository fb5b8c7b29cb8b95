import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from dispatchd.core.errors import ExecutionFailed
from dispatchd.engine.decoder import open_decoder
from dispatchd.engine.generate import (
    Generation,
    GenerationStream,
    TextModel,
    load_text_model,
    penalised,
)
from dispatchd.engine.ports import Ports
from dispatchd.engine.request import Message, TextRequest
from dispatchd.engine.sampling import draw
from dispatchd.engine.session import Tensor
from tests.support.plain_model import (
    CONTEXT_TOKENS,
    GRAPH,
    IM_END,
    NAME,
    REPETITION_PENALTY,
)


def question(prompt: str, max_tokens: int = 200, **how: Any) -> TextRequest:
    return TextRequest((Message("user", prompt),), max_tokens, **how)


def answer(
    model: TextModel, prompt: str, max_tokens: int = 200, **how: Any
) -> tuple[list[str], Generation]:
    *pieces, end = model.generate(question(prompt, max_tokens, **how))
    assert isinstance(end, Generation)
    texts = [piece for piece in pieces if isinstance(piece, str)]
    assert len(texts) == len(pieces)
    assert all(texts)
    assert "".join(texts) == end.text
    return texts, end


def encode(model: TextModel, prompt: str) -> list[int]:
    return model._encoder.encode([Message("user", prompt)])


@pytest.fixture
def steps(model: TextModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the session's steps, as they begin."""
    lengths: list[int] = []
    run = model._decoder._session.run

    def counted(feed: dict[str, Tensor], **rest: Any) -> Any:
        lengths.append(feed["input_ids"].array().shape[1])
        return run(feed, **rest)

    monkeypatch.setattr(model._decoder._session, "run", counted)
    return lengths


def test_text_comes_in_pieces_until_the_model_ends_it(model: TextModel) -> None:
    pieces, end = answer(model, "What is a blockchain?")
    assert end.finish_reason == "stop"
    assert len(pieces) > 20


def test_tokens_are_those_of_a_full_recompute_without_cache(
    model: TextModel, chat_folder: Path
) -> None:
    decoder = open_decoder(chat_folder / GRAPH, Ports(), threads=1)
    for prompt in ("What is gas?", "Hello!", "zxq 中文"):
        _, end = answer(model, prompt, 40)
        ids = encode(model, prompt)
        assert len(ids) == end.prompt_tokens
        made: list[int] = []
        while len(made) < 40 and (not made or made[-1] != IM_END):
            scores = decoder.start().step(ids + made)
            made.append(int(naive_penalty(scores, ids + made).argmax()))
        assert len(made) == end.completion_tokens
        assert model._folder.tokenizer.decode(made) == end.text


def naive_penalty(scores: npt.NDArray[np.float32], seen: list[int]) -> npt.NDArray[np.float32]:
    for token in set(seen):
        penalty = REPETITION_PENALTY
        scores[token] = scores[token] * penalty if scores[token] < 0 else scores[token] / penalty
    return scores


def test_the_penalty_lowers_seen_tokens_once_and_leaves_the_rest() -> None:
    scores = np.array([2.0, -2.0, 1.0, -1.0], dtype=np.float32)
    lowered = penalised(scores, np.array([0, 1, 0]), 2.0)
    assert lowered.tolist() == [1.0, -4.0, 1.0, -1.0]
    assert scores.tolist() == [2.0, -2.0, 1.0, -1.0]


def test_max_tokens_ends_it_by_length(model: TextModel) -> None:
    _, end = answer(model, "What is a blockchain?", 5)
    assert (end.completion_tokens, end.finish_reason) == (5, "length")
    assert end.text
    assert answer(model, "What is a blockchain?")[1].text.startswith(end.text)


def test_the_context_caps_what_is_asked_for(model: TextModel) -> None:
    word = "blockchain "
    prompt = word * 500
    while len(encode(model, prompt)) > model.context_tokens - 3:
        prompt = prompt.removesuffix(word)
    _, end = answer(model, prompt, 10**6)
    assert end.prompt_tokens + end.completion_tokens <= model.context_tokens


def test_a_prompt_that_leaves_no_room_is_refused_for_good(model: TextModel) -> None:
    with pytest.raises(ExecutionFailed, match="prompt_too_long") as caught:
        next(model.generate(question("blockchain " * 2000, 10)))
    assert caught.value.final


def test_closing_ends_it_without_a_generation(model: TextModel) -> None:
    stream = model.generate(question("What is a blockchain?"))
    first = next(stream)
    assert isinstance(first, str)
    stream.close()
    stream.close()
    assert list(stream) == []


def test_closing_from_another_thread_stops_a_running_generation(model: TextModel) -> None:
    stream = model.generate(question("What is a blockchain?"))
    got: list[str | Generation] = []
    begun, closed = threading.Event(), threading.Event()

    def consume() -> None:
        for piece in stream:
            got.append(piece)
            begun.set()
            closed.wait(timeout=10)

    thread = threading.Thread(target=consume)
    thread.start()
    assert begun.wait(timeout=10)
    stream.close()
    closed.set()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert len(got) == 1


def test_closing_is_noticed_between_the_chunks_of_a_prompt(
    model: TextModel, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = model.generate(question("blockchain " * 400, 10))
    run = model._decoder._session.run

    def run_and_close(*arguments: Any, **rest: Any) -> Any:
        stream.close()
        return run(*arguments, **rest)

    monkeypatch.setattr(model._decoder._session, "run", run_and_close)
    assert list(stream) == []
    assert steps == [256]


def test_closing_is_noticed_while_nothing_is_given(
    model: TextModel, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = answer(model, "What is a blockchain?")[1].text
    steps.clear()
    stream = model.generate(question("What is a blockchain?", stop=(whole + "!",)))

    def draw_and_close(*arguments: Any, **rest: Any) -> int:
        if len(steps) == 5:
            stream.close()
        return draw(*arguments, **rest)

    monkeypatch.setattr("dispatchd.engine.generate.draw", draw_and_close)
    assert list(stream) == []
    assert len(steps) == 5


def test_closing_from_another_thread_costs_one_step_at_most(
    model: TextModel, steps: list[int]
) -> None:
    for temperature in (0.0, 1.0):
        steps.clear()
        how = {"temperature": temperature, "top_p": 0.9, "ignore_eos": True}
        stream = model.generate(question("What is a blockchain?", 900, **how))
        begun = threading.Event()

        def consume(stream: GenerationStream, begun: threading.Event) -> None:
            for _ in stream:
                begun.set()

        thread = threading.Thread(target=consume, args=(stream, begun))
        thread.start()
        assert begun.wait(timeout=10)
        stream.close()
        steps_at_close = len(steps)
        thread.join(timeout=10)
        assert not thread.is_alive()
        assert len(steps) - steps_at_close <= 1


def test_a_lone_surrogate_in_the_prompt_is_survived(model: TextModel) -> None:
    assert answer(model, "What is gas? \ud800", 5)[1].completion_tokens == 5


def test_threads_at_once_get_the_text_that_each_gets_alone(model: TextModel) -> None:
    prompts = ["What is a blockchain?", "What is gas?", "Hello!", "What is a faucet?"]
    alone = [answer(model, prompt)[1] for prompt in prompts]
    with ThreadPoolExecutor(max_workers=4) as pool:
        together = list(pool.map(lambda prompt: answer(model, prompt)[1], prompts))
    assert together == alone


SAMPLED = {"temperature": 2.0, "top_k": 1000, "top_p": 0.99}


def test_a_seed_draws_the_same_text_alone_and_beside_others(model: TextModel) -> None:
    requests = [
        question(prompt, 60, seed=seed, **SAMPLED)
        for prompt in ("What is gas?", "Hello!")
        for seed in (0, 1, -1, 2**64 - 2)
    ]
    alone = [list(model.generate(request)) for request in requests]
    with ThreadPoolExecutor(max_workers=4) as pool:
        together = list(pool.map(lambda request: list(model.generate(request)), requests))
    assert together == alone
    assert len({"".join(map(str, pieces)) for pieces in alone}) == len(requests)


def test_the_seed_is_of_no_account_without_a_temperature(model: TextModel) -> None:
    greedy = answer(model, "What is gas?", 30)
    assert answer(model, "What is gas?", 30, seed=7, top_p=0.5, top_k=3) == greedy


@pytest.mark.parametrize("how", [{"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-300}])
def test_what_leaves_one_choice_is_greedy(model: TextModel, how: dict[str, float]) -> None:
    greedy = answer(model, "What is gas?", 30)
    assert answer(model, "What is gas?", 30, **({"temperature": 2.0, "seed": 5} | how)) == greedy


def test_stop_strings_end_the_text_wherever_they_lie(model: TextModel) -> None:
    full = answer(model, "What is a blockchain?")[1]
    for start in range(0, len(full.text), 7):
        stop = full.text[start : start + 9]
        _, end = answer(model, "What is a blockchain?", stop=("never", stop))
        assert (end.text, end.finish_reason) == (full.text.partition(stop)[0], "stop")
        assert end.completion_tokens <= full.completion_tokens


def test_the_beginning_of_a_stop_string_is_given_once_it_is_none(model: TextModel) -> None:
    end = answer(model, "What is a blockchain?")[1]
    stops = tuple(end.text[start : start + 12] + "\0" for start in range(16))
    assert answer(model, "What is a blockchain?", stop=stops)[1] == end
    cut = answer(model, "What is a blockchain?", 10)[1]
    held = answer(model, "What is a blockchain?", 10, stop=(cut.text + "\0",))
    assert held == ([cut.text], cut)


def test_a_stop_string_that_waits_for_an_earlier_one_counts_in_the_end(model: TextModel) -> None:
    cut = answer(model, "What is a blockchain?", 10)[1]
    last = cut.text[-1]
    _, end = answer(model, "What is a blockchain?", 10, stop=(cut.text + "\0", last))
    assert (end.text, end.finish_reason) == (cut.text.partition(last)[0], "stop")


def test_ends_of_the_model_are_passed_over_when_asked(model: TextModel) -> None:
    ended = answer(model, "What is gas?")[1]
    assert ended.finish_reason == "stop"
    _, end = answer(model, "What is gas?", ended.completion_tokens, ignore_eos=True)
    assert end == msgspec.structs.replace(ended, finish_reason="length")
    wanted = ended.completion_tokens + 20
    _, end = answer(model, "What is gas?", wanted, ignore_eos=True)
    assert (end.completion_tokens, end.finish_reason) == (wanted, "length")
    assert end.text.startswith(ended.text)


def test_an_end_of_the_model_that_is_a_word_gives_no_text_either(model: TextModel) -> None:
    first = answer(model, "What is gas?", 1)[1].text
    word = model._folder.tokenizer.encode(first, add_special_tokens=False).ids
    folder = msgspec.structs.replace(model._folder, stop_ids=frozenset(word))
    eager = TextModel(folder, model._decoder, model._encoder)
    assert answer(eager, "What is gas?", 1, ignore_eos=True)[1].text == ""
    assert answer(eager, "What is gas?")[1].completion_tokens == 1


def test_the_model_says_where_it_runs(model: TextModel, chat_folder: Path) -> None:
    assert (model.name, model.context_tokens) == (NAME, CONTEXT_TOKENS)
    assert model.device in {"cpu", "cuda"}
    assert load_text_model(chat_folder, threads=2).device == model.device
