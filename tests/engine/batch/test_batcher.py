"""The batcher over a real, small model; its answers are those of the same request alone."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dispatchd.core.errors import ExecutionFailed, Unusable
from dispatchd.engine.batch import schedule
from dispatchd.engine.batch.batcher import Batcher
from dispatchd.engine.batch.load import open_batcher
from dispatchd.engine.generate import Generation
from dispatchd.engine.load import load_language_model
from dispatchd.engine.request import Message, TextRequest
from dispatchd.engine.stop import StopStrings
from tests.engine.batch.conftest import Opened
from tests.support.small_model import CONTEXT_TOKENS, prepare_small

WORDS = ["the", "blockchain", "is", "a", "shared", "ledger", "of", "gas", "and", "node", "what"]
LIMIT_SECONDS = 20


def question(prompt: str, max_tokens: int = 30, **how: Any) -> TextRequest:
    return TextRequest((Message("user", prompt),), max_tokens, **how)


def words(count: int, seed: int = 0) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, count))


def mixed(count: int) -> list[TextRequest]:
    """Requests of many lengths; every third is sampled, some end by themselves."""
    chance = np.random.default_rng(7)
    sampled = {"temperature": 1.0, "top_k": 50, "top_p": 0.95, "repetition_penalty": 1.2}
    return [
        question(
            words(int(chance.integers(1, 150)), seed=number),
            int(chance.integers(3, 40)),
            ignore_eos=bool(number % 2),
            seed=number,
            **({} if number % 3 else sampled),
        )
        for number in range(count)
    ]


def answer(batcher: Batcher, request: TextRequest) -> Generation:
    *pieces, end = batcher.generate(request)
    assert isinstance(end, Generation)
    assert "".join(map(str, pieces)) == end.text
    assert "" not in pieces
    return end


def answers(batcher: Batcher, requests: list[TextRequest]) -> list[Generation]:
    with ThreadPoolExecutor(len(requests)) as threads:
        return list(threads.map(lambda request: answer(batcher, request), requests))


@pytest.fixture(scope="module")
def alone(small: Path) -> list[Generation]:
    """What 24 mixed requests give one after the other, each with the pool to itself."""
    batcher = open_batcher(small, threads=1, slots=1)
    try:
        return [answer(batcher, request) for request in mixed(24)]
    finally:
        batcher.close()


@pytest.mark.parametrize("slots", [2, 8, 24])
def test_24_mixed_requests_get_the_same_in_any_company(
    slots: int, alone: list[Generation], opened: Opened
) -> None:
    assert answers(opened(slots=slots), mixed(24)) == alone
    assert len({end.text for end in alone}) > 20


@pytest.mark.parametrize("chunk", [16, 48, 512])
def test_another_chunk_size_gives_the_same(
    chunk: int, alone: list[Generation], opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("schedule", "turns", "load"):
        monkeypatch.setattr(f"dispatchd.engine.batch.{module}.CHUNK_TOKENS", chunk)
    assert schedule.chunk_end(0, 1000) == chunk
    assert answers(opened(slots=8), mixed(24)) == alone


def test_two_threads_give_the_same(alone: list[Generation], opened: Opened) -> None:
    assert answers(opened(slots=8, threads=2), mixed(24)) == alone


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_other_precisions_give_the_same_in_any_company(
    precision: Any, tmp_path: Path, opened: Opened
) -> None:
    batcher = opened(prepare_small(tmp_path, precision), slots=8)
    requests = mixed(12)
    assert [answer(batcher, request) for request in requests] == answers(batcher, requests)


def test_cancellations_beside_it_change_nothing(alone: list[Generation], opened: Opened) -> None:
    batcher = opened(slots=8)

    def answer_or_close(number: int, request: TextRequest) -> Generation | None:
        if number % 4 == 1:
            stream = batcher.generate(request)
            next(stream)
            stream.close()
            return None
        return answer(batcher, request)

    with ThreadPoolExecutor(24) as threads:
        got = list(threads.map(answer_or_close, range(24), mixed(24)))
    kept = [end for number, end in enumerate(alone) if number % 4 != 1]
    assert [end for end in got if end is not None] == kept


class Gate:
    """Lets the steps of a batcher begin one by one, and counts them."""

    def __init__(self, batcher: Batcher, patch: pytest.MonkeyPatch) -> None:
        self.reads: list[int] = []
        self.decodes: list[int] = []
        self.begun = threading.Semaphore(0)
        self._permits = threading.Semaphore(0)
        stepper = batcher._turns._stepper
        read, decode = stepper.read, stepper.decode

        def gated_read(slot: int, ids: Any, start: int) -> Any:
            self.reads.append(start + len(ids))
            self._wait()
            return read(slot, ids, start)

        def gated_decode(ids: Any, *rest: Any) -> Any:
            self.decodes.append(len(ids))
            self._wait()
            return decode(ids, *rest)

        patch.setattr(stepper, "read", gated_read)
        patch.setattr(stepper, "decode", gated_decode)

    def open(self, steps: int = 100_000) -> None:
        self._permits.release(steps)

    def _wait(self) -> None:
        self.begun.release()
        assert self._permits.acquire(timeout=LIMIT_SECONDS)


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.outcome: Generation | Exception | None = None
        self.ended = threading.Event()

    def give(self, piece: str) -> None:
        self.pieces.append(piece)

    def end(self, outcome: Generation | Exception) -> None:
        self.outcome = outcome
        self.ended.set()


def test_closing_frees_the_slot_within_a_step(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = opened(slots=1)
    gate = Gate(batcher, monkeypatch)
    first, second = Heard(), Heard()
    ticket = batcher.submit(question("gas", 400, ignore_eos=True), first)
    batcher.submit(question("node", 2), second)
    gate.open(5)
    for _ in range(6):
        assert gate.begun.acquire(timeout=LIMIT_SECONDS)
    ticket.close()  # while the sixth step waits
    gate.open()
    assert second.ended.wait(LIMIT_SECONDS)
    assert isinstance(first.outcome, ExecutionFailed)
    assert first.outcome.reason == "cancelled"
    assert isinstance(second.outcome, Generation)
    assert (len(gate.reads), len(gate.decodes)) == (2, 5 + 1)


def test_closing_amid_a_long_prompt_frees_the_slot_within_a_chunk(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = opened(slots=1)
    gate = Gate(batcher, monkeypatch)
    heard = Heard()
    ticket = batcher.submit(question(words(200)), heard)
    assert gate.begun.acquire(timeout=LIMIT_SECONDS)
    ticket.close()
    gate.open()
    assert heard.ended.wait(LIMIT_SECONDS)
    assert gate.reads == [schedule.CHUNK_TOKENS]
    assert heard.pieces == []


def test_a_waiting_one_that_is_closed_never_runs(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = opened(slots=1)
    gate = Gate(batcher, monkeypatch)
    running, waiting = Heard(), Heard()
    batcher.submit(question("gas", 50, ignore_eos=True), running)
    ticket = batcher.submit(question("node"), waiting)
    ticket.close()
    gate.open(2)
    assert waiting.ended.wait(LIMIT_SECONDS)
    assert not running.ended.is_set()
    gate.open()
    assert running.ended.wait(LIMIT_SECONDS)
    assert len(gate.reads) == 1


def test_a_full_pool_queues(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = opened(slots=2)
    gate = Gate(batcher, monkeypatch)
    gate.open()
    answers(batcher, [question("gas", 5, ignore_eos=True)] * 7)
    assert max(gate.decodes) == 2


def test_a_short_prompt_does_not_wait_for_a_long_one(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = opened(slots=2)
    gate = Gate(batcher, monkeypatch)
    long, short = Heard(), Heard()
    batcher.submit(question(words(300), 1), long)
    assert gate.begun.acquire(timeout=LIMIT_SECONDS)
    batcher.submit(question("gas", 1), short)
    gate.open(4)
    assert short.ended.wait(LIMIT_SECONDS)
    assert not long.ended.is_set()
    gate.open()
    assert long.ended.wait(LIMIT_SECONDS)


def test_decoding_goes_on_beside_a_long_prompt(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatchd.engine.batch.schedule.READ_SECONDS_MAX", 1e-9)
    batcher = opened(slots=2)
    gate = Gate(batcher, monkeypatch)
    gate.open(3)
    running, reading = Heard(), Heard()
    batcher.submit(question("gas", 200, ignore_eos=True), running)
    for _ in range(4):
        assert gate.begun.acquire(timeout=LIMIT_SECONDS)
    batcher.submit(question(words(300), 1), reading)
    decoded = len(gate.decodes)
    gate.open()
    assert reading.ended.wait(LIMIT_SECONDS)
    assert len(gate.decodes) - decoded >= len(gate.reads) - 2
    assert len(gate.reads) > 4


def test_prompts_that_begin_alike_are_read_once(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = opened(slots=4)
    gate = Gate(batcher, monkeypatch)
    gate.open()
    system = Message("system", words(200))
    requests = [TextRequest((system, Message("user", word)), 5) for word in WORDS[:4]]
    alone = [answer(opened(slots=1), request) for request in requests]
    chunks = -(-alone[0].prompt_tokens // schedule.CHUNK_TOKENS)
    assert answers(batcher, requests) == alone
    assert len(gate.reads) <= chunks + 3 * 2
    assert answer(batcher, requests[0]) == alone[0]
    assert chunks > 3


def test_a_prompt_as_long_as_the_context_is_refused_for_good(opened: Opened) -> None:
    with pytest.raises(ExecutionFailed, match="prompt_too_long") as caught:
        answer(opened(), question(words(2 * CONTEXT_TOKENS)))
    assert caught.value.final


def test_the_context_caps_what_is_asked_for(opened: Opened) -> None:
    batcher = opened(slots=2)
    requests = [question(words(250), 10**6, ignore_eos=True), question("gas", 20)]
    long, short = answers(batcher, requests)
    assert long.prompt_tokens + long.completion_tokens == batcher.context_tokens
    assert long.finish_reason == "length"
    assert short == answer(batcher, requests[1])


def test_a_stop_string_never_leaks_its_beginning(opened: Opened) -> None:
    batcher = opened()
    whole = answer(batcher, question("gas", 30, ignore_eos=True)).text
    for start in range(1, len(whole) - 6, 5):
        stop = whole[start : start + 6]
        end = answer(batcher, question("gas", 30, ignore_eos=True, stop=("never", stop)))
        assert (end.text, end.finish_reason) == (whole.partition(stop)[0], "stop")


def test_a_stop_id_ends_it_without_its_text(opened: Opened) -> None:
    batcher = opened()
    whole = answer(batcher, question("gas", 3, ignore_eos=True)).text
    ids = frozenset(batcher._folder.tokenizer.encode(whole, add_special_tokens=False).ids)
    end = answer(batcher, question("gas", 30, stop_ids=ids))
    assert (end.text, end.finish_reason) == ("", "stop")


def test_a_step_that_breaks_is_told_and_the_next_one_works(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = opened()
    expected = answer(batcher, question("gas"))

    def broken(*_: object) -> None:
        raise MemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(batcher._turns._stepper, "decode", broken)
        with pytest.raises(MemoryError):
            answer(batcher, question("gas"))
    assert answer(batcher, question("gas")) == expected


def test_a_text_that_breaks_leaves_those_beside_it(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = opened()
    expected = answer(batcher, question("gas"))
    plain = StopStrings.add

    def broken(stop: StopStrings, piece: str) -> str:
        if stop._sought:
            raise RuntimeError("broken")
        return plain(stop, piece)

    monkeypatch.setattr(StopStrings, "add", broken)
    with ThreadPoolExecutor(2) as threads:
        beside = threads.submit(answer, batcher, question("gas", stop=("x",)))
        assert threads.submit(answer, batcher, question("gas")).result() == expected
        assert isinstance(beside.exception(), RuntimeError)


def test_closing_the_batcher_ends_what_runs(opened: Opened) -> None:
    batcher, heard = opened(), Heard()
    batcher.submit(question("gas", 400, ignore_eos=True), heard)
    batcher.close()
    assert heard.ended.is_set()
    assert not batcher._thread.is_alive()


def test_a_pool_too_small_for_a_conversation_is_unusable(small: Path) -> None:
    with pytest.raises(Unusable, match="fewer --slots"):
        open_batcher(small, threads=1, slots=4, pool_bytes_max=100_000)


def test_the_manifest_decides_which_engine_loads_it(small: Path, chat_folder: Path) -> None:
    batcher = load_language_model(small, threads=1, slots=2)
    assert isinstance(batcher, Batcher)
    batcher.close()
    assert not isinstance(load_language_model(chat_folder, threads=1, slots=2), Batcher)


def test_it_says_what_its_answers_are_the_same_for(opened: Opened) -> None:
    kept = opened().determinism
    assert (kept.precision, kept.provider) == ("int8", "cpu")
    assert kept == opened(slots=1).determinism
    assert len(kept.model_sha256) == 64
    assert kept.runtime.startswith("onnxruntime ")
