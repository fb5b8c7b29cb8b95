"""Workers that hold a key, others that only know it, and users who trust it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from nacl.signing import SigningKey

from tests.support.crowd import SUMMARIZE, order
from tests.support.foreign import ForeignWorker
from tests.support.node import Node

OURS = {"version": "0"}
SECRET = SUMMARIZE | {"input": "Meet me at the old mill."}
_T = TypeVar("_T")


async def pair(node: Node, user_id: str, pubkey: str) -> None:
    """Makes a worker one that a user trusts."""
    async with node.http.post(f"{node.url}/v1/trust/create", json={"user_id": user_id}) as reply:
        code = (await reply.json())["pairing_code"]
    claim = {"pairing_code": code, "provider_pubkey": pubkey}
    async with node.http.post(f"{node.url}/v1/trust/claim", json=claim) as reply:
        assert reply.status == 200


async def unpair(node: Node, user_id: str, pubkey: str) -> int:
    """Ends a user's trust in a worker; the status."""
    parameters = {"user_id": user_id, "provider_pubkey": pubkey}
    async with node.http.delete(f"{node.url}/v1/trust", params=parameters) as reply:
        return reply.status


async def commit_private(node: Node, user_id: str = "alice") -> tuple[int, dict[str, Any]]:
    """Commits a PRIVATE job with a secret in it: the status and the reply."""
    body = order(SECRET, user_id=user_id, privacy_class="PRIVATE")
    async with node.http.post(f"{node.url}/v1/jobs/commit/cheap", json=body) as reply:
        return reply.status, await reply.json()


async def card(node: Node, pubkey: str) -> dict[str, Any]:
    """What the node shows of a worker."""
    async with node.http.get(f"{node.url}/v1/workers") as reply:
        shown = (await reply.json())["workers"]
    (found,) = (each for each in shown if each["provider_pubkey"] == pubkey)
    return dict(found)


async def as_time_passes(node: Node, what: Coroutine[Any, Any, _T], seconds: float) -> _T:
    """What comes of something, while the clock moves on bit by bit, so far at the most."""
    task = asyncio.create_task(what)
    for _ in range(round(seconds * 10)):
        await asyncio.wait({task}, timeout=0.01)
        if task.done():
            break
        node.clock.advance(0.1)
    async with asyncio.timeout(10):
        return await task


def posing_as(pubkey: str, worker: ForeignWorker) -> ForeignWorker:
    """The same connection, in the name of a key that it does not hold."""
    worker.key = SigningKey.generate()
    worker.pubkey = pubkey
    return worker
