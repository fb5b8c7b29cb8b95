"""The embedded chat model in the batcher: what its card promises, on the shipped files."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dispatchd.engine.batch.batcher import Batcher
from dispatchd.engine.batch.load import open_batcher
from dispatchd.engine.catalog import DEFAULT_LLM, embedded, find
from dispatchd.engine.generate import Generation
from dispatchd.engine.prepare.manifest import read_manifest, verify
from dispatchd.engine.request import Message, TextRequest
from dispatchd.engine.wanted import Wanted

PROMPTS = (
    "What is a blockchain?",
    "hello",
    "What is the weather in Oslo today?",
    "Explain quantum computing in one paragraph.",
    "zxq 中文 🙂",
    "",
    "blah " * 300,
    "Write a haiku about the sea.",
)
EMBEDDED_BYTES_MAX = 25_000_000


@pytest.fixture(scope="module")
def batcher() -> Iterator[Batcher]:
    batcher = open_batcher(find(DEFAULT_LLM).path, threads=1, slots=16)
    yield batcher
    batcher.close()


def ask(batcher: Batcher, *contents: str) -> Generation:
    roles = ("user", "assistant") * len(contents)
    turns = tuple(Message(role, text) for role, text in zip(roles, contents, strict=False))
    *_, end = batcher.generate(TextRequest(turns, 400))
    assert isinstance(end, Generation)
    return end


def test_it_is_prepared_whole_and_batched() -> None:
    folder = find(DEFAULT_LLM).path
    verify(folder, read_manifest(folder))
    assert Wanted(DEFAULT_LLM, folder).slots == 16
    assert sum(card.bytes_on_disk for card in embedded()) < EMBEDDED_BYTES_MAX


def test_whatever_it_is_asked_it_comes_to_an_end(batcher: Batcher) -> None:
    assert [prompt for prompt in PROMPTS if ask(batcher, prompt).finish_reason != "stop"] == []


def test_an_answer_does_not_depend_on_its_company(batcher: Batcher) -> None:
    alone = [ask(batcher, prompt) for prompt in PROMPTS]
    with ThreadPoolExecutor(16) as threads:
        together = list(threads.map(lambda prompt: ask(batcher, prompt), PROMPTS * 2))
    assert together == alone * 2


def test_a_later_turn_is_answered_too(batcher: Batcher) -> None:
    first = ask(batcher, "What is a testnet?").text
    later = ask(batcher, "What is a testnet?", first, "What is a blockchain?")
    assert later.text == ask(batcher, "What is a blockchain?").text
