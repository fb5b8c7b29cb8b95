"""Canaries: what is asked, and what counts as the answer."""

import json

import pytest

from dispatchd.coordinator.canary import canary_for, passed
from dispatchd.core.card import ProviderType, Slots, WorkerCard
from dispatchd.core.job import JobType
from dispatchd.engine.catalog import DEFAULT_SUMMARIZER, find
from dispatchd.engine.salience import load_salience
from dispatchd.worker.tasks.summarize import summarize
from tests.coordinator.world import ALL_TYPES


def card(job_types: frozenset[JobType]) -> WorkerCard:
    return WorkerCard(
        provider_pubkey="ab" * 32,
        provider_type=ProviderType.DESKTOP,
        slots=(Slots(job_types, 1),),
    )


def test_no_two_are_alike_and_all_are_short() -> None:
    canaries = [canary_for(card(ALL_TYPES), 0) for _ in range(100)]
    assert len({canary.id for canary in canaries}) == 100
    texts = {json.loads(canary.payload)["input"] for canary in canaries}
    assert len(texts) == 100
    assert all(len(text) <= 200 and text.count(".") == 1 for text in texts)


def test_the_number_of_words_alone_is_judged() -> None:
    canary = canary_for(card(ALL_TYPES), 0)
    words = len(json.loads(canary.payload)["input"].split())
    assert passed(canary, json.dumps({"summary": "anything", "word_count": words}))
    assert passed(canary, f'{{"word_count":{words}.0}}')
    for wrong in (f'{{"word_count":{words + 1}}}', "{}", "[]", '{"word_count":"x"}', "{" * 5000):
        assert passed(canary, wrong) is False


def test_our_own_summaries_pass() -> None:
    canary = canary_for(card(ALL_TYPES), 0)
    text = json.loads(canary.payload)["input"]
    assert passed(canary, json.dumps(summarize(text, load_salience(find(DEFAULT_SUMMARIZER).path))))


@pytest.mark.parametrize("output", ['{"text":"Well,"}', "null", "x"])
def test_of_a_generated_text_nothing_is_judged(output: str) -> None:
    canary = canary_for(card(frozenset({JobType.LLM_INFER})), 0)
    assert json.loads(canary.payload)["max_tokens"] == 8
    assert passed(canary, output) is None
