"""The tokenizer: byte-level BPE, every digit a token, and ChatML's marks."""

import random
from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from scripts.lm_training.examples import Conversation, Examples
from scripts.lm_training.sources import Sources

END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CONVERSATIONS = 30_000
_DEFINITIONS = 15_000


def train_tokenizer(examples: Examples, sources: Sources, vocab_size: int, seed: int) -> Tokenizer:
    """Trained on conversations as they will be drawn, and on definitions."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(examples, sources, random.Random(seed)), trainer)
    return tokenizer


def chat_text(conversation: Conversation) -> list[tuple[str, bool]]:
    """The conversation in ChatML, in pieces: the text, and whether the model is to write it."""
    pieces: list[tuple[str, bool]] = []
    if conversation.system is not None:
        pieces.append((f"{START}system\n{conversation.system}{END}\n", False))
    for turn in conversation.turns:
        pieces.append((f"{START}user\n{turn.prompt}{END}\n{START}assistant\n", False))
        pieces.append((f"{turn.answer}{END}", True))
        pieces.append(("\n", False))
    return pieces[:-1]


def _texts(examples: Examples, sources: Sources, chance: random.Random) -> Iterator[str]:
    for _ in range(_CONVERSATIONS):
        for turn in examples.draw(chance).turns:
            yield turn.prompt
            yield turn.answer
    for question, answer in chance.sample(sources.definitions, _DEFINITIONS):
        yield question
        yield answer
