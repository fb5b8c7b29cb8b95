"""The tokenizer: lower-case byte-level BPE, learnt from the texts it will read."""

import json
import random
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

PAD = 0
_VOCABULARY = 8192
_DROPOUT = 0.03


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


def roughly(tokenizer: Tokenizer, chance: random.Random) -> Tokenizer:
    """A twin without some of the merges, so that words are met in pieces as well.

    After BPE-dropout (Provilkov et al. 2020), but by a seed, which `tokenizers` does not take: what
    is left out is so for all texts of a twin.
    """
    content = json.loads(tokenizer.to_str())
    merges = content["model"]["merges"]
    content["model"]["merges"] = [merge for merge in merges if chance.random() >= _DROPOUT]
    return Tokenizer.from_str(json.dumps(content))
