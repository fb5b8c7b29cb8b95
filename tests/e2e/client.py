"""A plain HTTP client for tests that stand outside the node's process."""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

_T = TypeVar("_T")
_PAUSE_SECONDS = 0.05

USER = "user_abc123"
LLM: dict[str, Any] = {"job_type": "LLM_INFER", "prompt": "What is a blockchain?", "max_tokens": 16}
TASK: dict[str, Any] = {"job_type": "TASK", "task_type": "classify", "input": "It works well."}
ENDS = ("completed", "failed")


def until(look: Callable[[], _T | None], what: str, seconds: float = 30) -> _T:
    """Looks again and again until there is something to see."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found is not None and found is not False:
            return found
        time.sleep(_PAUSE_SECONDS)
    raise AssertionError(f"{what}: not within {seconds:g} s")


class Client:
    """Talks to one node; every call is a connection of its own."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self.url = url
        self._address = (parts.hostname, parts.port)

    @contextmanager
    def connected(self) -> Iterator[http.client.HTTPConnection]:
        """A connection that has asked for the node's health and stays open."""
        connection = http.client.HTTPConnection(*self._address, timeout=10)
        try:
            connection.request("GET", "/v1/health")
            yield connection
        finally:
            connection.close()

    def text(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """The status and the text of a reply."""
        connection = http.client.HTTPConnection(*self._address, timeout=10)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        finally:
            connection.close()

    def json(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """The status and the object of a reply."""
        status, text = self.text(method, path, body)
        return status, dict(json.loads(text))

    def offer(
        self, payload: dict[str, Any], user_id: str = USER, **fields: Any
    ) -> tuple[int, dict[str, Any]]:
        """Tries to commit a job of the payload's type."""
        body = {"job_type": payload["job_type"], "user_id": user_id, "payload": payload} | fields
        return self.json("POST", "/v1/jobs/commit/fast", body)

    def commit(self, payload: dict[str, Any], user_id: str = USER, **fields: Any) -> str:
        """Commits a job and returns its id."""
        status, answer = self.offer(payload, user_id, **fields)
        assert status == 201, answer
        return str(answer["job_id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """A job as the poll shows it."""
        status, job = self.json("GET", f"/v1/jobs/{job_id}")
        assert status == 200, job
        return job

    def until(self, job_id: str, status: str) -> dict[str, Any]:
        """Polls until a job has a status; it must not end with another one."""

        def look() -> dict[str, Any] | None:
            job = self.job(job_id)
            assert job["status"] not in ENDS or job["status"] == status, job
            return job if job["status"] == status else None

        return until(look, f"job {job_id} {status}")

    def workers(self, count: int) -> None:
        """Waits until so many workers are online."""

        def look() -> bool:
            return bool(self.json("GET", "/v1/health")[1]["workers_online"] == count)

        until(look, f"{count} workers online")
