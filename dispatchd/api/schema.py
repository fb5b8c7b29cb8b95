"""The shapes of requests: loose JSON becomes a frozen value here, or an error naming the field."""

import hashlib
import re
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.structs import replace

from dispatchd.coordinator.intake import Order
from dispatchd.core.card import KeyHex
from dispatchd.core.errors import Invalid
from dispatchd.core.job import JobType, Privacy, Tier
from dispatchd.core.limits import SUMMARY_CHARS_MAX, SUMMARY_CHARS_MIN
from dispatchd.core.prices import auto_tier
from dispatchd.core.sentence import plain_sentence

_T = TypeVar("_T")

USER_ID_CHARS_MAX = 256
MAX_TOKENS_MAX = 1_000_000
MISSING_FIELDS = "Missing required fields: job_type, payload, user_id"

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class MissingFields(Invalid):
    """A commit without all of the three fields; `detail` names those that are not there."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(MISSING_FIELDS)
        self.detail = f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} missing or empty"


UserId = Annotated[
    str, Meta(min_length=1, max_length=USER_ID_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]*\Z")
]
Tokens = Annotated[
    float, Meta(extra_json_schema={"multipleOf": 1, "minimum": 1, "maximum": MAX_TOKENS_MAX})
]
"""A whole number, also one like 256.0. The limits are for the OpenAPI document only: the types
that have such a field check it, with better sentences."""
NonEmpty = Annotated[str, Meta(min_length=1)]


class TaskType(StrEnum):
    """What a TASK job does with its input."""

    SUMMARIZE = "summarize"
    CLASSIFY = "classify"
    EXTRACT_JSON = "extract_json"


class Policy(StrEnum):
    """How a client chooses a tier."""

    AUTO = "AUTO"
    FAST = "FAST"
    CHEAP = "CHEAP"

    def tier(self, job_type: JobType) -> Tier:
        """The tier that this policy means for a job type."""
        return auto_tier(job_type) if self is Policy.AUTO else Tier(self.value)


class TextPart(Struct, frozen=True):
    """A part of a message, as OpenAI's clients may send them."""

    type: Literal["text"]
    text: str


class Message(Struct, frozen=True):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart]


class LlmPayload(Struct, frozen=True):
    """What an LLM_INFER job may carry; unknown fields go to the worker as they are.

    The fields after `max_tokens` are ours: jobs with any of them go only to workers that know them.
    """

    job_type: JobType
    prompt: NonEmpty | None = None
    max_tokens: Tokens | None = None
    model: NonEmpty | None = None
    messages: Annotated[list[Message], Meta(min_length=1)] | None = None
    system: str | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: NonEmpty | Annotated[list[NonEmpty], Meta(max_length=16)] | None = None
    ignore_eos: bool | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    stop_token_ids: Annotated[list[int], Meta(max_length=64)] | None = None

    def __post_init__(self) -> None:
        """A number such as 256.0 is whole, whatever printed it."""
        tokens = self.max_tokens
        if tokens is not None and not (tokens.is_integer() and 1 <= tokens <= MAX_TOKENS_MAX):
            raise ValueError(f"max_tokens must be a whole number from 1 to {MAX_TOKENS_MAX}")
        if self.prompt is None and self.messages is None:
            raise ValueError("prompt is missing")

    @property
    def extended(self) -> bool:
        """Whether any of our fields is there."""
        return any(getattr(self, name) is not None for name in _EXTENSIONS)


_EXTENSIONS = LlmPayload.__struct_fields__[LlmPayload.__struct_fields__.index("model") :]


class TaskPayload(Struct, frozen=True):
    """What a TASK job must carry; unknown fields go to the worker as they are.

    The fields after `input` are ours: jobs with any of them go only to workers that know them.
    `max_length` and `mode` are for summarize, `schema` (JSON Schema) for extract_json.
    """

    job_type: JobType
    task_type: TaskType
    input: NonEmpty
    max_length: Annotated[int, Meta(ge=SUMMARY_CHARS_MIN, le=SUMMARY_CHARS_MAX)] | None = None
    mode: Literal["extractive", "abstractive"] | None = None
    schema: dict[str, Any] | None = None

    @property
    def extended(self) -> bool:
        """Whether any of our fields is there."""
        return any(each is not None for each in (self.max_length, self.mode, self.schema))


class Commit(Struct, frozen=True):
    """The body of a commit."""

    job_type: JobType
    payload: Raw
    user_id: UserId
    privacy_class: Privacy = Privacy.PUBLIC


