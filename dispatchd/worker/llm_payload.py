"""Reads the payload of an LLM_INFER job, laxly, since another's coordinator may have sent it."""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct

from dispatchd.core.errors import ExecutionFailed
from dispatchd.engine.request import Message, TextRequest
from dispatchd.worker.payload import read_payload

DEFAULT_MAX_TOKENS = 256
STOP_STRINGS_MAX = 16
STOP_TOKEN_IDS_MAX = 64

_SEED_MIN, _SEED_MAX = -(2**63), 2**64 - 1
# Some printers write 40 as 40.0.
_Whole = int | float


class _Part(Struct, frozen=True):
    type: Literal["text"]
    text: str


class _Turn(Struct, frozen=True):
    # A template prints the role as it is, and so a free one could write special tokens.
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_Part]

    def message(self) -> Message:
        # Models know the newer name of the system's turn by its older one.
        role = "system" if self.role == "developer" else self.role
        if isinstance(self.content, str):
            return Message(role, self.content)
        return Message(role, "".join(part.text for part in self.content))


class _Payload(Struct, frozen=True):
    prompt: str | None = None
    messages: list[_Turn] | None = None
    system: str | None = None
    model: str | None = None
    max_tokens: Annotated[float, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: _Whole | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    seed: _Whole | None = None
    stop: str | Annotated[list[str], Meta(max_length=STOP_STRINGS_MAX)] | None = None
    stop_token_ids: Annotated[list[int], Meta(max_length=STOP_TOKEN_IDS_MAX)] | None = None
    ignore_eos: bool | None = None

    def __post_init__(self) -> None:
        if not (self.prompt or self.messages):
            raise ValueError("prompt or messages must be given, and not be empty")
        if self.top_k is not None and not (self.top_k % 1 == 0 and self.top_k >= 0):
            raise ValueError("top_k must be a whole number, 0 or more")
        if self.seed is not None and not (
            self.seed % 1 == 0 and _SEED_MIN <= self.seed <= _SEED_MAX
        ):
            raise ValueError("seed must be a whole number of 64 bits")

    def conversation(self) -> Iterator[Message]:
        if self.system:
            yield Message("system", self.system)
        for turn in self.messages or []:
            yield turn.message()
        if self.prompt:
            yield Message("user", self.prompt)


def read_request(payload: str, *, model: str, spare_seed: int) -> TextRequest:
    """What the payload asks of the model of that name.

    Without a temperature it is greedy; a temperature without a seed gets the spare one. Raises
    ExecutionFailed, final: `invalid_payload: …` or `model_not_found`.
    """
    asked = read_payload(payload, _Payload)
    if asked.model is not None and asked.model != model:
        raise ExecutionFailed("model_not_found", final=True)
    stop = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    return TextRequest(
        messages=tuple(asked.conversation()),
        max_tokens=int(asked.max_tokens or DEFAULT_MAX_TOKENS),
        temperature=asked.temperature or 0.0,
        top_p=asked.top_p or 1.0,
        top_k=int(asked.top_k or 0),
        min_p=asked.min_p or 0.0,
        repetition_penalty=asked.repetition_penalty,
        seed=spare_seed if asked.seed is None else int(asked.seed),
        stop=tuple(string for string in stop if string),
        stop_ids=frozenset(asked.stop_token_ids or ()),
        ignore_eos=asked.ignore_eos or False,
    )
