"""A model hub on this machine: the part of the real one's API that pulling a model speaks."""

import hashlib
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import Any

from aiohttp import web

from tests.support.process import free_port
from tests.support.threads import on_a_thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_LARGE_BYTES = 1000
_PATIENCE_SECONDS = 20.0
_NONE: Mapping[str, str] = MappingProxyType({})


class Repo:
    """A repository: its files at one commit, and what is the matter with it."""

    def __init__(self, files: dict[str, bytes], commit: str = COMMIT) -> None:
        self.files = files
        self.commit = commit
        self.gated = False


class FakeHub:
    """Serves repositories; large files from "another host", as the real one does.

    `breaks` has, for a file, after how many bytes each of the next answers breaks off; `corrupt`
    the files that arrive damaged; `ranges` whether an answer may begin in the middle. `status` and
    `reply` stand for any other answer.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._elsewhere = f"http://localhost:{port}"
        self.repos: dict[str, Repo] = {}
        self.tokens: set[str] = set()
        self.breaks: dict[str, list[int]] = defaultdict(list)
        self.corrupt: set[str] = set()
        self.ranges = True
        self.status: int | None = None
        self.reply: str | None = None
        self.asked: list[tuple[str, str | None]] = []
        self._news = threading.Condition()
        self.sent_bytes = 0
        self.tokens_elsewhere: list[str] = []

    def wait_for(self, name: str, wanted: str | None = None) -> None:
        """Returns once that file was asked for, from there on."""
        with self._news:
            assert self._news.wait_for(lambda: (name, wanted) in self.asked, _PATIENCE_SECONDS)

    def _note(self, name: str, wanted: str | None) -> None:
        with self._news:
            self.asked.append((name, wanted))
            self._news.notify_all()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get(r"/api/models/{repo:[^/]+/[^/]+}/revision/{revision}", self._info)
        app.router.add_get(r"/{repo:[^/]+/[^/]+}/resolve/{commit}/{name}", self._resolve)
        app.router.add_get("/elsewhere/{owner}/{repo}/{name}", self._cdn)
        return app

    async def _info(self, request: web.Request) -> web.Response:
        name, revision = request.match_info["repo"], request.match_info["revision"]
        self._note(request.path, None)
        if self.reply is not None:
            return web.Response(text=self.reply, content_type="application/json")
        if name not in self.repos or self.status is not None:
            return self._refusal(request, name) or web.Response(status=500)
        repo = self.repos[name]  # what a gated repository holds is no secret
        if revision not in {"main", repo.commit}:
            return web.Response(status=404, headers={"X-Error-Code": "RevisionNotFound"})
        siblings = [_sibling(name, content) for name, content in repo.files.items()]
        return web.json_response({"id": name, "sha": repo.commit, "siblings": siblings})

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        repo, name = request.match_info["repo"], request.match_info["name"]
        self._note(name, request.headers.get("Range"))
        if (refusal := self._refusal(request, repo)) is not None:
            return refusal
        content = self.repos[repo].files[name]
        known = _sibling(name, content)
        headers = {"X-Repo-Commit": self.repos[repo].commit, "ETag": f'"{known["blobId"]}"'}
        if lfs := known.get("lfs"):
            headers |= {"X-Linked-Etag": f'"{lfs["sha256"]}"', "X-Linked-Size": str(lfs["size"])}
            place = f"{self._elsewhere}/elsewhere/{repo}/{name}"
            raise web.HTTPFound(place, headers=headers)
        return await self._send(request, name, content, headers)

    async def _cdn(self, request: web.Request) -> web.StreamResponse:
        if "Authorization" in request.headers:
            self.tokens_elsewhere.append(request.headers["Authorization"])
        info = request.match_info
        content = self.repos[f"{info['owner']}/{info['repo']}"].files[info["name"]]
        return await self._send(request, info["name"], content)

    async def _send(
        self, request: web.Request, name: str, content: bytes, headers: Mapping[str, str] = _NONE
    ) -> web.StreamResponse:
        if name in self.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = 0
        if self.ranges and (wanted := request.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        response.content_length = len(content) - start
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        breaks = self.breaks[name]
        end = start + breaks.pop(0) if breaks else len(content)
        self.sent_bytes += len(content[start:end])
        await response.write(content[start:end])
        if end < len(content):
            assert request.transport
            request.transport.close()  # sends what was written, then breaks off
            return response
        await response.write_eof()
        return response

    def _refusal(self, request: web.Request, name: str) -> web.Response | None:
        if self.status is not None:
            return web.Response(status=self.status)
        repo = self.repos.get(name)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo is None:
            status = 404 if token in self.tokens else 401
            return web.Response(status=status, headers={"X-Error-Code": "RepoNotFound"})
        if repo.gated and token not in self.tokens:
            status = 403 if token else 401
            return web.Response(status=status, headers={"X-Error-Code": "GatedRepo"})
        return None


def _sibling(name: str, content: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    known: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": blob}
    if len(content) >= _LARGE_BYTES:
        sha256 = hashlib.sha256(content).hexdigest()
        known["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
    return known


@asynccontextmanager
async def _serving() -> AsyncIterator[FakeHub]:
    port = free_port()
    hub = FakeHub(port)
    runner = web.AppRunner(hub.app(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield hub
    finally:
        await runner.cleanup()


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A hub on a thread of its own."""
    with on_a_thread(_serving()) as hub:
        yield hub
