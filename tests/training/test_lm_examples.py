"""What the embedded chat model is trained on, as far as it can be told without training."""

import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from tokenizers import Tokenizer

from dispatchd.engine.catalog import DEFAULT_LLM, find
from scripts.lm_training import texts
from scripts.lm_training.batches import Batches
from scripts.lm_training.examples import Conversation, Examples
from scripts.lm_training.held_out import asked, questions
from scripts.lm_training.presets import PRESETS
from scripts.lm_training.sources import Sources
from scripts.lm_training.tokenizer import END, chat_text
from scripts.lm_training.wordings import dressed, explain, mistyped

SOURCES = Sources(
    definitions=[
        ("What is a spoon?", "A spoon is a tool for eating."),
        ("Define fog.", "Fog: mist."),
    ],
    terms=["spoon", "fog", "an owl", "Gdansk", "blockchain", "the Moon"],
    questions=["How do owls see at night?"],
    remarks=["That was great.", "I lost my hat"],
    prose=["The harbour lay quiet. " * 12],
)
DRAWS = 3000

Drawn = list[Conversation]


def known_answers() -> set[str]:
    """Everything that the model is to say, but for declines."""
    answers = {topic.answer for topic in texts.topics()}
    answers |= {exchange.answer for exchange in texts.exchanges()}
    answers |= {comparison.answer for comparison in texts.comparisons()}
    return answers | {texts.capital_answer(*pair) for pair in texts.capitals().items()}


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    examples = Examples(SOURCES, frozenset(texts.normal(question) for question in asked()))
    chance = random.Random(1)
    return [examples.draw(chance) for _ in range(DRAWS)]


def test_no_question_of_the_evaluation_is_trained_on(drawn: Drawn) -> None:
    held_out = {texts.normal(question) for question in asked()}
    prompts = {texts.normal(turn.prompt) for each in drawn for turn in each.turns}
    assert not held_out & prompts
    fixed = {texts.normal(prompt) for each in texts.exchanges() for prompt in each.prompts}
    assert not held_out & fixed


def test_a_question_that_is_held_out_is_never_drawn() -> None:
    chance = random.Random(2)
    examples = Examples(SOURCES, frozenset())
    most, _ = Counter(
        texts.normal(turn.prompt) for _ in range(DRAWS) for turn in examples.draw(chance).turns
    ).most_common(1)[0]
    without = Examples(SOURCES, frozenset([most]))
    prompts = {texts.normal(t.prompt) for _ in range(DRAWS) for t in without.draw(chance).turns}
    assert most not in prompts


def test_the_same_seed_draws_the_same(drawn: Drawn) -> None:
    examples = Examples(SOURCES, frozenset(texts.normal(question) for question in asked()))
    chance = random.Random(1)
    assert [examples.draw(chance) for _ in range(200)] == drawn[:200]


def test_what_is_known_is_never_declined_as_unknown(drawn: Drawn) -> None:
    plain = {f"what is {texts.normal(topic.names[0])}" for topic in texts.topics()}
    plain |= {texts.normal(prompt) for each in texts.exchanges() for prompt in each.prompts}
    declined = {
        texts.normal(turn.prompt)
        for each in drawn
        for turn in each.turns
        if texts.is_decline(turn.answer)
    }
    assert not plain & declined


def test_only_declines_say_that_the_model_is_very_small() -> None:
    assert all(texts.is_decline(answer) for answer in texts.declines().values())
    about_itself = {each.answer for each in texts.exchanges() if "are you" in each.prompts[0]}
    assert [answer for answer in known_answers() - about_itself if texts.is_decline(answer)] == []


def test_each_name_and_each_prompt_has_one_answer() -> None:
    names = [{texts.normal(name) for name in topic.names} for topic in texts.topics()]
    prompts = [{texts.normal(prompt) for prompt in each.prompts} for each in texts.exchanges()]
    for groups in (names, prompts):
        counted = Counter(name for group in groups for name in group)
        assert [name for name, times in counted.items() if times > 1] == []


def test_each_question_of_the_evaluation_is_about_something_that_is_trained() -> None:
    names = {topic.names[0] for topic in texts.topics()}
    names |= {each.prompts[0] for each in texts.exchanges()}
    names |= {each.pair[0] for each in texts.comparisons()}
    found = questions()
    for kind in ("topics", "exchanges", "comparisons"):
        assert {question.about for question in found[kind]} <= names
    for kind in ("unknown", "near"):
        assert {question.about for question in found[kind]} == {None}


@pytest.mark.parametrize("how", [explain, mistyped])
def test_a_wording_is_one_line_of_text(how: Callable[[random.Random, str], str]) -> None:
    chance = random.Random(3)
    for _ in range(500):
        text = dressed(chance, how(chance, "a hash table"))
        assert text == text.strip() != ""
        assert "\n" not in text
        assert "{" not in text


def test_a_batch_wants_the_answers_and_nothing_else() -> None:
    words = Tokenizer.from_file(str(find(DEFAULT_LLM).path / "tokenizer.json"))
    examples = Examples(SOURCES, frozenset())
    batches = Batches(examples, SOURCES, words, tokens_a_step=2000, seed=4)
    answers = known_answers() | set(texts.declines().values())
    for batch in batches.conversations(0):
        for ids, wanted in zip(batch.ids, batch.wanted, strict=True):
            for start, end in _runs(wanted):
                said = words.decode(ids[start:end].tolist(), skip_special_tokens=False)
                whole = said.removesuffix(END)
                assert any(answer.startswith(whole) for answer in answers), said
    again = Batches(examples, SOURCES, words, tokens_a_step=2000, seed=4)
    assert _ids(again, 5) == _ids(batches, 5) != _ids(batches, 6)


def test_chat_text_is_what_the_template_writes() -> None:
    chance = random.Random(5)
    examples = Examples(SOURCES, frozenset())
    conversation = examples.draw(chance)
    turn = conversation.turns[0]
    text = "".join(piece for piece, _ in chat_text(Conversation("Be brief.", (turn,))))
    assert text == (
        f"<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n{turn.prompt}<|im_end|>\n"
        f"<|im_start|>assistant\n{turn.answer}<|im_end|>"
    )


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_model_that_can_be_prepared(name: str) -> None:
    preset = PRESETS[name]
    assert preset.head_size % 8 == 0
    assert preset.heads % preset.kv_heads == 0
    assert preset.language_steps < preset.steps


def _runs(flags: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]") -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(int), [0]))))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _ids(batches: Batches, step: int) -> list[list[list[int]]]:
    return [batch.ids.tolist() for batch in batches.conversations(step)]
