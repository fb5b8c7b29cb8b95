"""The live page: a few files that need no build step and no other host.

`/` gives it to browsers; programs, and the workers that upgrade, find there what they always did.
"""

import hashlib
from mimetypes import guess_type
from pathlib import Path
from types import MappingProxyType

from aiohttp import web
from msgspec import Struct

from dispatchd.api.errors import guarded
from dispatchd.core.errors import NotFound

FOLDER = Path(__file__).parent / "dashboard"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'"
)
_INDEX = "index.html"
_SERVED = frozenset({".html", ".css", ".js", ".svg"})
_TYPES = MappingProxyType({".js": "text/javascript", ".svg": "image/svg+xml"})
_HEADERS = MappingProxyType(
    {
        "Cache-Control": "no-cache",  # kept, and asked about: after an update nothing is stale
        "Content-Security-Policy": POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
)


class _File(Struct, frozen=True):
    body: bytes
    etag: str
    content_type: str


class PageRoutes:
    """The page at `/dashboard`, and at `/` for those who want HTML."""

    def __init__(self) -> None:
        self._files = {
            path.relative_to(FOLDER).as_posix(): _read(path)
            for path in sorted(FOLDER.rglob("*"))
            if path.suffix in _SERVED
        }

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers the routes of `/dashboard`."""
        router.add_get("/dashboard", guarded(self.page))
        router.add_get("/dashboard/{file:.+}", guarded(self._file))

    async def page(self, request: web.Request) -> web.StreamResponse:
        """The page itself."""
        return self._reply(request, _INDEX)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["file"]
        if name not in self._files:
            raise NotFound("The page has no such file")
        return self._reply(request, name)

    def _reply(self, request: web.Request, name: str) -> web.Response:
        file = self._files[name]
        headers = {**_HEADERS, "ETag": f'"{file.etag}"'}
        known = request.if_none_match or ()
        if any(tag.value in {file.etag, "*"} for tag in known):
            return web.Response(status=304, headers=headers)
        content_type = f"{file.content_type}; charset=utf-8"
        return web.Response(body=file.body, headers=headers | {"Content-Type": content_type})


def wants_html(request: web.Request) -> bool:
    """Whether a browser asks: programs take anything, and get JSON."""
    return "text/html" in request.headers.get("Accept", "")


def _read(path: Path) -> _File:
    body = path.read_bytes()
    content_type = _TYPES.get(path.suffix) or guess_type(path.name)[0] or "text/plain"
    return _File(body, hashlib.sha256(body).hexdigest()[:32], content_type)
