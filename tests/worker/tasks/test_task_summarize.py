import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatchd.core.limits import SUMMARY_CHARS_MAX, SUMMARY_CHARS_MIN
from dispatchd.engine.catalog import DEFAULT_SUMMARIZER, find
from dispatchd.engine.salience import load_salience
from dispatchd.engine.sentences import sentences
from dispatchd.worker.tasks.summarize import SUMMARY_CHARS, in_sentences, summarize

SALIENCE = load_salience(find(DEFAULT_SUMMARIZER).path)
WORDS = [
    "Bees ",
    "fly ",
    "to ",
    "the ",
    "U.S. ",
    "3.5 ",
    "grams. ",
    "Why? ",
    "蜂蜜",
    "。",
    "\n\n",
    "- ",
]

BEES = """Bees are insects that collect nectar and pollen from flowers. Most people know the honey
bee, but there are more than 20,000 species. It was raining yesterday. When bees fly from flower to
flower, bees carry pollen, and so flowers make seeds. Dr. Smith of the U.S. once said so, too.
Farmers need bees, because a third of the food that we eat depends on bees and pollen. My uncle has
a red car! Without bees, flowers and farmers would both suffer."""


def summary(text: str, max_chars: int = SUMMARY_CHARS) -> str:
    return str(summarize(text, SALIENCE, max_chars)["summary"])


def test_it_picks_whole_sentences_in_their_order() -> None:
    found = [sentence.text for sentence in sentences(BEES)]
    chosen = [sentence for sentence in found if sentence in summary(BEES)]
    assert " ".join(chosen) == summary(BEES)
    assert len(chosen) >= 2
    assert len(summary(BEES)) <= SUMMARY_CHARS


def test_it_picks_what_the_text_is_about() -> None:
    assert "bees" in summary(BEES)
    assert "red car" not in summary(BEES)
    assert "raining" not in summary(BEES)


def test_words_are_counted_in_the_whole_input() -> None:
    assert summarize(BEES, SALIENCE)["word_count"] == len(BEES.split()) == 82
    assert summarize("one two\nthree ", SALIENCE)["word_count"] == 3


def test_a_short_text_is_its_own_summary() -> None:
    assert summary("  Short.\n\nVery   short. ") == "Short. Very short."
    exact = "x" * 99 + " " + "y" * 100
    assert summary(exact) == exact


def test_nothing_gives_nothing() -> None:
    assert summarize(" \n", SALIENCE) == {"summary": "", "word_count": 0}


def test_a_sentence_that_is_too_long_alone_is_cut_at_a_word() -> None:
    text = "word " * 100
    cut = summary(text)
    assert cut.endswith("word…")
    assert SUMMARY_CHARS - 5 <= len(cut) <= SUMMARY_CHARS


@pytest.mark.parametrize("text", ["x" * 500, "量" * 500, "." * 500, "!? " * 200, "👩‍👩‍👧" * 100])
def test_text_without_words_or_ends_still_fits(text: str) -> None:
    assert 0 < len(summary(text)) <= SUMMARY_CHARS


def test_full_width_marks_end_sentences_and_need_no_space() -> None:
    text = "量子计算机使用量子比特。量子比特可以同时表示多个状态。今天天气很好！我们去公园。" * 10
    chosen = summary(text).split("。")
    assert chosen[0] == "量子计算机使用量子比特"
    assert " " not in summary(text)
    assert summary(text).endswith("。")
    assert all(f"{sentence}。" in text for sentence in chosen)


@pytest.mark.parametrize(
    "text",
    [
        (BEES + "\n\n") * 2000,
        "." * (1 << 20) + "x",
        ".'" * (1 << 19),
        "a. " * 350_000,
        "量" * (1 << 20),
        "x\n" + " " * (1 << 20) + "y",
        "word " * 200_000,
    ],
    ids=["bees", "dots", "quotes", "initials", "cjk", "space", "words"],
)
def test_a_mebibyte_of_anything_ends(text: str) -> None:
    """Within pytest's own limit of time, which a quadratic step would miss by hours."""
    assert len(summary(text)) <= SUMMARY_CHARS


def test_a_long_summary_of_a_long_text_fits() -> None:
    chosen = summary((BEES + "\n\n") * 300, SUMMARY_CHARS_MAX)
    assert 200 < len(chosen) <= SUMMARY_CHARS_MAX


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(WORDS), max_size=120).map("".join) | st.text(),
    st.integers(SUMMARY_CHARS_MIN, 600),
)
def test_whatever_the_text_whole_sentences_fit(text: str, max_chars: int) -> None:
    chosen = summary(text, max_chars)
    assert len(chosen) <= max_chars
    joined = " ".join(text.split())
    if len(joined) <= max_chars:
        assert chosen == joined
    elif not chosen.endswith("…"):
        rests = {chosen}  # behind any sentences of the text, in their order
        for sentence in sentences(text):
            rests |= {rest.removeprefix(sentence.text).lstrip() for rest in rests}
        assert "" in rests


def test_a_longer_summary_tells_more() -> None:
    longer = summary(BEES, 400)
    assert len(summary(BEES)) < len(longer) <= 400
    assert longer.count("bees") > summary(BEES).count("bees")


def test_a_generated_text_is_cut_after_a_sentence() -> None:
    assert in_sentences("One two. Three four. Five six.", 22) == "One two. Three four."
    assert in_sentences("走る。止まる。終わり。", 8) == "走る。止まる。"
    cut = in_sentences("word " * 20, 22)
    assert re.fullmatch(r"(word )+word…", cut)
    assert len(cut) <= 22
