"""Reads request bodies and query parameters, strictly."""

import asyncio
import codecs

from aiohttp import web

from dispatchd.core.errors import Invalid, TooSlow, UnsupportedMediaType
from dispatchd.core.limits import Limits

_PAGE_MAX = 500
_PAGE_DEFAULT = 50


async def json_text(request: web.Request, limits: Limits) -> str:
    """The body's text; raises where it is slow, not declared as JSON or not UTF-8."""
    if not (request.content_type == "application/json" or request.content_type.endswith("+json")):
        raise UnsupportedMediaType("Content-Type must be application/json")
    if not _is_utf8(request.charset or "utf-8"):
        raise UnsupportedMediaType("The charset must be UTF-8")
    try:
        return (await _all_of(request, limits)).decode("utf-8")
    except TimeoutError:
        raise TooSlow("The body did not arrive in time") from None
    except (web.RequestPayloadError, ConnectionError):  # damaged, or its sender has gone
        raise Invalid("The body did not arrive whole") from None
    except UnicodeDecodeError:
        raise Invalid("The body is not valid UTF-8") from None


async def _all_of(request: web.Request, limits: Limits) -> bytes:
    if request.content.is_eof():
        return await request.read()
    async with asyncio.timeout(limits.body_seconds):
        return await request.read()


def parameter(request: web.Request, name: str) -> str | None:
    """A query parameter, or None; raises where it is given twice."""
    values = request.query.getall(name, [])
    if len(values) > 1:
        raise Invalid(f"{name} is given more than once")
    return values[0] if values else None


def whole_number(request: web.Request, name: str, least: int, most: int, *, default: int) -> int:
    """A query parameter that counts something; raises where it is anything else."""
    text = parameter(request, name)
    if text is None:
        return default
    digits = len(str(most))
    if not text.isascii() or not text.isdigit() or not least <= int(text[: digits + 1]) <= most:
        raise Invalid(f"{name} must be a whole number from {least} to {most}")
    return int(text)


def flag(request: web.Request, name: str) -> bool:
    """A query parameter that is `true` or, as without it, `false`; raises where it is neither."""
    text = parameter(request, name)
    if text not in {None, "true", "false"}:
        raise Invalid(f"{name} must be true or false")
    return text == "true"


def page_size(request: web.Request) -> int:
    """`limit`: how many things a page holds."""
    return whole_number(request, "limit", 1, _PAGE_MAX, default=_PAGE_DEFAULT)


def _is_utf8(charset: str) -> bool:
    try:
        return codecs.lookup(charset).name == "utf-8"
    except (LookupError, ValueError):
        return False
