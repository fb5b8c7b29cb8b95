"""Header values and JSON texts become objects, or a `PaymentRefused`; and back."""

import base64
from typing import Any, TypeVar

import msgspec

from dispatchd.core.errors import PaymentRefused
from dispatchd.core.payment import Reason
from dispatchd.core.sentence import plain_sentence
from dispatchd.payment.shapes import IN_WORDS

_T = TypeVar("_T")

HEADER_CHARS_MAX = 8192


def encode_header(value: object) -> str:
    """A header's value: base64 of compact JSON."""
    return base64.b64encode(msgspec.json.encode(value)).decode()


def decode_header(value: str, what: str) -> dict[str, Any]:
    """The JSON object in a header's value; raises `PaymentRefused` where there is none."""
    if len(value) > HEADER_CHARS_MAX:
        raise PaymentRefused(Reason.PAYLOAD, f"{what} is longer than {HEADER_CHARS_MAX} characters")
    try:
        raw = base64.b64decode(value, validate=True)
    except ValueError:
        raise PaymentRefused(Reason.PAYLOAD, f"{what} is not base64") from None
    return json_object(raw, what)


def json_object(text: str | bytes, what: str) -> dict[str, Any]:
    """The object that a JSON text holds."""
    try:
        raw = text.encode() if isinstance(text, str) else text
        value = msgspec.json.decode(raw.decode())
    except (ValueError, RecursionError):
        raise PaymentRefused(Reason.PAYLOAD, f"{what} is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise PaymentRefused(Reason.PAYLOAD, f"{what} is not a JSON object")
    return value


def shaped(value: object, shape: type[_T], reason: Reason, where: str = "") -> _T:
    """Decoded JSON in a shape; raises `PaymentRefused` with a sentence that names the field."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise PaymentRefused(reason, f"{where}{_in_words(plain_sentence(error))}") from None


def _in_words(sentence: str) -> str:
    for pattern, words in IN_WORDS.items():
        sentence = sentence.replace(f"a string matching regex {pattern!r}", words)
    return sentence