class TrustCreate(Struct, frozen=True):
    """The body that asks for a pairing code."""

    user_id: UserId


class TrustClaim(Struct, frozen=True):
    """The body that claims a pairing code for a worker."""

    pairing_code: str
    provider_pubkey: KeyHex
    signature: str | None = None


class UserCreate(Struct, frozen=True):
    """The body that asks for an API key."""

    user_id: UserId
    operator_signature: str | None = None


_PAYLOADS: MappingProxyType[JobType, type[LlmPayload | TaskPayload]] = MappingProxyType(
    {JobType.LLM_INFER: LlmPayload, JobType.TASK: TaskPayload}
)
_CHOICES = MappingProxyType(
    {
        "job_type": "LLM_INFER or TASK",
        "policy": "AUTO, FAST or CHEAP",
        "privacy_class": "PUBLIC or PRIVATE",
        "status": "pending, assigned, running, completed or failed",
        "task_type": "summarize, classify or extract_json",
    }
)
_NO_CONTROLS = "must not hold control characters"
_PATTERNS = MappingProxyType(
    {
        "provider_pubkey": "must be 64 hex characters, an ed25519 public key",
        "user_id": _NO_CONTROLS,
        "user": _NO_CONTROLS,
    }
)


def parse_order(body: str, tier: Tier) -> Order:
    """A commit's body; the payload stays as the client wrote it."""
    try:
        commit = decode(body, Commit)
    except Invalid:
        _refuse_missing(body)
        raise
    payload = bytes(commit.payload).decode()
    if not payload.startswith("{"):
        raise Invalid("payload must be an object")
    inner = decode(payload, _PAYLOADS[commit.job_type], where="payload")
    if inner.job_type is not commit.job_type:
        raise Invalid(f"payload.job_type must be {commit.job_type}, like job_type")
    return Order(
        job_type=commit.job_type,
        tier=tier,
        privacy=commit.privacy_class,
        user_id=commit.user_id,
        payload=payload,
        extended=inner.extended,
        model=inner.model if isinstance(inner, LlmPayload) else None,
    )


def with_fingerprint(order: Order) -> Order:
    """The order with what makes it equal to a repeated one: endpoint and body, however printed."""
    payload = decode(order.payload, object, where="payload")
    return replace(
        order, fingerprint=fingerprint_of(order.tier, order.job_type, order.privacy, payload)
    )


def fingerprint_of(*parts: object) -> str:
    """Equal for equal values, in whatever order an object's members came."""
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def decode(text: str, shape: type[_T], where: str = "") -> _T:
    """Parses JSON into a shape; raises `Invalid` with a sentence that names the field."""
    try:
        return msgspec.json.decode(text, type=shape)
    except msgspec.ValidationError as error:
        raise Invalid(_sentence(error, where)) from None
    except msgspec.DecodeError as error:
        if _SURROGATE.search(text):
            raise Invalid("A string holds half of a surrogate pair, which is no text") from None
        raise Invalid(f"The body is not valid JSON: {error}") from None
    except RecursionError:
        raise Invalid(f"{where or 'The body'} is nested too deeply") from None


def choice(value: Any, options: type[_T], field: str) -> _T:
    """One of an enum's values as a query parameter gives it; raises `Invalid`."""
    try:
        return options(value)  # type: ignore[call-arg]
    except ValueError:
        raise Invalid(f"Invalid {field}. Use {_CHOICES[field]}") from None


def _refuse_missing(body: str) -> None:
    """The network's own sentence, where one of the three is not there at all."""
    found = decode(body, object)
    if not isinstance(found, dict):
        raise Invalid("The body must be a JSON object") from None
    required = ("job_type", "payload", "user_id")
    if missing := [name for name in required if found.get(name) in (None, "")]:
        raise MissingFields(missing) from None


def _sentence(error: msgspec.ValidationError, where: str) -> str:
    """What is wrong, with the whole path of the field."""
    sentence = plain_sentence(error)
    path = sentence.partition(":")[0] if ":" in sentence else ""
    name = path.rpartition(".")[2]
    prefix = f"{where}." if where else ""
    if "invalid enum value" in sentence and name in _CHOICES:
        return f"Invalid {prefix}{path}. Use {_CHOICES[name]}"
    if name in _PATTERNS and "regex" in sentence:
        return f"{prefix}{path} {_PATTERNS[name]}"
    return f"{prefix}{sentence}"
