import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchd.engine.sentences import Sentence, sentences

PIECES = ["Dr. ", "U.S. ", "3.5", " 3. ", "No. ", "A", "b", " ", "\n", "\n\n", ". ", "! ", "? "]
PIECES += ["。", "「", "」", '"', "(", ")", "…", "- ", "1) ", "।", "؟ ", "e.g. ", "word", "The "]


def texts(text: str) -> list[str]:
    return [sentence.text for sentence in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two!  Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith left. He ran.", ["Dr. Smith left.", "He ran."]),
        ("In the U.S. people vote. J. K. Rowling", ["In the U.S. people vote.", "J. K. Rowling"]),
        ("It is in the U.S. The end", ["It is in the U.S.", "The end"]),
        ("He came at 5 p.m. They left.", ["He came at 5 p.m.", "They left."]),
        ("See Fig. 3 and No. 5. Then p. 7.", ["See Fig. 3 and No. 5.", "Then p. 7."]),
        ("He said no. Then he left.", ["He said no.", "Then he left."]),
        ("It costs 3.50 euros. Cheap", ["It costs 3.50 euros.", "Cheap"]),
        ('He said "Go." Then he went.', ['He said "Go."', "Then he went."]),
        ('"Really?" he asked. Yes.', ['"Really?" he asked.', "Yes."]),
        ("e.g. this one", ["e.g. this one"]),
        ("Wait... what? Yes", ["Wait... what?", "Yes"]),
        ("A title\n\nA text. *** End", ["A title", "A text.", "*** End"]),
        (
            "To do:\n- buy milk\n- go home\n1) sleep",
            ["To do:", "- buy milk", "- go home", "1) sleep"],
        ),
        ("走る。止まる！「待て。」終わり", ["走る。", "止まる！", "「待て。」", "終わり"]),
        ("यह एक है। यह दो है।", ["यह एक है।", "यह दो है।"]),
        ("كيف حالك؟ أنا بخير.", ["كيف حالك؟", "أنا بخير."]),
        ("Am 3. Mai kam er z.B. um 9. Ende.", ["Am 3. Mai kam er z.B. um 9.", "Ende."]),
        ("El Sr. López vino. Fin.", ["El Sr. López vino.", "Fin."]),
        ("ეს ერთია. ის ორია. The End", ["ეს ერთია.", "ის ორია.", "The End"]),
        ("", []),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, expected: list[str]) -> None:
    assert texts(text) == expected


def test_a_sentence_after_a_line_break_opens_a_paragraph() -> None:
    found = list(sentences("One. Two.\nThree. Four.\n\nFive."))
    assert [sentence.opens for sentence in found] == [True, False, True, False, True]


@given(st.lists(st.sampled_from(PIECES)).map("".join) | st.text())
def test_no_letter_is_lost_and_no_sentence_is_empty(text: str) -> None:
    found = list(sentences(text))
    assert all(isinstance(each, Sentence) and each.text.strip() for each in found)
    assert letters("".join(each.text for each in found)) == letters(text)


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))
