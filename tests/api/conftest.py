"""Asks the node of a test, and says what every reply must be."""

import io
import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.node import USER, Node

LLM: dict[str, Any] = {"job_type": "LLM_INFER", "prompt": "What is a blockchain?"}
TASK: dict[str, Any] = {"job_type": "TASK", "task_type": "classify", "input": "It works well."}
JSON_TYPE = {"Content-Type": "application/json"}
COMMIT = "/v1/jobs/commit/cheap"


def order(payload: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A commit's body for a payload."""
    return {"job_type": payload["job_type"], "user_id": USER, "payload": payload} | fields


@dataclass(frozen=True)
class Reply:
    """The status and the object of a reply."""

    status: int
    body: dict[str, Any]

    def refuses(self, status: int, *named: str) -> None:
        """The reply is such an error, and its sentence names these things."""
        assert self.status == status, self
        error = self.body["error"]
        assert isinstance(error, str)
        assert [name for name in named if name not in error] == [], error


@dataclass(frozen=True)
class Api:
    """The API of a node, of which every reply is a JSON object."""

    node: Node

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """A request as it stands."""
        content = None if body is None else io.BytesIO(body)
        async with self.node.http.request(
            method, f"{self.node.url}{path}", data=content, headers=headers
        ) as reply:
            assert reply.content_type == "application/json", await reply.text()
            found = json.loads(await reply.text())
            assert isinstance(found, dict)
            assert reply.status < 400 or isinstance(found["error"], str)
            assert reply.status < 400 or isinstance(found["code"], str)
            return Reply(reply.status, found)

    async def get(self, path: str) -> Reply:
        return await self.ask("GET", path)

    async def post(self, path: str, body: object) -> Reply:
        """A request with a JSON body."""
        return await self.ask("POST", path, json.dumps(body).encode(), JSON_TYPE)

    async def commit(self, body: object) -> Reply:
        return await self.post(COMMIT, body)


@pytest.fixture
def api(node: Node) -> Api:
    return Api(node)
