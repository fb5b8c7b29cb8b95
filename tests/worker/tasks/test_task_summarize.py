import time

import pytest

from dispatchd.worker.tasks.sentences import sentences
from dispatchd.worker.tasks.summarize import SUMMARY_CHARS_MAX, summarize

BEES = """Bees are insects that collect nectar and pollen from flowers. Most people know the honey
bee, but there are more than 20,000 species. It was raining yesterday. When bees fly from flower to
flower, bees carry pollen, and so flowers make seeds. Dr. Smith of the U.S. once said so, too.
Farmers need bees, because a third of the food that we eat depends on bees and pollen. My uncle has
a red car! Without bees, flowers and farmers would both suffer."""


def summary(text: str) -> str:
    return str(summarize(text)["summary"])


def test_it_picks_whole_sentences_in_their_order() -> None:
    found = list(sentences(BEES))
    chosen = [sentence for sentence in found if sentence in summary(BEES)]
    assert " ".join(chosen) == summary(BEES)
    assert len(chosen) >= 2
    assert len(summary(BEES)) <= SUMMARY_CHARS_MAX


def test_it_picks_what_the_text_is_about() -> None:
    assert "bees" in summary(BEES)
    assert "red car" not in summary(BEES)
    assert "raining" not in summary(BEES)


def test_words_are_counted_in_the_whole_input() -> None:
    assert summarize(BEES)["word_count"] == len(BEES.split()) == 82
    assert summarize("one two\nthree ")["word_count"] == 3


def test_a_short_text_is_its_own_summary() -> None:
    assert summary("  Short.\n\nVery   short. ") == "Short. Very short."
    exact = "x" * 99 + " " + "y" * 100
    assert summary(exact) == exact


def test_nothing_gives_nothing() -> None:
    assert summarize(" \n") == {"summary": "", "word_count": 0}


def test_a_sentence_that_is_too_long_alone_is_cut_at_a_word() -> None:
    text = "word " * 100
    cut = summary(text)
    assert cut.endswith("word…")
    assert SUMMARY_CHARS_MAX - 5 <= len(cut) <= SUMMARY_CHARS_MAX


@pytest.mark.parametrize("text", ["x" * 500, "量" * 500, "." * 500, "!? " * 200, "👩‍👩‍👧" * 100])
def test_text_without_words_or_ends_still_fits(text: str) -> None:
    assert 0 < len(summary(text)) <= SUMMARY_CHARS_MAX


def test_full_width_marks_end_sentences_and_need_no_space() -> None:
    text = "量子计算机使用量子比特。量子比特可以同时表示多个状态。今天天气很好！我们去公园。" * 10
    chosen = summary(text).split("。")
    assert chosen[0] == "量子计算机使用量子比特"
    assert " " not in summary(text)
    assert summary(text).endswith("。")
    assert all(f"{sentence}。" in text for sentence in chosen)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two!  Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith left. He ran.", ["Dr. Smith left.", "He ran."]),
        ("In the U.S. people vote. J. K. Rowling", ["In the U.S. people vote.", "J. K. Rowling"]),
        ("It costs 3.50 euros. Cheap", ["It costs 3.50 euros.", "Cheap"]),
        ('He said "Go." Then he went.', ['He said "Go."', "Then he went."]),
        ("e.g. this one", ["e.g. this one"]),
        ("Wait... what? Yes", ["Wait... what?", "Yes"]),
        ("A title\n\nA text. *** End", ["A title", "A text.", "*** End"]),
        ("走る。止まる！「待て。」終わり", ["走る。", "止まる！", "「待て。」", "終わり"]),
        ("यह एक है। यह दो है।", ["यह एक है।", "यह दो है।"]),
        ("", []),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, expected: list[str]) -> None:
    assert list(sentences(text)) == expected


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
def test_a_mebibyte_of_anything_is_quick(text: str) -> None:
    begun = time.perf_counter()
    assert len(summary(text)) <= SUMMARY_CHARS_MAX
    assert time.perf_counter() - begun < 3
