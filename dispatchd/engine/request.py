"""What a generation is asked for."""

from msgspec import Struct


class Message(Struct, frozen=True):
    """One turn of a conversation; the content is anybody's text, the role is one we know."""

    role: str
    content: str


class TextRequest(Struct, frozen=True):
    """A conversation to go on with, and how; whoever makes it has checked its limits.

    `max_tokens` is at least one. A temperature of 0 is greedy decoding, a `top_k` of 0 no limit,
    nor is a `min_p` of 0; a `repetition_penalty` of None is the model's own. `stop_ids` are tokens
    that end the text besides the model's. The same seed draws the same text, whatever else runs. No
    stop string is empty. With a `json_schema`, JSON text itself, the text can only be JSON of it.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    min_p: float = 0.0
    repetition_penalty: float | None = None
    stop_ids: frozenset[int] = frozenset()
    json_schema: str | None = None
