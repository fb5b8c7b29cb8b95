"""The tokenizer: lower-case byte-level BPE, learnt from the texts it will read."""

import json
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

PAD = 0
_VOCABULARY = 8192
_DROPOUT = 0.1


def learn(texts: Iterable[str]) -> Tokenizer:
    """A tokenizer whose token 0 is padding and never comes out of a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex("[\u2018\u2019\u00b4`]"), "'"),
            normalizers.Replace(Regex("[\u201c\u201d]"), '"'),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=["<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return unmarked(tokenizer)


def unmarked(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with padding as a token that no text can be made to hold."""
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(content))


def roughly(tokenizer: Tokenizer) -> Tokenizer:
    """A twin that leaves out merges by chance, so that words are met in pieces as well."""
    twin = Tokenizer.from_str(tokenizer.to_str())
    twin.model.dropout = _DROPOUT
    return twin
