from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from dispatchd.engine.text import Detokenizer, whole

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_tokenizer() -> Tokenizer:
    """One token a byte, so that every character beyond ASCII is split over tokens."""
    tokenizer = Tokenizer(
        models.BPE(vocab={letter: i for i, letter in enumerate(ALPHABET)}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


TOKENIZER = byte_tokenizer()


def pieces(ids: list[int]) -> list[str]:
    words = Detokenizer(TOKENIZER)
    return [*(words.add(token) for token in ids), words.end()]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd")))
def test_pieces_join_to_the_text_and_hold_whole_characters(text: str) -> None:
    got = pieces(TOKENIZER.encode(text).ids)
    assert "".join(got) == text
    assert all(len(piece) <= 1 for piece in got)


@given(st.binary(max_size=60))
def test_any_bytes_at_all_become_text(raw: bytes) -> None:
    letters = {letter: i for i, letter in enumerate(ALPHABET)}
    table = {TOKENIZER.decode([i]): i for i in letters.values()}
    ids = [table[chr(byte)] if byte < 128 else byte % len(ALPHABET) for byte in raw]
    whole_text = TOKENIZER.decode(ids)
    assert "".join(pieces(ids)) == whole_text.rstrip("\ufffd")


def test_a_character_cut_off_at_the_end_is_dropped() -> None:
    ids = TOKENIZER.encode("ok 😀").ids
    assert "".join(pieces(ids[:-1])) == "ok "


def test_a_family_of_emoji_arrives_in_one_piece_each() -> None:
    text = "👩‍👩‍👧 中文 naïve"
    assert [piece for piece in pieces(TOKENIZER.encode(text).ids) if piece] == list(text)


def test_noise_is_given_up_after_a_while() -> None:
    lead_byte = TOKENIZER.encode("😀").ids[0]
    words = Detokenizer(TOKENIZER)
    got = [words.add(lead_byte) for _ in range(200)]
    assert sum(map(bool, got)) == 3
    assert set("".join(got)) == {"\ufffd"}


def test_whole_text_can_always_be_encoded() -> None:
    assert whole("a\ud83d\ude00b\ud800c") == "a😀b\ufffdc"
    assert whole("plain") == "plain"
